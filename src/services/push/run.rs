//! Runs push jobs: claims lines by lease, fairly among the tenants, and looks for work.

use std::collections::HashSet;

use super::claimed::ClaimedLines;
use super::jobs::finish_if_done;
use crate::db::{Connection, OpenJob, PushJob, PushLine, SystemTx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::push::JobState;
use crate::services::context::{AppContext, StepResult};

/// Claims lines of the tenant whose turn it is, and processes them as far as possible.
pub async fn run_one(ctx: &AppContext, owner: &str) -> Result<StepResult> {
    let mut has_polled = false;
    loop {
        let max_parallel = ctx.settings.connectwise.parallel;
        // Skip tenants whose ConnectWise sent a Retry-After.
        let next = || ctx.turns.next(max_parallel, |tenant| !ctx.clients.is_paused(tenant));
        if ctx.turns.needs_poll() && !has_polled {
            has_polled = true;
            let (found, unfinished) = find_work(ctx).await?;
            if !found {
                finish_unfinished(ctx, unfinished).await;
                return Ok(StepResult::Idle);
            }
        }
        // No turn means that every waiting tenant is paused or at its limit of parallel claims.
        let Some(turn) = next() else { return Ok(StepResult::Idle) };
        let (now, owner, tenant) = (ctx.clock.now(), owner.to_owned(), turn.tenant().clone());
        let lease_until = now + ctx.settings.lease;
        // One worker at a time, because all would claim the same lines.
        let claim = move |tx: &mut SystemTx<'_>| claim(tx, &tenant, &owner, max_parallel, now, lease_until);
        match ctx.db.write_system_in_turn("push lines", claim).await? {
            Some(claimed) => {
                // There may be more work than one loop can take.
                ctx.wake.notify_one();
                return process(ctx, claimed).await;
            }
            None => turn.nothing_due(),
        }
    }
}

/// Looks for work, wakes a worker if there is some, and finishes jobs whose process died after their last line, but
/// before the job itself was finished.
pub async fn poll(ctx: &AppContext) -> Result<()> {
    let (found, unfinished) = find_work(ctx).await?;
    if found {
        ctx.wake.notify_one();
    }
    finish_unfinished(ctx, unfinished).await;
    Ok(())
}

/// Reads the open jobs, and remembers the tenants with due lines. Returns whether there are any, and the jobs without
/// open lines.
async fn find_work(ctx: &AppContext) -> Result<(bool, Vec<OpenJob>)> {
    let now = ctx.clock.now();
    let jobs = ctx.db.query_system(move |tx| tx.open_jobs(now)).await?;
    let unfinished: Vec<OpenJob> = jobs.iter().filter(|job| !job.has_open_lines).cloned().collect();
    let mut known = HashSet::new();
    let due = jobs.into_iter().filter(|job| job.is_due).map(|job| job.tenant_id);
    let waiting: Vec<TenantId> = due.filter(|tenant| known.insert(tenant.clone())).collect();
    let found = !waiting.is_empty();
    ctx.turns.set_waiting(waiting);
    Ok((found, unfinished))
}

/// Finishes each job under its tenant's lock, because a person may be deciding about its lines. A tenant whose lock is
/// held for a long time, or whose job cannot be finished, does not block the others.
async fn finish_unfinished(ctx: &AppContext, jobs: Vec<OpenJob>) {
    for OpenJob { tenant_id, id, .. } in jobs {
        let (job, now) = (id.clone(), ctx.clock.now());
        if let Err(error) = ctx.db.write(&tenant_id, move |tx| finish_if_done(tx, &id, now)).await {
            tracing::warn!(tenant = %tenant_id, push_job = %job, cause = %error.chain(), "failed to finish a push job");
        }
    }
}

async fn process(ctx: &AppContext, claimed: Claimed) -> Result<StepResult> {
    let Claimed { is_first, job, connection, was_failing, lines } = claimed;
    if is_first {
        // Without statistics of so many new lines, SQLite would read all of them for each claim.
        ctx.after_growth(usize::try_from(job.line_count).unwrap_or_default()).await;
    }
    let (tenant, id, leased) = (job.tenant_id.clone(), job.id.clone(), lines.clone());
    let mut claimed = ClaimedLines::new(ctx, job, (connection, was_failing), lines);
    let outcome = tokio::select! {
        outcome = claimed.process() => outcome,
        () = keep_lease(ctx, &tenant, leased) => {
            // The worker that took over the lines processes them; the fence rejects anything that this worker still
            // records.
            tracing::warn!(%tenant, push_job = %id, "lost the lease of push lines; another worker has them");
            return Ok(StepResult::Worked);
        }
    };
    if let Err(error) = outcome {
        tracing::error!(
            %tenant, push_job = %id, cause = %error.chain(), "failed to push lines; they will be retried"
        );
        claimed.give_back(error.to_string()).await?;
    }
    Ok(StepResult::Worked)
}

/// Renews the leases of lines repeatedly. Returns when other workers have taken all remaining lines.
async fn keep_lease(ctx: &AppContext, tenant: &TenantId, lines: Vec<PushLine>) {
    let lease = ctx.settings.lease;
    let pause = (lease / 3).to_std().unwrap_or_default();
    loop {
        tokio::time::sleep(pause).await;
        let (lines, clock) = (lines.clone(), ctx.clock.clone());
        // The time is read in the transaction, so waiting for the transaction does not shorten the lease.
        match ctx.db.write(tenant, move |tx| tx.renew_leases(&lines, clock.now() + lease)).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%tenant, cause = %error.chain(), "failed to renew the leases of push lines");
            }
        }
    }
}

/// Claimed lines, with their job and connection when they were claimed.
struct Claimed {
    is_first: bool,
    job: PushJob,
    connection: Option<Connection>,
    /// Whether the connection is known to fail.
    was_failing: bool,
    lines: Vec<PushLine>,
}

fn claim(
    tx: &mut SystemTx<'_>,
    tenant: &TenantId,
    owner: &str,
    workers: usize,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<Claimed>> {
    let lines = tx.claim_push_lines(tenant, owner, workers, now, lease_until)?;
    let Some(first) = lines.first() else { return Ok(None) };
    let mut tx = tx.for_tenant(&first.tenant_id);
    let job = tx.push_job(&first.job_id)?;
    let is_first = job.state == JobState::Queued;
    if is_first {
        tx.start_job(&job.id, now)?;
    }
    let (connection, was_failing) = tx.connection_with_failure()?;
    Ok(Some(Claimed { is_first, job, connection, was_failing, lines }))
}

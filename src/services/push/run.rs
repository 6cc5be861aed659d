//! Processes push jobs: one agreement's lines at a time, each step stored before the next.
//!
//! A worker claims lines by lease, reads the agreement's additions once, and compares. Before each write it stores the
//! quantity in ConnectWise (`from`), and after the write its result. If it is killed in between, the line is claimed
//! again when the lease expires, and `from` distinguishes a write whose response was lost from one that was never sent.

use std::collections::HashSet;

use chrono::TimeDelta;

use super::agreement::AgreementContext;
use super::group::Group;
use super::jobs::finish_if_done;
use super::outcome::{self, CONNECTION_RETRY_SECONDS, ReadBack, StepError, Stop, after_read_back};
use crate::db::{Connection, LineEnd, LineResult, OpenJob, PushJob, PushLine, SystemTx, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAgreementId, PushJobId, TenantId};
use crate::domain::push::{JobEvent, JobState, LineEvent, LineState, PushReason};
use crate::services::context::AppContext;

/// Whether there were lines to process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Some lines were processed.
    Worked,
    /// Nothing is due.
    Idle,
}

/// Claims the lines of one agreement, of the tenant whose turn it is, and processes them as far as possible.
pub async fn run_one(ctx: &AppContext, owner: &str) -> Result<Step> {
    let mut has_looked = false;
    loop {
        let most = ctx.settings.connectwise.parallel;
        // Skip tenants whose ConnectWise sent a Retry-After.
        let next = || ctx.turns.next(most, |tenant| !ctx.clients.is_paused(tenant));
        if ctx.turns.must_look() && !has_looked {
            has_looked = true;
            let (found, unfinished) = find_work(ctx).await?;
            if !found {
                finish_unfinished(ctx, unfinished).await;
                return Ok(Step::Idle);
            }
        }
        // No turn means that every waiting tenant is paused or at its limit of parallel agreements.
        let Some(turn) = next() else { return Ok(Step::Idle) };
        let (now, owner, tenant) = (ctx.clock.now(), owner.to_owned(), turn.tenant().clone());
        let lease_until = now + ctx.settings.lease;
        // One worker at a time, because all would claim the same lines.
        let claim = move |tx: &mut SystemTx<'_>| claim(tx, &tenant, &owner, now, lease_until);
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

/// Looks for work, wakes a worker if there is some, and finishes jobs whose process died after their last line, but before
/// the job itself was finished.
pub async fn look(ctx: &AppContext) -> Result<()> {
    let (found, unfinished) = find_work(ctx).await?;
    if found {
        ctx.wake.notify_one();
    }
    finish_unfinished(ctx, unfinished).await;
    Ok(())
}

/// Reads the open jobs, and remembers whose lines are due. Returns whether there are any, and the jobs without open lines.
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
/// held for long, or whose job cannot be finished, holds up no other.
async fn finish_unfinished(ctx: &AppContext, jobs: Vec<OpenJob>) {
    for OpenJob { tenant_id, id, .. } in jobs {
        let (job, now) = (id.clone(), ctx.clock.now());
        if let Err(error) = ctx.db.write(&tenant_id, move |tx| finish_if_done(tx, &id, now)).await {
            tracing::warn!(tenant = %tenant_id, push_job = %job, cause = %error.chain(), "failed to finish a push job");
        }
    }
}

async fn process(ctx: &AppContext, claimed: Claimed) -> Result<Step> {
    let Claimed { job, connection, lines } = claimed;
    let group = Group { ctx, tenant: job.tenant_id.clone(), job, connection };
    let outcome = tokio::select! {
        outcome = group.run(&lines) => outcome,
        () = group.keep_lease(&lines) => {
            // The worker that took over the lines processes them; the fence rejects what this worker still records.
            tracing::warn!(
                tenant = %group.tenant, push_job = %group.job.id,
                "lost the lease of push lines; another worker has them"
            );
            return Ok(Step::Worked);
        }
    };
    if let Err(error) = outcome {
        // An internal error or a database error: the lines still held go back to the queue with one more failure, and
        // are retried later.
        tracing::error!(
            tenant = %group.tenant, push_job = %group.job.id, cause = %error.chain(),
            "failed to push the lines of an agreement; they are retried"
        );
        group.stop(&lines, Stop::Later(error.to_string())).await?;
    }
    let (now, job_id) = (ctx.clock.now(), group.job.id.clone());
    ctx.db.write(&group.tenant, move |tx| finish_if_done(tx, &job_id, now)).await?;
    Ok(Step::Worked)
}

/// Claimed lines of one agreement, with their job and connection when they were claimed.
struct Claimed {
    job: PushJob,
    connection: Option<Connection>,
    lines: Vec<PushLine>,
}

fn claim(
    tx: &mut SystemTx<'_>,
    tenant: &TenantId,
    owner: &str,
    now: Instant,
    lease_until: Instant,
) -> Result<Option<Claimed>> {
    let lines = tx.claim_push_lines(tenant, owner, now, lease_until)?;
    let Some(first) = lines.first() else { return Ok(None) };
    let mut tx = tx.of(&first.tenant_id);
    let job = tx.push_job(&first.job_id)?;
    if job.state == JobState::Queued {
        tx.start_job(&job.id, now)?;
    }
    let connection = tx.connection()?;
    Ok(Some(Claimed { job, connection, lines }))
}

impl Group<'_> {
    async fn run(&self, lines: &[PushLine]) -> Result<()> {
        let Some(agreement) = lines.first().and_then(|line| line.agreement_id) else { return Ok(()) };
        if self.job.cancel_requested {
            return self.stop(lines, Stop::Cancelled).await;
        }
        let approved = lines.iter().any(|line| line.approved);
        match self.read_agreement(agreement, approved).await {
            Ok(context) => self.push_lines(&context, agreement, lines).await,
            Err(StepError::Stop(stop) | StepError::Line(stop)) => self.stop(lines, stop).await,
            Err(StepError::Internal(error)) => Err(error),
        }
    }

    /// Renews the lease repeatedly. Returns when another worker has taken the lines.
    async fn keep_lease(&self, lines: &[PushLine]) {
        let lease = self.ctx.settings.lease;
        let pause = (lease / 3).to_std().unwrap_or_default();
        loop {
            tokio::time::sleep(pause).await;
            let (lines, clock) = (lines.to_vec(), self.ctx.clock.clone());
            // The time is read in the transaction, so that waiting for the transaction does not shorten the lease.
            match self.ctx.db.write(&self.tenant, move |tx| tx.renew_leases(&lines, clock.now() + lease)).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        push_job = %self.job.id, cause = %error.chain(),
                        "failed to renew the lease of push lines"
                    )
                }
            }
        }
    }

    async fn push_lines(&self, context: &AgreementContext, agreement: CwAgreementId, lines: &[PushLine]) -> Result<()> {
        for (index, line) in lines.iter().enumerate() {
            match self.push_line(context, agreement, line).await {
                Ok(result) => self.record(line, result).await?,
                // One line's own failure never stops the others.
                Err(StepError::Line(stop)) => self.stop(std::slice::from_ref(line), stop).await?,
                // A failure that does not depend on one line, or a cancellation, stops all.
                Err(StepError::Stop(stop)) => return self.stop(&lines[index..], stop).await,
                Err(StepError::Internal(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn record(&self, line: &PushLine, result: LineResult) -> Result<()> {
        let (line, job, now) = (line.clone(), self.job.clone(), self.ctx.clock.now());
        metrics::counter!("push_lines_total", "outcome" => result.event.as_str()).increment(1);
        let work = move |tx: &mut Tx<'_>| {
            // A cancelled job does not wait for approval.
            let cancelled = result.event == LineEvent::Hold && tx.push_job(&job.id)?.cancel_requested;
            let result = if cancelled { outcome::result(LineEvent::Cancel, None) } else { result };
            let held = tx.finish_line(&line, &result, job.kind, now)?;
            note_quantity(tx, &line, &result, held)?;
            if job.detail.is_some() {
                // ConnectWise responds again: the job no longer waits.
                tx.set_job_detail(&job.id, None)?;
            }
            Ok(())
        };
        self.ctx.db.write(&self.tenant, work).await
    }

    /// Ends the work on lines for now. A line whose write was sent and whose response was lost gets a final result only
    /// after its addition was read back.
    async fn stop(&self, lines: &[PushLine], stop: Stop) -> Result<()> {
        self.log_stop(lines, &stop);
        let now = self.ctx.clock.now();
        let (job, given, connection) = (self.job.id.clone(), lines.to_vec(), self.connection.clone());
        let look = move |tx: &mut Tx<'_>| {
            let cancelled = tx.push_job(&job)?.cancel_requested;
            Ok((cancelled, tx.connection()? != connection, tx.lines_held_by_worker(&given)?))
        };
        let (cancelled, reconnected, held) = self.ctx.db.read(&self.tenant, look).await?;
        let stop = match stop {
            _ if cancelled => Stop::Cancelled,
            // The connection may have been corrected in the meantime.
            Stop::Connection(_) if reconnected => Stop::Busy("the connection was changed".to_owned()),
            other => other,
        };
        let (stored_at, max_late) = (self.job.created_at.and_utc(), self.ctx.settings.schedule_max_late);
        let plan = |line: PushLine| {
            let result = stop.result(&line, now, stored_at, max_late);
            (line, result)
        };
        let results = self.verify_lost_writes(held.into_iter().map(plan).collect(), now).await;
        let (job, connection) = (self.job.clone(), self.connection.clone());
        let work = move |tx: &mut Tx<'_>| {
            for (line, result) in &results {
                let held = tx.finish_line(line, result, job.kind, now)?;
                note_quantity(tx, line, result, held)?;
            }
            note_stop(tx, &job, &stop, now, max_late)?;
            if !matches!(stop, Stop::Cancelled) && tx.push_job(&job.id)?.cancel_requested {
                // The cancellation was requested while additions were read back.
                tx.cancel_push_job(&job.id, now)?;
            } else if tx.connection()? != connection {
                tx.wake_pending_lines()?;
            }
            Ok(())
        };
        self.ctx.db.write(&self.tenant, work).await
    }

    /// Returns the planned results, except for lines whose write was sent and whose response was lost: their additions
    /// are read back first.
    async fn verify_lost_writes(
        &self,
        planned: Vec<(PushLine, LineResult)>,
        now: Instant,
    ) -> Vec<(PushLine, LineResult)> {
        let must_read_back = |line: &PushLine, result: &LineResult| {
            line.attempts > 0 && LineState::Working.after(result.event).is_ok_and(LineState::is_final)
        };
        let unknown: Vec<PushLine> = planned
            .iter()
            .filter(|(line, result)| must_read_back(line, result))
            .map(|(line, _)| line.clone())
            .collect();
        let Some(agreement) = unknown.first().and_then(|line| line.agreement_id) else { return planned };
        let mut found = self.read_back(agreement, &unknown).await.into_iter();
        let (stored_at, max_late) = (self.job.created_at.and_utc(), self.ctx.settings.schedule_max_late);
        let result_of = |(line, result): (PushLine, LineResult)| {
            if !must_read_back(&line, &result) {
                return (line, result);
            }
            let read = match found.next().unwrap_or(ReadBack::Unreadable) {
                // A wait that is renewed again and again must not keep a line open for ever.
                ReadBack::Later(_) if now - line.waits_since(stored_at) >= max_late => ReadBack::Unreadable,
                other => other,
            };
            let result = after_read_back(&line, result, read, now);
            (line, result)
        };
        planned.into_iter().map(result_of).collect()
    }

    fn log_stop(&self, lines: &[PushLine], stop: &Stop) {
        let (tenant, job, lines) = (&self.tenant, &self.job.id, lines.len());
        if matches!(stop, Stop::Busy(_) | Stop::Cancelled) {
            // A cancellation, or a refresh by another process: the operator need not act.
            tracing::debug!(%tenant, push_job = %job, lines, why = stop.text(), "push lines wait");
        } else {
            tracing::warn!(%tenant, push_job = %job, lines, cause = stop.text(), "push lines stopped");
        }
    }
}

/// Stores the quantity of an addition that a worker read or wrote, if it still held the line.
fn note_quantity(tx: &mut Tx<'_>, line: &PushLine, result: &LineResult, held: bool) -> Result<()> {
    let seen = if result.event == LineEvent::Push { line.to_quantity } else { result.from };
    match (held, line.addition_id, seen) {
        (true, Some(id), Some(quantity)) => tx.set_addition_quantity(id, quantity),
        _ => Ok(()),
    }
}

/// Applies a stop to the job and its pending lines.
fn note_stop(tx: &mut Tx<'_>, job: &PushJob, stop: &Stop, now: Instant, max_late: TimeDelta) -> Result<()> {
    match stop {
        Stop::Connection(why) => {
            if now - job.created_at.and_utc() >= max_late {
                give_up(tx, &job.id, PushReason::Connection, why, now, max_late)?;
            }
            let until = now + TimeDelta::seconds(CONNECTION_RETRY_SECONDS);
            tx.postpone_pending_lines(&job.id, until, why)?;
            tx.set_job_detail(&job.id, Some(&format!("waiting for ConnectWise: {why}")))
        }
        Stop::Wait(_, why) => {
            if now - job.created_at.and_utc() >= max_late {
                give_up(tx, &job.id, PushReason::Unavailable, why, now, max_late)?;
            }
            tx.set_job_detail(&job.id, Some(why))
        }
        Stop::Later(why) => tx.set_job_detail(&job.id, Some(why)),
        Stop::Cancelled | Stop::Busy(_) | Stop::Stale(_) | Stop::Failed(..) => Ok(()),
    }
}

/// Fails the lines of a job that have waited for too long for the connection, or because ConnectWise asked to wait. Also
/// fails the job if no open line is left and every line was failed, skipped or cancelled.
fn give_up(
    tx: &mut Tx<'_>,
    id: &PushJobId,
    reason: PushReason,
    why: &str,
    now: Instant,
    max_late: TimeDelta,
) -> Result<()> {
    let end = LineEnd {
        event: LineEvent::Fail,
        reason: Some(reason),
        detail: Some(why),
        decided_until: Some(now - max_late),
    };
    tx.end_untried_lines(id, LineState::Pending, &end, now)?;
    let progress = super::progress(tx, id, now)?;
    use LineState::{Held, Pushed, Unchanged, Unverified, WouldPush};
    let tried = [Pushed, Unchanged, WouldPush, Held, Unverified];
    let nothing_done = !progress.counts.keys().any(|state| tried.contains(state));
    if nothing_done && !tx.has_open_lines(id)? && !progress.job.state.is_final() {
        tx.advance_job(id, JobEvent::Fail, Some(why), now)?;
    }
    Ok(())
}

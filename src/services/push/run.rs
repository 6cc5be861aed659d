//! Doing a job's work: one agreement's lines at a time, each step stored before the next.
//!
//! A worker claims lines by lease, reads the agreement's additions once, and compares. Before each write it stores
//! what ConnectWise had (`from`); after it, what came of it. Killed anywhere between, the line is claimed again when
//! the lease has run out, and `from` tells a write whose answer was lost from one that never happened.

use std::collections::HashMap;
use std::sync::Arc;

use super::outcome::{Stop, already_there, changed_since, failed, held, later, result, skipped, would_push};
use crate::connectwise::{Client, CwError, Patience};
use crate::db::{LineFilter, LineResult, PushJob, PushLine, SystemTx, Tx};
use crate::domain::agreement::{Addition, Agreement};
use crate::domain::clock::Instant;
use crate::domain::guard::Guard;
use crate::domain::ids::{CwAdditionId, CwAgreementId, ProductId, PushJobId, TenantId};
use crate::domain::push::{JobEvent, LineEvent, LineState, PushReason};
use crate::domain::quantity::Quantity;
use crate::domain::words::{MappingStatus, PushKind, PushTrigger};
use crate::domain::{Error, Result};
use crate::services::{Services, connections, refresh, schedule};

/// Whether there was anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Some lines were worked on.
    Worked,
    /// Nothing is due.
    Idle,
}

/// Claims the lines of one agreement, of whichever tenant and job, and takes them as far as they go now.
pub async fn run_one(services: &Services, owner: &str) -> Result<Step> {
    let (now, owner) = (services.clock.now(), owner.to_owned());
    let lease_until = now + services.settings.lease;
    let claimed = services.db.write_system(move |tx| claim(tx, &owner, now, lease_until)).await?;
    let Some((job, lines)) = claimed else { return finish_left_over(services).await.map(|()| Step::Idle) };
    let group = Group { services, tenant: job.tenant_id.clone(), job };
    let outcome = tokio::select! {
        outcome = group.run(&lines) => outcome,
        () = group.keep_lease(&lines) => {
            // Whoever took the lines over does the rest; what this worker still records is refused by the fence.
            tracing::warn!(tenant = %group.tenant, push_job = %group.job.id, "a worker's lease was lost");
            return Ok(Step::Worked);
        }
    };
    if let Err(error) = outcome {
        // A fault of ours, or of the database: what is still held is given back, counted, and tried again later.
        tracing::error!(tenant = %group.tenant, push_job = %group.job.id, cause = %error.chain(), "a push failed");
        group.stop(&lines, Stop::Later(error.to_string())).await?;
    }
    let (now, job_id) = (services.clock.now(), group.job.id.clone());
    services.db.write(&group.tenant, move |tx| super::finish_if_done(tx, &job_id, now)).await?;
    Ok(Step::Worked)
}

fn claim(
    tx: &mut SystemTx<'_>,
    owner: &str,
    now: Instant,
    lease_until: Instant,
) -> Result<Option<(PushJob, Vec<PushLine>)>> {
    let lines = tx.claim_push_lines(owner, now, lease_until)?;
    let Some(first) = lines.first() else { return Ok(None) };
    let mut tx = tx.of(&first.tenant_id);
    let job = tx.push_job(&first.job_id)?;
    if job.state.after(JobEvent::Start).is_ok() {
        tx.advance_job(&job.id, JobEvent::Start, None, now)?;
    }
    Ok(Some((job, lines)))
}

/// A process that died after a job's last line left the job itself unfinished. Each is finished under its own tenant's
/// lock, as somebody may be deciding about its lines.
async fn finish_left_over(services: &Services) -> Result<()> {
    let now = services.clock.now();
    for (tenant, job) in services.db.read_system(|tx| tx.left_over_push_jobs()).await? {
        services.db.write(&tenant, move |tx| super::finish_if_done(tx, &job, now)).await?;
    }
    Ok(())
}

struct Group<'s> {
    services: &'s Services,
    tenant: TenantId,
    job: PushJob,
}

/// Whether a line's write may begin.
enum Begun {
    /// What ConnectWise has is stored: now write, while the lease holds.
    Write(Instant),
    /// Something happened since the job was stored, which is the line's outcome.
    Overtaken(LineResult),
    /// Somebody stopped the job.
    Cancelled,
}

/// What an agreement's lines are held against.
struct Ground {
    client: Arc<Client>,
    additions: HashMap<CwAdditionId, Addition>,
    guards: HashMap<ProductId, Guard>,
}

impl Group<'_> {
    async fn run(&self, lines: &[PushLine]) -> Result<()> {
        let Some(agreement) = lines.first().and_then(|line| line.agreement_id) else { return Ok(()) };
        let approved = lines.iter().any(|line| line.approved);
        match self.read(agreement, approved).await? {
            Ok(ground) => self.push_lines(&ground, agreement, lines).await,
            Err(stop) => self.stop(lines, stop).await,
        }
    }

    /// Renews the lease, again and again; ends when there is nothing left to renew, because another has the lines.
    async fn keep_lease(&self, lines: &[PushLine]) {
        let lease = self.services.settings.lease;
        let pause = (lease / 3).to_std().unwrap_or_default();
        loop {
            tokio::time::sleep(pause).await;
            let (lines, clock) = (lines.to_vec(), self.services.clock.clone());
            // The time is asked in the transaction: a lease must never become shorter than it was said to be.
            match self.services.db.write(&self.tenant, move |tx| tx.renew_leases(&lines, clock.now() + lease)).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(push_job = %self.job.id, cause = %error.chain(), "a lease was not renewed")
                }
            }
        }
    }

    /// The agreement's additions as ConnectWise has them now, if the agreement is live.
    async fn read(&self, agreement: CwAgreementId, approved: bool) -> Result<Result<Ground, Stop>> {
        // Counted from the job's beginning, so that no job reads the lists more than once, however long it takes.
        // What a person approved may be days after that.
        let since = if approved { self.services.clock.now() } else { self.job.created_at.and_utc() };
        let oldest = since - self.services.settings.refresh_max_age;
        if let Err(error) = refresh::ensure_since(self.services, &self.tenant, oldest, Patience::Job).await {
            return match error {
                Error::ConnectWise { code, detail, .. } if is_passing(code) => Ok(Err(Stop::Later(detail))),
                Error::ConnectWise { detail, .. } => Ok(Err(Stop::Job(detail))),
                Error::Conflict { code: "refresh_running", detail } => Ok(Err(Stop::Busy(detail))),
                Error::Conflict { detail, .. } => Ok(Err(Stop::Job(detail))),
                other => Err(other),
            };
        }
        let now = self.services.clock.now();
        let look = move |tx: &mut Tx<'_>| {
            Ok((tx.agreements_by_id(&[agreement])?, schedule::today(tx, now)?, tx.all_products()?))
        };
        let (known, today, products) = self.services.db.read(&self.tenant, look).await?;
        let Some(known) = known.into_iter().next().map(Agreement::from) else {
            return Ok(Err(Stop::Stale("agreement: not known any more".to_owned())));
        };
        let dead = known.dead_because(today);
        if let Some(reason) = dead {
            return Ok(Err(Stop::Stale(format!("agreement: {reason}"))));
        }
        let client = connections::client(self.services, &self.tenant).await?;
        Ok(match client.additions(agreement, Patience::Job).await {
            // Those that are no longer live are as good as gone.
            Ok(additions) => {
                let live = additions.into_iter().filter(|row| row.dead_because(today).is_none());
                let additions = live.map(|row| (row.id, row)).collect();
                let guards = products.into_iter().map(|row| (row.id.clone(), row.guard())).collect();
                Ok(Ground { client, additions, guards })
            }
            Err(error) => Err(Stop::of_reading(error)),
        })
    }

    async fn push_lines(&self, ground: &Ground, agreement: CwAgreementId, lines: &[PushLine]) -> Result<()> {
        for (index, line) in lines.iter().enumerate() {
            match self.push_line(ground, agreement, line).await? {
                Ok(result) => self.record(line, result).await?,
                // A fault of the way to ConnectWise stops all; one line's own failure never stops the others.
                Err(stop) => return self.stop(&lines[index..], stop).await,
            }
        }
        Ok(())
    }

    /// Takes one line from what ConnectWise has to its result.
    async fn push_line(
        &self,
        ground: &Ground,
        agreement: CwAgreementId,
        line: &PushLine,
    ) -> Result<Result<LineResult, Stop>> {
        let (Some(to), Some(id)) = (line.to_quantity, line.addition_id) else {
            return Ok(Ok(failed(PushReason::Internal, "the line was stored without a quantity".to_owned())));
        };
        let Some(addition) = ground.additions.get(&id) else {
            return Ok(Ok(skipped(
                PushReason::Stale,
                "the addition was cancelled or deleted in ConnectWise".to_owned(),
            )));
        };
        let has = addition.quantity;
        if has == Some(to) {
            return Ok(Ok(already_there(line, to)));
        }
        let bound = matches!(self.job.started_by, PushTrigger::DryRun | PushTrigger::Revert);
        if bound && has != line.expected_from {
            return Ok(Ok(changed_since(line, has)));
        }
        let objection = self.objection(ground, line, has, to);
        if self.job.kind == PushKind::DryRun {
            return Ok(Ok(would_push(has, objection)));
        }
        if let Some(why) = objection {
            return Ok(Ok(held(has, why)));
        }
        let holds_until = match self.begin_write(line, has).await? {
            Begun::Write(holds_until) => holds_until,
            Begun::Overtaken(result) => return Ok(Ok(result)),
            Begun::Cancelled => return Ok(Err(Stop::Busy("the job was cancelled".to_owned()))),
        };
        match ground.client.set_quantity(agreement, id, to, Patience::Job, holds_until).await {
            Ok(()) => Ok(Ok(result(LineEvent::Push, has))),
            Err(CwError::Rejected(why)) => Ok(Ok(failed(PushReason::Rejected, why))),
            Err(error @ CwError::NotApplied { .. }) => Ok(Ok(failed(PushReason::NotApplied, error.to_string()))),
            Err(CwError::Gone) => {
                Ok(Ok(skipped(PushReason::Stale, "the addition was deleted in ConnectWise".to_owned())))
            }
            Err(error @ (CwError::Failed(_) | CwError::Conflict(_) | CwError::Unintelligible(_))) => {
                Ok(Ok(later(line, &error.to_string(), self.services.clock.now())))
            }
            Err(error) => Ok(Err(Stop::of_writing(error))),
        }
    }

    /// Why the change is not to be made unasked. What a person approved is the change that they saw, and no other; what
    /// is put back was asked for.
    fn objection(&self, ground: &Ground, line: &PushLine, has: Option<Quantity>, to: Quantity) -> Option<String> {
        let approved = line.approved && line.from_quantity == has;
        if approved || self.job.started_by == PushTrigger::Revert {
            return None;
        }
        ground.guards.get(&line.product_id)?.objection(has, to)
    }

    /// Stores what ConnectWise had, before the write; or gives what overtook the line since the job was stored.
    async fn begin_write(&self, line: &PushLine, has: Option<Quantity>) -> Result<Begun> {
        let until = self.services.clock.now() + self.services.settings.lease;
        let (line, reverts) = (line.clone(), self.job.started_by == PushTrigger::Revert);
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&line.job_id)?.cancel_requested {
                return Ok(Begun::Cancelled);
            }
            match overtaken(tx, &line, reverts)? {
                Some(result) => Ok(Begun::Overtaken(result)),
                None => tx.begin_write(&line, has, until).map(|()| Begun::Write(until)),
            }
        };
        self.services.db.write(&self.tenant, work).await
    }

    async fn record(&self, line: &PushLine, result: LineResult) -> Result<()> {
        let (line, kind, now) = (line.clone(), self.job.kind, self.services.clock.now());
        metrics::counter!("push_lines_total", "outcome" => result.event.as_str()).increment(1);
        let work = move |tx: &mut Tx<'_>| {
            let held = tx.finish_line(&line, &result, kind, now)?;
            let seen = if result.event == LineEvent::Push { line.to_quantity } else { result.from };
            if let (true, Some(id), Some(quantity)) = (held, line.addition_id, seen) {
                tx.set_addition_quantity(id, quantity)?;
            }
            Ok(())
        };
        self.services.db.write(&self.tenant, work).await
    }

    async fn stop(&self, lines: &[PushLine], stop: Stop) -> Result<()> {
        let (lines, kind, now, job) = (lines.to_vec(), self.job.kind, self.services.clock.now(), self.job.id.clone());
        if let Stop::Busy(why) = &stop {
            // Somebody's cancellation, or a refresh by another process: nothing for the operator to look at.
            tracing::debug!(tenant = %self.tenant, push_job = %job, lines = lines.len(), why, "a push waits");
        } else {
            tracing::warn!(
                tenant = %self.tenant, push_job = %job, lines = lines.len(), cause = stop.text(), "a push could not go on"
            );
        }
        let work = move |tx: &mut Tx<'_>| {
            for line in &lines {
                tx.finish_line(line, &stop.result(line, now), kind, now)?;
            }
            if tx.push_job(&job)?.cancel_requested {
                return tx.end_pending_lines(&job, LineEvent::Cancel, None, None, now);
            }
            match &stop {
                Stop::Job(why) => fail_job(tx, &job, why, now),
                _ => Ok(()),
            }
        };
        self.services.db.write(&self.tenant, work).await
    }
}

/// Why a line that was to be pushed when its job was stored is not to be any more.
fn overtaken(tx: &mut Tx<'_>, line: &PushLine, reverts: bool) -> Result<Option<LineResult>> {
    if tx.has_later_push(line)? {
        let detail = "a later push job has this line, too: its quantity is the newer one";
        return Ok(Some(skipped(PushReason::Superseded, detail.to_owned())));
    }
    if reverts {
        // What was written is put back where it was written, whatever the line bills to by now.
        return Ok(None);
    }
    let filter = LineFilter { ids: Some(vec![line.billing_line_id.clone()]), ..LineFilter::default() };
    let Some((now, _)) = tx.all_lines(&filter)?.pop() else {
        return Ok(Some(skipped(PushReason::Stale, "the billing line was deleted since".to_owned())));
    };
    if !now.push_enabled {
        return Ok(Some(skipped(PushReason::Disabled, "push was disabled since the job was stored".to_owned())));
    }
    let resolved = now.agreement_status == MappingStatus::Resolved && now.addition_status == MappingStatus::Resolved;
    if !resolved || now.agreement_id != line.agreement_id || now.addition_id != line.addition_id {
        let detail = "the line bills to something else since the job was stored: push again";
        return Ok(Some(skipped(PushReason::Stale, detail.to_owned())));
    }
    let own: Vec<CwAdditionId> = line.addition_id.into_iter().collect();
    if !tx.additions_shared_by_lines(&own)?.is_empty() {
        let detail = "another enabled billing line resolves to this addition by now: give each its own";
        return Ok(Some(skipped(PushReason::AdditionShared, detail.to_owned())));
    }
    Ok(None)
}

fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "connectwise_unavailable" | "connectwise_throttled" | "connectwise_conflict" | "connectwise_unintelligible"
    )
}

/// Ends a job at once for a fault of the connection, instead of failing a thousand times.
fn fail_job(tx: &mut Tx<'_>, id: &PushJobId, why: &str, now: Instant) -> Result<()> {
    tx.end_pending_lines(id, LineEvent::Fail, Some(PushReason::Connection), Some(why), now)?;
    let progress = super::progress(tx, id, now)?;
    let tried = [LineState::Pushed, LineState::Unchanged, LineState::WouldPush, LineState::Held];
    let nothing_done = !progress.counts.keys().any(|state| tried.contains(state));
    if nothing_done && !tx.has_open_lines(id)? && !progress.job.state.is_final() {
        tx.advance_job(id, JobEvent::Fail, Some(why), now)?;
    }
    Ok(())
}

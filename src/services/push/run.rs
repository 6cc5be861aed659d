//! Doing a job's work: one agreement's lines at a time, each step stored before the next.
//!
//! A worker claims lines by lease, reads the agreement's additions once, and compares. Before each write it stores
//! what ConnectWise had (`from`); after it, what came of it. Killed anywhere between, the line is claimed again when
//! the lease has run out, and `from` tells a write whose answer was lost from one that never happened.

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::connectwise::{Client, CwError, Patience};
use crate::db::{LineResult, PushJob, PushLine, Tx};
use crate::domain::agreement::{Addition, Agreement};
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAdditionId, CwAgreementId, PushJobId, TenantId};
use crate::domain::push::{JobEvent, LineEvent, LineState, PushReason};
use crate::domain::quantity::Quantity;
use crate::domain::words::PushKind;
use crate::domain::{Error, Result};
use crate::services::{Services, connections, refresh};

/// So often a line is tried before an outage makes it fail.
const MAX_ATTEMPTS: i64 = 6;
/// How long a line waits after its first failed attempt; it doubles from there, up to an hour.
const FIRST_WAIT: i64 = 30;

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
    let claim = move |tx: &mut crate::db::SystemTx<'_>| {
        let lines = tx.claim_push_lines(&owner, now, lease_until)?;
        let Some(first) = lines.first() else {
            // A process that died after a job's last line left the job itself unfinished.
            for (tenant, job) in tx.open_push_jobs()? {
                super::finish_if_done(&mut tx.of(&tenant), &job, now)?;
            }
            return Ok(None);
        };
        let mut tx = tx.of(&first.tenant_id);
        let job = tx.push_job(&first.job_id)?;
        if job.state.after(JobEvent::Start).is_ok() {
            tx.advance_job(&job.id, JobEvent::Start, None, now)?;
        }
        Ok(Some((job, lines)))
    };
    let Some((job, lines)) = services.db.write_system(claim).await? else { return Ok(Step::Idle) };
    let group = Group { services, tenant: job.tenant_id.clone(), job };
    let job_id = group.job.id.clone();
    let outcome = group.run(lines).await;
    let now = services.clock.now();
    let finish = move |tx: &mut Tx<'_>| super::finish_if_done(tx, &job_id, now);
    services.db.write(&group.tenant, finish).await?;
    outcome.map(|()| Step::Worked)
}

/// Why the rest of a group is not worked on now.
enum Stop {
    /// The connection itself is at fault: the whole job ends.
    Job(String),
    /// It may pass: the lines are tried again later.
    Later(String),
    /// The agreement is gone or no longer live.
    Stale(String),
    /// One agreement's own failure: its lines fail.
    Failed(String),
}

impl From<CwError> for Stop {
    fn from(error: CwError) -> Self {
        let text = error.to_string();
        match error {
            CwError::Configuration { .. } => Self::Job(text),
            CwError::Gone => Self::Stale("the agreement does not exist in ConnectWise any more".to_owned()),
            CwError::Rejected(_) | CwError::NotApplied { .. } => Self::Failed(text),
            CwError::Conflict(_)
            | CwError::Throttled(_)
            | CwError::Unavailable(_)
            | CwError::Failed(_)
            | CwError::Resting(_)
            | CwError::Unintelligible(_) => Self::Later(text),
        }
    }
}

struct Group<'s> {
    services: &'s Services,
    tenant: TenantId,
    job: PushJob,
}

impl Group<'_> {
    async fn run(&self, lines: Vec<PushLine>) -> Result<()> {
        let Some(agreement) = lines.first().and_then(|line| line.agreement_id) else { return Ok(()) };
        match self.read(agreement).await? {
            Ok((client, additions)) => self.push_lines(&client, agreement, lines, additions).await,
            Err(stop) => self.stop(&lines, stop).await,
        }
    }

    /// The agreement's additions as ConnectWise has them now, if the agreement is live.
    async fn read(
        &self,
        agreement: CwAgreementId,
    ) -> Result<Result<(std::sync::Arc<Client>, HashMap<CwAdditionId, Addition>), Stop>> {
        if let Err(error) = refresh::ensure_fresh(self.services, &self.tenant, Patience::Job).await {
            match error {
                Error::ConnectWise { code, detail, .. } if is_passing(code) => return Ok(Err(Stop::Later(detail))),
                Error::ConnectWise { detail, .. } => return Ok(Err(Stop::Job(detail))),
                Error::Conflict { code: "refresh_running", detail } => return Ok(Err(Stop::Later(detail))),
                Error::Conflict { detail, .. } => return Ok(Err(Stop::Job(detail))),
                other => return Err(other),
            }
        }
        let now = self.services.clock.now();
        let known = self.services.db.read(&self.tenant, move |tx| tx.agreements_by_id(&[agreement])).await?;
        let dead = known.into_iter().next().map(Agreement::from).and_then(|row| row.dead_because(now));
        if let Some(reason) = dead {
            return Ok(Err(Stop::Stale(format!("agreement: {reason}"))));
        }
        let client = connections::client(self.services, &self.tenant).await?;
        Ok(match client.additions(agreement, Patience::Job).await {
            Ok(additions) => Ok((client, additions.into_iter().map(|row| (row.id, row)).collect())),
            Err(error) => Err(error.into()),
        })
    }

    async fn push_lines(
        &self,
        client: &Client,
        agreement: CwAgreementId,
        lines: Vec<PushLine>,
        additions: HashMap<CwAdditionId, Addition>,
    ) -> Result<()> {
        for (index, line) in lines.iter().enumerate() {
            if self.is_cancelled().await? {
                return self.give_back(&lines[index..]).await;
            }
            let addition = line.addition_id.and_then(|id| additions.get(&id));
            match self.push_line(client, agreement, line, addition).await? {
                Ok(result) => self.record(line, result).await?,
                // One line's own refusal never stops the others; a fault of the way to ConnectWise stops them all.
                Err(Stop::Failed(detail)) => {
                    self.record(line, failed(None, PushReason::Rejected, detail)).await?;
                }
                Err(Stop::Stale(detail)) => self.record(line, skipped(PushReason::Stale, detail)).await?,
                Err(stop) => return self.stop(&lines[index..], stop).await,
            }
        }
        Ok(())
    }

    /// Takes one line from what ConnectWise has to its result.
    async fn push_line(
        &self,
        client: &Client,
        agreement: CwAgreementId,
        line: &PushLine,
        addition: Option<&Addition>,
    ) -> Result<Result<LineResult, Stop>> {
        let (Some(to), Some(id)) = (line.to_quantity, line.addition_id) else {
            return Ok(Ok(failed(None, PushReason::Internal, "the line was stored without a quantity".to_owned())));
        };
        let Some(addition) = addition else {
            return Ok(Ok(skipped(PushReason::Stale, "addition: deleted".to_owned())));
        };
        if let Some(reason) = addition.dead_because(self.services.clock.now()) {
            return Ok(Ok(skipped(PushReason::Stale, format!("addition: {reason}"))));
        }
        let has = addition.quantity;
        if has == Some(to) {
            return Ok(Ok(already_there(line, to)));
        }
        if self.job.kind == PushKind::DryRun {
            return Ok(Ok(result(LineEvent::WouldPush, has)));
        }
        self.begin_write(line, has).await?;
        match client.set_quantity(agreement, id, to, Patience::Job).await {
            Ok(()) => Ok(Ok(result(LineEvent::Push, has))),
            Err(CwError::NotApplied { asked, got }) => {
                let detail = CwError::NotApplied { asked, got }.to_string();
                Ok(Ok(failed(has, PushReason::NotApplied, detail)))
            }
            Err(CwError::Rejected(why)) => Ok(Ok(failed(has, PushReason::Rejected, why))),
            Err(CwError::Gone) => Ok(Ok(skipped(PushReason::Stale, "addition: deleted".to_owned()))),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn begin_write(&self, line: &PushLine, has: Option<Quantity>) -> Result<()> {
        let until = self.services.clock.now() + self.services.settings.lease;
        let line = line.clone();
        self.services.db.write(&self.tenant, move |tx| tx.begin_write(&line, has, until)).await
    }

    async fn is_cancelled(&self) -> Result<bool> {
        let id = self.job.id.clone();
        self.services.db.read(&self.tenant, move |tx| Ok(tx.push_job(&id)?.cancel_requested)).await
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

    async fn give_back(&self, lines: &[PushLine]) -> Result<()> {
        let (lines, kind, now, job) = (lines.to_vec(), self.job.kind, self.services.clock.now(), self.job.id.clone());
        let work = move |tx: &mut Tx<'_>| {
            for line in &lines {
                tx.finish_line(line, &result(LineEvent::Release, None), kind, now)?;
            }
            tx.end_pending_lines(&job, LineEvent::Cancel, None, None, now)
        };
        self.services.db.write(&self.tenant, work).await
    }

    async fn stop(&self, lines: &[PushLine], stop: Stop) -> Result<()> {
        let (lines, kind, now, job) = (lines.to_vec(), self.job.kind, self.services.clock.now(), self.job.id.clone());
        tracing::warn!(
            tenant = %self.tenant, push_job = %job, lines = lines.len(), cause = stop.text(), "a push could not go on"
        );
        let work = move |tx: &mut Tx<'_>| {
            for line in &lines {
                let result = match &stop {
                    Stop::Job(why) => failed(None, PushReason::Connection, why.clone()),
                    Stop::Stale(why) => skipped(PushReason::Stale, why.clone()),
                    Stop::Failed(why) => failed(None, PushReason::Rejected, why.clone()),
                    Stop::Later(why) => later(line, why, now),
                };
                tx.finish_line(line, &result, kind, now)?;
            }
            match &stop {
                Stop::Job(why) => fail_job(tx, &job, why, now),
                _ => Ok(()),
            }
        };
        self.services.db.write(&self.tenant, work).await
    }
}

impl Stop {
    fn text(&self) -> &str {
        match self {
            Self::Job(text) | Self::Later(text) | Self::Stale(text) | Self::Failed(text) => text,
        }
    }
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
    let progress = super::progress(tx, id)?;
    let tried = [LineState::Pushed, LineState::Unchanged, LineState::WouldPush];
    let nothing_done = !progress.counts.keys().any(|state| tried.contains(state));
    if nothing_done && tx.open_line_count(id)? == 0 && !progress.job.state.is_final() {
        tx.advance_job(id, JobEvent::Fail, Some(why), now)?;
    }
    Ok(())
}

fn result(event: LineEvent, from: Option<Quantity>) -> LineResult {
    LineResult { event, from, reason: None, detail: None, not_before: None }
}

fn failed(from: Option<Quantity>, reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(LineEvent::Fail, from) }
}

fn skipped(reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(LineEvent::Skip, None) }
}

/// ConnectWise has the quantity: because of an earlier write of ours whose answer was lost, or because nothing changed.
fn already_there(line: &PushLine, to: Quantity) -> LineResult {
    if line.attempts > 0 && line.from_quantity != Some(to) {
        result(LineEvent::Push, line.from_quantity)
    } else {
        result(LineEvent::LeaveUnchanged, Some(to))
    }
}

fn later(line: &PushLine, why: &str, now: Instant) -> LineResult {
    // Every claim raises the fence, so it counts the attempts of a line that never came to a write, too.
    if line.fence >= MAX_ATTEMPTS {
        return failed(None, PushReason::Unavailable, why.to_owned());
    }
    let doublings = u32::try_from(line.fence - 1).unwrap_or_default().min(7);
    let wait = TimeDelta::seconds((FIRST_WAIT << doublings).min(3_600));
    LineResult { detail: Some(why.to_owned()), not_before: Some(now + wait), ..result(LineEvent::Release, None) }
}

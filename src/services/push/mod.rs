//! Pushing quantities: a job is stored with all its lines, then a worker takes it line by line.

mod agreement;
mod create;
mod decide;
mod derive;
mod later;
mod outcome;
mod run;
mod watch;
mod write;

pub use super::billed::BilledMonths;
pub use create::{NewPush, create, retry};
pub use decide::{Decision, decide};
pub use derive::{from_dry_run, revert};
pub use run::{Step, run_one};
pub use watch::{Watched, subscribe};

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;

use super::Services;
use crate::db::{JobFilter, LineCount, Page, PageRequest, PushJob, PushSort, Tx};
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Instant;
use crate::domain::ids::PushJobId;
use crate::domain::push::{JobEvent, JobState, LineState};
use crate::domain::{Error, Result};

/// A job with how far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The job.
    pub job: PushJob,
    /// How many of its lines are in which state.
    pub counts: HashMap<LineState, i64>,
    /// The months that its lines bill.
    pub billing_months: BTreeSet<BillingMonth>,
    /// When that was so.
    pub at: Instant,
}

impl Progress {
    fn new(job: PushJob, counts: Vec<LineCount>, at: Instant) -> Self {
        let mut progress = Self { job, counts: HashMap::new(), billing_months: BTreeSet::new(), at };
        for count in counts {
            *progress.counts.entry(count.state).or_default() += count.lines;
            progress.billing_months.insert(count.billing_month.unwrap_or(progress.job.billing_month));
        }
        progress
    }

    /// How many lines have an outcome. It never goes down: a held line has none until a person decides.
    pub fn done(&self) -> i64 {
        self.counts.iter().filter(|(state, _)| state.is_final()).map(|(_, lines)| lines).sum()
    }

    fn count(&self, states: &[LineState]) -> i64 {
        states.iter().filter_map(|state| self.counts.get(state)).sum()
    }

    /// How long a worker has been at it, until now or until its end; `None` while it waits for a person.
    fn worked_for(&self) -> Option<TimeDelta> {
        if self.job.state == JobState::WaitingForApproval {
            return None;
        }
        let until = self.job.finished_at.map_or(self.at, |at| at.and_utc());
        Some(until - self.job.started_at?.and_utc())
    }

    /// How many lines a minute the workers get through. Lines that were skipped from the beginning cost no work.
    pub fn lines_per_minute(&self) -> Option<i64> {
        use LineState::{Failed, Held, Pushed, Unchanged, Unverified, WouldPush};
        let lines = self.count(&[Pushed, WouldPush, Unchanged, Held, Failed, Unverified]);
        let milliseconds = self.worked_for()?.num_milliseconds().max(1);
        (lines > 0).then(|| lines.saturating_mul(60_000) / milliseconds)
    }

    /// When it will end if it goes on as it has until now.
    pub fn estimated_end(&self) -> Option<Instant> {
        let rate = self.lines_per_minute().filter(|rate| *rate > 0 && !self.job.state.is_final())?;
        let left = self.count(&[LineState::Pending, LineState::Working]);
        self.at.checked_add_signed(TimeDelta::milliseconds(left.saturating_mul(60_000) / rate))
    }
}

/// How far a job is.
pub fn progress(tx: &mut Tx<'_>, id: &PushJobId, at: Instant) -> Result<Progress> {
    let job = tx.push_job(id)?;
    let counts = tx.push_line_counts(std::slice::from_ref(id))?;
    Ok(Progress::new(job, counts, at))
}

/// A page of jobs, each with how far it is.
pub fn list(tx: &mut Tx<'_>, filter: &JobFilter, page: &PageRequest<PushSort>, at: Instant) -> Result<Page<Progress>> {
    let Page { items, next } = tx.push_jobs(filter, page)?;
    let ids: Vec<PushJobId> = items.iter().map(|job| job.id.clone()).collect();
    let mut counts: HashMap<PushJobId, Vec<LineCount>> = HashMap::new();
    for count in tx.push_line_counts(&ids)? {
        counts.entry(count.job_id.clone()).or_default().push(count);
    }
    let items = items.into_iter().map(|job| {
        let counts = counts.remove(&job.id).unwrap_or_default();
        Progress::new(job, counts, at)
    });
    Ok(Page { items: items.collect(), next })
}

/// Stops a job between lines. What was written stays written. Where a write was sent and its answer was lost, the job
/// ends only after a worker has looked at ConnectWise.
pub fn cancel(tx: &mut Tx<'_>, id: &PushJobId, now: Instant) -> Result<Progress> {
    let job = tx.push_job(id)?;
    if job.state.is_final() {
        return Err(Error::conflict("push_job_finished", format!("the push job is {} already", job.state)));
    }
    tx.cancel_push_job(id, now)?;
    finish_if_done(tx, id, now)?;
    progress(tx, id, now)
}

/// Ends a job whose last line has an outcome, or lets it wait for approval where lines are held.
pub(super) fn finish_if_done(tx: &mut Tx<'_>, id: &PushJobId, now: Instant) -> Result<()> {
    let job = tx.push_job(id)?;
    if job.state.is_final() || tx.has_open_lines(id)? {
        return Ok(());
    }
    let Progress { counts, .. } = progress(tx, id, now)?;
    let has = |state| counts.contains_key(&state);
    let event = if job.cancel_requested {
        JobEvent::Cancel
    } else if has(LineState::Held) {
        JobEvent::WaitForApproval
    } else if has(LineState::Failed) || has(LineState::Unverified) {
        JobEvent::CompleteWithFailures
    } else {
        JobEvent::Succeed
    };
    if (job.state, event) == (JobState::WaitingForApproval, JobEvent::WaitForApproval) {
        return Ok(());
    }
    tx.advance_job(id, event, None, now)
}

/// How far a job is, by its address.
pub async fn watch_once(
    services: &Services,
    tenant: &crate::domain::ids::TenantId,
    id: &PushJobId,
) -> Result<Progress> {
    let (id, now) = (id.clone(), services.clock.now());
    services.db.read(tenant, move |tx| progress(tx, &id, now)).await
}

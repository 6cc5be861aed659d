//! The progress of a push job.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;

use crate::db::{PushJob, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::PushJobId;
use crate::domain::push::{JobState, PushLineState};
use crate::domain::push_counts::PushLineCount;

/// A job with its progress.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The job.
    pub job: PushJob,
    /// The number of the job's lines in each state.
    pub counts: HashMap<PushLineState, i64>,
    /// The months that the job's lines bill.
    pub billing_months: BTreeSet<BillingMonth>,
    /// When the progress was read.
    pub at: Timestamp,
}

impl Progress {
    /// Sums up the counts of a job's lines.
    pub(super) fn new(job: PushJob, counts: Vec<PushLineCount>, at: Timestamp) -> Self {
        let mut progress = Self { job, counts: HashMap::new(), billing_months: BTreeSet::new(), at };
        for count in counts {
            *progress.counts.entry(count.state).or_default() += count.lines;
            progress.billing_months.insert(count.billing_month.unwrap_or(progress.job.billing_month));
        }
        progress
    }

    /// Returns the number of finished lines. It never decreases: a held line is not finished until a person decides.
    pub fn done(&self) -> i64 {
        self.counts.iter().filter(|(state, _)| state.is_final()).map(|(_, lines)| lines).sum()
    }

    fn count(&self, states: &[PushLineState]) -> i64 {
        states.iter().filter_map(|state| self.counts.get(state)).sum()
    }

    /// Returns how long workers have been processing the job, until now or its end; `None` before its start and while
    /// it waits for approval.
    fn worked_for(&self) -> Option<TimeDelta> {
        if self.job.state == JobState::WaitingForApproval {
            return None;
        }
        let until = self.job.finished_at.map_or(self.at, |at| at.and_utc());
        Some(until - self.job.started_at?.and_utc())
    }

    /// Returns the number of lines that workers finish per minute, not counting skipped lines.
    pub fn lines_per_minute(&self) -> Option<i64> {
        use PushLineState::{Failed, Held, Pushed, Unchanged, Unverified, WouldPush};
        let lines = self.count(&[Pushed, WouldPush, Unchanged, Held, Failed, Unverified]);
        let milliseconds = self.worked_for()?.num_milliseconds().max(1);
        (lines > 0).then(|| lines.saturating_mul(60_000) / milliseconds)
    }

    /// Returns when the job will end at the current speed; `None` if unknown.
    pub fn estimated_end(&self) -> Option<Timestamp> {
        let rate = self.lines_per_minute().filter(|rate| *rate > 0 && !self.job.state.is_final())?;
        let left = self.count(&[PushLineState::Pending, PushLineState::Working]);
        self.at.checked_add_signed(TimeDelta::milliseconds(left.saturating_mul(60_000) / rate))
    }
}

/// Returns the progress of a job.
pub fn progress(tx: &mut Tx<'_>, id: &PushJobId, at: Timestamp) -> Result<Progress> {
    let job = tx.push_job(id)?;
    let counts = tx.push_line_counts(std::slice::from_ref(&job))?.remove(id).unwrap_or_default();
    Ok(Progress::new(job, counts, at))
}

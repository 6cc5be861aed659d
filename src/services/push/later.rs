//! Finds what later jobs wrote to the billing lines and additions of a job.

use std::collections::{BTreeSet, HashMap};

use crate::db::{LaterLine, PushLine, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CwAdditionId, PushJobId};
use crate::domain::push::LaterWrite;

/// The lines that later jobs wrote, by billing line and by addition.
pub(super) struct LaterLines {
    by_line: HashMap<BillingLineId, Vec<LaterLine>>,
    by_addition: HashMap<CwAdditionId, Vec<LaterLine>>,
}

impl LaterLines {
    pub(super) fn load(tx: &mut Tx<'_>, job: &PushJobId, lines: &[PushLine]) -> Result<Self> {
        let mut later = Self { by_line: HashMap::new(), by_addition: HashMap::new() };
        for one in tx.written_after_job(job, lines)? {
            if let Some(addition) = one.addition_id {
                later.by_addition.entry(addition).or_default().push(one.clone());
            }
            later.by_line.entry(one.billing_line_id.clone()).or_default().push(one);
        }
        Ok(later)
    }

    /// Returns the later jobs that wrote the line's addition, or found their own quantity there.
    pub(super) fn superseding(&self, line: &PushLine) -> BTreeSet<PushJobId> {
        self.jobs(line, |later| later.supersedes(None))
    }

    /// Returns the later jobs because of which the line must not be reverted.
    pub(super) fn blocking_revert(&self, line: &PushLine, month: BillingMonth) -> BTreeSet<PushJobId> {
        self.jobs(line, |later| later.blocks_revert_of(month))
    }

    fn jobs(&self, line: &PushLine, counts: impl Fn(&LaterWrite) -> bool) -> BTreeSet<PushJobId> {
        let of_line = self.by_line.get(&line.billing_line_id).into_iter().flatten();
        let of_addition = line.addition_id.and_then(|id| self.by_addition.get(&id)).into_iter().flatten();
        let later = of_line.chain(of_addition).filter(|later| counts(&later.seen_by(line)));
        later.map(|later| later.job_id.clone()).collect()
    }
}

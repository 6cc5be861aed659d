//! Finds what later jobs wrote to the billing lines and additions of a job.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::db::{LaterLine, PushLine, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, ProductId, PushJobId};
use crate::domain::push::LaterWrite;

/// The lines that later jobs wrote, by billing line and by addition.
pub(super) struct LaterLinesOfJob {
    by_line: HashMap<BillingLineId, Vec<LaterLine>>,
    by_addition: HashMap<CwAdditionId, Vec<LaterLine>>,
}

impl LaterLinesOfJob {
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

    /// Removes the lines that later jobs block, with their base or overage lines: a base line and its overage line are
    /// pushed or reverted together, or not at all. Returns the later jobs.
    pub(super) fn retain(
        &self,
        tx: &mut Tx<'_>,
        lines: &mut Vec<PushLine>,
        blocking: impl Fn(&Self, &PushLine) -> BTreeSet<PushJobId>,
    ) -> Result<BTreeSet<PushJobId>> {
        let (mut jobs, mut blocked) = (BTreeSet::new(), Vec::new());
        lines.retain(|line| {
            let of_line = blocking(self, line);
            let is_free = of_line.is_empty();
            jobs.extend(of_line);
            if !is_free {
                blocked.push(line.clone());
            }
            is_free
        });
        if blocked.is_empty() || lines.is_empty() {
            return Ok(jobs);
        }
        let names = tx.product_names()?;
        let bases: HashMap<ProductId, ProductId> =
            names.into_iter().filter_map(|product| Some((product.id, product.overage_of?))).collect();
        let pair = |line: &PushLine| {
            let base = bases.get(&line.product_id).unwrap_or(&line.product_id).clone();
            (line.company_id.clone(), base)
        };
        let blocked: HashSet<(CompanyId, ProductId)> = blocked.iter().map(pair).collect();
        lines.retain(|line| !blocked.contains(&pair(line)));
        Ok(jobs)
    }

    /// Returns the later jobs that wrote the line's addition or pushed its billing line, or found their own quantity.
    pub(super) fn superseding(&self, line: &PushLine) -> BTreeSet<PushJobId> {
        self.jobs(line, |later| later.supersedes(None))
    }

    /// Returns the later jobs that prevent a revert of the line.
    pub(super) fn blocking_revert(&self, line: &PushLine, month: BillingMonth) -> BTreeSet<PushJobId> {
        self.jobs(line, |later| later.blocks_revert_of(month))
    }

    fn jobs(&self, line: &PushLine, counts: impl Fn(&LaterWrite) -> bool) -> BTreeSet<PushJobId> {
        let of_line = self.by_line.get(&line.billing_line_id).into_iter().flatten();
        let of_addition = line.addition_id.and_then(|id| self.by_addition.get(&id)).into_iter().flatten();
        let later = of_line.chain(of_addition).filter(|later| counts(&later.relative_to(line)));
        later.map(|later| later.job_id.clone()).collect()
    }
}

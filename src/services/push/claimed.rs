//! The lines that a worker has claimed, on their way to a result.
//!
//! A claim costs few transactions, however many lines it has: one claims them, one stores what ConnectWise has before
//! the writes, and one records the results. A worker that is killed in between leaves lines whose writes may have been
//! sent; their `from_quantity` distinguishes a write whose response was lost from one that was never sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant as Ticks;

use super::agreement::PushContext;
use super::outcome::{StepError, Stop};
use super::results::Store;
use crate::db::{Connection, LINES_PER_CLAIM, LineResult, PushJob, PushLine};
use crate::domain::Result;
use crate::domain::ids::{CwAgreementId, PushLineId, TenantId};
use crate::services::context::AppContext;

/// How long a result may wait to be stored, so that a caller who watches the job sees it.
pub(super) const STORE_RESULTS_AFTER: Duration = Duration::from_secs(1);
/// For how long agreements are read before the writes of their lines begin. What was read must still be true then.
const READ_TOGETHER: Duration = Duration::from_millis(500);

/// Lines of some agreements in one job, claimed by one worker.
pub(super) struct ClaimedLines<'s> {
    pub(super) ctx: &'s AppContext,
    pub(super) tenant: TenantId,
    pub(super) job: PushJob,
    /// The connection when the lines were claimed.
    pub(super) connection: Option<Connection>,
    /// The lines without a result.
    pub(super) left: BTreeMap<PushLineId, PushLine>,
    /// The results that are not stored yet.
    pub(super) results: Vec<(PushLine, LineResult)>,
    /// When the oldest of these results was known.
    oldest_result: Option<Ticks>,
}

impl<'s> ClaimedLines<'s> {
    pub(super) fn new(
        ctx: &'s AppContext,
        job: PushJob,
        connection: Option<Connection>,
        lines: Vec<PushLine>,
    ) -> ClaimedLines<'s> {
        let left = lines.into_iter().map(|line| (line.id.clone(), line)).collect();
        let tenant = job.tenant_id.clone();
        ClaimedLines { ctx, tenant, job, connection, left, results: Vec::new(), oldest_result: None }
    }

    /// Processes all lines as far as possible, and stores their results.
    pub(super) async fn process(&mut self) -> Result<()> {
        let stop = match self.push().await {
            Ok(()) => None,
            Err(StepError::Stop(stop) | StepError::Line(_, stop)) => Some(self.stop(None, stop).await?),
            Err(StepError::Agreement(agreement, stop)) => Some(self.stop(Some(agreement), stop).await?),
            Err(StepError::Internal(error)) => return Err(error),
        };
        self.store_results(stop.as_ref(), Store::Last).await
    }

    /// Returns the lines to the queue with one more failure, after an internal error or a database error.
    pub(super) async fn give_back(&mut self, why: String) -> Result<()> {
        let stop = self.stop(None, Stop::Later(why)).await?;
        self.store_results(Some(&stop), Store::Last).await
    }

    async fn push(&mut self) -> Result<(), StepError> {
        if self.job.cancel_requested {
            return Err(Stop::Cancelled.into());
        }
        let mut context = self.prepare().await?;
        let agreements: BTreeSet<CwAgreementId> = self.left.values().filter_map(|line| line.agreement_id).collect();
        let mut unread = VecDeque::from_iter(agreements);
        while !unread.is_empty() {
            let lines = self.read_some(&mut context, &mut unread).await?;
            for lines in lines.chunks(LINES_PER_CLAIM) {
                let writes = self.begin(&context, lines).await?;
                self.write_all(&context, writes).await?;
            }
        }
        Ok(())
    }

    /// Reads agreements whose lines begin together. Returns these lines.
    async fn read_some(
        &mut self,
        context: &mut PushContext,
        unread: &mut VecDeque<CwAgreementId>,
    ) -> Result<Vec<PushLine>, StepError> {
        let begun = Ticks::now();
        let mut lines = Vec::new();
        while let Some(agreement) = unread.pop_front() {
            match self.read_agreement(context, agreement).await {
                Ok(()) => {
                    let of_agreement = self.left.values().filter(|line| line.agreement_id == Some(agreement));
                    lines.extend(of_agreement.cloned());
                }
                Err(stop) => self.end_agreement(agreement, stop).await?,
            }
            if lines.len() >= LINES_PER_CLAIM || begun.elapsed() >= READ_TOGETHER {
                break;
            }
        }
        Ok(lines)
    }

    /// Ends an agreement's lines if the stop is final. The lines of the other agreements go on, unless the stop may
    /// concern them too.
    pub(super) async fn end_agreement(&mut self, agreement: CwAgreementId, stop: Stop) -> Result<(), StepError> {
        if !matches!(stop, Stop::Stale(_) | Stop::Failed(..)) {
            return Err(StepError::Agreement(agreement, stop));
        }
        self.log_stop(&stop);
        let of_agreement = |_: &PushLineId, line: &mut PushLine| line.agreement_id == Some(agreement);
        let lines = self.left.extract_if(.., of_agreement).map(|(_, line)| line).collect();
        Ok(self.end_lines(lines, &stop).await?)
    }

    /// Notes the result of a line, to be stored with others.
    pub(super) fn add_result(&mut self, line: PushLine, result: LineResult) {
        self.left.remove(&line.id);
        self.results.push((line, result));
        self.oldest_result.get_or_insert_with(Ticks::now);
    }

    /// Whether results wait for so long, or are so many, that they are stored now.
    pub(super) fn must_store(&self) -> bool {
        self.results.len() >= LINES_PER_CLAIM
            || self.oldest_result.is_some_and(|at| at.elapsed() >= STORE_RESULTS_AFTER)
    }

    /// Returns the results to store. If they cannot be stored, their lines have no result.
    pub(super) fn take_results(&mut self) -> Vec<(PushLine, LineResult)> {
        self.oldest_result = None;
        std::mem::take(&mut self.results)
    }
}

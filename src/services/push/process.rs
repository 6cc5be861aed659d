//! Processes claimed lines, from reading ConnectWise to their results.
//!
//! A claim costs few transactions, however many lines it has: one claims them, one stores ConnectWise's quantities
//! before the writes, and one records the results. A worker that is killed in between leaves lines whose writes may
//! have been sent; their `from_quantity` distinguishes a write whose response was lost from one that was never sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::agreement::PushContext;
use super::claimed::ClaimedLines;
use crate::db::{LINES_PER_TRANSACTION, PushLine};
use crate::domain::Result;
use crate::domain::ids::{CwAgreementId, PushLineId};
use crate::services::push::line_result::{PushInterrupted, StopReason};
use crate::services::push::store_results::StorePhase;

/// How long agreements are read before their lines are written, so that what was read is still current.
const READ_BATCH_WINDOW: Duration = Duration::from_millis(500);
/// How long one of these reads may take. A longer one is abandoned, and repeated later.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

impl ClaimedLines<'_> {
    /// Processes all lines as far as possible, and stores their results.
    pub(super) async fn process(&mut self) -> Result<()> {
        let stop = match self.push().await {
            Ok(()) => None,
            Err(PushInterrupted::AllLines(stop)) => Some(self.stop(None, stop).await?),
            Err(PushInterrupted::Agreement(agreement, stop)) => Some(self.stop(Some(agreement), stop).await?),
            Err(PushInterrupted::Internal(error)) => return Err(error),
        };
        self.store_results(stop.as_ref(), StorePhase::Last).await
    }

    /// Returns the lines to the queue with one more failure, after an internal error or a database error.
    pub(super) async fn give_back(&mut self, why: String) -> Result<()> {
        let stop = self.stop(None, StopReason::Retry(why)).await?;
        self.store_results(Some(&stop), StorePhase::Last).await
    }

    async fn push(&mut self) -> Result<(), PushInterrupted> {
        if self.job.cancel_requested {
            return Err(StopReason::Cancelled.into());
        }
        let mut context = self.prepare().await?;
        let mut unread = self.agreements();
        while !unread.is_empty() {
            let (lines, failure) = self.read_some(&mut context, &mut unread).await?;
            let (overage, others): (Vec<PushLine>, Vec<PushLine>) =
                lines.into_iter().partition(|line| context.bills_overage(line));
            self.write_lines(&context, &others).await?;
            if !overage.is_empty() {
                // Whether they are written depends on the results of the others.
                self.store_results(None, StorePhase::SoFar).await?;
                self.write_lines(&context, &overage).await?;
            }
            if let Some((agreement, stop)) = failure {
                return Err(PushInterrupted::Agreement(agreement, stop));
            }
        }
        Ok(())
    }

    async fn write_lines(&mut self, context: &PushContext, lines: &[PushLine]) -> Result<(), PushInterrupted> {
        for lines in lines.chunks(LINES_PER_TRANSACTION) {
            let writes = self.begin(context, lines).await?;
            self.write_all(context, writes).await?;
        }
        Ok(())
    }

    /// The agreements in reading order. Agreements that failed before come last, so they do not delay the others.
    fn agreements(&self) -> VecDeque<CwAgreementId> {
        let mut failures: BTreeMap<CwAgreementId, i64> = BTreeMap::new();
        for line in self.left.values() {
            if let Some(agreement) = line.agreement_id {
                let most = failures.entry(agreement).or_default();
                *most = line.failures.max(*most);
            }
        }
        let mut agreements = Vec::from_iter(failures);
        agreements.sort_by_key(|(agreement, failures)| (*failures, *agreement));
        agreements.into_iter().map(|(agreement, _)| agreement).collect()
    }

    /// Reads agreements whose lines are prepared together. Returns these lines, and the failure that ended the reading,
    /// if any.
    async fn read_some(
        &mut self,
        context: &mut PushContext,
        unread: &mut VecDeque<CwAgreementId>,
    ) -> Result<(Vec<PushLine>, Option<(CwAgreementId, StopReason)>), PushInterrupted> {
        // Reading may take a long time.
        self.store_results(None, StorePhase::SoFar).await?;
        let begun = Instant::now();
        let mut lines = Vec::new();
        while let Some(agreement) = unread.pop_front() {
            if self.ctx.shutdown.is_cancelled() {
                return Err(StopReason::Shutdown.into());
            }
            let reading = self.read_agreement(context, agreement);
            let read = if lines.is_empty() {
                reading.await
            } else if let Ok(read) = tokio::time::timeout_at(begun + READ_TIMEOUT, reading).await {
                read
            } else {
                // The agreements already read must not become outdated in the meantime.
                unread.push_front(agreement);
                break;
            };
            match read {
                Ok(()) => {
                    let of_agreement = self.left.values().filter(|line| line.agreement_id == Some(agreement));
                    lines.extend(of_agreement.cloned());
                }
                Err(stop) if stop.is_final() => self.settle_agreement(agreement, stop).await?,
                Err(stop) => return Ok((lines, Some((agreement, stop)))),
            }
            if lines.len() >= LINES_PER_TRANSACTION || begun.elapsed() >= READ_BATCH_WINDOW {
                break;
            }
        }
        Ok((lines, None))
    }

    /// Ends an agreement's lines if `stop` is final; the lines of the other agreements continue. Otherwise returns
    /// `stop` as an error, because it may also apply to them.
    pub(super) async fn settle_agreement(
        &mut self,
        agreement: CwAgreementId,
        stop: StopReason,
    ) -> Result<(), PushInterrupted> {
        if !stop.is_final() {
            return Err(PushInterrupted::Agreement(agreement, stop));
        }
        self.log_stop(&stop);
        let of_agreement = |_: &PushLineId, line: &mut PushLine| line.agreement_id == Some(agreement);
        let lines = self.left.extract_if(.., of_agreement).map(|(_, line)| line).collect();
        self.settle_lines(lines, &stop).await;
        Ok(())
    }
}

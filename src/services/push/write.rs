//! Writes lines: compares, checks, stores the old quantities, writes.

use std::collections::HashSet;

use super::agreement::PushContext;
use super::claimed::{ClaimedLines, STORE_RESULTS_AFTER};
use super::overage_check::OverageCheck;
use crate::connectwise::{CwError, RetryPolicy, WriteError};
use crate::db::{LineResult, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::PushLineId;
use crate::domain::invoices::WhenInvoiced;
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::push::{PushLineEvent, PushReason};
use crate::domain::quantity::Quantity;
use crate::services::push::line_result::{
    ApprovalReason, PushInterrupted, StopReason, already_there, changed_since, failed, held, result, skipped,
    untouched, would_push,
};
use crate::services::push::still_valid::check;
use crate::services::push::store_results::StorePhase;

/// The next step for a line after its comparison with ConnectWise.
enum LineDecision {
    /// Nothing to do: the line already has a result.
    AlreadyDecided(LineResult),
    /// The work on the line stops.
    Stopped(StopReason),
    /// A write. ConnectWise currently has this quantity.
    MustWrite(Option<Quantity>),
}

/// The lines whose writes may be sent, and those that must no longer be written.
struct WritesToSend {
    writes: HashSet<PushLineId>,
    results: Vec<(PushLineId, LineResult)>,
}

impl ClaimedLines<'_> {
    /// Compares lines with ConnectWise. For lines that need a write, stores ConnectWise's current quantity first, and
    /// returns the lines as stored.
    pub(super) async fn begin(
        &mut self,
        context: &PushContext,
        lines: &[PushLine],
    ) -> Result<Vec<PushLine>, PushInterrupted> {
        let mut to_write = Vec::new();
        // A line may have ended together with its agreement's other lines.
        let lines: Vec<PushLine> = lines.iter().filter(|line| self.left.contains_key(&line.id)).cloned().collect();
        let mut overage = self.overage_checks(context, &lines).await?;
        for line in lines {
            match self.compare(context, &line, overage.remove(&line.id)) {
                LineDecision::AlreadyDecided(result) => self.add_result(line, result),
                LineDecision::Stopped(stop) => {
                    self.left.remove(&line.id);
                    self.settle_lines(vec![line], &stop).await;
                }
                LineDecision::MustWrite(has) => {
                    to_write.push(PushLine { from_quantity: has, attempts: line.attempts + 1, ..line });
                }
            }
        }
        if to_write.is_empty() {
            return Ok(to_write);
        }
        let WritesToSend { writes, results } = self.store_prepared(&to_write).await?;
        for (id, result) in results {
            if let Some(line) = self.left.get(&id).cloned() {
                self.add_result(line, result);
            }
        }
        for line in &to_write {
            if self.left.contains_key(&line.id) && !writes.contains(&line.id) {
                self.forget_lost(&line.id);
            }
        }
        to_write.retain(|line| writes.contains(&line.id));
        Ok(to_write)
    }

    fn compare(&self, context: &PushContext, line: &PushLine, of_overage: Option<OverageCheck>) -> LineDecision {
        let (Some(to), Some(id)) = (line.to_quantity, line.addition_id) else {
            let why = "the line was stored without a quantity".to_owned();
            return LineDecision::AlreadyDecided(failed(PushReason::Internal, why));
        };
        let Some(addition) = line.agreement_id.and_then(|agreement| context.additions.get(&(agreement, id))) else {
            return LineDecision::Stopped(StopReason::Stale(
                "the addition was cancelled or deleted in ConnectWise".to_owned(),
            ));
        };
        let has = addition.quantity;
        if has == Some(to) {
            return LineDecision::AlreadyDecided(already_there(line, to));
        }
        let requires_expected_from = matches!(self.job.trigger, PushTrigger::FromDryRun | PushTrigger::Revert);
        if requires_expected_from && has != line.expected_from {
            return LineDecision::AlreadyDecided(changed_since(line, has));
        }
        let invoiced = match self.already_invoiced(context, line) {
            Some((WhenInvoiced::Skip, why)) => {
                return LineDecision::AlreadyDecided(LineResult {
                    from: has,
                    ..skipped(PushReason::AlreadyInvoiced, why)
                });
            }
            other => other.map(|(_, detail)| ApprovalReason { reason: PushReason::AlreadyInvoiced, detail }),
        };
        let of_overage = match of_overage {
            Some(OverageCheck::WaitUntil(at)) => {
                return LineDecision::AlreadyDecided(LineResult { not_before: Some(at), ..untouched() });
            }
            Some(OverageCheck::Hold(objection)) => Some(objection),
            None => None,
        };
        match (self.job.kind, self.objection(context, line, (has, to), [invoiced, of_overage])) {
            (PushKind::DryRun, objection) => LineDecision::AlreadyDecided(would_push(has, objection)),
            (PushKind::Push, Some(why)) => LineDecision::AlreadyDecided(held(has, why)),
            (PushKind::Push, None) => LineDecision::MustWrite(has),
        }
    }

    /// Sends the prepared writes, one after the other.
    pub(super) async fn write_all(
        &mut self,
        context: &PushContext,
        writes: Vec<PushLine>,
    ) -> Result<(), PushInterrupted> {
        for line in writes {
            // The line has ended, because its agreement's other lines could not be written.
            if !self.left.contains_key(&line.id) {
                continue;
            }
            if self.ctx.shutdown.is_cancelled() {
                return Err(StopReason::Shutdown.into());
            }
            if self.must_store() {
                self.store_results(None, StorePhase::SoFar).await?;
            }
            match self.write(context, line).await {
                Ok(()) => {}
                Err(PushInterrupted::Agreement(agreement, stop)) => self.settle_agreement(agreement, stop).await?,
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Sends one write, if the worker still may.
    async fn write(&mut self, context: &PushContext, line: PushLine) -> Result<(), PushInterrupted> {
        let (Some(agreement), Some(addition), Some(to)) = (line.agreement_id, line.addition_id, line.to_quantity)
        else {
            return Ok(());
        };
        let (checked, is_revert) = (line.clone(), self.is_revert());
        let until = self.ctx.db.query(&self.tenant, move |tx| tx.may_write_until(&checked, is_revert)).await?;
        let until = match until {
            Some(until) => until,
            None => match self.check_again(&line).await? {
                Some(until) => until,
                None => return Ok(()),
            },
        };
        if !context.is_fresh(agreement) {
            // The write was not sent, so the line is as it was before.
            if let Some(line) = self.left.get(&line.id).cloned() {
                self.add_result(line, untouched());
            }
            return Ok(());
        }
        // From here on the write may have been sent, whatever happens.
        self.left.insert(line.id.clone(), line.clone());
        let client = context.client.clone();
        let fields = context.fields_with_provenance(agreement, addition);
        let policy = RetryPolicy::Background;
        let mut sending = Box::pin(client.set_quantity(agreement, addition, to, fields.as_ref(), policy, until));
        let (written, stored) = match tokio::time::timeout(STORE_RESULTS_AFTER, &mut sending).await {
            Ok(written) => (written, Ok(())),
            // A request that was sent must end before its line is given back, even if the results cannot be stored.
            Err(_) => tokio::join!(sending, self.store_results(None, StorePhase::SoFar)),
        };
        let outcome = self.after_write(context, line, written).await;
        stored?;
        outcome
    }

    async fn after_write(
        &mut self,
        context: &PushContext,
        line: PushLine,
        written: Result<(), WriteError>,
    ) -> Result<(), PushInterrupted> {
        match written {
            Ok(()) => {
                let from = line.from_quantity;
                self.add_result(line, result(PushLineEvent::Push, from));
                Ok(())
            }
            Err(error) => self.after_failed_write(context, line, error).await,
        }
    }

    /// Handles a failed write: adds the result of its line, or returns a failure that may also affect the lines after
    /// it.
    async fn after_failed_write(
        &mut self,
        context: &PushContext,
        mut line: PushLine,
        WriteError { error, may_have_written }: WriteError,
    ) -> Result<(), PushInterrupted> {
        if !may_have_written {
            line.attempts -= 1;
        }
        self.left.insert(line.id.clone(), line.clone());
        let text = error.to_string();
        let stop = match error {
            CwError::NotApplied { .. } => {
                self.add_result(line, failed(PushReason::NotApplied, text));
                return Ok(());
            }
            // ConnectWise rejected the write, and no earlier attempt lost its response: nothing was written.
            CwError::Rejected(why) if !may_have_written => {
                self.add_result(line, failed(PushReason::Rejected, why));
                return Ok(());
            }
            CwError::Rejected(why) => StopReason::Failed(PushReason::Rejected, why),
            CwError::NotFound => StopReason::Stale("the addition was deleted in ConnectWise".to_owned()),
            CwError::Failed(_) | CwError::Conflict(_) | CwError::InvalidResponse(_) => StopReason::Retry(text),
            error => {
                let stop = self.classify(&context.client, error).await;
                let agreement = line.agreement_id;
                return Err(agreement
                    .map_or(PushInterrupted::AllLines(stop.clone()), |id| PushInterrupted::Agreement(id, stop)));
            }
        };
        // One line's own failure never stops the others.
        self.left.remove(&line.id);
        self.settle_lines(vec![line], &stop).await;
        Ok(())
    }

    /// Returns why the change needs approval, if it does. An approval is valid only for the change that the person saw,
    /// and for the reasons that were shown. A revert needs no approval.
    fn objection(
        &self,
        context: &PushContext,
        line: &PushLine,
        (has, to): (Option<Quantity>, Quantity),
        others: [Option<ApprovalReason>; 2],
    ) -> Option<ApprovalReason> {
        if self.is_revert() {
            return None;
        }
        let over_limit = context.products.get(&line.product_id)?.guard().violation(has, to);
        let over_limit = over_limit.map(|detail| ApprovalReason { reason: PushReason::ChangeLimit, detail });
        let all: Vec<ApprovalReason> = others.into_iter().chain([over_limit]).flatten().collect();
        let approved = line.approved_for.unwrap_or(PushReason::ChangeLimit);
        let is_approved = line.approved && line.from_quantity == has;
        if all.iter().all(|objection| is_approved && approved.covers(objection.reason)) {
            return None;
        }
        let reason = all.first()?.reason;
        let details: Vec<String> = all.into_iter().map(|objection| objection.detail).collect();
        Some(ApprovalReason { reason, detail: details.join("; and ") })
    }

    /// If the invoice for the line's month counts as made, returns why, and whether the product holds or skips such
    /// lines. Reverts are exempt.
    fn already_invoiced(&self, context: &PushContext, line: &PushLine) -> Option<(WhenInvoiced, String)> {
        let what = context.products.get(&line.product_id)?.when_invoiced;
        let month = line.billing_month.unwrap_or(self.job.billing_month);
        if what == WhenInvoiced::Warn || self.is_revert() {
            return None;
        }
        Some((what, context.invoiced_after(line.agreement_id?, month)?))
    }

    pub(super) fn is_revert(&self) -> bool {
        self.job.trigger == PushTrigger::Revert
    }

    /// Stores ConnectWise's quantities before the writes, except for lines that must no longer be written.
    async fn store_prepared(&self, lines: &[PushLine]) -> Result<WritesToSend, PushInterrupted> {
        let until = self.ctx.clock.now() + self.ctx.settings.lease;
        let (lines, job, is_revert) = (lines.to_vec(), self.job.id.clone(), self.is_revert());
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&job)?.cancel_requested {
                return Ok(None);
            }
            let mut results = check(tx, &lines, is_revert)?;
            let writes: Vec<PushLine> = lines.into_iter().filter(|line| !results.contains_key(&line.id)).collect();
            let writes = tx.begin_writes(&writes, until)?;
            Ok(Some(WritesToSend { writes, results: results.drain().collect() }))
        };
        Ok(self.ctx.db.write(&self.tenant, work).await?.ok_or(StopReason::Cancelled)?)
    }

    /// Finds why a prepared write may no longer be sent, and ends its line. Returns the new end of the lease if the
    /// write may be sent after all.
    async fn check_again(&mut self, line: &PushLine) -> Result<Option<Timestamp>, PushInterrupted> {
        let until = self.ctx.clock.now() + self.ctx.settings.lease;
        let (is_revert, checked) = (self.is_revert(), line.clone());
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&checked.job_id)?.cancel_requested {
                return Ok(WriteCheck::Cancelled);
            }
            if tx.renew_leases(std::slice::from_ref(&checked), until)? == 0 {
                return Ok(WriteCheck::Lost);
            }
            let result = check(tx, std::slice::from_ref(&checked), is_revert)?.remove(&checked.id);
            Ok(result.map_or(WriteCheck::MayWrite, WriteCheck::Result))
        };
        match self.ctx.db.write(&self.tenant, work).await? {
            WriteCheck::Cancelled => return Err(StopReason::Cancelled.into()),
            WriteCheck::MayWrite => return Ok(Some(until)),
            WriteCheck::Lost => self.forget_lost(&line.id),
            WriteCheck::Result(result) => {
                // This write was not sent, so the line is as it was before.
                if let Some(line) = self.left.get(&line.id).cloned() {
                    self.add_result(line, result);
                }
            }
        }
        Ok(None)
    }

    /// Forgets a line that another worker took over and processes.
    fn forget_lost(&mut self, id: &PushLineId) {
        self.left.remove(id);
        tracing::warn!(
            tenant = %self.tenant, push_job = %self.job.id, line = %id,
            "lost the lease of a push line; another worker has it"
        );
    }
}

/// The result of checking a prepared write again.
enum WriteCheck {
    MayWrite,
    Cancelled,
    /// Another worker has the line.
    Lost,
    Result(LineResult),
}

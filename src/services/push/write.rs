//! Writes lines: compares, checks, stores the old quantities, writes.

use std::collections::HashSet;

use super::agreement::PushContext;
use super::check::check;
use super::claimed::{ClaimedLines, STORE_RESULTS_AFTER};
use super::outcome::{
    Objection, StepError, Stop, already_there, changed_since, failed, held, result, skipped, untouched, would_push,
};
use super::overage_check::PairObjection;
use super::results::Store;
use crate::connectwise::{CwError, RetryPolicy, WriteError};
use crate::db::{LineResult, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::PushLineId;
use crate::domain::invoice::WhenInvoiced;
use crate::domain::push::{LineEvent, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::quantity::Quantity;

/// What a line needs, after it was compared with ConnectWise.
enum Compared {
    /// Nothing: it has a result.
    Known(LineResult),
    /// Its work stops.
    Stopped(Stop),
    /// A write. ConnectWise has this quantity.
    MustWrite(Option<Quantity>),
}

/// The lines whose writes may be sent, and those that must no longer be written.
struct Begun {
    writes: HashSet<PushLineId>,
    results: Vec<(PushLineId, LineResult)>,
}

impl ClaimedLines<'_> {
    /// Compares lines with ConnectWise, and stores what it has before those that must be written are. Returns these, as
    /// they are stored.
    pub(super) async fn begin(
        &mut self,
        context: &PushContext,
        lines: &[PushLine],
    ) -> Result<Vec<PushLine>, StepError> {
        let mut to_write = Vec::new();
        // A line may have ended together with its agreement's other lines.
        let lines: Vec<PushLine> = lines.iter().filter(|line| self.left.contains_key(&line.id)).cloned().collect();
        let mut pairs = self.pair_objections(context, &lines).await?;
        for line in lines {
            match self.compare(context, &line, pairs.remove(&line.id)) {
                Compared::Known(result) => self.add_result(line, result),
                Compared::Stopped(stop) => {
                    self.left.remove(&line.id);
                    self.end_lines(vec![line], &stop).await;
                }
                Compared::MustWrite(has) => {
                    to_write.push(PushLine { from_quantity: has, attempts: line.attempts + 1, ..line });
                }
            }
        }
        if to_write.is_empty() {
            return Ok(to_write);
        }
        let Begun { writes, results } = self.store_begin(&to_write).await?;
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

    fn compare(&self, context: &PushContext, line: &PushLine, of_pair: Option<PairObjection>) -> Compared {
        let (Some(to), Some(id)) = (line.to_quantity, line.addition_id) else {
            let why = "the line was stored without a quantity".to_owned();
            return Compared::Known(failed(PushReason::Internal, why));
        };
        let Some(addition) = line.agreement_id.and_then(|agreement| context.additions.get(&(agreement, id))) else {
            return Compared::Stopped(Stop::Stale("the addition was cancelled or deleted in ConnectWise".to_owned()));
        };
        let has = addition.quantity;
        if has == Some(to) {
            return Compared::Known(already_there(line, to));
        }
        let bound = matches!(self.job.started_by, PushTrigger::DryRun | PushTrigger::Revert);
        if bound && has != line.expected_from {
            return Compared::Known(changed_since(line, has));
        }
        let invoiced = match self.already_invoiced(context, line) {
            Some((WhenInvoiced::Skip, why)) => {
                return Compared::Known(LineResult { from: has, ..skipped(PushReason::AlreadyInvoiced, why) });
            }
            other => other.map(|(_, detail)| Objection { reason: PushReason::AlreadyInvoiced, detail }),
        };
        let of_pair = match of_pair {
            Some(PairObjection::NotBefore(at)) => {
                return Compared::Known(LineResult { not_before: Some(at), ..untouched() });
            }
            Some(PairObjection::Held(objection)) => Some(objection),
            None => None,
        };
        match (self.job.kind, self.objection(context, line, (has, to), [invoiced, of_pair])) {
            (PushKind::DryRun, objection) => Compared::Known(would_push(has, objection)),
            (PushKind::Push, Some(why)) => Compared::Known(held(has, why)),
            (PushKind::Push, None) => Compared::MustWrite(has),
        }
    }

    /// Sends the writes that have begun, one after the other.
    pub(super) async fn write_all(&mut self, context: &PushContext, writes: Vec<PushLine>) -> Result<(), StepError> {
        for line in writes {
            // The line has ended, because its agreement's other lines could not be written.
            if !self.left.contains_key(&line.id) {
                continue;
            }
            if self.ctx.stop.is_cancelled() {
                return Err(Stop::Shutdown.into());
            }
            if self.must_store() {
                self.store_results(None, Store::SoFar).await?;
            }
            match self.write(context, line).await {
                Ok(()) => {}
                Err(StepError::Agreement(agreement, stop)) => self.end_agreement(agreement, stop).await?,
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Sends one write, if the worker still may.
    async fn write(&mut self, context: &PushContext, line: PushLine) -> Result<(), StepError> {
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
        let fields = context.noted_fields(agreement, addition);
        let policy = RetryPolicy::Background;
        let mut sending = Box::pin(client.set_quantity(agreement, addition, to, fields.as_ref(), policy, until));
        let (written, stored) = match tokio::time::timeout(STORE_RESULTS_AFTER, &mut sending).await {
            Ok(written) => (written, Ok(())),
            // A request that was sent must end before its line is given back, even if the results cannot be stored.
            Err(_) => tokio::join!(sending, self.store_results(None, Store::SoFar)),
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
    ) -> Result<(), StepError> {
        match written {
            Ok(()) => {
                let from = line.from_quantity;
                self.add_result(line, result(LineEvent::Push, from));
                Ok(())
            }
            Err(error) => self.after_failed_write(context, line, error).await,
        }
    }

    /// Notes what a failed write means for its line, or returns what it means for the lines after it.
    async fn after_failed_write(
        &mut self,
        context: &PushContext,
        mut line: PushLine,
        WriteError { error, may_have_written }: WriteError,
    ) -> Result<(), StepError> {
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
            CwError::Rejected(why) => Stop::Failed(PushReason::Rejected, why),
            CwError::NotFound => Stop::Stale("the addition was deleted in ConnectWise".to_owned()),
            CwError::Failed(_) | CwError::Conflict(_) | CwError::InvalidResponse(_) => Stop::Later(text),
            error => {
                let stop = self.classify(&context.client, error).await;
                let agreement = line.agreement_id;
                return Err(agreement.map_or(StepError::Stop(stop.clone()), |id| StepError::Agreement(id, stop)));
            }
        };
        // One line's own failure never stops the others.
        self.left.remove(&line.id);
        self.end_lines(vec![line], &stop).await;
        Ok(())
    }

    /// Returns why the change needs approval, if it does. An approval is valid only for the change that the person saw, and
    /// for the reasons that were shown. A revert needs no approval.
    fn objection(
        &self,
        context: &PushContext,
        line: &PushLine,
        (has, to): (Option<Quantity>, Quantity),
        others: [Option<Objection>; 2],
    ) -> Option<Objection> {
        if self.is_revert() {
            return None;
        }
        let over_limit = context.products.get(&line.product_id)?.guard().violation(has, to);
        let over_limit = over_limit.map(|detail| Objection { reason: PushReason::Guard, detail });
        let all: Vec<Objection> = others.into_iter().chain([over_limit]).flatten().collect();
        let approved = line.approved_for.unwrap_or(PushReason::Guard);
        let is_approved = line.approved && line.from_quantity == has;
        if all.iter().all(|objection| is_approved && approved.covers(objection.reason)) {
            return None;
        }
        let reason = all.first()?.reason;
        let details: Vec<String> = all.into_iter().map(|objection| objection.detail).collect();
        Some(Objection { reason, detail: details.join("; and ") })
    }

    /// Says so if the invoice that takes the line's quantity has been made, and what the product does then: it holds or
    /// skips the line. A revert is not kept from restoring what was there.
    fn already_invoiced(&self, context: &PushContext, line: &PushLine) -> Option<(WhenInvoiced, String)> {
        let what = context.products.get(&line.product_id)?.when_invoiced;
        let month = line.billing_month.unwrap_or(self.job.billing_month);
        if what == WhenInvoiced::Warn || self.is_revert() {
            return None;
        }
        Some((what, context.invoiced_after(line.agreement_id?, month)?))
    }

    pub(super) fn is_revert(&self) -> bool {
        self.job.started_by == PushTrigger::Revert
    }

    /// Stores the quantities that ConnectWise has before the writes, except of lines that must no longer be written.
    async fn store_begin(&self, lines: &[PushLine]) -> Result<Begun, StepError> {
        let until = self.ctx.clock.now() + self.ctx.settings.lease;
        let (lines, job, is_revert) = (lines.to_vec(), self.job.id.clone(), self.is_revert());
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&job)?.cancel_requested {
                return Ok(None);
            }
            let mut results = check(tx, &lines, is_revert)?;
            let writes: Vec<PushLine> = lines.into_iter().filter(|line| !results.contains_key(&line.id)).collect();
            let writes = tx.begin_writes(&writes, until)?;
            Ok(Some(Begun { writes, results: results.drain().collect() }))
        };
        Ok(self.ctx.db.write(&self.tenant, work).await?.ok_or(Stop::Cancelled)?)
    }

    /// Finds why a write that has begun may no longer be sent, and ends its line. Returns the new end of the lease if it may
    /// be sent, because what was wrong has been corrected.
    async fn check_again(&mut self, line: &PushLine) -> Result<Option<Instant>, StepError> {
        let until = self.ctx.clock.now() + self.ctx.settings.lease;
        let (is_revert, checked) = (self.is_revert(), line.clone());
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&checked.job_id)?.cancel_requested {
                return Ok(Checked::Cancelled);
            }
            if tx.renew_leases(std::slice::from_ref(&checked), until)? == 0 {
                return Ok(Checked::Lost);
            }
            let result = check(tx, std::slice::from_ref(&checked), is_revert)?.remove(&checked.id);
            Ok(result.map_or(Checked::MayWrite, Checked::Result))
        };
        match self.ctx.db.write(&self.tenant, work).await? {
            Checked::Cancelled => return Err(Stop::Cancelled.into()),
            Checked::MayWrite => return Ok(Some(until)),
            Checked::Lost => self.forget_lost(&line.id),
            Checked::Result(result) => {
                // This write was not sent, so the line is as it was before.
                if let Some(line) = self.left.get(&line.id).cloned() {
                    self.add_result(line, result);
                }
            }
        }
        Ok(None)
    }

    /// The worker that took over the line processes it.
    fn forget_lost(&mut self, id: &PushLineId) {
        self.left.remove(id);
        tracing::warn!(
            tenant = %self.tenant, push_job = %self.job.id, line = %id,
            "lost the lease of a push line; another worker has it"
        );
    }
}

/// What a second look at a write that has begun found.
enum Checked {
    MayWrite,
    Cancelled,
    /// Another worker has the line.
    Lost,
    Result(LineResult),
}

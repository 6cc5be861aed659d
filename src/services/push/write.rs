//! Writes one line: compares, checks, stores the old quantity, writes.

use super::agreement::AgreementContext;
use super::group::Group;
use super::outcome::{StepError, Stop, already_there, changed_since, failed, held, result, skipped, would_push};
use crate::connectwise::{CwError, RetryPolicy, WriteError};
use crate::db::{LineFilter, LineResult, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAdditionId, CwAgreementId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::{LineEvent, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::quantity::Quantity;

/// Whether the write of a line may begin.
enum WriteDecision {
    /// The write may begin; the lease is held until this time.
    Write(Instant),
    /// The line already has a result, because something changed after the job was stored.
    Overtaken(LineResult),
    /// The job was cancelled.
    Cancelled,
}

impl Group<'_> {
    /// Processes one line, from the quantity in ConnectWise to its result.
    pub(super) async fn push_line(
        &self,
        context: &AgreementContext,
        agreement: CwAgreementId,
        line: &PushLine,
    ) -> Result<LineResult, StepError> {
        let (Some(to), Some(id)) = (line.to_quantity, line.addition_id) else {
            return Ok(failed(PushReason::Internal, "the line was stored without a quantity".to_owned()));
        };
        let Some(addition) = context.additions.get(&id) else {
            let why = "the addition was cancelled or deleted in ConnectWise".to_owned();
            return Err(StepError::Line(Stop::Stale(why)));
        };
        let has = addition.quantity;
        if has == Some(to) {
            return Ok(already_there(line, to));
        }
        let bound = matches!(self.job.started_by, PushTrigger::DryRun | PushTrigger::Revert);
        if bound && has != line.expected_from {
            return Ok(changed_since(line, has));
        }
        let violation = self.violation(context, line, has, to);
        if self.job.kind == PushKind::DryRun {
            return Ok(would_push(has, violation));
        }
        if let Some(why) = violation {
            return Ok(held(has, why));
        }
        let holds_until = match self.begin_write(line, has).await? {
            WriteDecision::Write(holds_until) => holds_until,
            WriteDecision::Overtaken(result) => return Ok(result),
            WriteDecision::Cancelled => return Err(Stop::Cancelled.into()),
        };
        let written = context.client.set_quantity(agreement, id, to, RetryPolicy::Background, holds_until).await;
        match written {
            Ok(()) => Ok(result(LineEvent::Push, has)),
            Err(error) => self.after_failed_write(context, line, error).await,
        }
    }

    /// Returns what a failed write means for its line, and for the lines after it.
    async fn after_failed_write(
        &self,
        context: &AgreementContext,
        line: &PushLine,
        WriteError { error, may_have_written }: WriteError,
    ) -> Result<LineResult, StepError> {
        if !may_have_written {
            let line = line.clone();
            self.ctx.db.write(&self.tenant, move |tx| tx.note_not_written(&line)).await?;
        }
        let text = error.to_string();
        match error {
            CwError::NotApplied { .. } => Ok(failed(PushReason::NotApplied, text)),
            // ConnectWise rejected the write, and no earlier attempt lost its response: nothing was written.
            CwError::Rejected(why) if !may_have_written => Ok(failed(PushReason::Rejected, why)),
            CwError::Rejected(why) => Err(StepError::Line(Stop::Failed(PushReason::Rejected, why))),
            CwError::NotFound => {
                Err(StepError::Line(Stop::Stale("the addition was deleted in ConnectWise".to_owned())))
            }
            CwError::Failed(_) | CwError::Conflict(_) | CwError::InvalidResponse(_) => {
                Err(StepError::Line(Stop::Later(text)))
            }
            error => Err(self.classify(&context.client, error).await.into()),
        }
    }

    /// Returns why the change needs approval, if it does. An approval is valid only for the change that the person saw.
    /// A revert needs no approval.
    fn violation(
        &self,
        context: &AgreementContext,
        line: &PushLine,
        has: Option<Quantity>,
        to: Quantity,
    ) -> Option<String> {
        let approved = line.approved && line.from_quantity == has;
        if approved || self.job.started_by == PushTrigger::Revert {
            return None;
        }
        context.guards.get(&line.product_id)?.violation(has, to)
    }

    /// Stores the quantity that ConnectWise has before the write, or returns why the line must no longer be written.
    async fn begin_write(&self, line: &PushLine, has: Option<Quantity>) -> Result<WriteDecision> {
        let until = self.ctx.clock.now() + self.ctx.settings.lease;
        let (line, reverts) = (line.clone(), self.job.started_by == PushTrigger::Revert);
        let work = move |tx: &mut Tx<'_>| {
            if tx.push_job(&line.job_id)?.cancel_requested {
                return Ok(WriteDecision::Cancelled);
            }
            match check_superseded(tx, &line, has, reverts)? {
                Some(result) => Ok(WriteDecision::Overtaken(result)),
                None => tx.begin_write(&line, has, until).map(|()| WriteDecision::Write(until)),
            }
        };
        self.ctx.db.write(&self.tenant, work).await
    }
}

/// Returns a result if the line must no longer be written because something changed after its job was stored.
fn check_superseded(
    tx: &mut Tx<'_>,
    line: &PushLine,
    has: Option<Quantity>,
    reverts: bool,
) -> Result<Option<LineResult>> {
    if let Some(result) = superseded(tx, line, has, reverts)? {
        return Ok(Some(result));
    }
    if reverts {
        // A revert restores the addition that was written, whatever the line bills to now.
        return Ok(None);
    }
    let filter = LineFilter { ids: Some(vec![line.billing_line_id.clone()]), ..LineFilter::default() };
    let Some((present, _)) = tx.all_lines(&filter)?.pop() else {
        return Ok(Some(skipped(PushReason::Stale, "the billing line was deleted".to_owned())));
    };
    if !present.push_enabled {
        return Ok(Some(skipped(PushReason::Disabled, "push was disabled after the job was stored".to_owned())));
    }
    let statuses = [present.agreement_status, present.addition_status];
    let resolved = statuses.iter().all(|status| *status == MappingStatus::Resolved);
    if !resolved || present.agreement_id != line.agreement_id || present.addition_id != line.addition_id {
        let detail = "the agreement or addition of the line changed after the job was stored: push again";
        return Ok(Some(skipped(PushReason::Stale, detail.to_owned())));
    }
    let own: Vec<CwAdditionId> = line.addition_id.into_iter().collect();
    if !tx.additions_shared_by_lines(&own)?.is_empty() {
        let detail = "another enabled billing line now resolves to this addition: give each its own";
        return Ok(Some(skipped(PushReason::AdditionShared, detail.to_owned())));
    }
    Ok(None)
}

/// Returns a result if a later job wrote the addition, or found its own quantity there. A revert yields to every later
/// line, including an unverified one: it would restore what a person wanted before that line.
fn superseded(tx: &mut Tx<'_>, line: &PushLine, has: Option<Quantity>, reverts: bool) -> Result<Option<LineResult>> {
    let later = tx.written_after(line)?;
    let newer = later.iter().find(|later| reverts || later.seen_by(line).supersedes(has));
    Ok(newer.map(|newer| {
        let detail =
            format!("push job {} has since written this addition, or found its own quantity there", newer.job_id);
        skipped(PushReason::Superseded, detail)
    }))
}

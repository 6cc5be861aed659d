//! A person's decision about held lines.

use std::collections::HashSet;

use serde_json::json;

use super::jobs::{advance, finish_if_done};
use super::progress::{Progress, progress};
use crate::db::Tx;
use crate::domain::audit::AuditAction;
use crate::domain::ids::{PushJobId, PushLineId};
use crate::domain::push::{JobEvent, JobState, PushLineEvent, PushLineState};
use crate::domain::{ConflictCode, Error, FieldCode, FieldError, Result};
use crate::services::context::AppContext;
use crate::services::security::actor::Actor;
use crate::services::security::audit::{Audit, Subject};

/// The decision about a held line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Write the change for which the line was held.
    Approve,
    /// Write nothing.
    Drop,
}

/// Approves or drops held lines of a job; `None` means all of them. A job that waits for approval or completed with
/// failures continues.
pub async fn decide(
    ctx: &AppContext,
    actor: &Actor,
    id: PushJobId,
    lines: Option<Vec<PushLineId>>,
    decision: Decision,
) -> Result<Progress> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| decide_held(tx, &id, lines.as_deref(), decision, &audit);
    let progress = ctx.db.write(&actor.tenant, work).await?;
    ctx.wake_worker();
    Ok(progress)
}

fn decide_held(
    tx: &mut Tx<'_>,
    id: &PushJobId,
    lines: Option<&[PushLineId]>,
    decision: Decision,
    audit: &Audit,
) -> Result<Progress> {
    let (now, by) = (audit.now(), audit.by());
    let job = tx.push_job(id)?;
    let held: Vec<PushLineId> =
        tx.all_push_lines(id, Some(PushLineState::Held))?.into_iter().map(|line| line.id).collect();
    let known: HashSet<&PushLineId> = held.iter().collect();
    let chosen = lines.unwrap_or(&held);
    let unknown = |(index, line): (usize, &PushLineId)| {
        let message = format!("line {line} is not a held line of this push job");
        (!known.contains(line)).then(|| FieldError::new(format!("/push_line_ids/{index}"), FieldCode::NotHeld, message))
    };
    let bad: Vec<FieldError> = chosen.iter().enumerate().filter_map(unknown).collect();
    if !bad.is_empty() {
        return Err(Error::Invalid(bad));
    }
    if chosen.is_empty() {
        return Err(Error::conflict(ConflictCode::NothingHeld, "the push job has no held lines"));
    }
    if decision == Decision::Approve && matches!(job.state, JobState::Cancelled | JobState::Failed) {
        let detail = format!("the push job is {}: start a new one", job.state);
        return Err(Error::conflict(ConflictCode::PushJobFinished, detail));
    }
    if decision == Decision::Approve {
        crate::services::push::follow_up_jobs::same_connectwise(tx, &job)?;
    }
    let mut seen = HashSet::new();
    let chosen: Vec<PushLineId> = chosen.iter().filter(|id| seen.insert(*id)).cloned().collect();
    let event = if decision == Decision::Approve { PushLineEvent::Approve } else { PushLineEvent::Drop };
    tx.decide_held_lines(id, &chosen, event, by, now)?;
    let action = match decision {
        Decision::Approve => AuditAction::PushLinesApproved,
        Decision::Drop => AuditAction::PushLinesDropped,
    };
    let new = json!({"lines": chosen.len(), "push_line_ids": chosen});
    audit.record(tx, action, Subject::new(id, job.kind.as_str()), None, Some(new))?;
    if matches!(job.state, JobState::WaitingForApproval | JobState::CompletedWithFailures) {
        advance(tx, id, JobEvent::Resume, None, now)?;
        finish_if_done(tx, id, now)?;
    }
    progress(tx, id, now)
}

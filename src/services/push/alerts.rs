//! Notifies webhooks of problems that need attention: held and failed lines, and a failing connection.

use std::collections::HashSet;

use crate::db::{LineResult, PushJob, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::PushLineId;
use crate::domain::push::{PushKind, PushLineEvent, PushLineState, PushReason};
use crate::domain::webhooks::EventType;
use crate::services::webhooks::{Event, EventPushLine, record, record_if_wanted};

/// Reports the lines that were held or failed, from their results. A dry run's lines are not reported: whoever
/// requested it sees them.
pub(super) fn record_results(
    tx: &mut Tx<'_>,
    job: &PushJob,
    results: &[(PushLine, LineResult)],
    now: Timestamp,
) -> Result<()> {
    if job.kind != PushKind::Push {
        return Ok(());
    }
    let with = |events: &[PushLineEvent]| -> Vec<EventPushLine> {
        let found = results.iter().filter(|(_, result)| events.contains(&result.event));
        found.filter_map(|(line, result)| after(line, result)).collect()
    };
    let held = with(&[PushLineEvent::Hold]);
    record(tx, Event::PushLinesHeld { push_job_id: job.id.clone(), lines: held }, now)?;
    let failed = with(&[PushLineEvent::Fail, PushLineEvent::LeaveUnverified]);
    record(tx, Event::PushLinesFailed { push_job_id: job.id.clone(), lines: failed }, now)
}

/// Reports the lines that have just failed because their job waited too long. Lines with a result of their own are
/// already reported.
pub(super) fn record_given_up(
    tx: &mut Tx<'_>,
    job: &PushJob,
    reported: &[(PushLine, LineResult)],
    now: Timestamp,
) -> Result<()> {
    if job.kind != PushKind::Push {
        return Ok(());
    }
    record_if_wanted(tx, EventType::PushLineFailed, now, |tx| {
        let failed = tx.all_push_lines(&job.id, Some(PushLineState::Failed))?;
        let now = Some(now.naive_utc());
        let reported: HashSet<&PushLineId> = reported.iter().map(|(line, _)| &line.id).collect();
        let new = failed.into_iter().filter(|line| line.finished_at == now && !reported.contains(&line.id));
        let lines = new.map(EventPushLine::from).collect();
        Ok(Event::PushLinesFailed { push_job_id: job.id.clone(), lines })
    })
}

/// Reports the lines of a new job that have already failed, because their quantity cannot be computed.
pub(super) fn record_stored(tx: &mut Tx<'_>, job: &PushJob, lines: &[PushLine], now: Timestamp) -> Result<()> {
    if job.kind != PushKind::Push {
        return Ok(());
    }
    let failed = lines.iter().filter(|line| line.state == PushLineState::Failed).cloned().map(EventPushLine::from);
    let event = Event::PushLinesFailed { push_job_id: job.id.clone(), lines: failed.collect() };
    record(tx, event, now)
}

/// Records that the connection fails, and notifies webhooks if that is new.
pub(super) fn record_failing(tx: &mut Tx<'_>, job: &PushJob, cause: &str, now: Timestamp) -> Result<()> {
    if !tx.set_connection_failure(cause, now)? {
        return Ok(());
    }
    record(tx, Event::ConnectionFailing { push_job_id: job.id.clone(), cause: cause.to_owned() }, now)
}

/// Whether the results of lines show that ConnectWise answered.
pub(super) fn proves_connection_works(results: &[(PushLine, LineResult)]) -> bool {
    use PushLineEvent::{Fail, Hold, LeaveUnchanged, Push, WouldPush};
    use PushReason::{ChangedSince, NotApplied, Rejected};
    results.iter().any(|(_, result)| match result.event {
        Push | LeaveUnchanged | Hold | WouldPush => true,
        Fail => matches!(result.reason, Some(Rejected | NotApplied | ChangedSince)),
        _ => false,
    })
}

/// A line with its result.
fn after(line: &PushLine, result: &LineResult) -> Option<EventPushLine> {
    Some(EventPushLine {
        state: PushLineState::Working.after(result.event).ok()?,
        reason: result.reason,
        detail: result.detail.clone(),
        from: if result.event == PushLineEvent::Hold { result.from } else { result.from.or(line.from_quantity) },
        ..EventPushLine::from(line.clone())
    })
}

impl From<PushLine> for EventPushLine {
    fn from(line: PushLine) -> Self {
        Self {
            push_line_id: line.id,
            billing_line_id: line.billing_line_id,
            company_id: line.company_id,
            company_name: line.company_name,
            product_id: line.product_id,
            product_code: line.product_code,
            state: line.state,
            reason: line.reason,
            detail: line.detail,
            from: line.from_quantity,
            to: line.to_quantity,
        }
    }
}

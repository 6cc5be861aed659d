//! What may become of a line that a worker holds.

use chrono::TimeDelta;

use crate::connectwise::{CwError, Fault};
use crate::db::{LineResult, PushLine};
use crate::domain::clock::Instant;
use crate::domain::push::{LineEvent, PushReason};
use crate::domain::quantity::Quantity;

/// So often a line fails in ways that may pass before it fails for good: some five hours.
const MAX_FAILURES: i64 = 12;
/// How long a line waits after its first failure, in seconds; it doubles from there, up to an hour.
const FIRST_WAIT: i64 = 30;
/// How long a line waits for somebody else's refresh, in seconds.
const BUSY_WAIT: i64 = 5;

/// Why the rest of a group is not worked on now.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The connection itself is at fault: the whole job ends.
    Job(String),
    /// It may pass: the lines are tried again later.
    Later(String),
    /// What is needed is being read by somebody else: no failure of the line's.
    Busy(String),
    /// The agreement is gone or no longer live.
    Stale(String),
    /// One agreement's own failure: its lines fail.
    Failed(PushReason, String),
}

impl Stop {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Job(text) | Self::Later(text) | Self::Busy(text) | Self::Stale(text) | Self::Failed(_, text) => text,
        }
    }

    /// What it makes of a line.
    pub(super) fn result(&self, line: &PushLine, now: Instant) -> LineResult {
        match self {
            Self::Job(why) => failed(PushReason::Connection, why.clone()),
            Self::Stale(why) => skipped(PushReason::Stale, why.clone()),
            Self::Failed(reason, why) => failed(*reason, why.clone()),
            Self::Later(why) => later(line, why, now),
            Self::Busy(_) => {
                LineResult { not_before: Some(now + TimeDelta::seconds(BUSY_WAIT)), ..result(LineEvent::Release, None) }
            }
        }
    }

    /// What a failure to read an agreement's additions means.
    pub(super) fn of_reading(error: CwError) -> Self {
        let text = error.to_string();
        match error {
            // One agreement may be closed to the API member; the others are not.
            CwError::Configuration { fault: Fault::Permission(_), .. } => Self::Failed(PushReason::Connection, text),
            other => Self::of_writing(other),
        }
    }

    /// What a failure to write means, where it says more than that this one line failed.
    pub(super) fn of_writing(error: CwError) -> Self {
        let text = error.to_string();
        match error {
            CwError::Configuration { .. } => Self::Job(text),
            CwError::Gone => Self::Stale("the agreement does not exist in ConnectWise any more".to_owned()),
            CwError::Rejected(_) => Self::Failed(PushReason::Rejected, text),
            CwError::NotApplied { .. } => Self::Failed(PushReason::NotApplied, text),
            CwError::Conflict(_)
            | CwError::Throttled(_)
            | CwError::Unavailable(_)
            | CwError::Failed(_)
            | CwError::Resting(_)
            | CwError::TooLate
            | CwError::Unintelligible(_) => Self::Later(text),
        }
    }
}

pub(super) fn result(event: LineEvent, from: Option<Quantity>) -> LineResult {
    LineResult { event, from, reason: None, detail: None, not_before: None, counted: false }
}

pub(super) fn failed(reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(LineEvent::Fail, None) }
}

pub(super) fn skipped(reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(LineEvent::Skip, None) }
}

/// A dry run found a difference; it also tells what the guard would say.
pub(super) fn would_push(has: Option<Quantity>, objection: Option<String>) -> LineResult {
    let reason = objection.is_some().then_some(PushReason::Guard);
    LineResult { reason, detail: objection, ..result(LineEvent::WouldPush, has) }
}

/// The change is not made unasked.
pub(super) fn held(has: Option<Quantity>, why: String) -> LineResult {
    LineResult { reason: Some(PushReason::Guard), detail: Some(why), ..result(LineEvent::Hold, has) }
}

/// ConnectWise has another quantity than the one that was to be changed.
pub(super) fn changed_since(line: &PushLine, has: Option<Quantity>) -> LineResult {
    let text = |quantity: Option<Quantity>| quantity.map_or_else(|| "nothing".to_owned(), |known| known.to_string());
    let detail = format!(
        "ConnectWise has {} by now, where {} was to be changed: look at it there, and push again",
        text(has),
        text(line.expected_from)
    );
    LineResult { from: has, ..failed(PushReason::ChangedSince, detail) }
}

/// ConnectWise has the quantity: because of an earlier write of ours whose answer was lost, or because nothing changed.
pub(super) fn already_there(line: &PushLine, to: Quantity) -> LineResult {
    if line.attempts > 0 && line.from_quantity != Some(to) {
        result(LineEvent::Push, line.from_quantity)
    } else {
        result(LineEvent::LeaveUnchanged, Some(to))
    }
}

/// Back to waiting, for longer with each failure; failed for good after the last.
pub(super) fn later(line: &PushLine, why: &str, now: Instant) -> LineResult {
    if line.failures + 1 >= MAX_FAILURES {
        return failed(PushReason::Unavailable, why.to_owned());
    }
    let doublings = u32::try_from(line.failures).unwrap_or_default().min(7);
    let wait = TimeDelta::seconds((FIRST_WAIT << doublings).min(3_600));
    LineResult {
        detail: Some(why.to_owned()),
        not_before: Some(now + wait),
        counted: true,
        ..result(LineEvent::Release, None)
    }
}

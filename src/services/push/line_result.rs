//! The possible results of a line that a worker holds.

use std::time::Duration;

use chrono::TimeDelta;

use crate::connectwise::CwError;
use crate::db::{LineResult, PushLine};
use crate::domain::Error;
use crate::domain::clock::Timestamp;
use crate::domain::ids::CwAgreementId;
use crate::domain::push::{PushLineEvent, PushReason};
use crate::domain::quantity::Quantity;

/// Number of temporary failures after which a line fails permanently, about five hours after the first.
const MAX_FAILURES: i64 = 12;
/// How long a line waits after its first failure, in seconds. The wait doubles with each failure, up to an hour.
const FIRST_RETRY_SECONDS: i64 = 30;
/// How long a line waits for another process's refresh, in seconds.
const BUSY_RETRY_SECONDS: i64 = 5;
/// How long the lines of a job wait before the connection is tried again, in seconds.
pub(super) const CONNECTION_RETRY_SECONDS: i64 = 300;

/// Why the work on lines stops for now.
#[derive(Debug, Clone)]
pub(super) enum StopReason {
    /// The connection itself was confirmed to be at fault: the job's lines wait until it works again.
    Connection(String),
    /// A temporary failure: the lines are retried later.
    Retry(String),
    /// ConnectWise asked to wait for this long. This is not a failure of the line.
    Wait(Duration, String),
    /// Another process is reading the data that is needed. This is not a failure of the line.
    Busy(String),
    /// The job was cancelled.
    Cancelled,
    /// The process stops: another one may take the lines at once.
    Shutdown,
    /// The agreement or addition was deleted or is no longer live.
    Stale(String),
    /// A permanent failure: a retry would fail again.
    Failed(PushReason, String),
}

/// Why a step of a push ended early.
#[derive(Debug)]
pub(super) enum PushInterrupted {
    /// The work on all claimed lines stops for now.
    AllLines(StopReason),
    /// The work on the lines of one agreement stops for now. The lines of the other agreements go back to the queue,
    /// unless the reason also applies to them.
    Agreement(CwAgreementId, StopReason),
    /// An internal error or a database error.
    Internal(Error),
}

impl From<Error> for PushInterrupted {
    fn from(error: Error) -> Self {
        Self::Internal(error)
    }
}

impl From<StopReason> for PushInterrupted {
    fn from(stop: StopReason) -> Self {
        Self::AllLines(stop)
    }
}

impl StopReason {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Connection(text) | Self::Retry(text) | Self::Busy(text) | Self::Stale(text) => text,
            Self::Wait(_, text) | Self::Failed(_, text) => text,
            Self::Cancelled => "the job was cancelled",
            Self::Shutdown => "the process is stopping",
        }
    }

    /// Whether the lines end, instead of returning to the queue.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Failed(..))
    }

    /// Whether the reason applies to all agreements of the job, not only to the one where it was found.
    pub(super) fn concerns_all(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Wait(..) | Self::Busy(_) | Self::Cancelled | Self::Shutdown => true,
            // The other agreements may work, and must not count this agreement's failures.
            Self::Retry(_) | Self::Stale(_) | Self::Failed(..) => false,
        }
    }

    /// Returns the result for a line. A line waits for its connection, or as long as ConnectWise asks for, until
    /// `max_late` after its job was stored, or after a person decided about the line.
    pub(super) fn result(
        &self,
        line: &PushLine,
        now: Timestamp,
        stored_at: Timestamp,
        max_late: TimeDelta,
    ) -> LineResult {
        let asked_at = line.waiting_since(stored_at);
        match self {
            Self::Connection(why) if now - asked_at >= max_late => failed(PushReason::Connection, why.clone()),
            Self::Connection(why) => {
                LineResult { detail: Some(why.clone()), ..released(now, CONNECTION_RETRY_SECONDS) }
            }
            Self::Stale(why) => skipped(PushReason::Stale, why.clone()),
            Self::Failed(reason, why) => failed(*reason, why.clone()),
            Self::Retry(why) => retry_later(line, why, now),
            Self::Wait(_, why) if now - asked_at >= max_late => failed(PushReason::Unavailable, why.clone()),
            Self::Wait(wait, why) => LineResult { detail: Some(why.clone()), ..released(now, seconds(*wait)) },
            Self::Busy(_) => released(now, BUSY_RETRY_SECONDS),
            Self::Cancelled => result(PushLineEvent::Cancel, None),
            Self::Shutdown => untouched(),
        }
    }

    /// Classifies a failure of one agreement or addition. A fault of the connection counts as temporary here: the
    /// caller has already confirmed it.
    pub(super) fn of(error: CwError) -> Self {
        let text = error.to_string();
        match error {
            CwError::NotFound => Self::Stale("the agreement no longer exists in ConnectWise".to_owned()),
            CwError::Rejected(_) => Self::Failed(PushReason::Rejected, text),
            CwError::NotApplied { .. } => Self::Failed(PushReason::NotApplied, text),
            CwError::Throttled(wait) => Self::Wait(wait, text),
            CwError::Configuration { .. }
            | CwError::Conflict(_)
            | CwError::Unavailable(_)
            | CwError::Failed(_)
            | CwError::CircuitOpen(_)
            | CwError::DeadlineExceeded
            | CwError::InvalidResponse(_) => Self::Retry(text),
        }
    }
}

pub(super) fn result(event: PushLineEvent, from: Option<Quantity>) -> LineResult {
    LineResult { event, from, reason: None, detail: None, not_before: None, counts_as_failure: false }
}

pub(super) fn failed(reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(PushLineEvent::Fail, None) }
}

pub(super) fn skipped(reason: PushReason, detail: String) -> LineResult {
    LineResult { reason: Some(reason), detail: Some(detail), ..result(PushLineEvent::Skip, None) }
}

/// Rounds up a wait that ConnectWise asked for.
fn seconds(wait: Duration) -> i64 {
    i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).clamp(1, 600) + 1
}

/// Returns the line to the queue as if it had not been claimed.
pub(super) fn untouched() -> LineResult {
    result(PushLineEvent::Release, None)
}

/// Returns the line to the queue without counting a failure.
pub(super) fn released(now: Timestamp, seconds: i64) -> LineResult {
    LineResult { not_before: Some(now + TimeDelta::seconds(seconds)), ..result(PushLineEvent::Release, None) }
}

/// Why a change needs approval.
#[derive(Debug)]
pub(super) struct ApprovalReason {
    pub(super) reason: PushReason,
    pub(super) detail: String,
}

/// The result of a dry run that found a difference. `objection` is why a push would hold the line.
pub(super) fn would_push(has: Option<Quantity>, objection: Option<ApprovalReason>) -> LineResult {
    let (reason, detail) = objection.map(|objection| (objection.reason, objection.detail)).unzip();
    LineResult { reason, detail, ..result(PushLineEvent::WouldPush, has) }
}

/// The result of a change that needs approval.
pub(super) fn held(has: Option<Quantity>, why: ApprovalReason) -> LineResult {
    LineResult { reason: Some(why.reason), detail: Some(why.detail), ..result(PushLineEvent::Hold, has) }
}

/// The result if ConnectWise does not have the expected quantity.
pub(super) fn changed_since(line: &PushLine, has: Option<Quantity>) -> LineResult {
    let detail = format!(
        "ConnectWise now has {} instead of the expected {}: check the addition there, and push again",
        text(has),
        text(line.expected_from)
    );
    LineResult { from: has, ..failed(PushReason::ChangedSince, detail) }
}

fn text(quantity: Option<Quantity>) -> String {
    quantity.map_or_else(|| "nothing".to_owned(), |known| known.to_string())
}

/// The result if ConnectWise already has the quantity: either an earlier write succeeded but its response was lost, or
/// nothing changed.
pub(super) fn already_there(line: &PushLine, to: Quantity) -> LineResult {
    if line.attempts > 0 && line.from_quantity != Some(to) {
        result(PushLineEvent::Push, line.from_quantity)
    } else {
        result(PushLineEvent::LeaveUnchanged, Some(to))
    }
}

/// Returns the line to the queue, with a longer wait after each failure. After [`MAX_FAILURES`] the line fails
/// permanently.
pub(super) fn retry_later(line: &PushLine, why: &str, now: Timestamp) -> LineResult {
    if line.failures + 1 >= MAX_FAILURES {
        return failed(PushReason::Unavailable, why.to_owned());
    }
    let doublings = u32::try_from(line.failures).unwrap_or_default().min(7);
    let wait = (FIRST_RETRY_SECONDS << doublings).min(3_600);
    LineResult { detail: Some(why.to_owned()), counts_as_failure: true, ..released(now, wait) }
}

/// The result of reading back an addition after a write whose response was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadBack {
    /// The addition could not be read.
    Unreadable,
    /// The addition must not be read before this time has passed.
    NotYet(Duration),
    /// The addition no longer exists.
    NotFound,
    /// The addition has this quantity.
    Has(Option<Quantity>),
}

/// Returns the result of a line whose write was sent and whose response was lost, after its addition was read back. It
/// replaces the planned result.
pub(super) fn after_read_back(line: &PushLine, planned: LineResult, read: ReadBack, now: Timestamp) -> LineResult {
    let why = planned.detail.as_deref().unwrap_or("the job was stopped");
    match read {
        ReadBack::Has(Some(has)) if Some(has) == line.to_quantity => result(PushLineEvent::Push, line.from_quantity),
        ReadBack::Has(has) if has == line.from_quantity => planned,
        ReadBack::Has(has) => {
            let detail = format!("{why}; an earlier write was sent, and ConnectWise now has {}", text(has));
            LineResult { detail: Some(detail), ..planned }
        }
        ReadBack::NotFound => planned,
        ReadBack::NotYet(wait) => LineResult { detail: planned.detail, ..released(now, seconds(wait)) },
        ReadBack::Unreadable => {
            let detail = format!(
                "{why}; a write of {} may have been sent, no response arrived, and ConnectWise could not be read to see \
                 whether it took effect: retry or revert the line, or check the addition there",
                text(line.to_quantity)
            );
            LineResult { reason: planned.reason, detail: Some(detail), ..result(PushLineEvent::LeaveUnverified, None) }
        }
    }
}

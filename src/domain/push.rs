//! Push jobs and their lines: the states, and the valid transitions between them.

use super::calendar::BillingMonth;
use super::quantity::Quantity;
use super::string_enum::string_enum;

string_enum! {
    /// The kind of a push job.
    PushKind {
        /// Writes quantities.
        Push = "push",
        /// Reads and compares, and writes nothing.
        DryRun = "dry_run",
    }
}

string_enum! {
    /// The trigger of a push job.
    PushTrigger {
        /// A request to the API.
        Manual = "manual",
        /// The monthly schedule.
        Schedule = "schedule",
        /// A request to retry another job's failed lines.
        Retry = "retry",
        /// A request to push the changes that a dry run showed.
        FromDryRun = "dry_run",
        /// A request to revert another job.
        Revert = "revert",
    }
}

string_enum! {
    /// The state of a push job.
    JobState {
        /// Created; no worker has started it.
        Queued = "queued",
        /// A worker has started it.
        Running = "running",
        /// Every line that had something to push is `pushed` or `unchanged` (in a dry run `would_push` or `unchanged`).
        /// Skipped lines do not count as failures.
        Succeeded = "succeeded",
        /// All lines are done except those that are held until a person approves or drops them.
        WaitingForApproval = "waiting_for_approval",
        /// All lines are done, and some of them failed or are unverified.
        CompletedWithFailures = "completed_with_failures",
        /// No line could be tried; `detail` says why.
        Failed = "failed",
        /// A person cancelled it.
        Cancelled = "cancelled",
    }
}

string_enum! {
    /// An event that changes the state of a push job.
    JobEvent {
        /// A worker claims its first line.
        Start = "start",
        /// Lines are held, and all other lines are done.
        WaitForApproval = "wait_for_approval",
        /// All lines have an outcome and none failed.
        Succeed = "succeed",
        /// All lines have an outcome and some failed.
        CompleteWithFailures = "complete_with_failures",
        /// No line was tried before the deadline, because the connection was at fault or ConnectWise asked to wait.
        Fail = "fail",
        /// A person cancels the job.
        Cancel = "cancel",
        /// A person decided on held lines.
        Resume = "resume",
    }
}

string_enum! {
    /// The state of a push line: not tried yet, being tried, or its outcome.
    PushLineState {
        /// It waits for a worker.
        Pending = "pending",
        /// A worker is working on it.
        Working = "working",
        /// The quantity was written, and ConnectWise confirmed it.
        Pushed = "pushed",
        /// Only in dry runs: the quantity would be written.
        WouldPush = "would_push",
        /// ConnectWise already had the quantity; nothing was written.
        Unchanged = "unchanged",
        /// There was nothing to push; `reason` says why.
        Skipped = "skipped",
        /// The quantity could not be written; `reason` says why.
        Failed = "failed",
        /// The response to a write was lost, and ConnectWise could not be read to find out whether it was applied.
        Unverified = "unverified",
        /// It waits for approval; `reason` says why.
        Held = "held",
        /// The job was cancelled before this line was done.
        Cancelled = "cancelled",
    }
}

impl PushLineState {
    /// The states that wait for a person: to approve, or to find out what is wrong.
    pub const NEEDS_ATTENTION: [Self; 3] = [Self::Held, Self::Failed, Self::Unverified];
}

string_enum! {
    /// An event that changes the state of a push line.
    PushLineEvent {
        /// A worker claims the line.
        Claim = "claim",
        /// The worker releases the line to be retried later.
        Release = "release",
        /// ConnectWise confirmed the new quantity.
        Push = "push",
        /// A dry run found a difference.
        WouldPush = "would_push",
        /// ConnectWise already had the quantity.
        LeaveUnchanged = "leave_unchanged",
        /// The line has nothing to push.
        Skip = "skip",
        /// The quantity could not be written.
        Fail = "fail",
        /// A write was sent, and it is unknown whether it was applied.
        LeaveUnverified = "leave_unverified",
        /// The job was cancelled.
        Cancel = "cancel",
        /// The change needs approval.
        Hold = "hold",
        /// A person approves the change.
        Approve = "approve",
        /// A person drops the line.
        Drop = "drop",
    }
}

string_enum! {
    /// Why a push line was skipped, held or failed.
    PushReason {
        /// Push is not enabled on the billing line.
        Disabled = "disabled",
        /// The company is not matched to a ConnectWise company.
        CompanyNotSet = "company_not_set",
        /// The agreement or the addition is not resolved.
        Unresolved = "unresolved",
        /// Several agreements or additions match.
        Ambiguous = "ambiguous",
        /// The agreement or the addition was cancelled, ended or deleted.
        Stale = "stale",
        /// There is no usage in the billing month.
        NoUsage = "no_usage",
        /// The newest usage record is older than the product allows.
        UsageTooOld = "usage_too_old",
        /// Another billing line writes to the same addition, and each would overwrite the other.
        AdditionShared = "addition_shared",
        /// A later push job has written to the addition or pushed the billing line, or found its own quantity there.
        Superseded = "superseded",
        /// The computed quantity cannot be stored in ConnectWise.
        QuantityNotStorable = "quantity",
        /// The change is larger than the product's limit.
        ChangeLimit = "guard",
        /// The units above the included quantity would not be billed.
        OverageNotBilled = "overage_not_billed",
        /// The base line, whose overage this line bills, was not written: it was held or skipped, has failed or is
        /// unverified.
        BaseNotPushed = "base_not_pushed",
        /// The invoice for the month has been made already, and the product's setting is to hold or skip the line.
        AlreadyInvoiced = "already_invoiced",
        /// A person dropped the line after it was held.
        Dropped = "dropped",
        /// ConnectWise no longer has the quantity that the job expects.
        ChangedSince = "changed_since",
        /// ConnectWise rejected the write.
        Rejected = "rejected",
        /// ConnectWise reported success but did not change the quantity.
        NotApplied = "not_applied",
        /// Up to the last attempt, ConnectWise could not be reached, failed, or asked to wait.
        Unavailable = "unavailable",
        /// The connection's settings, API keys or permissions are wrong.
        Connection = "connection",
        /// An internal error.
        Internal = "internal",
    }
}

impl PushReason {
    /// Whether an approval for this reason also covers another one. The reasons are checked in this order: invoice,
    /// overage, change limit. A held line has the first reason that applies, and the details of all. An approval also
    /// covers the reasons that are checked later: one for the invoice covers overage and the change limit, too.
    pub fn covers(self, other: Self) -> bool {
        let rank = |reason: Self| match reason {
            Self::AlreadyInvoiced => 0,
            Self::OverageNotBilled | Self::BaseNotPushed => 1,
            _ => 2,
        };
        rank(self) <= rank(other)
    }

    /// The reason as a sentence for a billing clerk, with what to do.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Disabled => "Push is not enabled for this line. Enable the line to bill it.",
            Self::CompanyNotSet => "The company is not matched to a ConnectWise company. Match it first.",
            Self::Unresolved => "The agreement or the addition is not resolved. Choose it, or change the rule.",
            Self::Ambiguous => "Several agreements or additions match. Choose one, or make the rule narrower.",
            Self::Stale => "The agreement or the addition was cancelled, ended or deleted. Choose another one.",
            Self::NoUsage => "There is no usage in the month. Add usage; without any, nothing is billed.",
            Self::UsageTooOld => "The newest usage is older than the product allows. Check the meter, or add usage.",
            Self::AdditionShared => {
                "Another line bills to the same addition. Choose another addition for one of the two lines."
            }
            Self::Superseded => "A later push has written to the addition. Check that push instead.",
            Self::QuantityNotStorable => {
                "The computed quantity cannot be stored in ConnectWise. Change the rounding or the block size."
            }
            Self::ChangeLimit => "The change is larger than the product's limit. Approve the line, or drop it.",
            Self::OverageNotBilled => {
                "The units above the included quantity would not be billed. Enable and resolve the overage line, drop this \
                 line and push again. To bill only the included quantity, approve this line."
            }
            Self::BaseNotPushed => {
                "The base line was not pushed, so these units may still be billed on it. Push the base line first, then \
                 approve this line."
            }
            Self::AlreadyInvoiced => {
                "The invoice for this month has been made already. Undo that invoice and push again, or drop the line and \
                 bill the difference by hand; to write the quantity anyway, approve the line."
            }
            Self::Dropped => "A person dropped the line. Push again to bill it.",
            Self::ChangedSince => {
                "The quantity in ConnectWise is no longer the expected one. Check who changed it, then push again."
            }
            Self::Rejected => "ConnectWise rejected the quantity. Correct what it reports, then push again.",
            Self::NotApplied => {
                "ConnectWise reported success but did not change the quantity. Check the addition there."
            }
            Self::Unavailable => "ConnectWise could not be reached. Retry the push later.",
            Self::Connection => "The connection's settings, keys or permissions are wrong. Test the connection.",
            Self::Internal => "The service failed. Check its log for the cause, then retry the push.",
        }
    }
}

/// A later push line that wrote, found or may have written a quantity in the addition of an earlier line, or for its
/// billing line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaterWrite {
    /// The later line's state: `pushed`, `unchanged` or `unverified`.
    pub state: PushLineState,
    /// The month that the later line bills.
    pub billing_month: BillingMonth,
    /// The quantity that it wrote, found or meant to write; `None` if it had none to push.
    pub quantity: Option<Quantity>,
    /// Whether both lines belong to the same billing line; if not, they share only the addition.
    pub same_billing_line: bool,
}

impl LaterWrite {
    /// Whether the earlier line must not be written any more, because the later line wrote its newer quantity or found
    /// it in ConnectWise. An unverified line counts as written if the addition now has exactly its quantity.
    pub fn supersedes(&self, addition_has: Option<Quantity>) -> bool {
        match self.state {
            PushLineState::Unverified => self.quantity.is_some() && self.quantity == addition_has,
            _ => true,
        }
    }

    /// Whether the earlier line, which bills `month`, must not be reverted any more, because the later line changed the
    /// addition, may have changed it, or bills another month or billing line. A later line of the same month and
    /// billing line that found the quantity unchanged does not block the revert.
    pub fn blocks_revert_of(&self, month: BillingMonth) -> bool {
        self.state != PushLineState::Unchanged || self.billing_month != month || !self.same_billing_line
    }
}

/// A transition that is not in the table of valid transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {thing} in state {state} does not allow {event}")]
pub struct InvalidTransition {
    thing: &'static str,
    state: &'static str,
    event: &'static str,
}

impl JobState {
    /// Returns the state after an event. This is the only table of a push job's transitions.
    pub fn after(self, event: JobEvent) -> Result<Self, InvalidTransition> {
        use JobEvent as E;
        Ok(match (self, event) {
            (Self::Queued, E::Start) => Self::Running,
            (Self::Queued | Self::Running, E::WaitForApproval) => Self::WaitingForApproval,
            (Self::Queued | Self::Running, E::Succeed) => Self::Succeeded,
            (Self::Queued | Self::Running, E::CompleteWithFailures) => Self::CompletedWithFailures,
            (Self::Queued | Self::Running, E::Fail) => Self::Failed,
            (Self::Queued | Self::Running | Self::WaitingForApproval, E::Cancel) => Self::Cancelled,
            // Earlier versions completed jobs that still had held lines.
            (Self::WaitingForApproval | Self::CompletedWithFailures, E::Resume) => Self::Running,
            _ => return Err(InvalidTransition { thing: "push job", state: self.as_str(), event: event.as_str() }),
        })
    }

    /// Whether this is a final state.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::WaitingForApproval)
    }
}

impl PushLineState {
    /// Returns the state after an event. This is the only table of a push line's transitions.
    pub fn after(self, event: PushLineEvent) -> Result<Self, InvalidTransition> {
        use PushLineEvent as E;
        Ok(match (self, event) {
            (Self::Pending | Self::Working, E::Claim) => Self::Working,
            (Self::Working, E::Release) => Self::Pending,
            (Self::Working, E::Push) => Self::Pushed,
            (Self::Working, E::WouldPush) => Self::WouldPush,
            (Self::Working, E::LeaveUnchanged) => Self::Unchanged,
            (Self::Pending | Self::Working, E::Skip) => Self::Skipped,
            (Self::Pending | Self::Working, E::Fail) => Self::Failed,
            (Self::Working, E::LeaveUnverified) => Self::Unverified,
            (Self::Pending | Self::Working | Self::Held, E::Cancel) => Self::Cancelled,
            (Self::Working, E::Hold) => Self::Held,
            (Self::Held, E::Approve) => Self::Pending,
            (Self::Held, E::Drop) => Self::Skipped,
            _ => return Err(InvalidTransition { thing: "push line", state: self.as_str(), event: event.as_str() }),
        })
    }

    /// Whether this is a final state. A held line is not final: it waits for a person.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Working | Self::Held)
    }

    /// Whether a worker will process it, now or later.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Working)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_reject_every_event() {
        for state in JobState::ALL.iter().filter(|state| state.is_final()) {
            let taken: Vec<_> = JobEvent::ALL.iter().filter(|event| state.after(**event).is_ok()).collect();
            let resumes = *state == JobState::CompletedWithFailures;
            assert_eq!(taken, if resumes { vec![&JobEvent::Resume] } else { vec![] }, "{state}");
        }
        for state in PushLineState::ALL.iter().filter(|state| state.is_final()) {
            assert!(PushLineEvent::ALL.iter().all(|event| state.after(*event).is_err()), "{state}");
        }
        let held: Vec<_> =
            PushLineEvent::ALL.iter().filter(|event| PushLineState::Held.after(**event).is_ok()).collect();
        assert_eq!(held, [&PushLineEvent::Cancel, &PushLineEvent::Approve, &PushLineEvent::Drop]);
    }

    #[test]
    fn every_state_can_be_reached() {
        let mut jobs = std::collections::HashSet::from([JobState::Queued]);
        let mut lines = std::collections::HashSet::from([PushLineState::Pending]);
        for _ in 0..3 {
            let next: Vec<_> =
                jobs.iter().flat_map(|s| JobEvent::ALL.iter().filter_map(|e| s.after(*e).ok())).collect();
            jobs.extend(next);
            let next: Vec<_> =
                lines.iter().flat_map(|s| PushLineEvent::ALL.iter().filter_map(|e| s.after(*e).ok())).collect();
            lines.extend(next);
        }
        assert_eq!(jobs.len(), JobState::ALL.len());
        assert_eq!(lines.len(), PushLineState::ALL.len());
    }
}

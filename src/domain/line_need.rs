//! The actions that billing lines need from a person.

use super::mapping_status::{MappingReason, MappingStatus};
use super::push::PushLineState;
use super::string_enum::string_enum;

string_enum! {
    /// The action that a person must take before a billing line can be billed. If several apply, it is the first,
    /// because a line is not resolved before its company is matched.
    LineNeed {
        /// Match the company: it is Not Set, or its ConnectWise company was deleted.
        Company = "company",
        /// Choose the agreement: none or several match, or the current one is no longer live.
        Agreement = "agreement",
        /// Choose the addition: none or several match, or the current one is no longer live.
        Addition = "addition",
        /// Approve or drop the line, which the last push holds.
        Approval = "approval",
        /// Investigate the last push: it failed, or its result is unknown.
        Failure = "failure",
    }
}

impl LineNeed {
    /// The action that a line in these states needs; `None` if it needs no person.
    pub fn of(
        (agreement, reason): (MappingStatus, Option<MappingReason>),
        addition: MappingStatus,
        last_push: Option<PushLineState>,
    ) -> Option<Self> {
        if agreement != MappingStatus::Resolved {
            let is_unmatched = reason.is_some_and(|reason| MappingReason::UNMATCHED.contains(&reason));
            return Some(if is_unmatched { Self::Company } else { Self::Agreement });
        }
        if addition != MappingStatus::Resolved {
            return Some(Self::Addition);
        }
        match last_push? {
            PushLineState::Held => Some(Self::Approval),
            PushLineState::Failed | PushLineState::Unverified => Some(Self::Failure),
            _ => None,
        }
    }

    /// The state of the lines that need this action, and what to do, in sentences for a billing clerk.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Company => "These companies are not matched to an existing ConnectWise company. Match them first.",
            Self::Agreement => {
                "These lines have no agreement: none or several match, or the current one is no longer live. Choose one, \
                 or change the rule."
            }
            Self::Addition => {
                "These lines have no addition: none or several match, or the current one is no longer live. Choose one, \
                 or change the rule."
            }
            Self::Approval => "The last push is holding these lines. Review each line, then approve or drop it.",
            Self::Failure => {
                "The last push of these lines failed, or its result is unknown. Fix the cause, then push again."
            }
        }
    }
}

//! The status of a mapping, the reason, and who decided.

use super::string_enum::string_enum;

string_enum! {
    /// Whether a rule or a person decided a mapping.
    MappingSource {
        /// A person chose it. The choice overrides the rule until it is cleared.
        Manual = "manual",
        /// The product's matching rule found it.
        Rule = "rule",
    }
}

string_enum! {
    /// The status of a mapping.
    MappingStatus {
        /// Exactly one live target.
        Resolved = "resolved",
        /// No target.
        Unresolved = "unresolved",
        /// Several targets match; the candidates are listed.
        Ambiguous = "ambiguous",
        /// The target was resolved, and has since been cancelled, ended or deleted.
        Stale = "stale",
    }
}

string_enum! {
    /// The reason for a mapping's status.
    MappingReason {
        /// The company is not matched to a ConnectWise company.
        CompanyNotSet = "company_not_set",
        /// The matched ConnectWise company was deleted there.
        CompanyGone = "company_gone",
        /// The product has no matching rule for this target.
        NoRule = "no_rule",
        /// The ConnectWise company has no live agreement.
        NoLiveAgreement = "no_live_agreement",
        /// The agreement has no live addition.
        NoLiveAddition = "no_live_addition",
        /// The rule matches none of the live targets.
        NoneMatched = "none_matched",
        /// The rule matches more than one live target.
        SeveralMatched = "several_matched",
        /// The agreement is not resolved, so there are no additions to match.
        AgreementNotResolved = "agreement_not_resolved",
        /// The agreement's additions have not been read from ConnectWise yet.
        AdditionsNotRead = "additions_not_read",
        /// The target was cancelled.
        Cancelled = "cancelled",
        /// The target's end date has passed.
        Ended = "ended",
        /// The target's status in ConnectWise is expired.
        Expired = "expired",
        /// The target's status in ConnectWise is inactive.
        Inactive = "inactive",
        /// The target no longer exists in ConnectWise.
        Deleted = "deleted",
        /// The line's agreement is stale.
        AgreementStale = "agreement_stale",
    }
}

impl MappingReason {
    /// The reasons that can only be resolved by matching the company.
    pub const UNMATCHED: [Self; 2] = [Self::CompanyNotSet, Self::CompanyGone];

    /// The reason as a sentence for a billing clerk, with what to do.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::CompanyNotSet => "The company is not matched to a ConnectWise company. Match it first.",
            Self::CompanyGone => "The matched ConnectWise company was deleted. Match the company again.",
            Self::NoRule => "The product has no matching rule for this. Save a rule, or choose manually.",
            Self::NoLiveAgreement => "The ConnectWise company has no live agreement.",
            Self::NoLiveAddition => "The agreement has no live addition. Create one in ConnectWise.",
            Self::NoneMatched => "The rule matches nothing. Change the rule, or choose manually.",
            Self::SeveralMatched => "The rule matches several. Make the rule narrower, or choose one manually.",
            Self::AgreementNotResolved => "The agreement is not resolved. Resolve it first.",
            Self::AdditionsNotRead => {
                "The agreement's additions have not been read from ConnectWise yet. Resolve or refresh."
            }
            Self::Cancelled => "It was cancelled in ConnectWise. Choose another.",
            Self::Ended => "It has ended in ConnectWise. Choose another.",
            Self::Expired => "It has expired in ConnectWise. Choose another.",
            Self::Inactive => "It is inactive in ConnectWise. Choose another.",
            Self::Deleted => "It no longer exists in ConnectWise. Choose another.",
            Self::AgreementStale => "The line's agreement was cancelled, ended or deleted. Choose another agreement.",
        }
    }
}

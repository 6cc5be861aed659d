//! The enumerations of product language, each with one spelling used in JSON, in the database and in logs.

/// A text that is none of an enumeration's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not one of: {expected}")]
pub struct UnknownWord {
    /// What was given.
    pub given: String,
    /// The words that would do, comma separated.
    pub expected: String,
}

/// Defines an enumeration with its one spelling: `as_str`, `ALL`, `Display`, `FromStr`, serde.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The one spelling, as in JSON and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::words::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    $crate::domain::words::UnknownWord {
                        given: text.chars().take(40).collect(),
                        expected: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How usage in blocks becomes a quantity.
    Rounding {
        /// Up to the next whole block (the default: a started block is billed).
        Ceil = "ceil",
        /// Down to whole blocks.
        Floor = "floor",
        /// To the nearest whole block, halves away from zero.
        Round = "round",
        /// Not at all: the exact quotient, which must be a finite decimal.
        Exact = "exact",
    }
}

words! {
    /// How a billing month's usage records become the one billed amount.
    Aggregation {
        /// The newest record by `measured_at`.
        Last = "last",
        /// The largest record.
        Max = "max",
        /// All records added up.
        Sum = "sum",
    }
}

words! {
    /// Which month a push bills.
    BillingPeriod {
        /// The month that holds the moment of the push.
        Current = "current",
        /// The month that closed before it: billing in arrears.
        Previous = "previous",
    }
}

words! {
    /// What a matching rule picks.
    Target {
        /// One of a company's agreements.
        Agreement = "agreement",
        /// One of an agreement's additions.
        Addition = "addition",
    }
}

words! {
    /// Who decided a mapping.
    MappingSource {
        /// A person chose it; it wins over the rule and stays until taken back.
        Manual = "manual",
        /// The product's matching rule found it.
        Rule = "rule",
    }
}

words! {
    /// What a mapping came to.
    MappingStatus {
        /// Exactly one live target.
        Resolved = "resolved",
        /// No target.
        Unresolved = "unresolved",
        /// Several targets match; the candidates are listed.
        Ambiguous = "ambiguous",
        /// The target was resolved once and has since been cancelled, ended or deleted.
        Stale = "stale",
    }
}

words! {
    /// Why a mapping is what it is, where its status alone does not say.
    MappingReason {
        /// The company is matched to no ConnectWise company.
        CompanyNotSet = "company_not_set",
        /// The matched ConnectWise company was deleted there.
        CompanyGone = "company_gone",
        /// The product has no matching rule for this target.
        NoRule = "no_rule",
        /// The ConnectWise company has no live agreement.
        NoLiveAgreement = "no_live_agreement",
        /// The agreement has no live addition.
        NoLiveAddition = "no_live_addition",
        /// There are live targets, but the rule matches none.
        NoneMatched = "none_matched",
        /// The rule matches more than one.
        SeveralMatched = "several_matched",
        /// Additions are looked for only when the agreement is resolved.
        AgreementNotResolved = "agreement_not_resolved",
        /// The agreement's additions were not read from ConnectWise yet.
        AdditionsNotRead = "additions_not_read",
        /// The target was cancelled.
        Cancelled = "cancelled",
        /// The target's end date has passed.
        Ended = "ended",
        /// ConnectWise calls the target expired.
        Expired = "expired",
        /// ConnectWise calls the target inactive.
        Inactive = "inactive",
        /// The target no longer exists in ConnectWise.
        Deleted = "deleted",
        /// The agreement above is stale.
        AgreementStale = "agreement_stale",
    }
}

impl MappingReason {
    /// The reason as a sentence for a billing clerk, with what to do.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::CompanyNotSet => "The company is matched to no ConnectWise company. Match it first.",
            Self::CompanyGone => "The matched ConnectWise company was deleted there. Match the company anew.",
            Self::NoRule => "The product has no matching rule for this. Save one, or choose by hand.",
            Self::NoLiveAgreement => "The ConnectWise company has no agreement that is neither cancelled nor ended.",
            Self::NoLiveAddition => "The agreement has no addition that is not cancelled. Create it in ConnectWise.",
            Self::NoneMatched => "The rule matches none. Change the rule, or choose by hand.",
            Self::SeveralMatched => "The rule matches several. Make the rule narrower, or choose one by hand.",
            Self::AgreementNotResolved => "The agreement is not resolved. Resolve it first.",
            Self::AdditionsNotRead => {
                "The agreement's additions were not read from ConnectWise yet. Resolve or refresh."
            }
            Self::Cancelled => "It was cancelled in ConnectWise. Choose another.",
            Self::Ended => "It has ended in ConnectWise. Choose another.",
            Self::Expired => "It has expired in ConnectWise. Choose another.",
            Self::Inactive => "It is inactive in ConnectWise. Choose another.",
            Self::Deleted => "It no longer exists in ConnectWise. Choose another.",
            Self::AgreementStale => "The agreement above was cancelled, ended or deleted. Choose another agreement.",
        }
    }
}

words! {
    /// What happens to many edits in one request when one of them cannot be done.
    BulkMode {
        /// None is done.
        AllOrNothing = "all_or_nothing",
        /// The others are done.
        Each = "each",
    }
}

words! {
    /// How a company came to its ConnectWise company.
    MatchSource {
        /// A person chose it.
        Manual = "manual",
        /// Auto-match applied it.
        Auto = "auto",
    }
}

words! {
    /// What a push job does.
    PushKind {
        /// Writes quantities.
        Push = "push",
        /// Reads and compares, and writes nothing.
        DryRun = "dry_run",
    }
}

words! {
    /// What started a push job.
    PushTrigger {
        /// A person or their script, through the API.
        Manual = "manual",
        /// The monthly schedule.
        Schedule = "schedule",
        /// A retry of another job's failed lines.
        Retry = "retry",
        /// A dry run that somebody looked at and found right.
        DryRun = "dry_run",
        /// A person who wants another job's quantities put back.
        Revert = "revert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for word in MappingReason::ALL {
            assert_eq!(word.as_str().parse::<MappingReason>().as_ref(), Ok(word));
        }
        let error = "CEIL".parse::<Rounding>().unwrap_err();
        assert_eq!(error.to_string(), "\"CEIL\" is not one of: ceil, floor, round, exact");
    }
}

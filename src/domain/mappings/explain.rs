//! Explains a line's mappings: the candidates of the rule, and why each was chosen or not.

use serde::{Deserialize, Serialize};

use super::record_index::IndexedRecord;
use super::record_index::RecordIndex;
use super::resolution::{AdditionMapping, AgreementMapping, Mapping, NamedMapping};
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::Target;
use crate::domain::rules::{Attribute, Rule, TracedComparison};
use crate::domain::string_enum::string_enum;

/// Maximum number of candidates in an explanation.
pub const MAX_CANDIDATES_SHOWN: usize = 200;

string_enum! {
    /// The part of a billing line that changed.
    LineField {
        /// The agreement mapping.
        Agreement = "agreement",
        /// The addition mapping.
        Addition = "addition",
        /// Whether pushes write the line.
        PushEnabled = "push_enabled",
        /// The line's own block size.
        BlockSize = "block_size",
        /// The line's own minimum quantity.
        MinimumQuantity = "minimum_quantity",
        /// The line's own included quantity.
        IncludedQuantity = "included_quantity",
        /// The line's adjustment.
        Adjustment = "adjustment",
    }
}

string_enum! {
    /// Why the line bills to a candidate, or does not.
    Verdict {
        /// The line bills to the candidate.
        Chosen = "chosen",
        /// The candidate is cancelled, ended, expired, inactive or deleted.
        NotLive = "not_live",
        /// The rule does not match the candidate.
        NotMatched = "not_matched",
        /// The rule matches several candidates, so none is chosen.
        OneOfSeveral = "one_of_several",
        /// A person chose another candidate.
        Overruled = "overruled",
        /// The product has no rule.
        NoRule = "no_rule",
    }
}

impl Verdict {
    /// The verdict as a sentence for a billing clerk.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Chosen => "The line bills to it.",
            Self::NotLive => "It is not live in ConnectWise, so it cannot be chosen.",
            Self::NotMatched => "The rule does not match it.",
            Self::OneOfSeveral => "The rule matches it and others, so none was chosen.",
            Self::Overruled => "A person chose another candidate, which overrides the rule.",
            Self::NoRule => "The product has no rule, so none was chosen.",
        }
    }
}

/// A candidate, and why the line bills to it or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateVerdict {
    /// The id in ConnectWise.
    pub id: String,
    /// The name to show to people.
    pub name: String,
    /// The attributes that rules can compare, with their values in ConnectWise.
    pub attributes: Vec<(Attribute, Option<String>)>,
    /// Why the candidate is not live; `None` if it is.
    pub not_live_reason: Option<MappingReason>,
    /// Whether the rule matches the candidate; `None` without a rule.
    pub matched: Option<bool>,
    /// Each comparison of the rule with its result.
    pub tested: Vec<TracedComparison>,
    /// Whether the candidate was chosen, and if not, why.
    pub verdict: Verdict,
}

/// A mapping as recorded in a line's history, with the name that its target had at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingSnapshot {
    /// Whether the mapping was resolved.
    pub status: MappingStatus,
    /// Whether a rule or a person decided.
    pub source: Option<MappingSource>,
    /// The target's id in ConnectWise.
    pub id: Option<String>,
    /// The target's name at that time.
    pub name: Option<String>,
    /// The reason for the status.
    pub reason: Option<MappingReason>,
}

impl<Id: ToString> From<NamedMapping<Id>> for MappingSnapshot {
    fn from(NamedMapping { mapping, name }: NamedMapping<Id>) -> Self {
        let id = mapping.target.as_ref().map(ToString::to_string);
        Self { status: mapping.status, source: mapping.source, id, name, reason: mapping.reason }
    }
}

impl RecordIndex {
    /// Returns the company's agreements as candidates for a line with this mapping, each with its verdict.
    pub fn agreement_verdicts(
        &self,
        company: Option<CwCompanyId>,
        rule: Option<&Rule>,
        mapping: &AgreementMapping,
    ) -> Vec<CandidateVerdict> {
        let known = company.into_iter().flat_map(|company| self.agreements_of(company));
        candidate_verdicts(
            known,
            Target::Agreement,
            rule,
            mapping,
            |record| (record.id, record.name.clone()),
            Agreement::attribute,
        )
    }

    /// Returns the agreement's additions as candidates for a line with this mapping, each with its verdict.
    pub fn addition_verdicts(
        &self,
        agreement: &AgreementMapping,
        rule: Option<&Rule>,
        mapping: &AdditionMapping,
    ) -> Vec<CandidateVerdict> {
        let known = agreement.target.into_iter().flat_map(|agreement| self.additions_of(agreement));
        candidate_verdicts(
            known,
            Target::Addition,
            rule,
            mapping,
            |record| (record.id, record.label()),
            Addition::attribute,
        )
    }

    /// Returns an agreement mapping with the agreement's name.
    pub fn named_agreement(&self, mapping: AgreementMapping) -> NamedMapping<CwAgreementId> {
        let name = mapping.target.and_then(|id| self.agreement_record(id)).map(|record| record.name.clone());
        NamedMapping { mapping, name }
    }

    /// Returns an addition mapping with the addition's label.
    pub fn named_addition(&self, mapping: AdditionMapping) -> NamedMapping<CwAdditionId> {
        let name = mapping.target.and_then(|id| self.addition_record(id)).map(|record| record.label());
        NamedMapping { mapping, name }
    }
}

fn candidate_verdicts<'a, T: 'a, Id: PartialEq + ToString>(
    known: impl Iterator<Item = &'a IndexedRecord<T>>,
    target: Target,
    rule: Option<&Rule>,
    mapping: &Mapping<Id>,
    name: impl Fn(&T) -> (Id, String),
    value: impl Fn(&T, Attribute) -> Option<&str>,
) -> Vec<CandidateVerdict> {
    let by_hand = mapping.source == Some(MappingSource::Manual);
    let verdict_of = |known: &IndexedRecord<T>| {
        let (id, name) = name(&known.record);
        let matched = rule.map(|rule| rule.matches(&known.facts));
        let is_chosen = mapping.status == MappingStatus::Resolved && mapping.target.as_ref() == Some(&id);
        let verdict = match (is_chosen, known.not_live_reason, matched) {
            (true, ..) => Verdict::Chosen,
            (_, Some(_), _) => Verdict::NotLive,
            _ if by_hand => Verdict::Overruled,
            (_, _, None) => Verdict::NoRule,
            (_, _, Some(false)) => Verdict::NotMatched,
            (_, _, Some(true)) => Verdict::OneOfSeveral,
        };
        CandidateVerdict {
            id: id.to_string(),
            name,
            attributes: Attribute::of(target).map(|one| (one, value(&known.record, one).map(str::to_owned))).collect(),
            not_live_reason: known.not_live_reason,
            matched,
            tested: rule.map(|rule| rule.trace(&known.facts)).unwrap_or_default(),
            verdict,
        }
    };
    known.take(MAX_CANDIDATES_SHOWN).map(verdict_of).collect()
}

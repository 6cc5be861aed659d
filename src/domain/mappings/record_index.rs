//! Resolves lines among the records read from ConnectWise.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;

use super::resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping};
use crate::domain::ConflictCode;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::{Facts, Rule};

/// A record with the facts that rules compare, folded once for all lines.
#[derive(Debug, Clone)]
pub(super) struct IndexedRecord<T> {
    pub(super) record: T,
    pub(super) facts: Facts,
    pub(super) not_live_reason: Option<MappingReason>,
}

impl<T> IndexedRecord<T> {
    fn is_live(&self) -> bool {
        self.not_live_reason.is_none()
    }
}

/// The ConnectWise records that resolving needs, indexed by id so that no line needs a query.
#[derive(Debug, Default)]
pub struct RecordIndex {
    agreements: HashMap<CwAgreementId, IndexedRecord<Agreement>>,
    by_company: HashMap<CwCompanyId, Vec<CwAgreementId>>,
    additions: HashMap<CwAdditionId, IndexedRecord<Addition>>,
    by_agreement: HashMap<CwAgreementId, Vec<CwAdditionId>>,
    gone_companies: HashSet<CwCompanyId>,
}

impl RecordIndex {
    /// Indexes the records and decides which are live on `today`. `read` lists the agreements whose additions were
    /// read, to distinguish "has no additions" from "not read yet".
    pub fn new(
        today: NaiveDate,
        gone_companies: impl IntoIterator<Item = CwCompanyId>,
        agreements: impl IntoIterator<Item = Agreement>,
        additions: impl IntoIterator<Item = Addition>,
        read: impl IntoIterator<Item = CwAgreementId>,
    ) -> Self {
        let mut record_index = Self { gone_companies: gone_companies.into_iter().collect(), ..Self::default() };
        for id in read {
            record_index.by_agreement.entry(id).or_default();
        }
        for record in agreements {
            record_index.by_company.entry(record.company_id).or_default().push(record.id);
            let known =
                IndexedRecord { facts: Facts::from(&record), not_live_reason: record.not_live_reason(today), record };
            record_index.agreements.insert(known.record.id, known);
        }
        for record in additions {
            record_index.by_agreement.entry(record.agreement_id).or_default().push(record.id);
            let known =
                IndexedRecord { facts: Facts::from(&record), not_live_reason: record.not_live_reason(today), record };
            record_index.additions.insert(known.record.id, known);
        }
        record_index
    }

    /// Returns an agreement, if it was read.
    pub fn agreement_record(&self, id: CwAgreementId) -> Option<&Agreement> {
        self.agreements.get(&id).map(|known| &known.record)
    }

    /// Returns an addition, if it was read.
    pub fn addition_record(&self, id: CwAdditionId) -> Option<&Addition> {
        self.additions.get(&id).map(|known| &known.record)
    }

    /// The agreements of a company, in order of id.
    pub(super) fn agreements_of(&self, company: CwCompanyId) -> impl Iterator<Item = &IndexedRecord<Agreement>> {
        self.by_company.get(&company).into_iter().flatten().filter_map(|id| self.agreements.get(id))
    }

    /// The additions of an agreement, in order of id.
    pub(super) fn additions_of(&self, agreement: CwAgreementId) -> impl Iterator<Item = &IndexedRecord<Addition>> {
        self.by_agreement.get(&agreement).into_iter().flatten().filter_map(|id| self.additions.get(id))
    }

    /// The live agreements that a rule matches, or all live agreements without a rule.
    pub fn live_agreements(&self, rule: Option<&Rule>) -> impl Iterator<Item = &Agreement> {
        let is_matched = move |known: &&IndexedRecord<Agreement>| {
            known.is_live()
                && !self.gone_companies.contains(&known.record.company_id)
                && rule.is_none_or(|rule| rule.matches(&known.facts))
        };
        self.agreements.values().filter(is_matched).map(|known| &known.record)
    }

    /// The live additions of an agreement that a rule matches; `None` if its additions were never read.
    pub fn live_additions(&self, agreement: CwAgreementId, rule: &Rule) -> Option<impl Iterator<Item = &Addition>> {
        let ids = self.by_agreement.get(&agreement)?;
        let known = ids.iter().filter_map(|id| self.additions.get(id));
        Some(known.filter(|known| known.is_live() && rule.matches(&known.facts)).map(|known| &known.record))
    }

    /// Checks that an agreement can be chosen by hand: it must exist, belong to the line's company and be live.
    pub fn may_choose_agreement(
        &self,
        company: Option<CwCompanyId>,
        id: CwAgreementId,
    ) -> Result<(), MappingChoiceError> {
        let company = company.ok_or(MappingChoiceError::CompanyNotSet)?;
        let known = self.agreements.get(&id).filter(|known| known.record.company_id == company);
        match known.ok_or(MappingChoiceError::NotOfCompany(id, company))?.not_live_reason {
            None => Ok(()),
            Some(reason) => Err(MappingChoiceError::AgreementNotLive(id, company, reason)),
        }
    }

    /// Checks that an addition can be chosen by hand: it must exist, belong to the line's agreement and be live.
    pub fn may_choose_addition(
        &self,
        agreement: &AgreementMapping,
        id: CwAdditionId,
    ) -> Result<(), MappingChoiceError> {
        let resolved = agreement.target.filter(|_| agreement.status == MappingStatus::Resolved);
        let parent = resolved.ok_or(MappingChoiceError::AgreementNotResolved)?;
        let known = self.additions.get(&id).filter(|known| known.record.agreement_id == parent);
        match known.ok_or(MappingChoiceError::NotOfAgreement(id, parent))?.not_live_reason {
            None => Ok(()),
            Some(reason) => Err(MappingChoiceError::AdditionNotLive(id, parent, reason)),
        }
    }

    /// Resolves a line's agreement. `before` is the previous mapping.
    pub fn resolve_agreement(
        &self,
        company: Option<CwCompanyId>,
        rule: Option<&Rule>,
        before: &AgreementMapping,
    ) -> AgreementMapping {
        let Some(company) = company else { return Mapping::unresolved(MappingReason::CompanyNotSet) };
        if self.gone_companies.contains(&company) {
            // The target is kept, because the company may return with the next refresh.
            let kept = before.target.zip(before.source);
            return kept.map_or_else(
                || Mapping::unresolved(MappingReason::CompanyGone),
                |(id, source)| Mapping::stale(source, id, MappingReason::CompanyGone),
            );
        }
        let own = |id: &CwAgreementId| self.agreements.get(id).filter(|known| known.record.company_id == company);
        if let Some(id) = before.manual_target() {
            return kept(
                MappingSource::Manual,
                *id,
                own(id).map_or(Some(MappingReason::Deleted), |known| known.not_live_reason),
            );
        }
        let live = self.agreements_of(company).filter(|known| known.is_live());
        let found = pick(live, rule, MappingReason::NoLiveAgreement, |agreement| {
            (agreement.id, Candidate { id: agreement.id.to_string(), name: agreement.name.clone() })
        });
        let was = before.target.and_then(|id| own(&id).map(|known| (id, known.not_live_reason)));
        stale_if_lost(found, was)
    }

    /// Resolves a line's addition among the live additions of its agreement, which must be resolved first.
    pub fn resolve_addition(
        &self,
        agreement: &AgreementMapping,
        rule: Option<&Rule>,
        before: &AdditionMapping,
    ) -> AdditionMapping {
        let Some(parent) = agreement.target else {
            // A manual choice is kept while the agreement has no target, such as when it is ambiguous. The choice
            // applies again if the same agreement is resolved, and is dropped if another one is.
            return before.manual_target().map_or_else(
                || Mapping::unresolved(MappingReason::AgreementNotResolved),
                |id| Mapping::stale(MappingSource::Manual, *id, MappingReason::AgreementNotResolved),
            );
        };
        // A previous addition that belongs to another agreement is dropped.
        let own = |id: &CwAdditionId| self.additions.get(id).filter(|known| known.record.agreement_id == parent);
        let was = before.target.and_then(|id| own(&id).map(|known| (id, known.not_live_reason)));
        if agreement.status != MappingStatus::Resolved {
            let kept = was.zip(before.source).map(|((id, _), source)| (id, source));
            return kept.map_or_else(
                || Mapping::unresolved(MappingReason::AgreementNotResolved),
                |(id, source)| Mapping::stale(source, id, MappingReason::AgreementStale),
            );
        }
        if !self.by_agreement.contains_key(&parent) {
            return Mapping::unresolved(MappingReason::AdditionsNotRead);
        }
        if let (Some(_), Some((id, not_live_reason))) = (before.manual_target(), was) {
            return kept(MappingSource::Manual, id, not_live_reason);
        }
        let live = self.additions_of(parent).filter(|known| known.is_live());
        let found = pick(live, rule, MappingReason::NoLiveAddition, |addition| {
            (addition.id, Candidate { id: addition.id.to_string(), name: addition.label() })
        });
        stale_if_lost(found, was)
    }
}

/// Why an agreement or addition cannot be chosen by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingChoiceError {
    /// The company is not matched to a ConnectWise company.
    CompanyNotSet,
    /// The agreement does not exist or belongs to another company.
    NotOfCompany(CwAgreementId, CwCompanyId),
    /// The agreement is not live.
    AgreementNotLive(CwAgreementId, CwCompanyId, MappingReason),
    /// The line's agreement is not resolved, so no addition can be chosen.
    AgreementNotResolved,
    /// The addition does not exist or belongs to another agreement.
    NotOfAgreement(CwAdditionId, CwAgreementId),
    /// The addition is not live.
    AdditionNotLive(CwAdditionId, CwAgreementId, MappingReason),
}

impl MappingChoiceError {
    /// Returns the conflict code of the error.
    pub const fn code(&self) -> ConflictCode {
        match self {
            Self::CompanyNotSet => ConflictCode::CompanyNotSet,
            Self::NotOfCompany(..) | Self::NotOfAgreement(..) => ConflictCode::NotAChoice,
            Self::AgreementNotLive(..) | Self::AdditionNotLive(..) => ConflictCode::NotLive,
            Self::AgreementNotResolved => ConflictCode::AgreementNotResolved,
        }
    }
}

impl std::fmt::Display for MappingChoiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let agreements = |company| format!("GET /api/v1/connectwise/companies/{company}/agreements lists the choices");
        let additions =
            |agreement| format!("GET /api/v1/connectwise/agreements/{agreement}/additions lists the choices");
        match self {
            Self::CompanyNotSet => f.write_str("the company is not matched to a ConnectWise company: match it first"),
            Self::AgreementNotResolved => {
                f.write_str("the line's agreement is not resolved: choose the agreement first")
            }
            Self::NotOfCompany(id, company) => {
                write!(f, "agreement {id} does not belong to ConnectWise company {company}: {}", agreements(company))
            }
            Self::AgreementNotLive(id, company, reason) => {
                write!(f, "agreement {id} is {reason}: {}", agreements(company))
            }
            Self::NotOfAgreement(id, agreement) => write!(
                f,
                "addition {id} is not on agreement {agreement}: create it in ConnectWise first; {}",
                additions(agreement)
            ),
            Self::AdditionNotLive(id, agreement, reason) => {
                write!(f, "addition {id} is {reason}: {}", additions(agreement))
            }
        }
    }
}

fn kept<Id>(source: MappingSource, id: Id, not_live: Option<MappingReason>) -> Mapping<Id> {
    match not_live {
        None => Mapping::resolved(source, id),
        Some(reason) => Mapping::stale(source, id, reason),
    }
}

/// Applies the rule to the live records: exactly one match resolves the line.
fn pick<'a, T: 'a, Id>(
    live: impl Iterator<Item = &'a IndexedRecord<T>>,
    rule: Option<&Rule>,
    none_live: MappingReason,
    name: impl Fn(&T) -> (Id, Candidate),
) -> Mapping<Id> {
    let mut live = live.peekable();
    if live.peek().is_none() {
        return Mapping::unresolved(none_live);
    }
    let Some(rule) = rule else { return Mapping::unresolved(MappingReason::NoRule) };
    let mut matching = live.filter(|known| rule.matches(&known.facts)).map(|known| name(&known.record));
    let Some((id, first)) = matching.next() else { return Mapping::unresolved(MappingReason::NoneMatched) };
    let Some((_, second)) = matching.next() else { return Mapping::resolved(MappingSource::Rule, id) };
    let rest = matching.map(|(_, candidate)| candidate).take(MAX_CANDIDATES - 2);
    Mapping {
        status: MappingStatus::Ambiguous,
        source: None,
        target: None,
        reason: Some(MappingReason::SeveralMatched),
        candidates: [first, second].into_iter().chain(rest).collect(),
    }
}

/// Returns a stale mapping if the rule finds nothing now and its previous target is no longer live.
fn stale_if_lost<Id>(found: Mapping<Id>, was: Option<(Id, Option<MappingReason>)>) -> Mapping<Id> {
    match was {
        Some((id, Some(reason))) if found.status == MappingStatus::Unresolved => {
            Mapping::stale(MappingSource::Rule, id, reason)
        }
        _ => found,
    }
}

//! The records read from ConnectWise, and what a line resolves to among them.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;

use super::resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping};
use crate::domain::ConflictCode;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::{Facts, Rule};

/// A record with what rules may ask of it, folded once for all lines.
#[derive(Debug, Clone)]
pub(super) struct IndexedRecord<T> {
    pub(super) record: T,
    pub(super) facts: Facts,
    pub(super) dead: Option<MappingReason>,
}

/// Everything that was read from ConnectWise and matters to a resolving, looked up by id without a query per line.
#[derive(Debug, Default)]
pub struct Catalog {
    agreements: HashMap<CwAgreementId, IndexedRecord<Agreement>>,
    by_company: HashMap<CwCompanyId, Vec<CwAgreementId>>,
    additions: HashMap<CwAdditionId, IndexedRecord<Addition>>,
    by_agreement: HashMap<CwAgreementId, Vec<CwAdditionId>>,
    gone_companies: HashSet<CwCompanyId>,
}

impl Catalog {
    /// Indexes what was read, judging liveness on one day. `read` names the agreements whose additions were read,
    /// so that "has none" and "not looked yet" differ.
    pub fn new(
        today: NaiveDate,
        gone_companies: impl IntoIterator<Item = CwCompanyId>,
        agreements: impl IntoIterator<Item = Agreement>,
        additions: impl IntoIterator<Item = Addition>,
        read: impl IntoIterator<Item = CwAgreementId>,
    ) -> Self {
        let mut catalog = Self { gone_companies: gone_companies.into_iter().collect(), ..Self::default() };
        for id in read {
            catalog.by_agreement.entry(id).or_default();
        }
        for record in agreements {
            catalog.by_company.entry(record.company_id).or_default().push(record.id);
            let known = IndexedRecord { facts: Facts::from(&record), dead: record.inactive_reason(today), record };
            catalog.agreements.insert(known.record.id, known);
        }
        for record in additions {
            catalog.by_agreement.entry(record.agreement_id).or_default().push(record.id);
            let known = IndexedRecord { facts: Facts::from(&record), dead: record.inactive_reason(today), record };
            catalog.additions.insert(known.record.id, known);
        }
        catalog
    }

    /// An agreement that was read.
    pub fn agreement_record(&self, id: CwAgreementId) -> Option<&Agreement> {
        self.agreements.get(&id).map(|known| &known.record)
    }

    /// An addition that was read.
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

    /// Whether an agreement may be chosen by hand for a line of a company: it must exist, be the company's, and live.
    pub fn may_choose_agreement(&self, company: Option<CwCompanyId>, id: CwAgreementId) -> Result<(), ChoiceError> {
        let company = company.ok_or(ChoiceError::CompanyNotSet)?;
        let known = self.agreements.get(&id).filter(|known| known.record.company_id == company);
        match known.ok_or(ChoiceError::NotOfCompany(id, company))?.dead {
            None => Ok(()),
            Some(reason) => Err(ChoiceError::AgreementNotLive(id, company, reason)),
        }
    }

    /// Whether an addition may be chosen by hand for a line whose agreement is as given.
    pub fn may_choose_addition(&self, agreement: &AgreementMapping, id: CwAdditionId) -> Result<(), ChoiceError> {
        let resolved = agreement.target.filter(|_| agreement.status == MappingStatus::Resolved);
        let parent = resolved.ok_or(ChoiceError::AgreementNotResolved)?;
        let known = self.additions.get(&id).filter(|known| known.record.agreement_id == parent);
        match known.ok_or(ChoiceError::NotOfAgreement(id, parent))?.dead {
            None => Ok(()),
            Some(reason) => Err(ChoiceError::AdditionNotLive(id, parent, reason)),
        }
    }

    /// Resolves a line's agreement. `before` is what it was mapped to until now.
    pub fn agreement(
        &self,
        company: Option<CwCompanyId>,
        rule: Option<&Rule>,
        before: &AgreementMapping,
    ) -> AgreementMapping {
        let Some(company) = company else { return Mapping::unresolved(MappingReason::CompanyNotSet) };
        if self.gone_companies.contains(&company) {
            // A manual choice is kept: the company may be back with the next refresh.
            let kept = before.target.zip(before.source);
            return kept.map_or_else(
                || Mapping::unresolved(MappingReason::CompanyGone),
                |(id, source)| Mapping::stale(source, id, MappingReason::CompanyGone),
            );
        }
        let own = |id: &CwAgreementId| self.agreements.get(id).filter(|known| known.record.company_id == company);
        if let Some(id) = before.manual_target() {
            return kept(MappingSource::Manual, *id, own(id).map_or(Some(MappingReason::Deleted), |known| known.dead));
        }
        let live = self.agreements_of(company).filter(|known| known.dead.is_none());
        let found = pick(live, rule, MappingReason::NoLiveAgreement, |agreement| {
            (agreement.id, Candidate { id: agreement.id.to_string(), name: agreement.name.clone() })
        });
        let was = before.target.and_then(|id| own(&id).map(|known| (id, known.dead)));
        stale_if_lost(found, was)
    }

    /// Resolves a line's addition among the live additions of its agreement, as just resolved.
    pub fn addition(
        &self,
        agreement: &AgreementMapping,
        rule: Option<&Rule>,
        before: &AdditionMapping,
    ) -> AdditionMapping {
        let Some(parent) = agreement.target else {
            // A choice by hand outlives a moment in which the agreement is ambiguous; it holds again once the same
            // agreement is resolved, and is undone if another is.
            return before.manual_target().map_or_else(
                || Mapping::unresolved(MappingReason::AgreementNotResolved),
                |id| Mapping::stale(MappingSource::Manual, *id, MappingReason::AgreementNotResolved),
            );
        };
        // An addition of another agreement hung on what the line was mapped to before; it is undone.
        let own = |id: &CwAdditionId| self.additions.get(id).filter(|known| known.record.agreement_id == parent);
        let was = before.target.and_then(|id| own(&id).map(|known| (id, known.dead)));
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
        if let (Some(_), Some((id, dead))) = (before.manual_target(), was) {
            return kept(MappingSource::Manual, id, dead);
        }
        let live = self.additions_of(parent).filter(|known| known.dead.is_none());
        let found = pick(live, rule, MappingReason::NoLiveAddition, |addition| {
            (addition.id, Candidate { id: addition.id.to_string(), name: addition.label() })
        });
        stale_if_lost(found, was)
    }
}

/// Why something cannot be chosen by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceError {
    /// The company is not matched to a ConnectWise company.
    CompanyNotSet,
    /// There is no such agreement, or it is another company's.
    NotOfCompany(CwAgreementId, CwCompanyId),
    /// The agreement is not live.
    AgreementNotLive(CwAgreementId, CwCompanyId, MappingReason),
    /// Additions can be chosen only of a resolved agreement.
    AgreementNotResolved,
    /// There is no such addition, or it is another agreement's.
    NotOfAgreement(CwAdditionId, CwAgreementId),
    /// The addition is not live.
    AdditionNotLive(CwAdditionId, CwAgreementId, MappingReason),
}

impl ChoiceError {
    /// A stable word for it.
    pub const fn code(&self) -> ConflictCode {
        match self {
            Self::CompanyNotSet => ConflictCode::CompanyNotSet,
            Self::NotOfCompany(..) | Self::NotOfAgreement(..) => ConflictCode::NotAChoice,
            Self::AgreementNotLive(..) | Self::AdditionNotLive(..) => ConflictCode::NotLive,
            Self::AgreementNotResolved => ConflictCode::AgreementNotResolved,
        }
    }
}

impl std::fmt::Display for ChoiceError {
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

fn kept<Id>(source: MappingSource, id: Id, dead: Option<MappingReason>) -> Mapping<Id> {
    match dead {
        None => Mapping::resolved(source, id),
        Some(reason) => Mapping::stale(source, id, reason),
    }
}

/// Applies the rule to the live records: exactly one match resolves.
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

/// A target that the rule once found and that has died leaves the line stale, unless the rule now finds another.
fn stale_if_lost<Id>(found: Mapping<Id>, was: Option<(Id, Option<MappingReason>)>) -> Mapping<Id> {
    match was {
        Some((id, Some(reason))) if found.status == MappingStatus::Unresolved => {
            Mapping::stale(MappingSource::Rule, id, reason)
        }
        _ => found,
    }
}

//! Deciding what a billing line bills to: the agreement, then the addition.

use std::collections::HashMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::agreement::{Addition, Agreement};
use super::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use super::rules::{Facts, Rule};
use super::words::{MappingReason, MappingSource, MappingStatus};

/// How many candidates of an ambiguous mapping are kept; a rule that matches more needs mending, not a longer list.
pub const MAX_CANDIDATES: usize = 20;

/// One of several targets that a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// ConnectWise's id.
    pub id: String,
    /// What a person would call it.
    pub name: String,
}

/// What a line resolved to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping<Id> {
    /// What it came to.
    pub status: MappingStatus,
    /// Who decided; `None` where nothing is mapped.
    pub source: Option<MappingSource>,
    /// The target; also kept while `stale`.
    pub target: Option<Id>,
    /// Why, where the status alone does not say.
    pub reason: Option<MappingReason>,
    /// What matched, where it is ambiguous.
    pub candidates: Vec<Candidate>,
}

/// What a line's agreement resolved to.
pub type AgreementMapping = Mapping<CwAgreementId>;
/// What a line's addition resolved to.
pub type AdditionMapping = Mapping<CwAdditionId>;

impl<Id> Mapping<Id> {
    /// No target, with why.
    pub fn unresolved(reason: MappingReason) -> Self {
        Self {
            status: MappingStatus::Unresolved,
            source: None,
            target: None,
            reason: Some(reason),
            candidates: Vec::new(),
        }
    }

    /// Exactly one live target.
    pub fn resolved(source: MappingSource, target: Id) -> Self {
        Self {
            status: MappingStatus::Resolved,
            source: Some(source),
            target: Some(target),
            reason: None,
            candidates: Vec::new(),
        }
    }

    fn stale(source: MappingSource, target: Id, reason: MappingReason) -> Self {
        Self {
            status: MappingStatus::Stale,
            source: Some(source),
            target: Some(target),
            reason: Some(reason),
            candidates: Vec::new(),
        }
    }

    fn manual_target(&self) -> Option<&Id> {
        self.target.as_ref().filter(|_| self.source == Some(MappingSource::Manual))
    }
}

/// A record with what rules may ask of it, folded once for all lines.
#[derive(Debug, Clone)]
struct Known<T> {
    record: T,
    facts: Facts,
    dead: Option<MappingReason>,
}

/// Everything that was read from ConnectWise and matters to a resolving, looked up by id without a query per line.
#[derive(Debug, Default)]
pub struct Catalog {
    agreements: HashMap<CwAgreementId, Known<Agreement>>,
    by_company: HashMap<CwCompanyId, Vec<CwAgreementId>>,
    additions: HashMap<CwAdditionId, Known<Addition>>,
    by_agreement: HashMap<CwAgreementId, Vec<CwAdditionId>>,
    gone_companies: std::collections::HashSet<CwCompanyId>,
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
            let known = Known { facts: Facts::from(&record), dead: record.dead_because(today), record };
            catalog.agreements.insert(known.record.id, known);
        }
        for record in additions {
            catalog.by_agreement.entry(record.agreement_id).or_default().push(record.id);
            let known = Known { facts: Facts::from(&record), dead: record.dead_because(today), record };
            catalog.additions.insert(known.record.id, known);
        }
        catalog
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
            // What was chosen is kept: the company may be back with the next refresh.
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
        let ids = self.by_company.get(&company).map(Vec::as_slice).unwrap_or_default();
        let live = ids.iter().filter_map(|id| self.agreements.get(id)).filter(|known| known.dead.is_none());
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
        let Some(ids) = self.by_agreement.get(&parent) else {
            return Mapping::unresolved(MappingReason::AdditionsNotRead);
        };
        if let (Some(_), Some((id, dead))) = (before.manual_target(), was) {
            return kept(MappingSource::Manual, id, dead);
        }
        let live = ids.iter().filter_map(|id| self.additions.get(id)).filter(|known| known.dead.is_none());
        let found = pick(live, rule, MappingReason::NoLiveAddition, |addition| {
            (addition.id, Candidate { id: addition.id.to_string(), name: addition.label() })
        });
        stale_if_lost(found, was)
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
    live: impl Iterator<Item = &'a Known<T>>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::words::Target;

    fn now() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 22).unwrap()
    }

    fn agreement(id: i64, name: &str) -> Agreement {
        Agreement {
            id: CwAgreementId(id),
            company_id: CwCompanyId(7),
            name: name.into(),
            type_name: None,
            status: None,
            cancelled: false,
            cancelled_at: None,
            ends_at: None,
            no_end: true,
            gone: false,
        }
    }

    fn addition(id: i64, agreement: i64, product: &str) -> Addition {
        Addition {
            id: CwAdditionId(id),
            agreement_id: CwAgreementId(agreement),
            product_identifier: Some(product.into()),
            description: None,
            quantity: None,
            cancelled_at: None,
            gone: false,
        }
    }

    fn catalog(agreements: Vec<Agreement>, additions: Vec<Addition>) -> Catalog {
        let read: Vec<_> = agreements.iter().map(|a| a.id).collect();
        Catalog::new(now(), [], agreements, additions, read)
    }

    fn rule(target: Target, text: &str) -> Rule {
        Rule::parse(target, text).unwrap()
    }

    fn moved_to(id: i64) -> AdditionMapping {
        Mapping::resolved(MappingSource::Rule, CwAdditionId(id))
    }

    fn fresh<Id>() -> Mapping<Id> {
        Mapping::unresolved(MappingReason::NoRule)
    }

    #[test]
    fn one_match_resolves_none_does_not_several_are_listed() {
        let catalog = catalog(vec![agreement(1, "Backup"), agreement(2, "Backup 2"), agreement(3, "Other")], vec![]);
        let of = |text: &str| {
            let rule = rule(Target::Agreement, text);
            catalog.agreement(Some(CwCompanyId(7)), Some(&rule), &fresh())
        };
        assert_eq!(of(r#"name = "other""#), Mapping::resolved(MappingSource::Rule, CwAgreementId(3)));
        assert_eq!(of(r#"name = "x""#), Mapping::unresolved(MappingReason::NoneMatched));
        let several = of(r#"name like "backup%""#);
        assert_eq!(several.status, MappingStatus::Ambiguous);
        assert_eq!(several.candidates.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn why_nothing_resolved_is_told() {
        let dead = Agreement { cancelled: true, ..agreement(1, "Backup") };
        let catalog = catalog(vec![dead], vec![]);
        let reason = |company| catalog.agreement(company, None, &fresh()).reason.unwrap();
        assert_eq!(reason(None), MappingReason::CompanyNotSet);
        assert_eq!(reason(Some(CwCompanyId(7))), MappingReason::NoLiveAgreement);
        let gone = Catalog::new(now(), [CwCompanyId(7)], [], [], []);
        assert_eq!(gone.agreement(Some(CwCompanyId(7)), None, &fresh()).reason, Some(MappingReason::CompanyGone));
    }

    #[test]
    fn a_manual_choice_wins_and_goes_stale_when_it_dies() {
        let any = rule(Target::Agreement, r#"name = "Other""#);
        let manual = Mapping::resolved(MappingSource::Manual, CwAgreementId(1));
        let live = catalog(vec![agreement(1, "Backup"), agreement(3, "Other")], vec![]);
        assert_eq!(live.agreement(Some(CwCompanyId(7)), Some(&any), &manual), manual);
        let dead =
            catalog(vec![Agreement { cancelled: true, ..agreement(1, "Backup") }, agreement(3, "Other")], vec![]);
        let stale = dead.agreement(Some(CwCompanyId(7)), Some(&any), &manual);
        assert_eq!((stale.status, stale.reason), (MappingStatus::Stale, Some(MappingReason::Cancelled)));
        assert_eq!(live.agreement(Some(CwCompanyId(7)), Some(&any), &stale), manual, "alive again, mapped again");
    }

    #[test]
    fn a_dead_target_of_a_rule_is_stale_until_the_rule_finds_another() {
        let backup = rule(Target::Agreement, r#"name contains "Backup""#);
        let was = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
        let dead = Agreement { cancelled: true, ..agreement(1, "Backup 2025") };
        let none = catalog(vec![dead.clone()], vec![]).agreement(Some(CwCompanyId(7)), Some(&backup), &was);
        assert_eq!((none.status, none.target), (MappingStatus::Stale, Some(CwAgreementId(1))));
        let renewed = catalog(vec![dead, agreement(2, "Backup 2026")], vec![]);
        let found = renewed.agreement(Some(CwCompanyId(7)), Some(&backup), &none);
        assert_eq!(found, Mapping::resolved(MappingSource::Rule, CwAgreementId(2)));
    }

    #[test]
    fn an_addition_hangs_on_its_agreement() {
        let product = rule(Target::Addition, r#"product/identifier = "GB""#);
        let catalog = catalog(
            vec![agreement(1, "A"), agreement(2, "B")],
            vec![addition(10, 1, "GB"), addition(11, 1, "Seat"), addition(20, 2, "GB")],
        );
        let first = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
        let second = Mapping::resolved(MappingSource::Rule, CwAgreementId(2));
        let manual = Mapping::resolved(MappingSource::Manual, CwAdditionId(11));
        assert_eq!(catalog.addition(&first, Some(&product), &manual), manual);
        let moved = catalog.addition(&second, Some(&product), &manual);
        assert_eq!(moved, Mapping::resolved(MappingSource::Rule, CwAdditionId(20)));
        let by_rule = Mapping::resolved(MappingSource::Rule, CwAdditionId(10));
        let none = catalog.addition(&Mapping::unresolved(MappingReason::NoneMatched), Some(&product), &by_rule);
        assert_eq!(none, Mapping::unresolved(MappingReason::AgreementNotResolved));
        let kept = catalog.addition(&Mapping::unresolved(MappingReason::SeveralMatched), Some(&product), &manual);
        assert_eq!((kept.status, kept.target), (MappingStatus::Stale, Some(CwAdditionId(11))));
        assert_eq!(catalog.addition(&first, Some(&product), &kept), manual, "the agreement is resolved again");
        assert_eq!(catalog.addition(&second, Some(&product), &kept), moved_to(20));
        let stale = Mapping::stale(MappingSource::Rule, CwAgreementId(1), MappingReason::Cancelled);
        let below = catalog.addition(&stale, Some(&product), &manual);
        assert_eq!((below.status, below.target), (MappingStatus::Stale, Some(CwAdditionId(11))));
        assert_eq!(catalog.addition(&first, Some(&product), &below), manual, "the agreement lives again");
    }

    #[test]
    fn not_read_is_not_the_same_as_none() {
        let catalog = Catalog::new(now(), [], [agreement(1, "A")], [], []);
        let mapped = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
        assert_eq!(catalog.addition(&mapped, None, &fresh()).reason, Some(MappingReason::AdditionsNotRead));
    }
}

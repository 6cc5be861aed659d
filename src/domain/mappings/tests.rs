use chrono::NaiveDate;

use super::*;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::Rule;
use crate::domain::rules::Target;

fn now() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 22).unwrap()
}

fn agreement(id: i64, name: &str) -> Agreement {
    Agreement::endless(id, 7, name)
}

fn addition(id: i64, agreement: i64, product: &str) -> Addition {
    Addition::plain(id, agreement, product)
}

fn record_index(agreements: Vec<Agreement>, additions: Vec<Addition>) -> RecordIndex {
    let read: Vec<_> = agreements.iter().map(|a| a.id).collect();
    RecordIndex::new(now(), [], agreements, additions, read)
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
fn one_match_resolves_and_several_are_ambiguous() {
    let record_index =
        record_index(vec![agreement(1, "Backup"), agreement(2, "Backup 2"), agreement(3, "Other")], vec![]);
    let of = |text: &str| {
        let rule = rule(Target::Agreement, text);
        record_index.resolve_agreement(Some(CwCompanyId(7)), Some(&rule), &fresh())
    };
    assert_eq!(of(r#"name = "other""#), Mapping::resolved(MappingSource::Rule, CwAgreementId(3)));
    assert_eq!(of(r#"name = "x""#), Mapping::unresolved(MappingReason::NoneMatched));
    let several = of(r#"name like "backup%""#);
    assert_eq!(several.status, MappingStatus::Ambiguous);
    assert_eq!(several.candidates.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn reasons_for_no_target_are_reported() {
    let inactive = Agreement { cancelled: true, ..agreement(1, "Backup") };
    let record_index = record_index(vec![inactive], vec![]);
    let reason = |company| record_index.resolve_agreement(company, None, &fresh()).reason.unwrap();
    assert_eq!(reason(None), MappingReason::CompanyNotSet);
    assert_eq!(reason(Some(CwCompanyId(7))), MappingReason::NoLiveAgreement);
    let gone = RecordIndex::new(now(), [CwCompanyId(7)], [], [], []);
    assert_eq!(gone.resolve_agreement(Some(CwCompanyId(7)), None, &fresh()).reason, Some(MappingReason::CompanyGone));
}

#[test]
fn a_manual_choice_wins_and_goes_stale_when_it_dies() {
    let any = rule(Target::Agreement, r#"name = "Other""#);
    let manual = Mapping::resolved(MappingSource::Manual, CwAgreementId(1));
    let live = record_index(vec![agreement(1, "Backup"), agreement(3, "Other")], vec![]);
    assert_eq!(live.resolve_agreement(Some(CwCompanyId(7)), Some(&any), &manual), manual);
    let dead =
        record_index(vec![Agreement { cancelled: true, ..agreement(1, "Backup") }, agreement(3, "Other")], vec![]);
    let stale = dead.resolve_agreement(Some(CwCompanyId(7)), Some(&any), &manual);
    assert_eq!((stale.status, stale.reason), (MappingStatus::Stale, Some(MappingReason::Cancelled)));
    assert_eq!(live.resolve_agreement(Some(CwCompanyId(7)), Some(&any), &stale), manual, "live again, mapped again");
}

#[test]
fn a_dead_target_of_a_rule_is_stale_until_the_rule_finds_another() {
    let backup = rule(Target::Agreement, r#"name contains "Backup""#);
    let was = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
    let inactive = Agreement { cancelled: true, ..agreement(1, "Backup 2025") };
    let none =
        record_index(vec![inactive.clone()], vec![]).resolve_agreement(Some(CwCompanyId(7)), Some(&backup), &was);
    assert_eq!((none.status, none.target), (MappingStatus::Stale, Some(CwAgreementId(1))));
    let renewed = record_index(vec![inactive, agreement(2, "Backup 2026")], vec![]);
    let found = renewed.resolve_agreement(Some(CwCompanyId(7)), Some(&backup), &none);
    assert_eq!(found, Mapping::resolved(MappingSource::Rule, CwAgreementId(2)));
}

#[test]
fn an_addition_depends_on_its_agreement() {
    let product = rule(Target::Addition, r#"product/identifier = "GB""#);
    let record_index = record_index(
        vec![agreement(1, "A"), agreement(2, "B")],
        vec![addition(10, 1, "GB"), addition(11, 1, "Seat"), addition(20, 2, "GB")],
    );
    let first = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
    let second = Mapping::resolved(MappingSource::Rule, CwAgreementId(2));
    let manual = Mapping::resolved(MappingSource::Manual, CwAdditionId(11));
    assert_eq!(record_index.resolve_addition(&first, Some(&product), &manual), manual);
    let moved = record_index.resolve_addition(&second, Some(&product), &manual);
    assert_eq!(moved, Mapping::resolved(MappingSource::Rule, CwAdditionId(20)));
    let by_rule = Mapping::resolved(MappingSource::Rule, CwAdditionId(10));
    let none =
        record_index.resolve_addition(&Mapping::unresolved(MappingReason::NoneMatched), Some(&product), &by_rule);
    assert_eq!(none, Mapping::unresolved(MappingReason::AgreementNotResolved));
    let kept =
        record_index.resolve_addition(&Mapping::unresolved(MappingReason::SeveralMatched), Some(&product), &manual);
    assert_eq!((kept.status, kept.target), (MappingStatus::Stale, Some(CwAdditionId(11))));
    assert_eq!(record_index.resolve_addition(&first, Some(&product), &kept), manual, "the agreement is resolved again");
    assert_eq!(record_index.resolve_addition(&second, Some(&product), &kept), moved_to(20));
    let stale = Mapping::stale(MappingSource::Rule, CwAgreementId(1), MappingReason::Cancelled);
    let below = record_index.resolve_addition(&stale, Some(&product), &manual);
    assert_eq!((below.status, below.target), (MappingStatus::Stale, Some(CwAdditionId(11))));
    assert_eq!(record_index.resolve_addition(&first, Some(&product), &below), manual, "the agreement is live again");
}

#[test]
fn not_read_is_not_the_same_as_none() {
    let record_index = RecordIndex::new(now(), [], [agreement(1, "A")], [], []);
    let mapped = Mapping::resolved(MappingSource::Rule, CwAgreementId(1));
    assert_eq!(record_index.resolve_addition(&mapped, None, &fresh()).reason, Some(MappingReason::AdditionsNotRead));
}

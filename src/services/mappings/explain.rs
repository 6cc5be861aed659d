//! Explains a billing line: how its rules evaluate now, and what changed when.

use super::resolve;
use crate::db::{BillingLineView, LineChangeRow, MatchingRule, RuleFilter, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::CwCompanyId;
use crate::domain::mappings::CandidateVerdict;
use crate::domain::rules::Target;
use crate::services::schedule::billing_calendar;

/// Maximum number of changes in an explanation.
const MAX_CHANGES: i64 = 100;

/// How a line's mappings were found.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The current agreement rule, if there is one.
    pub agreement_rule: Option<MatchingRule>,
    /// The company's agreements, and how the rule evaluates for each.
    pub agreements: Vec<CandidateVerdict>,
    /// The current addition rule, if there is one.
    pub addition_rule: Option<MatchingRule>,
    /// The agreement's additions, and how the rule evaluates for each.
    pub additions: Vec<CandidateVerdict>,
    /// The changes to the line, newest first.
    pub changes: Vec<LineChangeRow>,
}

/// Explains how a line's mappings were found.
pub fn explain(tx: &mut Tx<'_>, view: &BillingLineView, now: Timestamp) -> Result<Explanation> {
    let filter = RuleFilter { product_id: Some(view.line.product_id.clone()), target: None };
    let rows = tx.rules(&filter)?;
    let row = |target| rows.iter().find(|row| row.target == target);
    let (agreement_rule, addition_rule) = (row(Target::Agreement), row(Target::Addition));
    let agreement_parsed = agreement_rule.map(resolve::parsed).transpose()?;
    let addition_parsed = addition_rule.map(resolve::parsed).transpose()?;
    let company = view.company.connectwise_company_id;
    let scope: Vec<CwCompanyId> = company.into_iter().collect();
    let today = billing_calendar::today(tx, now)?;
    let record_index = tx.record_index(Some(&scope), today)?;
    let (agreement, addition) = (view.line.agreement(), view.line.addition());
    Ok(Explanation {
        agreement_rule: agreement_rule.cloned(),
        agreements: record_index.agreement_verdicts(company, agreement_parsed.as_ref(), &agreement),
        addition_rule: addition_rule.cloned(),
        additions: record_index.addition_verdicts(&agreement, addition_parsed.as_ref(), &addition),
        changes: tx.line_changes(&view.line.id, MAX_CHANGES)?,
    })
}

//! `/billing-lines/{id}`: a billing line with its explanation.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::BillingLine;
use crate::db;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::BillingLineId;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{CandidateVerdict, LineField, Verdict};
use crate::domain::rules::{Attribute, TracedComparison};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::with_etag;
use crate::http::resources::matching_rules::MatchingRule;
use crate::http::views::adjustment::LineAdjustment;
use crate::services::AppContext;
use crate::services::mappings::explain;
use crate::services::quantities::compute::{BilledMonths, compute_one};

/// A billing line with the explanation of its mappings.
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingLineDetail {
    /// The billing line.
    #[serde(flatten)]
    pub line: BillingLine,
    /// How the line's mappings were found.
    pub explanation: LineExplanation,
}

/// How a line's mappings were found: the rules with their current candidates, and the past changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineExplanation {
    /// The agreement rule, and the agreements of the company.
    pub agreement: MappingExplanation,
    /// The addition rule, and the additions of the line's agreement.
    pub addition: MappingExplanation,
    /// The latest changes of the line, newest first, at most 100.
    pub changes: Vec<LineHistoryEntry>,
}

/// A matching rule and its candidates.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingExplanation {
    /// The product's rule; null if it has none.
    #[schema(required)]
    pub rule: Option<MatchingRule>,
    /// The candidates, at most 200: the company's agreements, or the agreement's additions.
    pub candidates: Vec<CandidateExplanation>,
}

impl MappingExplanation {
    fn new(rule: Option<db::MatchingRule>, candidates: Vec<CandidateVerdict>) -> Self {
        Self { rule: rule.map(Into::into), candidates: candidates.into_iter().map(Into::into).collect() }
    }
}

/// A candidate, and why the line bills to it or not.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandidateExplanation {
    /// ConnectWise's id of the agreement or addition.
    pub id: String,
    /// The name of the agreement or addition, for people.
    pub name: String,
    /// The attributes that rules can compare, with their values.
    pub attributes: Vec<AttributeValue>,
    /// Why the candidate is not live and cannot be chosen; null if it is live.
    #[schema(required)]
    pub not_live: Option<MappingReason>,
    /// Whether the rule matches the candidate; null if there is no rule.
    #[schema(required)]
    pub matched: Option<bool>,
    /// Each comparison of the rule, and whether it holds for this candidate.
    pub comparisons: Vec<ConditionResult>,
    /// Why the line bills to the candidate, or why not.
    pub verdict: Verdict,
    /// The verdict as a sentence, for people.
    pub explanation: String,
}

impl From<CandidateVerdict> for CandidateExplanation {
    fn from(candidate: CandidateVerdict) -> Self {
        let value = |(attribute, value)| AttributeValue { attribute, value };
        Self {
            id: candidate.id,
            name: candidate.name,
            attributes: candidate.attributes.into_iter().map(value).collect(),
            not_live: candidate.not_live_reason,
            matched: candidate.matched,
            comparisons: candidate.tested.into_iter().map(Into::into).collect(),
            verdict: candidate.verdict,
            explanation: candidate.verdict.explain().to_owned(),
        }
    }
}

/// An attribute of a candidate and its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttributeValue {
    /// The attribute's name, as in rules.
    pub attribute: Attribute,
    /// The value in ConnectWise; null if it is empty there.
    #[schema(required)]
    pub value: Option<String>,
}

/// A comparison of a rule and its result.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConditionResult {
    /// The comparison, as it is written in the rule.
    pub comparison: String,
    /// Whether the comparison holds for the candidate.
    pub holds: bool,
}

impl From<TracedComparison> for ConditionResult {
    fn from(tested: TracedComparison) -> Self {
        Self { comparison: tested.comparison, holds: tested.holds }
    }
}

/// The value of one part of a billing line in its history.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ChangedValue {
    /// Whether pushes wrote the line.
    PushEnabled(bool),
    /// The line's own block size, minimum quantity or included quantity, as a decimal.
    Decimal(String),
    /// The line's adjustment.
    Adjustment(LineAdjustment),
    /// The agreement or addition that the line billed to.
    Mapping(MappingInHistory),
}

/// A mapping as recorded in the history of its line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MappingInHistory {
    /// The mapping's status.
    pub status: MappingStatus,
    /// Whether a rule or a manual choice decided; null if nothing was mapped.
    #[schema(required)]
    pub source: Option<MappingSource>,
    /// ConnectWise's id of the agreement or addition; null if nothing was mapped.
    #[schema(required)]
    pub id: Option<String>,
    /// The name of the agreement or addition at that time; null if nothing was mapped.
    #[schema(required)]
    pub name: Option<String>,
    /// The reason for the status; null if the status needs none.
    #[schema(required)]
    pub reason: Option<MappingReason>,
}

/// A change of a billing line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineHistoryEntry {
    /// The part of the line that changed.
    pub part: LineField,
    /// The new value: a mapping; for `push_enabled` true or false; for `block_size`, `minimum_quantity` and
    /// `included_quantity` a decimal, or null for the product's; for `adjustment` the adjustment, or null for none.
    #[schema(required)]
    pub new: Option<ChangedValue>,
    /// The old value, in the same form. Also null if none of the listed changes contains it.
    #[schema(required)]
    pub old: Option<ChangedValue>,
    /// When the change was made.
    pub at: DateTime<Utc>,
    /// Who made the change: the name of an API key, or `refresh` for an automatic refresh.
    pub by: String,
}

/// Renders changes, newest first. The old value of a change is the new value of the previous change of the same part.
fn changes(rows: Vec<db::LineChangeRow>) -> Vec<LineHistoryEntry> {
    let value = |row: &db::LineChangeRow| -> Option<ChangedValue> { serde_json::from_str(&row.became).ok().flatten() };
    let was = |place: usize, part: LineField| rows.iter().skip(place + 1).find(|row| row.part == part).and_then(value);
    let changed = |(place, row): (usize, &db::LineChangeRow)| LineHistoryEntry {
        part: row.part,
        new: value(row),
        old: was(place, row.part),
        at: row.changed_at.and_utc(),
        by: row.changed_by.clone(),
    };
    rows.iter().enumerate().map(changed).collect()
}

impl From<explain::Explanation> for LineExplanation {
    fn from(explanation: explain::Explanation) -> Self {
        Self {
            agreement: MappingExplanation::new(explanation.agreement_rule, explanation.agreements),
            addition: MappingExplanation::new(explanation.addition_rule, explanation.additions),
            changes: changes(explanation.changes),
        }
    }
}

/// The query parameters of a billing line.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonthQuery {
    /// The month whose usage is shown, such as `2026-11`. The default is the month that a push would bill now,
    /// according to the product's `billing_period`.
    pub billing_month: Option<BillingMonth>,
}

/// Get a billing line
///
/// Returns the line with an explanation of its mappings: the product's matching rules, their candidates and why each
/// one was chosen or not, and who changed what and when. The line's version is the `ETag`.
#[utoipa::path(
    tag = "billing lines",
    params(("id" = String, Path, description = "The billing line"), MonthQuery),
    responses(
        (status = 200, description = "The billing line with its explanation", body = BillingLineDetail),
        Errors
    )
)]
#[get("/billing-lines/{id}")]
pub async fn get_billing_line(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    query: StrictQuery<MonthQuery>,
) -> ApiResult {
    let (id, now) = (BillingLineId::from(id.into_inner()), ctx.clock.now());
    let months = BilledMonths::named_or_now(query.0.billing_month);
    let read = move |tx: &mut db::Tx<'_>| {
        let view = tx.billing_line(&id)?;
        let explanation = explain::explain(tx, &view, now)?.into();
        Ok(BillingLineDetail { line: compute_one(tx, view, &months, now)?.into(), explanation })
    };
    let explained = ctx.db.read(&caller.tenant, read).await?;
    Ok(with_etag(explained.line.version, &explained))
}

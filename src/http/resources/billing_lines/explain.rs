//! `/billing-lines/{id}`: a line with its explanation.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::BillingLine;
use crate::db;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::BillingLineId;
use crate::domain::mapping::{CandidateVerdict, LineField, Verdict};
use crate::domain::mapping_status::MappingReason;
use crate::domain::rules::{Attribute, TracedComparison};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::with_etag;
use crate::http::resources::matching_rules::MatchingRule;
use crate::services::AppContext;
use crate::services::billed_lines::{BilledMonths, billed_line};
use crate::services::mapping::explain;

/// A billing line, and how its mappings were found.
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingLineDetail {
    /// The billing line.
    #[serde(flatten)]
    pub line: BillingLine,
    /// How its mappings were found.
    pub explanation: LineExplanation,
}

/// How a line's mappings were found: what the rules see today, and what changed in the past.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineExplanation {
    /// The agreement.
    pub agreement: MappingExplanation,
    /// The addition.
    pub addition: MappingExplanation,
    /// The latest changes, newest first, at most 100.
    pub changes: Vec<LineChanged>,
}

/// A rule and the candidates that it sees.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingExplanation {
    /// The product's rule; null if it has none.
    #[schema(required)]
    pub rule: Option<MatchingRule>,
    /// The candidates, at most 200: the company's agreements, or the agreement's additions.
    pub candidates: Vec<CandidateExplanation>,
}

impl MappingExplanation {
    fn new(rule: Option<db::MatchingRule>, seen: Vec<CandidateVerdict>) -> Self {
        Self { rule: rule.map(Into::into), candidates: seen.into_iter().map(Into::into).collect() }
    }
}

/// A candidate, and why the line bills to it or not.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandidateExplanation {
    /// ConnectWise's id.
    pub id: String,
    /// The name, as a person would recognise it.
    pub name: String,
    /// The attributes that rules can compare.
    pub attributes: Vec<AttributeValue>,
    /// Why the candidate is not live; null if it is live.
    #[schema(required)]
    pub not_live: Option<MappingReason>,
    /// Whether the rule matches the candidate; null if there is no rule.
    #[schema(required)]
    pub matched: Option<bool>,
    /// Each comparison of the rule, and whether it holds.
    pub comparisons: Vec<ComparisonResult>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in a sentence.
    pub explanation: String,
}

impl From<CandidateVerdict> for CandidateExplanation {
    fn from(seen: CandidateVerdict) -> Self {
        let value = |(attribute, value)| AttributeValue { attribute, value };
        Self {
            id: seen.id,
            name: seen.name,
            attributes: seen.attributes.into_iter().map(value).collect(),
            not_live: seen.dead,
            matched: seen.matched,
            comparisons: seen.tested.into_iter().map(Into::into).collect(),
            verdict: seen.verdict,
            explanation: seen.verdict.explain().to_owned(),
        }
    }
}

/// An attribute and its value.
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
pub struct ComparisonResult {
    /// The comparison, as in the rule.
    pub comparison: String,
    /// Whether it holds for this candidate.
    pub holds: bool,
}

impl From<TracedComparison> for ComparisonResult {
    fn from(tested: TracedComparison) -> Self {
        Self { comparison: tested.comparison, holds: tested.holds }
    }
}

/// A change of a billing line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineChanged {
    /// The part of the line that changed.
    pub part: LineField,
    /// The new value: a mapping (`status`, `source`, `id`, `name`, `reason`), a flag, a block size or null.
    #[schema(value_type = Value)]
    pub new: Value,
    /// The old value. It is left out if the listed changes do not reach back that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub old: Option<Value>,
    /// When the change was made.
    pub at: DateTime<Utc>,
    /// Who made the change: the name of an API key, or `refresh`.
    pub by: String,
}

/// Changes, newest first. The old value of a change is the new value of the previous change of the same part.
fn changes(rows: Vec<db::LineChangeRow>) -> Vec<LineChanged> {
    let value = |row: &db::LineChangeRow| -> Value { serde_json::from_str(&row.became).unwrap_or_default() };
    let was = |place: usize, part: LineField| rows.iter().skip(place + 1).find(|row| row.part == part).map(value);
    let changed = |(place, row): (usize, &db::LineChangeRow)| LineChanged {
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

/// The month whose usage is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonthQuery {
    /// The month whose usage is shown. The default is the month that a push would bill now.
    pub billing_month: Option<BillingMonth>,
}

/// Get a billing line and its explanation
///
/// Returns the line with its rules, the candidates that they see, why each one was taken or not, and who changed what
/// and when.
#[utoipa::path(
    tag = "billing lines",
    params(("id" = String, Path, description = "The line"), MonthQuery),
    responses(
        (status = 200, description = "The billing line and its explanation", body = BillingLineDetail),
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
        Ok(BillingLineDetail { line: billed_line(tx, view, &months, now)?.into(), explanation })
    };
    let explained = ctx.db.read(&caller.tenant, read).await?;
    Ok(with_etag(explained.line.version, &explained))
}

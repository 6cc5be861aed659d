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

/// A billing line, and how it came to what it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingLineDetail {
    /// The line.
    #[serde(flatten)]
    pub line: BillingLine,
    /// How it came to what it bills to.
    pub explanation: LineExplanation,
}

/// How a line came to what it bills to: what the rules see today, and what changed until now.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineExplanation {
    /// Its agreement.
    pub agreement: MappingExplanation,
    /// Its addition.
    pub addition: MappingExplanation,
    /// What changed, newest first, the last 100.
    pub changes: Vec<LineChanged>,
}

/// The rule, and what it sees.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingExplanation {
    /// The product's rule; null where it has none.
    #[schema(required)]
    pub rule: Option<MatchingRule>,
    /// What there is to choose from, the first 200: the company's agreements, or the agreement's additions.
    pub candidates: Vec<CandidateExplanation>,
}

impl MappingExplanation {
    fn new(rule: Option<db::MatchingRule>, seen: Vec<CandidateVerdict>) -> Self {
        Self { rule: rule.map(Into::into), candidates: seen.into_iter().map(Into::into).collect() }
    }
}

/// A candidate, and why it was taken or not.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandidateExplanation {
    /// ConnectWise's id.
    pub id: String,
    /// What a person would call it.
    pub name: String,
    /// What rules may ask of it.
    pub attributes: Vec<AttributeValue>,
    /// Why it is not live; null where it is.
    #[schema(required)]
    pub not_live: Option<MappingReason>,
    /// Whether the rule matches it; null without a rule.
    #[schema(required)]
    pub matched: Option<bool>,
    /// Each comparison of the rule, and whether it holds.
    pub comparisons: Vec<ComparisonResult>,
    /// What became of it.
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

/// An attribute with its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttributeValue {
    /// The attribute, as rules name it.
    pub attribute: Attribute,
    /// What ConnectWise says; null where it says nothing.
    #[schema(required)]
    pub value: Option<String>,
}

/// A comparison of a rule, and what it comes to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComparisonResult {
    /// The comparison.
    pub comparison: String,
    /// Whether it holds.
    pub holds: bool,
}

impl From<TracedComparison> for ComparisonResult {
    fn from(tested: TracedComparison) -> Self {
        Self { comparison: tested.comparison, holds: tested.holds }
    }
}

/// A change of a line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineChanged {
    /// What changed.
    pub part: LineField,
    /// What it became: a mapping (`status`, `source`, `id`, `name`, `reason`), a flag, a block size or null.
    #[schema(value_type = Value)]
    pub new: Value,
    /// What it had become before; left out where the listed changes do not reach back that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub old: Option<Value>,
    /// When.
    pub at: DateTime<Utc>,
    /// By whom: the name of an API key, or `refresh`.
    pub by: String,
}

/// Changes, newest first: each was what the one before it of the same part became.
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

/// Which month's usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MonthQuery {
    /// The month whose usage is shown; where left out, the one that a push would bill now.
    pub billing_month: Option<BillingMonth>,
}

/// Get a billing line with its story
///
/// Which rule, which candidates it saw and why each was taken or not, and who changed what when.
#[utoipa::path(
    tag = "billing lines",
    params(("id" = String, Path, description = "The line"), MonthQuery),
    responses(
        (status = 200, description = "The billing line, and how it came to what it bills to", body = BillingLineDetail),
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

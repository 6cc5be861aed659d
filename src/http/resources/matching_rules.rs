//! `/matching-rules`: the default matching conditions of products.

use actix_web::{delete, get, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{self, RuleFilter};
use crate::domain::ids::{ProductId, RuleId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::rules::Target;
use crate::domain::{Error, FieldCode};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::idempotent::IdempotentRequest;
use crate::http::kit::extract::json::{ValidatedJson, optional_whole_number};
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::list::List;
use crate::http::kit::params::{IdempotencyKeyParam, IfMatchParam};
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{created, from_stored, ok, with_etag};
use crate::http::views::mappings::{MappingState, MappingStatusCounts, ResolveResponse};
use crate::services::AppContext;
use crate::services::matching_rules;
use crate::services::matching_rules::NewRule;
use crate::services::matching_rules::{PreviewFilter, PreviewLine, UnsavedRules};

/// A matching rule: the default matching condition of a product, for the agreement or for the addition.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchingRule {
    /// The rule's id.
    pub id: String,
    /// The id of the product that the rule belongs to.
    pub product_id: String,
    /// What the rule selects: the agreement, or the addition.
    pub target: Target,
    /// The expression in its canonical spelling: lower-case keywords, double quotes, and no needless parentheses.
    pub expression: String,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
    pub version: i64,
    /// When the rule was created.
    pub created_at: DateTime<Utc>,
    /// When the rule was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<db::MatchingRule> for MatchingRule {
    fn from(row: db::MatchingRule) -> Self {
        Self {
            id: row.id.to_string(),
            product_id: row.product_id.to_string(),
            target: row.target,
            expression: row.expression,
            version: row.version,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
        }
    }
}

/// A rule that was created or replaced, and the resulting changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedMatchingRule {
    /// The rule.
    pub rule: MatchingRule,
    /// The mapping changes that the rule caused in the product's billing lines.
    pub resolved: ResolveResponse,
}

impl From<matching_rules::SavedRule> for SavedMatchingRule {
    fn from(saved: matching_rules::SavedRule) -> Self {
        Self { rule: saved.rule.into(), resolved: saved.resolved.into() }
    }
}

/// A rule to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "product_id": "0193f0a0-0000-7000-8000-000000000001", "target": "agreement", "expression": "type/name like \"%SP%\""
}))]
pub struct CreateMatchingRuleRequest {
    /// The id of the product that the rule belongs to.
    pub product_id: String,
    /// What the rule selects: the agreement, or the addition. A product can have one rule for each.
    pub target: Target,
    /// The expression, such as `type/name like "%SP%"`. The document docs/RULES.md describes the language.
    #[schema(max_length = 4000)]
    pub expression: String,
}

/// The new content of a rule.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"expression": "name contains \"Backup\" and type/name != \"Trial\""}))]
pub struct ReplaceMatchingRuleRequest {
    /// The expression, such as `name contains "Backup"`. The document docs/RULES.md describes the language.
    #[schema(max_length = 4000)]
    pub expression: String,
}

/// A rule to preview.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "product_id": "0193f0a0-0000-7000-8000-000000000001", "target": "agreement",
    "expression": "name contains \"Backup\"", "changed_only": true
}))]
pub struct PreviewMatchingRuleRequest {
    /// The id of the product whose lines are previewed.
    pub product_id: String,
    /// What the rule selects: the agreement, or the addition.
    pub target: Target,
    /// The expression, such as `name contains "Backup"`. The document docs/RULES.md describes the language.
    #[schema(max_length = 4000)]
    pub expression: String,
    /// The expression for the other target, to preview both rules together. The default is the saved rule.
    #[schema(max_length = 4000)]
    pub other_expression: Option<String>,
    /// Whether to list only lines whose mapping would change.
    #[serde(default)]
    pub changed_only: bool,
    /// List only lines whose mapping for `target` would have this status. The default is all lines.
    pub status: Option<MappingStatus>,
    /// Maximum number of lines in the page. The default is 100.
    #[validate(range(min = 1, max = 500))]
    #[schema(minimum = 1, maximum = 500, default = 100)]
    #[serde(default, deserialize_with = "optional_whole_number")]
    pub limit: Option<u32>,
    /// The `next_cursor` of the previous page. Omit it for the first page. The other members must stay the same.
    pub cursor: Option<String>,
}

/// Maximum size of a body in bytes. It is larger than any valid rule, so that the parser rejects an expression that is
/// too long and reports where.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A billing line's mappings, now and under the previewed rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulePreviewLine {
    /// The billing line's id.
    pub billing_line_id: String,
    /// The company's id.
    pub company_id: String,
    /// The company's name.
    pub company_name: String,
    /// Whether the agreement or the addition mapping would change.
    pub changes: bool,
    /// The agreement mapping now.
    pub agreement_now: MappingState,
    /// The agreement mapping under the previewed rule.
    pub agreement_then: MappingState,
    /// The addition mapping now.
    pub addition_now: MappingState,
    /// The addition mapping under the previewed rule.
    pub addition_then: MappingState,
}

impl From<&PreviewLine> for RulePreviewLine {
    fn from(line: &PreviewLine) -> Self {
        Self {
            billing_line_id: line.line.id.to_string(),
            company_id: line.line.company_id.to_string(),
            company_name: line.line.company_name.clone(),
            changes: line.changes(),
            agreement_now: line.agreement.0.clone().into(),
            agreement_then: line.agreement.1.clone().into(),
            addition_now: line.addition.0.clone().into(),
            addition_then: line.addition.1.clone().into(),
        }
    }
}

/// The effects of an unsaved rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewMatchingRuleResponse {
    /// The expression in its canonical spelling.
    pub expression: String,
    /// The number of lines by the status that their agreement mapping would have.
    pub agreements: MappingStatusCounts,
    /// The number of lines by the status that their addition mapping would have.
    pub additions: MappingStatusCounts,
    /// The number of lines with a mapping that would change.
    pub changed: usize,
    /// The lines of this page that match `changed_only` and `status`, sorted by company name.
    pub items: Vec<RulePreviewLine>,
    /// The `cursor` of the next page; null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The filter of the list of matching rules.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RuleQuery {
    /// Only rules of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only rules for this target.
    pub target: Option<Target>,
}

/// List matching rules
///
/// Returns all rules of the tenant, or of one product, in one page. A product has at most one rule for each target.
#[utoipa::path(
    tag = "matching rules",
    params(RuleQuery),
    responses((status = 200, description = "All matching rules that match the filter", body = List<MatchingRule>), Errors)
)]
#[get("/matching-rules")]
pub async fn list_matching_rules(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: StrictQuery<RuleQuery>,
) -> ApiResult {
    let query = query.0;
    let filter = RuleFilter { product_id: query.product_id.map(ProductId::from), target: query.target };
    let rows = ctx.db.query(&caller.tenant, move |tx| tx.rules(&filter)).await?;
    Ok(ok(&List::whole(rows.into_iter().map(MatchingRule::from).collect())))
}

/// Create a matching rule
///
/// Saves the rule and resolves the product's billing lines with it; manual choices are kept. Returns the changes. An
/// invalid expression fails with 422, which reports its position and what would be valid there. Fails with 409 if the
/// product already has a rule for the target.
#[utoipa::path(
    tag = "matching rules", request_body = CreateMatchingRuleRequest, params(IdempotencyKeyParam),
    responses((status = 201, description = "The new rule, and what saving it changed; `Location` has its address", body = SavedMatchingRule), Errors, WriteErrors)
)]
#[post("/matching-rules")]
pub async fn create_matching_rule(request: IdempotentRequest<CreateMatchingRuleRequest, MAX_BODY>) -> ApiResult {
    let once = request.once(|saved: matching_rules::SavedRule| {
        created("matching-rules", saved.rule.id.clone(), &SavedMatchingRule::from(saved))
    })?;
    let CreateMatchingRuleRequest { product_id, target, expression } = request.body;
    let new = NewRule { product: ProductId::from(product_id), target, expression };
    Ok(from_stored(matching_rules::create(&request.ctx, &request.caller, new, once).await?))
}

/// Get a matching rule
///
/// Returns the rule with its version as `ETag`.
#[utoipa::path(
    tag = "matching rules",
    params(("id" = String, Path, description = "The matching rule")),
    responses((status = 200, description = "The matching rule", body = MatchingRule), Errors)
)]
#[get("/matching-rules/{id}")]
pub async fn get_matching_rule(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = RuleId::from(id.into_inner());
    let row = ctx.db.query(&caller.tenant, move |tx| tx.rule(&id)).await?;
    Ok(with_etag(row.version, &MatchingRule::from(row)))
}

/// Replace a matching rule
///
/// Replaces the expression and resolves the product's billing lines with it; manual choices are kept. Returns the
/// changes. An invalid expression fails with 422, which reports its position and what would be valid there.
#[utoipa::path(
    tag = "matching rules", request_body = ReplaceMatchingRuleRequest, params(("id" = String, Path, description = "The matching rule"), IfMatchParam),
    responses((status = 200, description = "The matching rule, and what saving it changed", body = SavedMatchingRule), Errors, WriteErrors)
)]
#[put("/matching-rules/{id}")]
pub async fn replace_matching_rule(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<ReplaceMatchingRuleRequest, MAX_BODY>,
) -> ApiResult {
    let id = RuleId::from(id.into_inner());
    let saved = matching_rules::update(&ctx, &caller, id, body.value.expression, if_match.0).await?;
    Ok(with_etag(saved.rule.version, &SavedMatchingRule::from(saved)))
}

/// Delete a matching rule
///
/// Deletes the rule and resolves the product's billing lines again: mappings that the rule decided become unresolved.
/// Manual choices are kept. Returns the changes.
#[utoipa::path(
    tag = "matching rules",
    params(("id" = String, Path, description = "The matching rule"), IfMatchParam),
    responses((status = 200, body = ResolveResponse, description = "The rule was deleted; the resulting changes in the billing lines"), Errors, WriteErrors)
)]
#[delete("/matching-rules/{id}")]
pub async fn delete_matching_rule(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    let resolved = matching_rules::delete(&ctx, &caller, RuleId::from(id.into_inner()), if_match.0).await?;
    Ok(ok(&ResolveResponse::from(resolved)))
}

/// Preview a matching rule
///
/// Returns the mappings that the product's billing lines would have under an unsaved rule. Uses the records of the last
/// refresh, and changes nothing. An invalid expression fails with 422, which reports its position and what would be
/// valid there.
#[utoipa::path(
    tag = "matching rules", request_body = PreviewMatchingRuleRequest,
    responses((status = 200, description = "A page of billing lines with their mappings, now and under the rule", body = PreviewMatchingRuleResponse), Errors, WriteErrors)
)]
#[post("/matching-rules/preview")]
pub async fn preview_matching_rule(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<PreviewMatchingRuleRequest, MAX_BODY>,
) -> ApiResult {
    let (asked, now) = (body.value, ctx.clock.now());
    let from = match &asked.cursor {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid("/cursor", FieldCode::BadCursor, "send a next_cursor"))?
        }
    };
    let filter = PreviewFilter { changed_only: asked.changed_only, status: asked.status };
    let limit = usize::try_from(asked.limit.unwrap_or(100)).unwrap_or(100);
    let unsaved = UnsavedRules {
        product: ProductId::from(asked.product_id),
        target: asked.target,
        expression: asked.expression,
        other_expression: asked.other_expression,
    };
    let work = move |tx: &mut db::Tx<'_>| {
        let preview = matching_rules::preview(tx, &unsaved, now)?;
        let mut items: Vec<RulePreviewLine> =
            preview.shown(asked.target, filter).skip(from).take(limit + 1).map(Into::into).collect();
        let next_cursor = (items.len() > limit).then(|| (from + limit).to_string());
        items.truncate(limit);
        Ok(PreviewMatchingRuleResponse {
            expression: preview.expression,
            agreements: preview.agreements.into(),
            additions: preview.additions.into(),
            changed: preview.changed,
            items,
            next_cursor,
        })
    };
    Ok(ok(&ctx.db.read(&caller.tenant, work).await?))
}

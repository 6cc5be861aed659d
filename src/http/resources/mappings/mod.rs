//! `/agreement-mappings` and `/addition-mappings`: what lines bill to, and choices by hand.

pub mod bulk;

use actix_web::{HttpResponse, delete, get, put, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::billing_lines::line_filter;
use crate::db::{BillingLineSort, BillingLineView, LineFilter, PageRequest};
use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId};
use crate::domain::mapping_status::{MappingSource, MappingStatus};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::http::views::mapping::{MappingBody, ResolveResponse};
use crate::services::AppContext;
use crate::services::mapping::edit;
use crate::services::mapping::edit::{Edit, LineEdit};

/// A billing line with its agreement or addition mapping.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineMapping {
    /// The billing line's id.
    pub billing_line_id: String,
    /// The company's id.
    pub company_id: String,
    /// The company's name.
    pub company_name: String,
    /// The product's id.
    pub product_id: String,
    /// The mapping.
    pub mapping: MappingBody,
    /// The billing line's version. It equals the `ETag`.
    pub version: i64,
}

/// A mapping after a manual choice, and what the choice changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChoiceResponse {
    /// The mapping.
    #[serde(flatten)]
    pub mapping: LineMapping,
    /// What the choice changed, including an addition that was cleared with its agreement.
    pub resolved: ResolveResponse,
}

impl LineMapping {
    fn new(view: &BillingLineView, mapping: MappingBody) -> Self {
        Self {
            billing_line_id: view.line.id.to_string(),
            company_id: view.company.id.to_string(),
            company_name: view.company.name.clone(),
            product_id: view.line.product_id.to_string(),
            mapping,
            version: view.line.version,
        }
    }

    fn agreement(view: &BillingLineView) -> Self {
        Self::new(view, MappingBody::agreement(view))
    }

    fn addition(view: &BillingLineView) -> Self {
        Self::new(view, MappingBody::addition(view))
    }
}

/// The filter of a list of mappings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MappingQuery {
    /// Only mappings of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only mappings of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only mappings with this status.
    pub status: Option<MappingStatus>,
    /// Only mappings that a rule, or a person, decided.
    pub source: Option<MappingSource>,
}

impl ListFilter for MappingQuery {
    type Sort = BillingLineSort;
    const DEFAULT_SORT: &'static str = "company_name";
}

/// The agreement to choose.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agreement_id": "1201"}))]
pub struct ChooseAgreementRequest {
    /// ConnectWise's id of the agreement.
    #[schema(value_type = String)]
    pub agreement_id: CwAgreementId,
}

/// The addition to choose.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"addition_id": "50310"}))]
pub struct ChooseAdditionRequest {
    /// ConnectWise's id of the addition.
    #[schema(value_type = String)]
    pub addition_id: CwAdditionId,
}

async fn list(
    ctx: &AppContext,
    caller: &Caller,
    filter: LineFilter,
    page: PageRequest<BillingLineSort>,
    render: fn(&BillingLineView) -> LineMapping,
) -> ApiResult {
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.billing_lines(&filter, &page)).await?;
    Ok(ok(&List::from_page(rows, |view| render(&view))))
}

async fn one(ctx: &AppContext, caller: &Caller, id: String, render: fn(&BillingLineView) -> LineMapping) -> ApiResult {
    let id = BillingLineId::from(id);
    let view = ctx.db.read(&caller.tenant, move |tx| tx.billing_line(&id)).await?;
    Ok(rendered(&view, render))
}

async fn edit(
    ctx: &AppContext,
    caller: &Caller,
    id: String,
    change: LineEdit,
    if_match: IfMatchHeader,
    render: fn(&BillingLineView) -> LineMapping,
) -> ApiResult {
    let edit = Edit { line: BillingLineId::from(id), change, if_match: if_match.0 };
    let (view, resolved) = edit::edit_one(ctx, caller, edit).await?;
    Ok(with_etag(view.line.version, &ChoiceResponse { mapping: render(&view), resolved: resolved.into() }))
}

fn rendered(view: &BillingLineView, render: fn(&BillingLineView) -> LineMapping) -> HttpResponse {
    with_etag(view.line.version, &render(view))
}

/// List agreement mappings
///
/// Returns one page of billing lines with the agreement that each bills to.
#[utoipa::path(tag = "mappings", params(ListQuery<MappingQuery>), responses((status = 200, description = "A page of mappings", body = List<LineMapping>), Errors))]
#[get("/agreement-mappings")]
pub async fn list_agreement_mappings(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<MappingQuery>,
) -> ApiResult {
    let (query, page) = query.of("agreement-mappings")?;
    let chosen = (query.status, query.source);
    let filter = line_filter(query.product_id, query.company_id, chosen, (None, None));
    list(&ctx, &caller, filter, page, LineMapping::agreement).await
}

/// Get the agreement mapping of a line
///
/// Returns the mapping with the line's version as `ETag`.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The line")),
    responses((status = 200, description = "The mapping", body = LineMapping), Errors)
)]
#[get("/agreement-mappings/{billing_line_id}")]
pub async fn get_agreement_mapping(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    one(&ctx, &caller, id.into_inner(), LineMapping::agreement).await
}

/// Choose the agreement of a line
///
/// A manual choice wins over the rule until it is cleared. If the line's addition belongs to another agreement, it is
/// cleared and resolved again. The agreement must belong to the line's company and be live.
#[utoipa::path(
    tag = "mappings",
    request_body = ChooseAgreementRequest,
    params(("billing_line_id" = String, Path, description = "The line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice", body = ChoiceResponse), Errors, WriteErrors)
)]
#[put("/agreement-mappings/{billing_line_id}")]
pub async fn choose_agreement(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<ChooseAgreementRequest>,
) -> ApiResult {
    let change = LineEdit { agreement: Some(Some(body.value.agreement_id)), ..LineEdit::default() };
    edit(&ctx, &caller, id.into_inner(), change, if_match, LineMapping::agreement).await
}

/// Clear the agreement choice of a line
///
/// The rule decides again.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice", body = ChoiceResponse), Errors, WriteErrors)
)]
#[delete("/agreement-mappings/{billing_line_id}")]
pub async fn clear_agreement_choice(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    let change = LineEdit { agreement: Some(None), ..LineEdit::default() };
    edit(&ctx, &caller, id.into_inner(), change, if_match, LineMapping::agreement).await
}

/// List addition mappings
///
/// Returns one page of billing lines with the addition that each bills to.
#[utoipa::path(tag = "mappings", params(ListQuery<MappingQuery>), responses((status = 200, description = "A page of mappings", body = List<LineMapping>), Errors))]
#[get("/addition-mappings")]
pub async fn list_addition_mappings(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<MappingQuery>,
) -> ApiResult {
    let (query, page) = query.of("addition-mappings")?;
    let chosen = (query.status, query.source);
    let filter = line_filter(query.product_id, query.company_id, (None, None), chosen);
    list(&ctx, &caller, filter, page, LineMapping::addition).await
}

/// Get the addition mapping of a line
///
/// Returns the mapping with the line's version as `ETag`.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The line")),
    responses((status = 200, description = "The mapping", body = LineMapping), Errors)
)]
#[get("/addition-mappings/{billing_line_id}")]
pub async fn get_addition_mapping(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    one(&ctx, &caller, id.into_inner(), LineMapping::addition).await
}

/// Choose the addition of a line
///
/// A manual choice wins over the rule until it is cleared. The addition must belong to the line's resolved agreement
/// and be live.
#[utoipa::path(
    tag = "mappings",
    request_body = ChooseAdditionRequest,
    params(("billing_line_id" = String, Path, description = "The line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice", body = ChoiceResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[put("/addition-mappings/{billing_line_id}")]
pub async fn choose_addition(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<ChooseAdditionRequest>,
) -> ApiResult {
    let change = LineEdit { addition: Some(Some(body.value.addition_id)), ..LineEdit::default() };
    edit(&ctx, &caller, id.into_inner(), change, if_match, LineMapping::addition).await
}

/// Clear the addition choice of a line
///
/// The rule decides again.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice", body = ChoiceResponse), Errors, WriteErrors)
)]
#[delete("/addition-mappings/{billing_line_id}")]
pub async fn clear_addition_choice(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    let change = LineEdit { addition: Some(None), ..LineEdit::default() };
    edit(&ctx, &caller, id.into_inner(), change, if_match, LineMapping::addition).await
}

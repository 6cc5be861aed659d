//! `/agreement-mappings` and `/addition-mappings`: the agreements and additions that lines bill to, and manual choices.

pub mod bulk;

use actix_web::{HttpResponse, delete, get, put, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::billing_lines::BillingLine;
use crate::db::{BillingLineSort, BillingLineView, LineFilter, PageRequest};
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, ProductId};
use crate::domain::mapping_status::{MappingSource, MappingStatus};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::list::List;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{page_of, with_etag};
use crate::http::views::mappings::{MappingBody, ResolveResponse};
use crate::services::AppContext;
use crate::services::mappings::edit;
use crate::services::mappings::line_edit::{Edit, LineEdit};

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
    /// The agreement mapping or the addition mapping, depending on the path.
    pub mapping: MappingBody,
    /// The billing line's version; it increases with every change of the line. Equals the `ETag`, for `If-Match`.
    pub version: i64,
}

/// A mapping after a manual choice was made or cleared, and the resulting changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChoiceResponse {
    /// The mapping.
    #[serde(flatten)]
    pub mapping: LineMapping,
    /// The billing line as it is now, with both mappings.
    pub line: BillingLine,
    /// The changes that the choice caused, including an addition that was cleared with its agreement.
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
    /// Only mappings with this status, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<MappingStatus>)]
    pub status: Values<MappingStatus>,
    /// Only mappings that a rule decided, or only manual choices.
    pub source: Option<MappingSource>,
    /// Only lines whose company has this text in its name, its external id or the identifier of its ConnectWise
    /// company, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only lines of matched companies (`true`), or of companies that are Not Set (`false`).
    pub matched: Option<bool>,
    /// Only lines that are enabled for pushes (`true`), or only the others (`false`).
    pub push_enabled: Option<bool>,
    /// Only lines that need attention (`true`), or only the others (`false`).
    pub needs_attention: Option<bool>,
}

impl MappingQuery {
    /// The lines, and the status and source that the mappings must have.
    fn filter(self) -> (LineFilter, Vec<MappingStatus>, Option<MappingSource>) {
        let filter = LineFilter {
            product_id: self.product_id.map(ProductId::from),
            company_ids: self.company_id.map(|id| vec![CompanyId::from(id)]),
            search: self.search,
            matched: self.matched,
            push_enabled: self.push_enabled,
            needs_attention: self.needs_attention,
            ..LineFilter::default()
        };
        (filter, self.status.0, self.source)
    }
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
    /// ConnectWise's id of the agreement, such as `1201`. It must be a live agreement of the line's ConnectWise
    /// company.
    #[schema(value_type = String, pattern = "^[1-9][0-9]{0,17}$")]
    pub agreement_id: CwAgreementId,
}

/// The addition to choose.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"addition_id": "50310"}))]
pub struct ChooseAdditionRequest {
    /// ConnectWise's id of the addition, such as `50310`. It must be a live addition of the line's agreement.
    #[schema(value_type = String, pattern = "^[1-9][0-9]{0,17}$")]
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
    Ok(page_of(&List::from_page(rows, |view| render(&view))))
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
    let (line, resolved) = edit::edit_one(ctx, caller, edit).await?;
    let (version, mapping) = (line.view.line.version, render(&line.view));
    Ok(with_etag(version, &ChoiceResponse { mapping, line: line.into(), resolved: resolved.into() }))
}

fn rendered(view: &BillingLineView, render: fn(&BillingLineView) -> LineMapping) -> HttpResponse {
    with_etag(view.line.version, &render(view))
}

/// List agreement mappings
///
/// Returns one page of the billing lines, each with its agreement mapping, sorted by company name by default.
#[utoipa::path(tag = "mappings", params(ListQuery<MappingQuery>), responses((status = 200, description = "A page of agreement mappings", body = List<LineMapping>), Errors))]
#[get("/agreement-mappings")]
pub async fn list_agreement_mappings(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<MappingQuery>,
) -> ApiResult {
    let (query, page) = query.for_list("agreement-mappings")?;
    let (filter, agreement_status, agreement_source) = query.filter();
    let filter = LineFilter { agreement_status, agreement_source, ..filter };
    list(&ctx, &caller, filter, page, LineMapping::agreement).await
}

/// Get an agreement mapping
///
/// Returns the agreement mapping of a billing line, with the line's version as `ETag`.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The billing line")),
    responses((status = 200, description = "The agreement mapping", body = LineMapping), Errors)
)]
#[get("/agreement-mappings/{billing_line_id}")]
pub async fn get_agreement_mapping(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    one(&ctx, &caller, id.into_inner(), LineMapping::agreement).await
}

/// Choose an agreement manually
///
/// Sets the agreement of a billing line. A manual choice overrides the matching rule until it is cleared. An addition
/// of another agreement is cleared and resolved again. Fails with 409 if the company is Not Set, or if the agreement is
/// not live or does not belong to the ConnectWise company. Repeating the request changes nothing.
#[utoipa::path(
    tag = "mappings", request_body = ChooseAgreementRequest,
    params(("billing_line_id" = String, Path, description = "The billing line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice, and the resulting changes", body = ChoiceResponse), Errors, WriteErrors)
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

/// Clear an agreement choice
///
/// Removes the manual choice of a billing line and applies the matching rule again, to the agreement and then to the
/// addition.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The billing line"), IfMatchParam),
    responses((status = 200, description = "The mapping that the rule selects, and the resulting changes", body = ChoiceResponse), Errors, WriteErrors)
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
/// Returns one page of the billing lines, each with its addition mapping, sorted by company name by default.
#[utoipa::path(tag = "mappings", params(ListQuery<MappingQuery>), responses((status = 200, description = "A page of addition mappings", body = List<LineMapping>), Errors))]
#[get("/addition-mappings")]
pub async fn list_addition_mappings(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<MappingQuery>,
) -> ApiResult {
    let (query, page) = query.for_list("addition-mappings")?;
    let (filter, addition_status, addition_source) = query.filter();
    let filter = LineFilter { addition_status, addition_source, ..filter };
    list(&ctx, &caller, filter, page, LineMapping::addition).await
}

/// Get an addition mapping
///
/// Returns the addition mapping of a billing line, with the line's version as `ETag`.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The billing line")),
    responses((status = 200, description = "The addition mapping", body = LineMapping), Errors)
)]
#[get("/addition-mappings/{billing_line_id}")]
pub async fn get_addition_mapping(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    one(&ctx, &caller, id.into_inner(), LineMapping::addition).await
}

/// Choose an addition manually
///
/// Sets the addition of a billing line. A manual choice overrides the matching rule until it is cleared. The
/// agreement's additions are read from ConnectWise first if they were not read recently. Fails with 409 if the line's
/// agreement is not resolved, or if the addition is not live or does not belong to that agreement. Repeating the
/// request changes nothing.
#[utoipa::path(
    tag = "mappings", request_body = ChooseAdditionRequest,
    params(("billing_line_id" = String, Path, description = "The billing line"), IfMatchParam),
    responses((status = 200, description = "The mapping after the choice, and the resulting changes", body = ChoiceResponse), Errors, WriteErrors, ConnectWiseErrors)
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

/// Clear an addition choice
///
/// Removes the manual choice of a billing line and applies the matching rule again.
#[utoipa::path(
    tag = "mappings",
    params(("billing_line_id" = String, Path, description = "The billing line"), IfMatchParam),
    responses((status = 200, description = "The mapping that the rule selects, and the resulting changes", body = ChoiceResponse), Errors, WriteErrors)
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

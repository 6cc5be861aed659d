//! `/companies`: the vendor's customers, and their matches to ConnectWise companies.

pub mod batch;
pub mod matches;
pub mod statement;

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{self, CompanyFilter, CompanySort};
use crate::domain::company_match::MatchSource;
use crate::domain::ids::CompanyId;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::idempotent::IdempotentRequest;
use crate::http::kit::extract::json::{ValidatedJson, not_null, plain_text};
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::params::{IdempotencyKeyParam, IfMatchParam};
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{created, from_stored, page_of, with_etag};
use crate::services::AppContext;
use crate::services::companies::{self, CompanyChange, NewCompany};

/// A customer of the vendor.
#[derive(Debug, Serialize, ToSchema)]
pub struct Company {
    /// The company's id.
    pub id: String,
    /// The vendor's own id for the company, such as `C-1001`. Unique within the tenant.
    pub external_id: String,
    /// The company's name.
    pub name: String,
    /// ConnectWise's id of the company that this company is matched to; null means Not Set.
    #[schema(required)]
    pub connectwise_company_id: Option<String>,
    /// How the match was made; null means Not Set.
    #[schema(required)]
    pub match_source: Option<MatchSource>,
    /// When the match was last set or removed; null if it never was.
    #[schema(required)]
    pub matched_at: Option<DateTime<Utc>>,
    /// Who last set or removed the match: the name of an API key. Null if it never was.
    #[schema(required)]
    pub matched_by: Option<String>,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
    pub version: i64,
    /// When the company was created.
    pub created_at: DateTime<Utc>,
    /// When the company was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<db::Company> for Company {
    fn from(row: db::Company) -> Self {
        Self {
            id: row.id.to_string(),
            external_id: row.external_id,
            name: row.name,
            connectwise_company_id: row.connectwise_company_id.map(Into::into),
            match_source: row.match_source,
            matched_at: row.matched_at.map(|at| at.and_utc()),
            matched_by: row.matched_by,
            version: row.version,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
        }
    }
}

/// The content of a company to create or replace.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"external_id": "C-2001", "name": "Harbor Dental Group"}))]
pub struct CompanyRequest {
    /// The vendor's own id for the company, such as `C-1001`. Unique within the tenant.
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100)]
    pub external_id: String,
    /// The company's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
}

/// The changes to a company. A member that is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Harbor Dental Group LLC"}))]
pub struct UpdateCompanyRequest {
    /// The vendor's own id for the company, such as `C-1001`. Unique within the tenant.
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    pub external_id: Option<String>,
    /// The company's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    pub name: Option<String>,
}

/// The filter of the list of companies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompanyQuery {
    /// Only companies whose name or external id, or the identifier of their ConnectWise company, contains this text,
    /// ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only the company with exactly this external id.
    #[param(max_length = 300)]
    pub external_id: Option<String>,
    /// Only matched companies (`true`), or only those that are Not Set (`false`).
    pub matched: Option<bool>,
}

impl ListFilter for CompanyQuery {
    type Sort = CompanySort;
    const DEFAULT_SORT: &'static str = "name";
}

/// List companies
///
/// Returns one page of the companies, sorted by name by default.
#[utoipa::path(tag = "companies", params(ListQuery<CompanyQuery>), responses((status = 200, description = "A page of companies", body = List<Company>), Errors))]
#[get("/companies")]
pub async fn list_companies(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<CompanyQuery>) -> ApiResult {
    let (query, page) = query.for_list("companies")?;
    let filter = CompanyFilter { search: query.search, external_id: query.external_id, matched: query.matched };
    let rows = ctx.db.query(&caller.tenant, move |tx| tx.companies(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, Company::from)))
}

/// Create a company
///
/// Creates a company with a billing line for every product. It is Not Set until it is matched, and pushing is off for
/// the new lines. Fails with 409 if another company has the external id.
#[utoipa::path(
    tag = "companies", request_body = CompanyRequest, params(IdempotencyKeyParam),
    responses((status = 201, description = "The new company; `Location` has its address", body = Company), Errors, WriteErrors)
)]
#[post("/companies")]
pub async fn create_company(request: IdempotentRequest<CompanyRequest>) -> ApiResult {
    let once = request.once(|row: db::Company| created("companies", row.id.clone(), &Company::from(row)))?;
    let CompanyRequest { external_id, name } = request.body;
    let new = NewCompany { external_id, name };
    Ok(from_stored(companies::create(&request.ctx, &request.caller, new, once).await?))
}

/// Get a company
///
/// Returns the company with its version as `ETag`.
#[utoipa::path(
    tag = "companies",
    params(("id" = String, Path, description = "The company")),
    responses((status = 200, description = "The company", body = Company), Errors)
)]
#[get("/companies/{id}")]
pub async fn get_company(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = CompanyId::from(id.into_inner());
    let row = ctx.db.query(&caller.tenant, move |tx| tx.company(&id)).await?;
    Ok(with_etag(row.version, &Company::from(row)))
}

/// Replace a company
///
/// Replaces the external id and the name. The match stays as it is. Fails with 409 if another company has the external
/// id.
#[utoipa::path(
    tag = "companies", request_body = CompanyRequest, params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company", body = Company), Errors, WriteErrors)
)]
#[put("/companies/{id}")]
pub async fn replace_company(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<CompanyRequest>,
) -> ApiResult {
    let change = CompanyChange { external_id: Some(body.value.external_id), name: Some(body.value.name) };
    change_company(&ctx, &caller, id.into_inner(), change, if_match).await
}

/// Update a company
///
/// Changes the members that are sent. The match stays as it is. Fails with 409 if another company has the external id.
#[utoipa::path(
    tag = "companies", request_body = UpdateCompanyRequest, params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company", body = Company), Errors, WriteErrors)
)]
#[patch("/companies/{id}")]
pub async fn update_company(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<UpdateCompanyRequest>,
) -> ApiResult {
    let change = CompanyChange { external_id: body.value.external_id, name: body.value.name };
    change_company(&ctx, &caller, id.into_inner(), change, if_match).await
}

async fn change_company(
    ctx: &AppContext,
    caller: &Caller,
    id: String,
    change: CompanyChange,
    if_match: IfMatchHeader,
) -> ApiResult {
    let row = companies::update(ctx, caller, CompanyId::from(id), change, if_match.0).await?;
    Ok(with_etag(row.version, &Company::from(row)))
}

/// Delete a company
///
/// Also deletes the company's billing lines and usage. The history of its pushes is kept. Fails with 409 while any push
/// job is queued or running.
#[utoipa::path(
    tag = "companies",
    params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 204, description = "The company was deleted"), Errors, WriteErrors)
)]
#[delete("/companies/{id}")]
pub async fn delete_company(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    companies::delete(&ctx, &caller, CompanyId::from(id.into_inner()), if_match.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

//! `/tenants`: tenants, for the operator.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::db;
use crate::http::kit::auth::Operator;
use crate::http::kit::extract::json::{ValidatedJson, plain_text};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::ok;
use crate::services::AppContext;
use crate::services::security::api_keys;

/// A tenant: one MSP.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// The tenant's id.
    pub id: String,
    /// The tenant's name.
    pub name: String,
    /// When the tenant was created.
    pub created_at: DateTime<Utc>,
}

impl From<db::Tenant> for Tenant {
    fn from(row: db::Tenant) -> Self {
        Self { id: row.id.to_string(), name: row.name, created_at: row.created_at.and_utc() }
    }
}

/// A tenant to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Northwind IT"}))]
pub struct CreateTenantRequest {
    /// The tenant's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
}

/// A new tenant with its first API key.
#[derive(Serialize, ToSchema)]
pub struct CreateTenantResponse {
    /// The tenant that was created.
    pub tenant: Tenant,
    /// The secret of the tenant's first API key. It is not stored and cannot be shown again.
    pub key: String,
}

/// List tenants
///
/// Returns all tenants in one page. Needs the operator's key; an API key of a tenant gets 403.
#[utoipa::path(tag = "tenants", responses((status = 200, description = "All tenants", body = List<Tenant>), Errors))]
#[get("/tenants")]
pub async fn list_tenants(ctx: web::Data<AppContext>, _operator: Operator) -> ApiResult {
    let rows = ctx.db.read_system(|tx| tx.tenants()).await?;
    Ok(ok(&List::whole(rows.into_iter().map(Tenant::from).collect())))
}

/// Create a tenant
///
/// Creates a tenant, and returns its first API key once. Needs the operator's key. Repeating the request creates
/// another tenant.
#[utoipa::path(
    tag = "tenants", request_body = CreateTenantRequest,
    responses((status = 201, description = "The new tenant and its first API key", body = CreateTenantResponse), Errors, WriteErrors)
)]
#[post("/tenants")]
pub async fn create_tenant(
    ctx: web::Data<AppContext>,
    _operator: Operator,
    body: ValidatedJson<CreateTenantRequest>,
) -> ApiResult {
    let (tenant, key) = api_keys::create_tenant(&ctx, body.value.name).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(CreateTenantResponse { tenant: tenant.into(), key: key.plain }))
}

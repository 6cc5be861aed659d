//! `/api-keys`: the tenant's keys.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::db;
use crate::domain::ids::ApiKeyId;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::json::{ValidatedJson, plain_text};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::ok;
use crate::services::AppContext;
use crate::services::api_keys;

/// An API key: what is kept of it, which is not the key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// What history calls its user.
    pub name: String,
    /// Its first characters, to recognise it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked; null while it works.
    #[schema(required)]
    pub revoked_at: Option<DateTime<Utc>>,
}

impl From<db::ApiKey> for ApiKey {
    fn from(row: db::ApiKey) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            prefix: row.prefix,
            created_at: row.created_at.and_utc(),
            revoked_at: row.revoked_at.map(|at| at.and_utc()),
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing dashboard"}))]
pub struct CreateApiKeyRequest {
    /// What history shall call its user.
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

/// A key as made: shown this once.
#[derive(Serialize, ToSchema)]
pub struct CreateApiKeyResponse {
    /// What is kept of it.
    pub api_key: ApiKey,
    /// The key. It is not kept and cannot be shown again.
    pub key: String,
}

impl From<api_keys::NewKey> for CreateApiKeyResponse {
    fn from(new: api_keys::NewKey) -> Self {
        Self { api_key: new.row.into(), key: new.plain }
    }
}

/// List API keys
#[utoipa::path(tag = "api keys", responses((status = 200, description = "A page of API keys", body = List<ApiKey>), Errors))]
#[get("/api-keys")]
pub async fn list_api_keys(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let rows = ctx.db.read(&caller.tenant, |tx| tx.api_keys()).await?;
    Ok(ok(&List::whole(rows.into_iter().map(ApiKey::from).collect())))
}

/// Make an API key
///
/// The key is in the answer and nowhere else: this operation takes no Idempotency-Key, as that would keep it.
#[utoipa::path(
    tag = "api keys",
    request_body = CreateApiKeyRequest,
    responses((status = 201, description = "The key, shown this once", body = CreateApiKeyResponse), Errors, WriteErrors)
)]
#[post("/api-keys")]
pub async fn create_api_key(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<CreateApiKeyRequest>,
) -> ApiResult {
    let new = api_keys::create(&ctx, &caller.tenant, body.value.name).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(CreateApiKeyResponse::from(new)))
}

/// Revoke an API key
///
/// It stops working at once, also where it is the one in use.
#[utoipa::path(
    tag = "api keys",
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 204, description = "Revoked"), Errors)
)]
#[delete("/api-keys/{id}")]
pub async fn revoke_api_key(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    api_keys::revoke(&ctx, &caller, ApiKeyId::from(id.into_inner())).await?;
    Ok(HttpResponse::NoContent().finish())
}

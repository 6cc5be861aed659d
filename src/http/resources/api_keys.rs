//! `/api-keys`: the tenant's API keys.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::db;
use crate::domain::ids::ApiKeyId;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::json::{ValidatedJson, plain_text};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::ok;
use crate::services::AppContext;
use crate::services::security::api_keys;

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// The API key's id.
    pub id: String,
    /// The key's name. It is shown in histories as the author of a change.
    pub name: String,
    /// The first 12 characters of the secret, such as `cwb_AbCdEfGh`, which identifies the key.
    pub prefix: String,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// When the key was revoked; null while it is valid.
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

/// An API key to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing dashboard"}))]
pub struct CreateApiKeyRequest {
    /// The key's name: the person or integration that uses it. It is shown in histories as the author of a change.
    #[validate(length(min = 1, max = 100), custom(function = plain_text), custom(function = not_reserved))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

/// A new API key with its secret.
#[derive(Serialize, ToSchema)]
pub struct CreateApiKeyResponse {
    /// The API key.
    pub api_key: ApiKey,
    /// The secret, for the header `Authorization: Bearer …`. It is not stored and cannot be shown again.
    pub key: String,
}

/// Names that histories and the audit log show for changes made without an API key.
const RESERVED: [&str; 6] = ["schedule", "refresh", "webhooks", "operator", "command line", "unknown"];

fn not_reserved(name: &str) -> Result<(), ValidationError> {
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name.trim())) {
        let message = format!("is reserved for internal actions: {}", RESERVED.join(", "));
        return Err(ValidationError::new("reserved").with_message(message.into()));
    }
    Ok(())
}

impl From<api_keys::NewKey> for CreateApiKeyResponse {
    fn from(new: api_keys::NewKey) -> Self {
        Self { api_key: new.row.into(), key: new.plain }
    }
}

/// List API keys
///
/// Returns all keys of the tenant in one page, including revoked ones. Secrets are never returned.
#[utoipa::path(tag = "api keys", responses((status = 200, description = "All API keys, without their secrets", body = List<ApiKey>), Errors))]
#[get("/api-keys")]
pub async fn list_api_keys(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let rows = ctx.db.query(&caller.tenant, |tx| tx.api_keys()).await?;
    Ok(ok(&List::whole(rows.into_iter().map(ApiKey::from).collect())))
}

/// Create an API key
///
/// Creates a key with full access to the tenant's data, and returns its secret once. There is no `Idempotency-Key`,
/// because the secret is not stored: if the response is lost, revoke the key and create another.
#[utoipa::path(
    tag = "api keys", request_body = CreateApiKeyRequest,
    responses((status = 201, description = "The new API key with its secret", body = CreateApiKeyResponse), Errors, WriteErrors)
)]
#[post("/api-keys")]
pub async fn create_api_key(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<CreateApiKeyRequest>,
) -> ApiResult {
    let new = api_keys::create(&ctx, &caller, body.value.name).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(CreateApiKeyResponse::from(new)))
}

/// Revoke an API key
///
/// The key stops working immediately, even if it authenticated this request; if several processes share a database, the
/// others reject it within a second. A revoked key stays in the list, and revoking it again changes nothing.
#[utoipa::path(
    tag = "api keys",
    params(("id" = String, Path, description = "The API key")),
    responses((status = 204, description = "The key was revoked"), Errors)
)]
#[delete("/api-keys/{id}")]
pub async fn revoke_api_key(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    api_keys::revoke(&ctx, &caller, ApiKeyId::from(id.into_inner())).await?;
    Ok(HttpResponse::NoContent().finish())
}

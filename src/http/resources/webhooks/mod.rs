//! `/webhooks`: URLs that receive events.

pub mod deliveries;
pub mod payloads;

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::db;
use crate::domain::ids::WebhookId;
use crate::domain::webhooks::{DisabledReason, EventType, EventTypes};
use crate::http::kit::auth::Caller;
use crate::http::kit::etag::etag;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::{ValidatedJson, double_option, not_null, plain_text, whole_number};
use crate::http::kit::list::List;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::services::AppContext;
use crate::services::webhooks::{self, NewWebhook, WebhookChange, WithSecret};

/// A URL that receives events. Its secret is returned only when it is new.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    /// The webhook's id.
    pub id: String,
    /// Where events are sent.
    pub url: String,
    /// What the webhook is for; null if it has no description.
    #[schema(required)]
    pub description: Option<String>,
    /// The events that are sent; null means all, including events added in later versions.
    #[schema(required)]
    pub events: Option<Vec<EventType>>,
    /// Whether events are sent.
    pub enabled: bool,
    /// Why it is disabled; null while it is enabled.
    #[schema(required)]
    pub disabled_reason: Option<DisabledReason>,
    /// When attempts began to fail; null if the last one was successful. After five days the webhook is
    /// disabled.
    #[schema(required)]
    pub failing_since: Option<DateTime<Utc>>,
    /// Until when sending is paused because attempts failed; null if they did not.
    #[schema(required)]
    pub paused_until: Option<DateTime<Utc>>,
    /// Until when deliveries are also signed with the former secret; null if the secret was never rotated.
    #[schema(required)]
    pub old_secret_until: Option<DateTime<Utc>>,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
    pub version: i64,
    /// When the webhook was created.
    pub created_at: DateTime<Utc>,
    /// When the webhook was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<db::Webhook> for Webhook {
    fn from(row: db::Webhook) -> Self {
        Self {
            id: row.id.to_string(),
            url: row.url,
            description: row.description,
            events: match row.events {
                EventTypes::All => None,
                EventTypes::Some(events) => Some(events),
            },
            enabled: row.disabled_reason.is_none(),
            disabled_reason: row.disabled_reason,
            failing_since: row.failing_since.map(|at| at.and_utc()),
            paused_until: row.paused_until.map(|at| at.and_utc()),
            old_secret_until: row.old_secret_until.map(|at| at.and_utc()),
            version: row.version,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
        }
    }
}

/// A webhook with its new secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// The secret that verifies deliveries: `whsec_` and base64, as Standard Webhooks libraries expect it. It cannot be
    /// shown again.
    pub secret: String,
}

impl From<WithSecret> for WebhookWithSecret {
    fn from(new: WithSecret) -> Self {
        Self { webhook: new.webhook.into(), secret: new.secret.expose_secret().to_owned() }
    }
}

/// A webhook to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://example.com/hooks/billing", "events": ["push_job.finished", "push_line.held"]}))]
pub struct CreateWebhookRequest {
    /// Where to send events: an https address that is reachable from the internet.
    #[validate(length(min = 1, max = 2000))]
    #[schema(min_length = 1, max_length = 2000, pattern = "^https?://[^#@]*$")]
    pub url: String,
    /// What the webhook is for.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 200)]
    pub description: Option<String>,
    /// The events to send, in any order. Null or left out means all, including events added in later versions.
    #[validate(length(min = 1, max = 20))]
    #[schema(min_items = 1, max_items = 20)]
    pub events: Option<Vec<EventType>>,
}

/// The changes to a webhook. A member that is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": true}))]
pub struct UpdateWebhookRequest {
    /// Where to send events.
    #[serde(default, deserialize_with = "not_null")]
    #[validate(length(min = 1, max = 2000))]
    #[schema(nullable = false, min_length = 1, max_length = 2000, pattern = "^https?://[^#@]*$")]
    pub url: Option<String>,
    /// What the webhook is for. Null clears it.
    #[serde(default, deserialize_with = "double_option")]
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    pub description: Option<Option<String>>,
    /// The events to send. Null means all, including events added in later versions.
    #[serde(default, deserialize_with = "double_option")]
    #[validate(length(min = 1, max = 20))]
    #[schema(value_type = Option<Vec<EventType>>, min_items = 1, max_items = 20)]
    pub events: Option<Option<Vec<EventType>>>,
    /// Whether to send events. While a webhook is disabled, events are not kept for it.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub enabled: Option<bool>,
}

/// How to rotate a secret.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap_hours": 24}))]
pub struct RotateSecretRequest {
    /// For how many hours deliveries are also signed with the former secret; 0 stops using it at once.
    #[serde(default = "one_day", deserialize_with = "whole_number")]
    #[validate(range(max = 720))]
    #[schema(maximum = 720, default = 24)]
    pub overlap_hours: u32,
}

fn one_day() -> u32 {
    24
}

/// The events, each once, in the order of their definition.
fn event_types(events: Option<Vec<EventType>>) -> EventTypes {
    events.map_or(EventTypes::All, |events| {
        let named = EventType::ALL.iter().copied().filter(|event| events.contains(event));
        EventTypes::Some(named.collect())
    })
}

/// List webhooks
///
/// Returns all webhooks in one page, oldest first. There are at most 20.
#[utoipa::path(tag = "webhooks", responses((status = 200, description = "All webhooks", body = List<Webhook>), Errors))]
#[get("/webhooks")]
pub async fn list_webhooks(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let rows = ctx.db.query(&caller.tenant, |tx| tx.webhooks()).await?;
    Ok(ok(&List::whole(rows.into_iter().map(Webhook::from).collect())))
}

/// Create a webhook
///
/// Sends future events to the address, signed according to the Standard Webhooks specification. Each event is sent
/// until the address responds with a 2xx status, for about three days, and may arrive twice or out of order:
/// `webhook-id` is the same for the same event. Returns the secret once. There is no `Idempotency-Key`, because the
/// secret is not kept in plain text: if the response is lost, delete the webhook and create another.
#[utoipa::path(
    tag = "webhooks", request_body = CreateWebhookRequest,
    responses((status = 201, description = "The new webhook with its secret", body = WebhookWithSecret), Errors, WriteErrors)
)]
#[post("/webhooks")]
pub async fn create_webhook(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<CreateWebhookRequest>,
) -> ApiResult {
    let CreateWebhookRequest { url, description, events } = body.value;
    let new = NewWebhook { url, description, events: event_types(events) };
    let new = WebhookWithSecret::from(webhooks::create(&ctx, &caller, new).await?);
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((LOCATION, format!("/api/v1/webhooks/{}", new.webhook.id)));
    Ok(response.insert_header((ETAG, etag(new.webhook.version))).json(new))
}

/// Get a webhook
///
/// Returns the webhook, and whether its deliveries fail.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook")),
    responses((status = 200, description = "The webhook", body = Webhook), Errors)
)]
#[get("/webhooks/{id}")]
pub async fn get_webhook(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = WebhookId::from(id.into_inner());
    let row = ctx.db.query(&caller.tenant, move |tx| tx.webhook(&id)).await?;
    Ok(with_etag(row.version, &Webhook::from(row)))
}

/// Change a webhook
///
/// Changes the members that are sent. Disabling a webhook cancels its pending deliveries; enabling it again resets its
/// failures.
#[utoipa::path(
    tag = "webhooks", request_body = UpdateWebhookRequest,
    params(("id" = String, Path, description = "The webhook"), IfMatchParam),
    responses((status = 200, description = "The webhook", body = Webhook), Errors, WriteErrors)
)]
#[patch("/webhooks/{id}")]
pub async fn update_webhook(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<UpdateWebhookRequest>,
) -> ApiResult {
    let UpdateWebhookRequest { url, description, events, enabled } = body.value;
    let change = WebhookChange { url, description, events: events.map(event_types), enabled };
    let row = webhooks::update(&ctx, &caller, WebhookId::from(id.into_inner()), change, if_match.0).await?;
    Ok(with_etag(row.version, &Webhook::from(row)))
}

/// Delete a webhook
///
/// Also deletes its deliveries; pending ones are not sent any more.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), IfMatchParam),
    responses((status = 204, description = "The webhook was deleted"), Errors, WriteErrors)
)]
#[delete("/webhooks/{id}")]
pub async fn delete_webhook(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    webhooks::delete(&ctx, &caller, WebhookId::from(id.into_inner()), if_match.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Rotate a webhook's secret
///
/// Returns a new secret once. For `overlap_hours`, each delivery has two signatures, one with each secret, so that the
/// receiver can switch to the new one without missing any.
#[utoipa::path(
    tag = "webhooks", request_body = RotateSecretRequest,
    params(("id" = String, Path, description = "The webhook"), IfMatchParam),
    responses((status = 200, description = "The webhook with its new secret", body = WebhookWithSecret), Errors, WriteErrors)
)]
#[post("/webhooks/{id}/rotate-secret")]
pub async fn rotate_webhook_secret(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<RotateSecretRequest>,
) -> ApiResult {
    let overlap = TimeDelta::hours(i64::from(body.value.overlap_hours));
    let id = WebhookId::from(id.into_inner());
    let new = webhooks::rotate_secret(&ctx, &caller, id, overlap, if_match.0).await?;
    Ok(with_etag(new.webhook.version, &WebhookWithSecret::from(new)))
}

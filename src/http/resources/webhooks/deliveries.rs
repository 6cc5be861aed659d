//! `/webhook-deliveries`: past and pending deliveries to webhooks.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::db::{self, DeliveryFilter, DeliverySort};
use crate::domain::ids::{DeliveryId, WebhookId};
use crate::domain::webhooks::{DeliveryState, EventType};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::Idempotency;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::list::List;
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok, page_of, to_stored};
use crate::services::AppContext;
use crate::services::webhooks;

/// One event's delivery to one webhook. It is kept for 30 days after it ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookDelivery {
    /// The delivery's id.
    pub id: String,
    /// The webhook that it is sent to.
    pub webhook_id: String,
    /// The id of the event, as sent in `webhook-id`: the same for all webhooks and all attempts.
    pub message_id: String,
    /// The type of the event.
    pub event_type: EventType,
    /// Whether it was delivered.
    pub state: DeliveryState,
    /// The number of attempts since the event, or since the delivery was sent again.
    pub attempts: i64,
    /// The status of the response to the last attempt; null if there was no response.
    #[schema(required)]
    pub response_status: Option<i64>,
    /// Why the last attempt failed; null if none did.
    #[schema(required)]
    pub detail: Option<String>,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
    /// When the last attempt was made; null before the first.
    #[schema(required)]
    pub attempted_at: Option<DateTime<Utc>>,
    /// The earliest time of the next attempt; null if there is none.
    #[schema(required)]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The body that is sent, as described in the section `webhooks` of this document.
    #[schema(value_type = Object)]
    pub payload: Map<String, Value>,
}

impl From<db::WebhookDelivery> for WebhookDelivery {
    fn from(row: db::WebhookDelivery) -> Self {
        Self {
            id: row.id.to_string(),
            webhook_id: row.webhook_id.to_string(),
            message_id: row.message_id.to_string(),
            event_type: row.event_type,
            state: row.state,
            attempts: row.attempts,
            response_status: row.response_status,
            detail: row.detail,
            created_at: row.created_at.and_utc(),
            attempted_at: row.attempted_at.map(|at| at.and_utc()),
            next_attempt_at: row.finished_at.is_none().then(|| row.not_before.and_utc()),
            payload: serde_json::from_str(&row.payload).unwrap_or_default(),
        }
    }
}

/// The filter of deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Only deliveries to this webhook.
    #[param(max_length = 300)]
    pub webhook_id: Option<String>,
    /// Only deliveries in this state, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<DeliveryState>)]
    pub state: Values<DeliveryState>,
    /// Only deliveries of this event, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<EventType>)]
    pub event_type: Values<EventType>,
}

impl ListFilter for DeliveryQuery {
    type Sort = DeliverySort;
    const DEFAULT_SORT: &'static str = "-created_at";
}

/// List webhook deliveries
///
/// Returns one page of past and pending deliveries, newest first by default.
#[utoipa::path(
    tag = "webhooks",
    params(ListQuery<DeliveryQuery>),
    responses((status = 200, description = "A page of deliveries", body = List<WebhookDelivery>), Errors)
)]
#[get("/webhook-deliveries")]
pub async fn list_webhook_deliveries(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<DeliveryQuery>,
) -> ApiResult {
    let (query, page) = query.for_list("webhook-deliveries")?;
    let filter = DeliveryFilter {
        webhook_id: query.webhook_id.map(WebhookId::from),
        states: query.state.0,
        events: query.event_type.0,
    };
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.deliveries(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, WebhookDelivery::from)))
}

/// Get a webhook delivery
///
/// Returns the delivery with the result of its last attempt.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The delivery")),
    responses((status = 200, description = "The delivery", body = WebhookDelivery), Errors)
)]
#[get("/webhook-deliveries/{id}")]
pub async fn get_webhook_delivery(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = DeliveryId::from(id.into_inner());
    let row = ctx.db.query(&caller.tenant, move |tx| tx.delivery(&id)).await?;
    Ok(ok(&WebhookDelivery::from(row)))
}

/// Send a webhook delivery again
///
/// Sends the same body with the same `webhook-id`, whether the delivery was successful or not, and retries it like a
/// new one. Fails with 409 while the delivery is pending, or if its webhook is disabled.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The delivery")),
    responses((status = 202, description = "The delivery, which is sent as soon as possible", body = WebhookDelivery), Errors, WriteErrors)
)]
#[post("/webhook-deliveries/{id}/resend")]
pub async fn resend_webhook_delivery(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    Ok(accepted(webhooks::resend(&ctx, &caller, DeliveryId::from(id.into_inner())).await?))
}

/// Send a test event
///
/// Sends `webhook.test` to this webhook only, whatever its `events`. Watch the returned delivery to see whether it
/// arrived. Fails with 409 if the webhook is disabled.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"), IdempotencyKeyParam),
    responses((status = 202, description = "The delivery of the test, which is sent as soon as possible", body = WebhookDelivery), Errors, WriteErrors)
)]
#[post("/webhooks/{id}/test")]
pub async fn test_webhook(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    idempotency: Idempotency,
) -> ApiResult {
    let once = idempotency.once("", |row: db::WebhookDelivery| {
        to_stored(StatusCode::ACCEPTED, Some(address_of(&row)), &WebhookDelivery::from(row))
    })?;
    let answer = webhooks::send_test(&ctx, &caller, WebhookId::from(id.into_inner()), once).await?;
    Ok(from_stored(answer))
}

fn address_of(row: &db::WebhookDelivery) -> String {
    format!("/api/v1/webhook-deliveries/{}", row.id)
}

fn accepted(row: db::WebhookDelivery) -> HttpResponse {
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, address_of(&row)));
    response.json(WebhookDelivery::from(row))
}

//! Operations outside `/api/v1`: liveness, readiness, metrics and the OpenAPI document.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::kit::problem::{ApiError, ApiResult, PlainErrors, Problem};
use crate::http::kit::problem_code::RequestCode;
use crate::http::kit::served_document::ServedDocument;
use crate::http::kit::settings::HttpSettings;
use crate::services::AppContext;

/// The health of the service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`. A service that is not ready responds with 503 and a problem instead.
    pub status: &'static str,
}

/// Liveness probe
///
/// Returns 200 as long as the process runs. It does not check the database. Needs no API key.
#[utoipa::path(tag = "operation", security(()), responses((status = 200, description = "The process runs", body = Health), PlainErrors))]
#[get("/healthz")]
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Readiness probe
///
/// Returns 200 if the database can be read and written and has the right schema, and if the workers of this process
/// run; otherwise 503. Needs no API key.
#[utoipa::path(
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "The service is ready", body = Health),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not ready; `detail` says why"),
        PlainErrors
    )
)]
#[get("/readyz")]
pub async fn readyz(ctx: web::Data<AppContext>) -> ApiResult {
    let not_ready = |detail: &str| ApiError::Http(RequestCode::NotReady, detail.to_owned());
    if ctx.shutdown.is_cancelled() {
        return Err(not_ready("the service is shutting down"));
    }
    if !ctx.push_loops.is_alive() || !ctx.schedule_loops.is_alive() {
        return Err(not_ready("no worker runs; see the log for the cause"));
    }
    match ctx.db.is_ready().await {
        Ok(true) => Ok(HttpResponse::Ok().json(Health { status: "ok" })),
        Ok(false) => Err(not_ready("the database's schema is not the one that this version needs")),
        Err(error) => {
            tracing::warn!(cause = %error.chain(), "readiness probe failed");
            Err(not_ready("the database cannot be reached or written; see the log for the cause"))
        }
    }
}

/// Get metrics
///
/// Returns the metrics of this process in the Prometheus text format. Needs no API key.
#[utoipa::path(
    tag = "operation",
    security(()),
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain",
        example = "connectwise_requests_total{method=\"GET\",outcome=\"ok\"} 12"), PlainErrors)
)]
#[get("/metrics")]
pub async fn metrics(settings: web::Data<HttpSettings>) -> HttpResponse {
    let text = settings.metrics.as_ref().map(|render| render()).unwrap_or_default();
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}

/// Get the OpenAPI document
///
/// Returns this document as JSON. Needs no API key.
#[utoipa::path(tag = "operation", security(()), responses((status = 200, description = "The OpenAPI document", body = Object), PlainErrors))]
#[get("/openapi.json")]
pub async fn openapi(document: web::Data<ServedDocument>, settings: web::Data<HttpSettings>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(settings.example_ids.apply(document.json()))
}

/// Redirects the root path to Swagger UI.
pub async fn to_swagger_ui() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "/swagger-ui/")).finish()
}

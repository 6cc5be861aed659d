//! Responses in ConnectWise's formats.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{LINK, RETRY_AFTER};
use serde_json::{Map, Value, json};

/// A response before it is serialised, so that faults can still change it.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    pub(super) link: Option<String>,
    pub(super) retry_after: Option<u64>,
}

impl Response {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, body: Some(without_nulls(body)), link: None, retry_after: None }
    }

    /// The documented error body: code, message, and the invalid fields (here none).
    pub(super) fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let body = json!({"code": code, "message": message.into(), "errors": null});
        Self { status, body: Some(body), link: None, retry_after: None }
    }

    pub(super) fn invalid(resource: &str, field: &str, code: &str, message: &str) -> Self {
        let error = json!({"code": code, "message": message, "resource": resource, "field": field});
        let body = json!({
            "code": "InvalidObject", "message": format!("{resource} object is invalid"), "errors": [error]
        });
        Self { status: 400, body: Some(body), link: None, retry_after: None }
    }

    /// A 429 response. Its body has `error` instead of `code`.
    pub(super) fn throttled(retry_after: u64) -> Self {
        let message = format!("Too many requests. Please try again in {retry_after} seconds.");
        let body = json!({"error": "ConnectWiseAPI", "message": message});
        Self { status: 429, body: Some(body), link: None, retry_after: Some(retry_after) }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::error(404, "NotFound", format!("{what} not found"))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.body.as_ref().map(|body| serde_json::to_vec(body).unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let bytes = self.bytes();
        let mut response = HttpResponse::build(StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK));
        if let Some(link) = self.link {
            response.insert_header((LINK, link));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        response.insert_header(("api-current-version", "2025.1"));
        response.insert_header(("x-cw-request-id", uuid::Uuid::now_v7().to_string()));
        response.content_type("application/json; charset=utf-8").body(bytes)
    }
}

/// Removes null members at every depth, as ConnectWise does.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept: Map<String, Value> = members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

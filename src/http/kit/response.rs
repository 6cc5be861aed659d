//! Renders responses.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LINK, LOCATION};
use serde::Serialize;
use utoipa::ToSchema;

use super::etag::etag;
use super::list::List;
use crate::domain::{Error, Result};
use crate::http::kit::current_request;
use crate::services::idempotency::RenderedResponse;

/// 200 with JSON.
pub fn ok(value: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(value)
}

/// 200 with a page of a list, and the address of the next one as `Link`.
pub fn page_of<T: Serialize + ToSchema>(list: &List<T>) -> HttpResponse {
    page_with(list.next_cursor.as_deref(), list)
}

/// 200 with a response that holds a page of a list, and the address of the next one as `Link`.
pub fn page_with(next_cursor: Option<&str>, response: &impl Serialize) -> HttpResponse {
    let mut http = HttpResponse::Ok();
    if let Some(next) = next_cursor.and_then(current_request::next_page) {
        http.insert_header((LINK, format!("<{next}>; rel=\"next\"")));
    }
    http.json(response)
}

/// 200 with JSON, and the version as `ETag`.
pub fn with_etag(version: i64, value: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((ETAG, etag(version))).json(value)
}

/// A response that can be stored under an `Idempotency-Key`.
pub fn to_stored(status: StatusCode, location: Option<String>, value: &impl Serialize) -> Result<RenderedResponse> {
    let body = serde_json::to_string(value).map_err(Error::internal)?;
    Ok(RenderedResponse { status: status.as_u16(), location, body, replayed: false })
}

/// 201 with a new resource and its address, `path` and its id, for an `Idempotency-Key`.
pub fn created(path: &str, id: impl std::fmt::Display, value: &impl Serialize) -> Result<RenderedResponse> {
    to_stored(StatusCode::CREATED, Some(format!("/api/v1/{path}/{id}")), value)
}

/// Renders a response that was made now, or stored for an earlier request.
pub fn from_stored(answer: RenderedResponse) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if let Some(location) = answer.location {
        response.insert_header((LOCATION, location));
    }
    if answer.replayed {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    response.content_type("application/json").body(answer.body)
}

//! The headers `If-Match`, `ETag`, `Idempotency-Key` and `Content-Type`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_TYPE, IF_MATCH};
use actix_web::{FromRequest, HttpRequest};

use crate::domain::{FieldCode, FieldError};
use crate::http::kit::problem::{ApiError, ApiResult};
use crate::services::IfMatch;
use crate::services::idempotency::{Key, Once};

/// The versions that the caller's `If-Match` allows.
#[derive(Debug)]
pub struct IfMatchHeader(pub IfMatch);

impl FromRequest for IfMatchHeader {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(if_match(req).map(Self))
    }
}

fn if_match(req: &HttpRequest) -> ApiResult<IfMatch> {
    let bad = || {
        let message = "If-Match must be the ETag that GET returned, such as \"3\" with its quotes, or *";
        ApiError::Malformed(vec![FieldError::new("If-Match", FieldCode::BadHeader, message)])
    };
    let mut versions = Vec::new();
    let mut given = false;
    for header in req.headers().get_all(IF_MATCH) {
        given = true;
        for tag in header.to_str().map_err(|_| bad())?.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(IfMatch(None));
            }
            // A weak tag never matches (RFC 9110, section 13.1.1), and the service returns none.
            let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(bad)?;
            // An unknown tag matches no version; that is 412, not a malformed header.
            versions.extend((!weak).then(|| version.to_owned()));
        }
    }
    Ok(IfMatch(given.then_some(versions)))
}

/// The `Idempotency-Key` of a request, with its method and path.
#[derive(Debug)]
pub struct Idempotency {
    key: Option<String>,
    operation: String,
}

impl Idempotency {
    /// Prepares to handle a request with this body once for its key, if it has one. `render` makes the response.
    pub fn once<R>(&self, body_hash: &str, render: R) -> ApiResult<Once<R>> {
        let parse = |key: &String| Key::parse(key, format!("{} {body_hash}", self.operation));
        Ok(Once::new(self.key.as_ref().map(parse).transpose()?, render))
    }
}

impl FromRequest for Idempotency {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = req.headers().get("Idempotency-Key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        ready(Ok(Self { key, operation: format!("{} {}", req.method(), req.path()) }))
    }
}

/// The media type of a request's body, in lower case and without its parameters; empty without a `Content-Type`.
pub(super) fn media_type(req: &HttpRequest) -> String {
    let given = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

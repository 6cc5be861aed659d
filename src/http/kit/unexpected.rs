//! Refuses what an operation would ignore: a query parameter where it takes none, and a body where it takes none. A caller
//! who sends `dry_run` to an operation without it would otherwise believe in a dry run.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};
use url::form_urlencoded;

use super::problem::ApiError;
use super::served_document::ServedDocument;
use crate::domain::{FieldCode, FieldError};

/// Maximum length of a body that says nothing: some clients send `{}` or `null` where an operation takes no body.
const MAX_EMPTY: usize = 4;

/// Refuses a request with parameters or a body that its operation does not take. Operations that take parameters check
/// their names themselves.
pub async fn refuse(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let document = req.app_data::<web::Data<ServedDocument>>();
    let takes = document.and_then(|document| document.takes(req.path(), req.method()));
    let bad = takes.map_or_else(Vec::new, |takes| {
        let mut bad = if takes.query { Vec::new() } else { parameters(req.query_string()) };
        if !takes.body && has_body(&req) {
            bad.push(FieldError::new("", FieldCode::UnknownField, "this operation takes no body; send none, or {}"));
        }
        bad
    });
    if bad.is_empty() {
        return next.call(req).await.map(ServiceResponse::map_into_left_body);
    }
    Ok(req.into_response(ApiError::Malformed(bad).error_response()).map_into_right_body())
}

fn parameters(query: &str) -> Vec<FieldError> {
    let message = "unknown parameter; this operation takes none in its query";
    let names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.map(|name| FieldError::new(name, FieldCode::UnknownParameter, message)).collect()
}

fn has_body(req: &ServiceRequest) -> bool {
    let length = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > MAX_EMPTY) || req.headers().contains_key(TRANSFER_ENCODING)
}

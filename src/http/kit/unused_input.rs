//! Rejects input that an operation would ignore: query parameters or a body that it does not accept. Otherwise, a
//! caller who sends `dry_run` to an operation without it would believe that it was a dry run.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};
use url::form_urlencoded;

use super::extract::body_limits;
use super::problem::ApiError;
use super::served_document::ServedDocument;
use crate::domain::{FieldCode, FieldError};

/// Maximum length of a body that counts as empty: some clients send `{}` or `null` where an operation takes no body.
const MAX_EMPTY: usize = 4;

/// Rejects a request with parameters or a body that its operation does not accept. Operations that accept parameters
/// check their names themselves.
pub async fn reject(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let document = req.app_data::<web::Data<ServedDocument>>();
    let takes = document.and_then(|document| document.accepted_input(req.path(), req.method()));
    let rejection = match takes {
        // The router decodes paths, but the document does not, so the input of this path would not be checked.
        None if req.path().contains('%') => Some(ApiError::no_path()),
        None => None,
        Some(takes) => {
            let mut bad = if takes.query { Vec::new() } else { parameters(req.query_string()) };
            if !takes.body && has_content(&mut req).await {
                let message = "this operation accepts no body; send none, or {}";
                bad.push(FieldError::new("", FieldCode::UnknownField, message));
            }
            (!bad.is_empty()).then_some(ApiError::Malformed(bad))
        }
    };
    match rejection {
        None => next.call(req).await.map(ServiceResponse::map_into_left_body),
        Some(rejection) => Ok(req.into_response(rejection.error_response()).map_into_right_body()),
    }
}

/// Whether a request has a body with content. Stops reading once it is longer than [`MAX_EMPTY`].
async fn has_content(req: &mut ServiceRequest) -> bool {
    let length = req.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(0) => return false,
        Some(length) if length > MAX_EMPTY => return true,
        None if !req.headers().contains_key(TRANSFER_ENCODING) => return false,
        _ => {}
    }
    let mut payload = req.take_payload();
    let read = body_limits::read(req.request(), &mut payload, MAX_EMPTY).await;
    req.set_payload(payload);
    !read.is_ok_and(|body| matches!(body.bytes.trim_ascii(), b"" | b"{}" | b"null"))
}

fn parameters(query: &str) -> Vec<FieldError> {
    let message = "unknown parameter; this operation accepts no query parameters";
    let names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.map(|name| FieldError::new(name, FieldCode::UnknownParameter, message)).collect()
}

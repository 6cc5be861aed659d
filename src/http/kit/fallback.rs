//! Responses to requests that reach no handler.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, ResponseError, web};

use super::browsers::allowed;
use super::problem::ApiError;
use super::served_document::ServedDocument;
use super::settings::HttpSettings;
use crate::domain::{FieldCode, FieldError};

/// Rejects a NUL character in the path or the query: no id or text contains one, and PostgreSQL cannot store it.
pub async fn reject_nul(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let rejection = if req.path().contains("%00") {
        ApiError::no_path()
    } else if req.query_string().contains("%00") {
        let error = FieldError::new("query", FieldCode::BadValue, "must not contain a NUL character");
        ApiError::Malformed(vec![error])
    } else {
        return next.call(req).await.map(ServiceResponse::map_into_left_body);
    };
    Ok(req.into_response(rejection.error_response()).map_into_right_body())
}

/// Responds to a request that matches no route: 405 with `Allow` if the path has other methods, otherwise 404.
pub async fn no_route(
    req: HttpRequest,
    document: web::Data<ServedDocument>,
    settings: web::Data<HttpSettings>,
) -> actix_web::HttpResponse {
    if !settings.serves_api {
        return ApiError::no_api().error_response();
    }
    match allowed(&document, req.path()) {
        Some(methods) => ApiError::Method(methods).error_response(),
        None => ApiError::no_path().error_response(),
    }
}

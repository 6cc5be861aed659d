//! Features that browsers and caches expect of every path: `HEAD`, `OPTIONS`, other origins, and conditional requests.

use actix_cors::Cors;
use actix_web::body::{BodySize, BodyStream, BoxBody, EitherBody, MessageBody, SizedStream};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    RETRY_AFTER, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, ResponseError, web};
use futures_util::stream;
use sha2::{Digest, Sha256};

use super::etag;
use super::problem::ApiError;
use super::served_document::ServedDocument;
use super::settings::HttpSettings;

/// How long a browser may remember that a request from another origin is allowed, in seconds.
const PREFLIGHT_VALID_FOR: usize = 3_600;

/// Allows browsers to call the service from pages of these origins. The key is sent in a header, so no cookie is
/// involved.
pub fn cors(origins: &[String]) -> Cors {
    let headers = ["content-type", "idempotency-key", "last-event-id", "x-acting-user", "x-request-id"]
        .map(HeaderName::from_static);
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(headers.into_iter().chain([AUTHORIZATION, IF_MATCH, IF_NONE_MATCH]))
        .expose_headers([ETAG, LINK, LOCATION, RETRY_AFTER, HeaderName::from_static("x-request-id")])
        .expose_headers([CONTENT_DISPOSITION, HeaderName::from_static("idempotent-replayed")])
        .max_age(PREFLIGHT_VALID_FOR);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// The content security policy of Swagger UI's pages: they may load only what this service serves. They set styles of
/// elements, but run no inline script.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// Limits what the pages of Swagger UI may load.
pub async fn limit_pages(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let is_page = req.path().starts_with("/swagger-ui");
    let mut response = next.call(req).await?;
    if is_page {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
    Ok(response)
}

/// Answers `HEAD` as `GET`, without the body.
pub async fn head(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if req.method() != Method::HEAD {
        return next.call(req).await.map(ServiceResponse::map_into_boxed_body);
    }
    req.head_mut().method = Method::GET;
    let response = next.call(req).await?;
    Ok(response.map_body(|_, body| {
        let nothing = stream::empty::<Result<Bytes, actix_web::Error>>();
        match body.size() {
            BodySize::Sized(length) => SizedStream::new(length, nothing).boxed(),
            BodySize::None | BodySize::Stream => BodyStream::new(nothing).boxed(),
        }
    }))
}

/// Answers `OPTIONS` with the methods of the path. Preflight requests from other origins are answered by [`cors`].
pub async fn options(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let is_preflight = req.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let serves_api = req.app_data::<web::Data<HttpSettings>>().is_some_and(|settings| settings.serves_api);
    let document = req.app_data::<web::Data<ServedDocument>>().cloned();
    let Some(document) = document.filter(|_| serves_api && req.method() == Method::OPTIONS && !is_preflight) else {
        return next.call(req).await.map(ServiceResponse::map_into_left_body);
    };
    let response = match allowed(&document, req.path()) {
        Some(methods) => HttpResponse::NoContent().insert_header((ALLOW, methods)).finish(),
        None => ApiError::no_path().error_response(),
    };
    Ok(req.into_response(response).map_into_right_body())
}

/// The methods of a path, for the header `Allow`; `None` if there is no such path.
pub fn allowed(document: &ServedDocument, path: &str) -> Option<String> {
    let mut methods = document.methods(path);
    if methods.is_empty() {
        return None;
    }
    if methods.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    methods.push(Method::OPTIONS);
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.sort_unstable();
    Some(names.join(", "))
}

/// Adds an `ETag` of its content to each JSON response of the API, and answers 304 if the caller has that content. The
/// tag is weak, unless the response has a version: then it contains the version and the content, because a response may
/// change while its version stays the same (a line's usage, a schedule's next runs).
pub async fn conditional(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if !req.path().starts_with("/api/") {
        return next.call(req).await.map(ServiceResponse::map_into_boxed_body);
    }
    let known = req.headers().get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).map(str::to_owned);
    let is_get = req.method() == Method::GET;
    let mut response = next.call(req).await?;
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/json");
    if !is_get || response.status() != StatusCode::OK || !is_json {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response.map_into_boxed_body());
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let version = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let (req, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let bytes = match body.try_into_bytes() {
        Ok(bytes) => bytes,
        Err(body) => return Ok(ServiceResponse::new(req, response.set_body(body)).map_into_boxed_body()),
    };
    let digest = Sha256::digest(&bytes);
    let content: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let tag = version.map_or_else(|| format!("W/\"{content}\""), |version| etag::with_content(&version, &content));
    if known.is_some_and(|known| etag::is_named(&tag, &known)) {
        let mut unchanged = HttpResponse::NotModified();
        unchanged.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "private, no-cache"));
        unchanged.append_header((VARY, ACCEPT_ENCODING.as_str()));
        return Ok(ServiceResponse::new(req, unchanged.finish()));
    }
    let mut response = response.set_body(bytes).map_into_boxed_body();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(ServiceResponse::new(req, response))
}

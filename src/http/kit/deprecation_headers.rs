//! Announces operations that will be removed: `Deprecation` (RFC 9745) and `Sunset` (RFC 8594).
//!
//! The document marks a deprecated operation with `deprecated`, the date of the deprecation (`x-deprecated-since`), and
//! the earliest date of its removal (`x-sunset`). `openapi/deprecations.rs` lists these operations.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web;

use super::served_document::{Deprecation, ServedDocument};

/// Adds the headers to the responses of deprecated operations.
pub async fn announce(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let document = req.app_data::<web::Data<ServedDocument>>();
    let deprecation = document.and_then(|document| document.deprecation(req.path(), req.method()));
    let mut response = next.call(req).await?;
    for (name, value) in deprecation.into_iter().flat_map(Deprecation::headers) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, test};

    use super::*;

    #[tokio::test]
    async fn a_deprecated_operation_announces_its_end() {
        let json = r#"{"paths": {"/old/{id}": {
            "get": {"x-deprecated-since": "2026-12-01", "x-sunset": "2027-06-01"}, "delete": {}
        }}}"#;
        let document = web::Data::new(ServedDocument::parse(json).unwrap());
        let app = App::new().app_data(document).wrap(from_fn(announce));
        let app = app.route("/old/{id}", web::route().to(HttpResponse::Ok));
        let app = test::init_service(app).await;
        let ask = |method: Method| test::TestRequest::default().method(method).uri("/old/1").to_request();
        let old = test::call_service(&app, ask(Method::GET)).await;
        assert_eq!(old.headers().get("deprecation").unwrap(), "@1796083200");
        assert_eq!(old.headers().get("sunset").unwrap(), "Tue, 01 Jun 2027 00:00:00 GMT");
        let other = test::call_service(&app, ask(Method::DELETE)).await;
        assert!(other.headers().get("deprecation").is_none());
    }
}

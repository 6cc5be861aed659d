//! The response headers of the document.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use super::operations::{operations, operations_of, takes_if_match};

/// Declares the `ETag` of the 200 responses of each path where some operation takes `If-Match`.
pub(super) fn declare_etags(openapi: &mut OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        if !operations_of(item).any(|operation| takes_if_match(operation)) {
            continue;
        }
        for response in operations_of(item).filter_map(|operation| operation.responses.responses.get_mut("200")) {
            let RefOr::T(response) = response else { continue };
            declare(response, "ETag");
        }
    }
}

/// Declares the weak `ETag` that `kit::browsers::conditional` adds to the other JSON responses of the API. The 304
/// response is documented in the introduction only: declaring it here would remove the response types from generated
/// clients.
pub(super) fn declare_content_tags(openapi: &mut OpenApi) {
    for (_, item) in openapi.paths.paths.iter_mut().filter(|(path, _)| path.starts_with("/api/")) {
        if operations_of(item).any(|operation| takes_if_match(operation)) {
            continue;
        }
        let Some(operation) = &mut item.get else { continue };
        let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") else { continue };
        if !response.content.contains_key("application/json") {
            continue;
        }
        let etag = header("Changes with the content, such as `W/\"5f2c\"`, for `If-None-Match`");
        response.headers.insert("ETag".to_owned(), RefOr::T(etag));
    }
}

/// Every response header: its name in `components/headers` and its description.
const HEADERS: [(&str, &str); 8] = [
    ("Content-Disposition", "The file name for saving"),
    (
        "ETag",
        "The resource's version, such as `\"3\"`, or version and content, such as `\"3.5f2c\"`, for `If-Match` and \
         `If-None-Match`",
    ),
    ("Idempotent-Replayed", "`true` if this is the stored response of an earlier request with the same key"),
    (
        "Link",
        "The address of the next page, such as `</api/v1/companies?cursor=…>; rel=\"next\"`; left out on the last page",
    ),
    ("Location", "The address of the new resource"),
    ("Retry-After", "The number of seconds after which to repeat the request"),
    ("WWW-Authenticate", "The way to authenticate: `Bearer`"),
    ("X-Request-Id", "The id of the request, which is also in the service's log"),
];

/// Declares a header of a response.
pub(super) fn declare(response: &mut Response, name: &str) {
    let reference = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
    response.headers.insert(name.to_owned(), reference);
}

/// Declares the headers of successful responses, and `X-Request-Id` on all of them.
pub(super) fn declare_headers(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let is_replayed = operation.parameters.iter().flatten().any(|parameter| is_named(parameter, "Idempotency-Key"));
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            declare(response, "X-Request-Id");
            if !status.starts_with('2') {
                continue;
            }
            if matches!(status.as_str(), "201" | "202") {
                declare(response, "Location");
            }
            if is_replayed {
                declare(response, "Idempotent-Replayed");
            }
            if response.content.contains_key("text/csv") {
                declare(response, "Content-Disposition");
            }
        }
        let is_paged = operation.parameters.iter().flatten().any(|parameter| is_named(parameter, "cursor"));
        if let (true, Some(RefOr::T(response))) = (is_paged, operation.responses.responses.get_mut("200")) {
            declare(response, "Link");
        }
    }
    let components = openapi.components.get_or_insert_default();
    for response in components.responses.values_mut() {
        if let RefOr::T(response) = response {
            declare(response, "X-Request-Id");
        }
    }
    components.headers.extend(HEADERS.map(|(name, description)| (name.to_owned(), RefOr::T(header(description)))));
}

fn is_named(parameter: &RefOr<Parameter>, name: &str) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.name == name)
}

fn header(description: &str) -> Header {
    let text = HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    text.description(Some(description)).build()
}

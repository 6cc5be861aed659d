//! The response headers of the document.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr};

use super::operations::{operations_of, takes_if_match};

/// Declares the `ETag` of the 200 responses of each path where some operation takes `If-Match`.
pub(super) fn declare_etags(openapi: &mut OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        if !operations_of(item).any(|operation| takes_if_match(operation)) {
            continue;
        }
        for response in operations_of(item).filter_map(|operation| operation.responses.responses.get_mut("200")) {
            let RefOr::T(response) = response else { continue };
            let etag = HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)));
            let etag = etag.description(Some("The resource's version, such as `\"3\"`, for `If-Match`")).build();
            response.headers.insert("ETag".to_owned(), RefOr::T(etag));
        }
    }
}

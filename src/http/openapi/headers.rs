//! The response headers of the document.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, ResponseBuilder};

use super::operations::{operations_of, takes_if_match};

/// Declares the `ETag` of the 200 responses of each path where some operation takes `If-Match`.
pub(super) fn declare_etags(openapi: &mut OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        if !operations_of(item).any(|operation| takes_if_match(operation)) {
            continue;
        }
        for response in operations_of(item).filter_map(|operation| operation.responses.responses.get_mut("200")) {
            let RefOr::T(response) = response else { continue };
            let etag = header("The resource's version, such as `\"3\"`, for `If-Match`");
            response.headers.insert("ETag".to_owned(), RefOr::T(etag));
        }
    }
}

/// Declares what `kit::browsers::conditional` does to the other JSON responses of the API: a weak `ETag` and 304.
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
        let unchanged = RefOr::Ref(Ref::new("#/components/responses/NotModified"));
        operation.responses.responses.insert("304".to_owned(), unchanged);
        let known = ParameterBuilder::new().name("If-None-Match").parameter_in(ParameterIn::Header);
        let known =
            known.description(Some("The `ETag` of content that the caller has: if it is the same, 304 is returned"));
        let known = known.schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
        operation.parameters.get_or_insert_default().push(RefOr::T(known));
    }
    let unchanged = ResponseBuilder::new().description("The content is what the caller has already (`If-None-Match`)");
    let responses = &mut openapi.components.get_or_insert_default().responses;
    responses.insert("NotModified".to_owned(), RefOr::T(unchanged.build()));
}

fn header(description: &str) -> Header {
    let text = HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    text.description(Some(description)).build()
}

//! Iterates over all operations of the document.

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{KnownFormat, Schema, SchemaFormat};
use utoipa::openapi::{OpenApi, RefOr};

/// All operations.
pub(super) fn operations(openapi: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    openapi.paths.paths.values_mut().flat_map(operations_of)
}

/// The operations of one path.
pub(super) fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Whether an operation takes the header `If-Match`. Call it before parameters are shared: a shared one has no name
/// here.
pub(super) fn takes_if_match(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == "If-Match" && parameter.parameter_in == ParameterIn::Header,
        RefOr::Ref(_) => false,
    })
}

/// Marks bodies that are not JSON as files, because generated clients can send only those.
pub(super) fn mark_files(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
        for (_, content) in body.content.iter_mut().filter(|(kind, _)| *kind != "application/json") {
            let RefOr::T(content) = content else { continue };
            if let Some(RefOr::T(Schema::Object(text))) = &mut content.schema {
                text.format = Some(SchemaFormat::KnownFormat(KnownFormat::Binary));
            }
        }
    }
}

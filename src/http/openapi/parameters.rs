//! The parameters of the document: those of many operations are written once and referred to.

use utoipa::openapi::path::Parameter;
use utoipa::openapi::{OpenApi, Ref, RefOr};

use super::responses::operations;

/// The shared parameters: their name in a request, and in `components/parameters`.
const SHARED: [(&str, &str); 4] =
    [("limit", "Limit"), ("cursor", "Cursor"), ("If-Match", "IfMatch"), ("Idempotency-Key", "IdempotencyKey")];

/// Moves the shared parameters to `components/parameters`.
pub(super) fn share_parameters(openapi: &mut OpenApi) {
    let mut shared: Vec<(String, Parameter)> = Vec::new();
    for parameter in operations(openapi).flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        let RefOr::T(own) = parameter else { continue };
        let Some((_, name)) = SHARED.iter().find(|(known, _)| *known == own.name) else { continue };
        let known = shared.iter().find(|(known, _)| known == name);
        // One that differs stays where it is.
        if known.is_none_or(|(_, known)| known == own) {
            if known.is_none() {
                shared.push(((*name).to_owned(), own.clone()));
            }
            *parameter = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
        }
    }
    let components = openapi.components.get_or_insert_default();
    components.parameters.extend(shared.into_iter().map(|(name, parameter)| (name, RefOr::T(parameter))));
}

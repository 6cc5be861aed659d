//! The errors of the document: written once and referred to.

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::http::kit::problem::CONTENT_TYPE;

/// Every error that an operation may answer with: its status, its name in `components/responses`, and what it means.
const ERRORS: [(&str, &str, &str); 13] = [
    ("400", "BadRequest", "The request could not be parsed: bad JSON, or a bad parameter or header"),
    ("401", "Unauthorized", "The API key is missing or unknown"),
    (
        "403",
        "Forbidden",
        "The key may not do this: a tenant's key on an operator's path, or the operator's key on a tenant's",
    ),
    ("404", "NotFound", "No such resource, or it belongs to another tenant"),
    ("408", "RequestTimeout", "The body did not arrive in time"),
    ("409", "Conflict", "The request conflicts with the current state; `type` and `detail` say how"),
    ("412", "PreconditionFailed", "The resource has another version than `If-Match` names"),
    ("413", "PayloadTooLarge", "The body is larger than this operation accepts"),
    ("415", "UnsupportedMediaType", "The body has another content type than this operation accepts"),
    ("422", "UnprocessableEntity", "Validation failed; `errors` lists the invalid fields"),
    ("500", "InternalServerError", "Internal server error"),
    (
        "502",
        "BadGateway",
        "ConnectWise rejected the request or could not be reached; `type` says whether the connection is at fault",
    ),
    ("503", "ServiceUnavailable", "Busy; retry after the seconds in `Retry-After`"),
];

/// Moves the errors to `components/responses`, and removes those that an operation cannot answer with: 412 without
/// `If-Match`, and those about a body without one.
pub(super) fn share_errors(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let takes = |name: &str, place: &ParameterIn| {
            operation.parameters.iter().flatten().any(|parameter| match parameter {
                RefOr::T(parameter) => parameter.name == name && parameter.parameter_in == *place,
                RefOr::Ref(_) => false,
            })
        };
        let (if_match, body) = (takes("If-Match", &ParameterIn::Header), operation.request_body.is_some());
        let responses = &mut operation.responses.responses;
        responses.retain(|status, _| match status.as_str() {
            "412" => if_match,
            "408" | "413" | "415" => body,
            _ => true,
        });
        for (status, response) in responses.iter_mut() {
            let is_problem = matches!(response, RefOr::T(response) if response.content.contains_key(CONTENT_TYPE));
            if let Some((_, name, _)) = ERRORS.iter().find(|(known, ..)| is_problem && known == status) {
                *response = RefOr::Ref(Ref::from_response_name(*name));
            }
        }
    }
    let problem = || Content::new(Some(Ref::from_schema_name("Problem")));
    let responses = ERRORS.iter().map(|(_, name, description)| {
        let response: Response =
            ResponseBuilder::new().description(*description).content(CONTENT_TYPE, problem()).build();
        ((*name).to_owned(), RefOr::T(response))
    });
    openapi.components.get_or_insert_default().responses.extend(responses);
}

pub(super) fn operations(openapi: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    openapi.paths.paths.values_mut().flat_map(operations_of)
}

pub(super) fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

//! The error responses of the document: defined once, and referenced by the operations.

use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::operations::{operations, takes_if_match};
use crate::http::kit::problem::CONTENT_TYPE;

/// Every error response: its status, its name in `components/responses`, and its description.
const ERRORS: [(&str, &str, &str); 13] = [
    ("400", "BadRequest", "The request could not be parsed: malformed JSON, or an invalid parameter or header"),
    ("401", "Unauthorized", "The API key is missing or unknown"),
    (
        "403",
        "Forbidden",
        "The API key has no access: a tenant's key was sent to `/tenants`, or the operator's key to any other path",
    ),
    ("404", "NotFound", "There is no such resource, or it belongs to another tenant"),
    ("408", "RequestTimeout", "The body arrived too slowly"),
    (
        "409",
        "Conflict",
        "The request conflicts with the current state; `type` names the conflict, and `detail` says what to do",
    ),
    ("412", "PreconditionFailed", "The resource has changed: its version is not the one in `If-Match`. Get it again"),
    ("413", "PayloadTooLarge", "The body is too large; `detail` has the limit"),
    ("415", "UnsupportedMediaType", "The `Content-Type` is not the one of the request body"),
    (
        "422",
        "UnprocessableEntity",
        "Validation failed: `errors` lists the invalid fields. Or the `Idempotency-Key` belongs to another request",
    ),
    ("500", "InternalServerError", "Internal server error; the service's log has the cause"),
    (
        "502",
        "BadGateway",
        "ConnectWise failed or rejected the request; `type` says whether the connection's settings are at fault",
    ),
    ("503", "ServiceUnavailable", "The service or ConnectWise is busy; retry after the seconds in `Retry-After`"),
];

/// Moves the errors to `components/responses`, and removes those that an operation cannot return: 412 without
/// `If-Match`, and 408, 413 and 415 without a request body.
pub(super) fn share_errors(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let (if_match, body) = (takes_if_match(operation), operation.request_body.is_some());
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

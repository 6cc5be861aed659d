//! The error responses of the document: defined once, and referenced by the operations.

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::conflicts::conflicts_of;
use super::headers::declare;
use super::operations::{operations_of, takes_if_match};
use crate::domain::ConflictCode;
use crate::http::kit::problem::CONTENT_TYPE;
use crate::http::kit::problem_code::ProblemCode;

/// Every error response: its status, its name in `components/responses`, and its description.
const ERRORS: [(&str, &str, &str); 13] = [
    ("400", "BadRequest", "The request could not be parsed: malformed JSON, or an invalid parameter or header"),
    ("401", "Unauthorized", "The API key is missing or unknown"),
    (
        "403",
        "Forbidden",
        "The API key has no access: a tenant's key was sent to `/tenants`, or the operator's key to any other path",
    ),
    ("404", "NotFound", "The resource does not exist, or it belongs to another tenant"),
    ("408", "RequestTimeout", "The body arrived too slowly"),
    ("412", "PreconditionFailed", "The resource has changed: its version is not the one in `If-Match`. Get it again"),
    ("413", "PayloadTooLarge", "The body is too large; `detail` states the limit"),
    ("415", "UnsupportedMediaType", "The operation does not accept this `Content-Type`"),
    (
        "422",
        "UnprocessableEntity",
        "Validation failed: `errors` lists the invalid fields. Or the `Idempotency-Key` belongs to another request",
    ),
    ("428", "PreconditionRequired", "The operator requires the version that a change is meant for, and it is missing"),
    ("500", "InternalServerError", "Internal server error; the service's log has the cause"),
    (
        "502",
        "BadGateway",
        "ConnectWise failed or rejected the request; `type` says whether the connection's settings are at fault",
    ),
    ("503", "ServiceUnavailable", "The service or ConnectWise is busy; retry after the seconds in `Retry-After`"),
];

/// Moves the errors to `components/responses`, and removes those that an operation cannot return: 404 where the address
/// names no resource, 408, 413 and 415 without a request body, 409 without a conflict, 412 and 428 without a version,
/// and 422 without anything to validate. A 409 names the conflicts of its operation.
pub(super) fn share_errors(openapi: &mut OpenApi) {
    for (path, item) in &mut openapi.paths.paths {
        let names_resource = path.contains('{') || path.ends_with("/connection");
        for operation in operations_of(item) {
            let (if_match, body) = (takes_if_match(operation), operation.request_body.is_some());
            let validates = body || has_values_to_validate(operation);
            let id = operation.operation_id.clone().unwrap_or_default();
            let conflicts = conflicts_of(&id);
            let responses = &mut operation.responses.responses;
            responses.retain(|status, _| match status.as_str() {
                "404" => names_resource,
                "408" | "413" | "415" => body,
                "409" => false,
                "412" => if_match,
                "428" => if_match || accepts_versions(&id),
                "422" => validates,
                _ => true,
            });
            for (status, response) in responses.iter_mut() {
                let is_problem = matches!(response, RefOr::T(response) if response.content.contains_key(CONTENT_TYPE));
                if let Some((_, name, _)) = ERRORS.iter().find(|(known, ..)| is_problem && known == status) {
                    *response = RefOr::Ref(Ref::from_response_name(*name));
                }
            }
            if !conflicts.is_empty() {
                responses.insert("409".to_owned(), RefOr::T(conflict(&conflicts)));
            }
        }
    }
    let responses = ERRORS.iter().map(|(status, name, description)| {
        let mut response = problem(*description);
        declare_headers(status, &mut response);
        ((*name).to_owned(), RefOr::T(response))
    });
    openapi.components.get_or_insert_default().responses.extend(responses);
}

/// Whether an operation takes versions in its body.
fn accepts_versions(operation_id: &str) -> bool {
    matches!(operation_id, "update_billing_lines" | "choose_agreements" | "choose_additions")
}

fn problem(description: impl Into<String>) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content(CONTENT_TYPE, content).build()
}

fn conflict(codes: &[ConflictCode]) -> Response {
    let meanings = codes.iter().map(|code| {
        let (meaning, advice) = ProblemCode::Conflict(*code).meaning();
        format!("\n- `{code}`: {meaning} {advice}")
    });
    problem(format!(
        "The request conflicts with the current state; `code` names the conflict:{}",
        meanings.collect::<String>()
    ))
}

/// Whether a request without a body can be invalid: it has a header or a query parameter other than `If-Match`.
fn has_values_to_validate(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => match parameter.parameter_in {
            ParameterIn::Query => true,
            ParameterIn::Header => parameter.name == "Idempotency-Key",
            _ => false,
        },
        RefOr::Ref(_) => true,
    })
}

/// Declares the headers that only an error has.
fn declare_headers(status: &str, response: &mut Response) {
    match status {
        "401" => declare(response, "WWW-Authenticate"),
        "412" => declare(response, "ETag"),
        "503" => declare(response, "Retry-After"),
        _ => {}
    }
}

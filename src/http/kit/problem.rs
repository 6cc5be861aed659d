//! Error responses, as in RFC 9457.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::etag::etag;
use super::problem_code::{ProblemCode, RequestCode, open_enumeration};
use crate::domain::rules::RuleError;
use crate::domain::{Error, ErrorCode, FieldCode, FieldError};
use crate::http::kit::current_request;

/// The content type of every error.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Maximum number of invalid fields that are listed; the detail counts all.
const MAX_LISTED_FIELDS: usize = 100;
/// Maximum length of a text in a problem, in characters.
const MAX_TEXT_LENGTH: usize = 1_000;

/// An error response, as in RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "/problems/validation",
    "code": "validation",
    "title": "Validation failed",
    "status": 422,
    "detail": "1 invalid field; see errors",
    "request_id": "0199a0c4-5b7e-7f3a-9d55-3f1d5c2f8a10",
    "errors": [{"field": "/name", "code": "length", "message": "from 1 to 200 characters"}]
}))]
pub struct Problem {
    /// The address of a page about this kind of problem, relative to the service: `/problems/` and the code.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    pub page: String,
    /// The kind of problem. It is stable, so compare this value.
    #[schema(schema_with = open_enumeration::<ProblemCode>)]
    pub code: ProblemCode,
    /// A short name of the type of error, for people.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What went wrong, and what to do, for people. The text may change between versions.
    pub detail: String,
    /// The id of the request, as in the header `X-Request-Id` and in the service's log.
    #[schema(required)]
    pub request_id: Option<String>,
    /// The invalid fields, at most 100. Left out if no field is invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

impl Problem {
    /// An example of a kind of problem, for its page.
    pub fn example(code: ProblemCode) -> Self {
        let (meaning, _) = code.meaning();
        let request_id = Some("0199a0c4-5b7e-7f3a-9d55-3f1d5c2f8a10".to_owned());
        let errors = match code {
            ProblemCode::Request(RequestCode::Malformed) => {
                vec![FieldError::new("limit", FieldCode::BadValue, "must be a whole number").into()]
            }
            ProblemCode::Request(RequestCode::Validation) => {
                vec![FieldError::new("/name", FieldCode::Required, "is required").into()]
            }
            _ => Vec::new(),
        };
        Self { request_id, ..problem(code, meaning, errors) }
    }
}

/// An invalid field.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemField {
    /// A JSON pointer into the body, such as `/records/3/amount`; or the name of a parameter or header. In a table, the
    /// line and the column, such as `/7/block_size`. Empty for the whole body.
    pub field: String,
    /// The code of the error, such as `required` or `out_of_range`. It is stable.
    #[schema(schema_with = open_enumeration::<ErrorCode>)]
    pub code: &'static str,
    /// What is wrong and what would be valid, for people.
    pub message: String,
    /// Where the error begins in the expression: the number of characters before it. Only for matching rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub offset: Option<usize>,
    /// The number of characters that the error spans. Only for matching rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub length: Option<usize>,
    /// `offset` in UTF-16 code units, as JavaScript counts. Only for matching rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub offset_utf16: Option<usize>,
    /// `length` in UTF-16 code units. Only for matching rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub length_utf16: Option<usize>,
    /// What would be valid at that position. Only for matching rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
}

impl From<FieldError> for ProblemField {
    fn from(error: FieldError) -> Self {
        Self {
            field: shortened(error.field),
            code: error.code.as_str(),
            message: shortened(error.message),
            offset: None,
            length: None,
            offset_utf16: None,
            length_utf16: None,
            expected: Vec::new(),
        }
    }
}

impl ProblemField {
    fn of_rule(field: &str, error: &RuleError) -> Self {
        Self {
            field: field.to_owned(),
            code: error.code.as_str(),
            message: error.message.clone(),
            offset: Some(error.offset),
            length: Some(error.length),
            offset_utf16: Some(error.offset_utf16),
            length_utf16: Some(error.length_utf16),
            expected: error.expected.clone(),
        }
    }
}

/// An error of a handler or an extractor. It is rendered as a [`Problem`].
#[derive(Debug)]
pub enum ApiError {
    /// An error of a service or a query.
    Domain(Error),
    /// An error at the level of HTTP, with its detail.
    Http(RequestCode, String),
    /// Malformed JSON or parameters: 400 with the fields.
    Malformed(Vec<FieldError>),
    /// The path does not support the method. Holds the methods that it supports.
    Method(String),
}

/// The result of a handler.
pub type ApiResult<T = HttpResponse> = Result<T, ApiError>;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

impl ApiError {
    /// The API key is missing or invalid.
    pub fn unauthorized() -> Self {
        Self::Http(RequestCode::Unauthorized, "send a valid API key, as in Authorization: Bearer cwb_…".to_owned())
    }

    /// The path does not exist.
    pub fn no_path() -> Self {
        Self::Http(RequestCode::NotFound, "there is no such path; /swagger-ui/ lists all paths".to_owned())
    }

    /// This process does not serve the API.
    pub fn no_api() -> Self {
        let detail = "this process serves only /healthz, /readyz and /metrics; use one with the role http";
        Self::Http(RequestCode::NotFound, detail.to_owned())
    }

    /// The problem that the caller gets. It does not contain the cause.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Domain(error) => domain_problem(error),
            Self::Http(code, detail) => request_problem(*code, detail.clone(), Vec::new()),
            Self::Malformed(fields) => {
                let detail = fields.first().map(|field| field.message.clone()).unwrap_or_default();
                request_problem(RequestCode::Malformed, detail, listed(fields))
            }
            Self::Method(allowed) => {
                let detail = format!("this path supports only {allowed}");
                request_problem(RequestCode::MethodNotAllowed, detail, Vec::new())
            }
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Domain(Error::ConnectWise { retry_after, .. }) => *retry_after,
            Self::Domain(Error::Unavailable(_)) | Self::Http(RequestCode::Busy, _) => Some(1),
            _ => None,
        }
    }
}

/// Shortens a text that may repeat what was sent, so that the response is never much larger than the request.
fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn request_problem(code: RequestCode, detail: String, errors: Vec<ProblemField>) -> Problem {
    problem(ProblemCode::Request(code), detail, errors)
}

fn problem(code: ProblemCode, detail: String, errors: Vec<ProblemField>) -> Problem {
    Problem {
        page: code.page(),
        code,
        title: code.title().to_owned(),
        status: code.status().as_u16(),
        detail: shortened(detail),
        request_id: current_request::id(),
        errors,
    }
}

fn listed(fields: &[FieldError]) -> Vec<ProblemField> {
    fields.iter().take(MAX_LISTED_FIELDS).cloned().map(Into::into).collect()
}

fn domain_problem(error: &Error) -> Problem {
    let code = ProblemCode::of(error);
    match error {
        Error::Invalid(fields) => {
            let detail = match fields.len() {
                1 => "1 invalid field; see errors".to_owned(),
                count if count > MAX_LISTED_FIELDS => {
                    format!("{count} invalid fields; errors lists the first {MAX_LISTED_FIELDS}")
                }
                count => format!("{count} invalid fields; see errors"),
            };
            problem(code, detail, listed(fields))
        }
        Error::Rule { field, error: rule } => {
            problem(code, error.to_string(), vec![ProblemField::of_rule(field, rule)])
        }
        Error::Conflict { code: conflict, detail, field: Some(field) } => {
            problem(code, detail.clone(), vec![FieldError::new(*field, *conflict, detail.clone()).into()])
        }
        Error::ConnectWise { retry_after: Some(_), .. } => {
            let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            Problem { status, ..problem(code, error.to_string(), Vec::new()) }
        }
        _ => problem(code, error.to_string(), Vec::new()),
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem().detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        // The one place where a failure is logged: the caller gets the problem, the log gets the cause.
        if let Self::Domain(error @ (Error::Internal(_) | Error::Unavailable(_))) = self {
            tracing::error!(cause = %error.chain(), "request failed");
        }
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after() {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Self::Domain(Error::VersionMismatch { current }) = self {
            response.insert_header((header::ETAG, etag(*current)));
        }
        if let Self::Method(allowed) = self
            && let Ok(value) = HeaderValue::from_str(allowed)
        {
            response.insert_header((header::ALLOW, value));
        }
        response.content_type(CONTENT_TYPE).body(serde_json::to_string(&self.problem()).unwrap_or_default())
    }
}

/// The errors that every operation can return. `openapi::errors` replaces the descriptions.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub enum Errors {
    /// The request cannot be parsed: malformed JSON, or an invalid parameter or header.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The API key is missing or unknown.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The key has no access: a tenant's key on an operator's path, or the operator's key on a tenant's.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The resource does not exist, or it belongs to another tenant.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The request is well formed, but a field or parameter is invalid.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// Internal server error.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// Busy; retry after the seconds in `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// The error of an operation outside the API: `openapi::errors` replaces the description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub enum PlainErrors {
    /// The request cannot be parsed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
}

/// The further errors that a write can return.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub enum WriteErrors {
    /// The request conflicts with the current state.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// `If-Match` does not name the current version.
    #[response(status = 412, content_type = "application/problem+json")]
    VersionMismatch(Problem),
    /// The operator requires a version.
    #[response(status = 428, content_type = "application/problem+json")]
    VersionRequired(Problem),
    /// The body arrived too slowly.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
}

/// The further errors that the import of a table can return.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub enum TableErrors {
    /// The request conflicts with the current state.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The table arrived too slowly.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The table is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not `text/csv`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotCsv(Problem),
}

/// The further error of an operation that sends requests to ConnectWise.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub enum ConnectWiseErrors {
    /// ConnectWise failed or rejected the request; `type` says whether the connection's settings are at fault.
    #[response(status = 502, content_type = "application/problem+json")]
    Failed(Problem),
}

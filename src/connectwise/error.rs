//! Failures of ConnectWise or of the network, classified by what to do next.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::ConnectWiseCode;

/// What a person must correct about the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionFault {
    /// The address cannot be resolved, or is not allowed.
    Address,
    /// ConnectWise has no company with this company id.
    Company,
    /// The API is not at the address in the company information.
    Codebase,
    /// The public or private key is wrong.
    Keys,
    /// The client id is missing or unknown.
    ClientId,
    /// The API member's security role lacks this permission.
    Permission(&'static str),
}

impl ConnectionFault {
    /// Returns a stable code.
    pub fn code(&self) -> ConnectWiseCode {
        match self {
            Self::Address => ConnectWiseCode::Address,
            Self::Company => ConnectWiseCode::Company,
            Self::Codebase => ConnectWiseCode::Codebase,
            Self::Keys => ConnectWiseCode::Keys,
            Self::ClientId => ConnectWiseCode::ClientId,
            Self::Permission(_) => ConnectWiseCode::Permission,
        }
    }
}

/// A failure, classified by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CwError {
    /// A person must correct the connection; a retry does not help.
    #[error("{detail}")]
    Configuration {
        /// What is wrong.
        fault: ConnectionFault,
        /// What is wrong and what to do.
        detail: String,
    },
    /// ConnectWise rejected the request; a retry would also be rejected.
    #[error("ConnectWise rejected the request: {0}")]
    Rejected(String),
    /// The record no longer exists.
    #[error("the record no longer exists in ConnectWise")]
    NotFound,
    /// Another user is changing the record.
    #[error("ConnectWise reports a conflict: {0}")]
    Conflict(String),
    /// Too many requests, with the time to wait.
    #[error("no request may be sent to ConnectWise for another {} s", .0.as_secs())]
    Throttled(Duration),
    /// ConnectWise cannot be reached, or reports that it is unavailable.
    #[error("ConnectWise is currently unavailable: {0}")]
    Unavailable(String),
    /// A temporary failure of this one request.
    #[error("ConnectWise failed: {0}")]
    Failed(String),
    /// The circuit is open after repeated failures.
    #[error("ConnectWise failed repeatedly; no request is sent for another {} s", .0.as_secs())]
    CircuitOpen(Duration),
    /// The request was not sent: the lease would have ended before the response.
    #[error("the request could not be sent to ConnectWise in time")]
    DeadlineExceeded,
    /// The response cannot be parsed.
    #[error("ConnectWise sent an invalid response: {0}")]
    InvalidResponse(String),
    /// The response reports success, but the record was not changed as requested.
    #[error("ConnectWise reported success, but the quantity is {got} instead of {asked}")]
    NotApplied {
        /// The requested quantity.
        asked: String,
        /// The quantity in the response.
        got: String,
    },
}

impl CwError {
    /// Creates a failure that a person must correct.
    pub(super) fn fault(fault: ConnectionFault, detail: impl Into<String>) -> Self {
        Self::Configuration { fault, detail: detail.into() }
    }

    /// Whether the same request may succeed when retried. Only for idempotent requests.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Conflict(_) | Self::Throttled(_) | Self::Unavailable(_) | Self::Failed(_) | Self::InvalidResponse(_)
        )
    }

    /// Whether ConnectWise may have carried out the request in spite of the failure: the response was lost, was a
    /// failure after the fact, or could not be parsed.
    pub(super) fn may_have_been_carried_out(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Failed(_) | Self::Conflict(_) | Self::InvalidResponse(_))
    }

    /// Whether the failure concerns ConnectWise as a whole. A 500 often concerns one record, and one record must not
    /// stop the others.
    pub(super) fn counts_against_circuit(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Returns a stable code.
    pub fn code(&self) -> ConnectWiseCode {
        match self {
            Self::Configuration { fault, .. } => fault.code(),
            Self::Rejected(_) => ConnectWiseCode::Rejected,
            Self::NotFound => ConnectWiseCode::Gone,
            Self::Conflict(_) => ConnectWiseCode::Conflict,
            Self::Throttled(_) => ConnectWiseCode::Throttled,
            Self::Unavailable(_) | Self::Failed(_) | Self::CircuitOpen(_) | Self::DeadlineExceeded => {
                ConnectWiseCode::Unavailable
            }
            Self::InvalidResponse(_) => ConnectWiseCode::InvalidResponse,
            Self::NotApplied { .. } => ConnectWiseCode::NotApplied,
        }
    }

    /// Returns how long to wait before a retry, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(wait) | Self::CircuitOpen(wait) => Some(*wait),
            _ => None,
        }
    }
}

/// The purpose of a request, which determines the permission it needs and whether a 404 means one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    ReadSystem,
    ReadCompanies,
    ReadAgreements,
    ReadAdditions,
    WriteAddition,
}

impl Purpose {
    fn permission(self) -> &'static str {
        match self {
            Self::ReadSystem => "API access",
            Self::ReadCompanies => "Companies > Company Maintenance: Inquire, level All",
            Self::ReadAgreements | Self::ReadAdditions => "Finance > Agreements: Inquire, level All",
            Self::WriteAddition => "Finance > Agreements: Edit, level All",
        }
    }

    /// Whether a 404 means that one record does not exist, rather than that the API is elsewhere.
    fn is_of_one_record(self) -> bool {
        matches!(self, Self::ReadAdditions | Self::WriteAddition)
    }
}

/// Classifies an unsuccessful response. `retry_after` is the header, in seconds.
pub(super) fn from_answer(purpose: Purpose, status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> CwError {
    let error_body = ErrorBody::read(body);
    let text = error_body.summary(status);
    let says = |word: &str| error_body.text.to_ascii_lowercase().contains(word);
    match status.as_u16() {
        429 => CwError::Throttled(Duration::from_secs(retry_after.unwrap_or(30).min(600))),
        400 | 401 if says("clientid") => CwError::fault(
            ConnectionFault::ClientId,
            format!("the client id is missing or unknown to ConnectWise: {text}"),
        ),
        400 if says("cannot route") => CwError::fault(
            ConnectionFault::Codebase,
            "ConnectWise reports that the codebase or the company id is invalid",
        ),
        400 if error_body.code.as_deref() == Some("Security") && says("ssl") => CwError::fault(
            ConnectionFault::Address,
            "ConnectWise requires SSL: use https, and in the ConnectWise cloud the host that begins with api-",
        ),
        401 => CwError::fault(
            ConnectionFault::Keys,
            "ConnectWise does not accept the public and private key for this company id",
        ),
        // A proxy's error has no `code`: only ConnectWise itself can report a missing permission.
        403 if error_body.code.is_none() => CwError::Failed(text),
        403 => {
            let right = purpose.permission();
            CwError::fault(ConnectionFault::Permission(right), format!("the API member's security role lacks {right}"))
        }
        // A proxy's error has no `code`: only ConnectWise itself can report that a record no longer exists.
        404 | 410 if purpose.is_of_one_record() && error_body.code.is_some() => CwError::NotFound,
        404 => CwError::fault(ConnectionFault::Codebase, "there is no ConnectWise API at this address (404)"),
        409 => CwError::Conflict(text),
        500 => CwError::Failed(text),
        408 | 501..=599 => CwError::Unavailable(text),
        300..=399 => CwError::fault(
            ConnectionFault::Address,
            format!("the address responds with a redirect ({status}), which is not followed"),
        ),
        _ => CwError::Rejected(text),
    }
}

/// Maximum size in bytes of a body that is parsed as an error. Parsed values need many times the memory of their text.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The body of an error response, as far as it has ConnectWise's format.
struct ErrorBody {
    code: Option<String>,
    /// The message and the field errors; empty if the body is not a ConnectWise error.
    text: String,
}

impl ErrorBody {
    fn read(body: &[u8]) -> Self {
        let is_short = body.len() <= MAX_ERROR_BODY;
        let value = if is_short { serde_json::from_slice(body).unwrap_or_default() } else { Value::Null };
        let member = |name: &str| value.get(name).and_then(Value::as_str).map(clean);
        let mut parts: Vec<String> = member("message").into_iter().collect();
        for error in value.get("errors").and_then(Value::as_array).into_iter().flatten().take(10) {
            let message = error.get("message").and_then(Value::as_str).map(clean).unwrap_or_default();
            match error.get("field").and_then(Value::as_str).map(clean) {
                Some(field) if !field.is_empty() => parts.push(format!("{field}: {message}")),
                _ => parts.push(message),
            }
        }
        parts.retain(|part| !part.is_empty());
        // 429 bodies carry `error` where the others have `code`.
        Self { code: member("code").or_else(|| member("error")), text: parts.join("; ") }
    }

    fn summary(&self, status: StatusCode) -> String {
        match (&self.code, self.text.as_str()) {
            (Some(code), text) if !text.is_empty() => format!("{text} ({status}, {code})"),
            (None, text) if !text.is_empty() => format!("{text} ({status})"),
            _ => format!("status {status}"),
        }
    }
}

/// Returns at most 300 characters of an external text, on one line.
fn clean(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

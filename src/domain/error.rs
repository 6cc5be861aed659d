//! Errors, classified by what the caller should do about them.

use super::codes::{ConflictCode, ConnectWiseCode, ErrorCode, FieldCode};
use super::rules::RuleError;

/// The result type of the layers above the database and the network.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's location: a JSON pointer into the body (`/records/3/amount`), or the name of a parameter.
    pub field: String,
    /// The kind of error.
    pub code: ErrorCode,
    /// The problem and what would be valid, for a person.
    pub message: String,
}

impl FieldError {
    /// Creates a field error.
    pub fn new(field: impl Into<String>, code: impl Into<ErrorCode>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// An error, classified by what to do next. Its text is for the caller, its cause only for the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource does not exist, or it belongs to another tenant.
    #[error("{what} {id} was not found")]
    NotFound {
        /// The kind of resource, such as `ConnectWise company`.
        what: &'static str,
        /// The requested id.
        id: String,
    },
    /// The request is well-formed, but its values are invalid.
    #[error("the request has {} invalid field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// A matching rule cannot be parsed.
    #[error("{error}")]
    Rule {
        /// The field that holds the expression, as a JSON pointer.
        field: String,
        /// The error and its position.
        error: Box<RuleError>,
    },
    /// The request conflicts with the current state.
    #[error("{detail}")]
    Conflict {
        /// The kind of conflict.
        code: ConflictCode,
        /// The conflict, and how to resolve it.
        detail: String,
        /// The field of the request that conflicts, if there is one.
        field: Option<&'static str>,
    },
    /// The version in `If-Match` is not the current version.
    #[error("the resource was changed in the meantime: its current version is {current}")]
    VersionMismatch {
        /// The current version.
        current: i64,
    },
    /// The `Idempotency-Key` was used before with a different request.
    #[error("this Idempotency-Key was used before with a different request")]
    IdempotencyMismatch,
    /// ConnectWise, or the network to it, failed.
    #[error("{detail}")]
    ConnectWise {
        /// The kind of failure.
        code: ConnectWiseCode,
        /// The failure, and how to resolve it.
        detail: String,
        /// How long to wait before a retry, in seconds, if known.
        retry_after: Option<u64>,
        /// Whether a person must correct the connection. If so, a retry does not help.
        connection_at_fault: bool,
    },
    /// A command-line tool cannot do its task. The text gives the reason and the remedy.
    #[error("{0}")]
    Tool(String),
    /// The database is currently unavailable.
    #[error("the service is busy, or its database cannot be reached or written")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An internal error.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Creates the error for a resource that does not exist.
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// Creates the error for one invalid field.
    pub fn invalid(field: impl Into<String>, code: impl Into<ErrorCode>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, code, message)])
    }

    /// Creates the error for a conflict with the current state.
    pub fn conflict(code: ConflictCode, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), field: None }
    }

    /// Returns the same error for a field of the request. If the field names a record that does not exist, the field is
    /// invalid, because the address of the request itself exists.
    pub fn at(self, field: &'static str) -> Self {
        match self {
            Self::NotFound { .. } => Self::invalid(field, FieldCode::NotFound, self.to_string()),
            Self::Conflict { code, detail, .. } => Self::Conflict { code, detail, field: Some(field) },
            other => other,
        }
    }

    /// Creates an internal error with its cause, which is logged.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Returns the code of an error that concerns one field or item of a larger request.
    pub fn field_code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => FieldCode::NotFound.into(),
            Self::Conflict { code, .. } => (*code).into(),
            Self::ConnectWise { code, .. } => (*code).into(),
            Self::VersionMismatch { .. } => FieldCode::VersionMismatch.into(),
            Self::Rule { error, .. } => error.code.into(),
            Self::Invalid(fields) => fields.first().map_or(FieldCode::BadValue.into(), |field| field.code),
            Self::IdempotencyMismatch | Self::Tool(_) | Self::Unavailable(_) | Self::Internal(_) => {
                FieldCode::BadValue.into()
            }
        }
    }

    /// Returns the error with its whole chain of causes, for one log line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

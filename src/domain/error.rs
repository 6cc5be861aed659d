//! Errors, classified by what the caller should do about them.

use super::conflict::ConflictCode;
use super::rules::RuleError;

/// The result of everything above the database and the network.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: a JSON pointer into the body (`/records/3/amount`), or the name of a parameter.
    pub field: String,
    /// A stable code, such as `out_of_range`.
    pub code: &'static str,
    /// What is wrong and what would be valid, for a person.
    pub message: String,
}

impl FieldError {
    /// A bad field.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// A failure, by what to do next. Texts are for the caller; causes are for the operator's log and never shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such resource, or it belongs to another tenant.
    #[error("{what} {id} was not found")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The request is well formed but asks for something that cannot be.
    #[error("the request has {} bad field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// A matching rule that cannot be read.
    #[error("{error}")]
    Rule {
        /// The field that holds the expression, as a JSON pointer.
        field: String,
        /// What is wrong and where.
        error: Box<RuleError>,
    },
    /// The request collides with what is there.
    #[error("{detail}")]
    Conflict {
        /// The kind of conflict.
        code: ConflictCode,
        /// What conflicts, and what to do.
        detail: String,
    },
    /// `If-Match` names another version than the present one.
    #[error("it was changed meanwhile: the present version is {current}")]
    VersionMismatch {
        /// The present version.
        current: i64,
    },
    /// An `Idempotency-Key` was used before with another request.
    #[error("this Idempotency-Key was used before with a different request")]
    IdempotencyMismatch,
    /// ConnectWise, or the network to it, failed.
    #[error("{detail}")]
    ConnectWise {
        /// A stable word for the kind of failure.
        code: &'static str,
        /// What failed and what to do.
        detail: String,
        /// After how many seconds a retry makes sense, if ConnectWise said so.
        retry_after: Option<u64>,
        /// Whether a person must correct the connection: a retry does not help.
        connection_at_fault: bool,
    },
    /// The database cannot be used at the moment.
    #[error("the service is busy, or its database cannot be reached or written")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An internal error.
    #[error("an internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Nothing of that id.
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// One bad field.
    pub fn invalid(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, code, message)])
    }

    /// A conflict with what is there.
    pub fn conflict(code: ConflictCode, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// An internal error, with its cause for the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The error's stable code, which is also the last part of its problem's `type`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Invalid(_) => "validation",
            Self::Rule { .. } => "rule",
            Self::Conflict { code, .. } => code.as_str(),
            Self::ConnectWise { code, .. } => code,
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::IdempotencyMismatch => "idempotency_key_reused",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// The error with its whole chain of causes, for one log line.
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

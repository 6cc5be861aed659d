//! Classifies database errors by what to do about them.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::domain::{ConflictCode, Error, FieldCode};

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Error::conflict(ConflictCode::AlreadyExists, "a record with the same key exists already")
            }
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ReadOnlyTransaction,
                _,
            )
            | DieselError::BrokenTransactionManager => Error::Unavailable(Box::new(error)),
            DieselError::DatabaseError(_, info) if info.message().contains("invalid byte sequence for encoding") => {
                Error::invalid("", FieldCode::BadText, "a text contains a character that cannot be stored, such as NUL")
            }
            DieselError::DatabaseError(_, info) if is_transient(info.message()) => Error::Unavailable(Box::new(error)),
            _ => Error::internal(error),
        }
    }
}

/// Whether an error is caused by the machine or its load. SQLite and PostgreSQL report such errors only as text.
fn is_transient(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "database is locked",
        "database or disk is full",
        "disk i/o error",
        "readonly database",
        "server closed the connection",
        "terminating connection",
        "canceling statement",
        "connection to server",
        "no connection to",
        "the database system is",
        "no space left on device",
        "could not extend file",
        "deadlock detected",
        "unable to open database file",
    ]
    .iter()
    .any(|known| message.contains(known))
}

//! Converts ConnectWise errors to errors of the API.

use crate::connectwise::CwError;
use crate::domain::Error;

impl From<CwError> for Error {
    fn from(error: CwError) -> Self {
        let connection_at_fault = matches!(error, CwError::Configuration { .. });
        Self::ConnectWise {
            connection_at_fault,
            code: error.code(),
            detail: error.to_string(),
            retry_after: error.retry_after().map(|wait| wait.as_secs().max(1)),
        }
    }
}

//! ConnectWise's failures as the callers of our API are told of them.

use crate::connectwise::CwError;
use crate::domain::Error;

impl From<CwError> for Error {
    fn from(error: CwError) -> Self {
        Self::ConnectWise {
            code: error.code(),
            detail: error.to_string(),
            retry_after: error.retry_after().map(|wait| wait.as_secs().max(1)),
        }
    }
}

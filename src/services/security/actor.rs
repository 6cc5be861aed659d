//! The caller, and the `If-Match` condition of a request.

use crate::domain::ids::{ApiKeyId, TenantId};
use crate::domain::{Error, Result};

/// The caller: a tenant's API key, or an internal task such as a refresh.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The tenant whose data the caller reads and changes.
    pub tenant: TenantId,
    /// The API key's name, or an internal one such as `refresh`.
    pub name: String,
    /// The person for whom the key's owner acts, as the request says; `None` if it does not say.
    pub acting_user: Option<String>,
    /// The id of the API key; `None` for an internal task.
    pub key_id: Option<ApiKeyId>,
    /// The id of the request; `None` for an internal task.
    pub request_id: Option<String>,
}

impl Actor {
    /// The name that histories show: the person, if the request names one, and the API key.
    pub fn shown_name(&self) -> String {
        match &self.acting_user {
            Some(user) => format!("{user} ({})", self.name),
            None => self.name.clone(),
        }
    }

    /// An internal task, such as a refresh.
    pub fn internal(tenant: TenantId, name: &str) -> Self {
        Self { tenant, name: name.to_owned(), acting_user: None, key_id: None, request_id: None }
    }
}

/// The versions that the caller's `If-Match` accepts, as in the ETag; `None` accepts any version.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(pub Option<Vec<String>>);

impl IfMatch {
    /// Errors with [`Error::VersionMismatch`] if the current version is not accepted.
    pub fn check(&self, current: i64) -> Result<()> {
        match &self.0 {
            Some(versions) if !versions.contains(&current.to_string()) => Err(Error::VersionMismatch { current }),
            _ => Ok(()),
        }
    }
}

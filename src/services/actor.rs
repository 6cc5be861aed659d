//! The caller, and the `If-Match` condition of a request.

use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};

/// The caller: a tenant's API key, or a part of the service that acts on its own.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The tenant whose data the request is about.
    pub tenant: TenantId,
    /// The name in histories: that of the API key.
    pub name: String,
}

/// The versions that a caller's `If-Match` allows, as they are written in an ETag; `None` allows any.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(pub Option<Vec<String>>);

impl IfMatch {
    /// Errors if the current version is not among them.
    pub fn check(&self, current: i64) -> Result<()> {
        match &self.0 {
            Some(versions) if !versions.contains(&current.to_string()) => Err(Error::VersionMismatch { current }),
            _ => Ok(()),
        }
    }
}

//! How the server behaves.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::extract::body_limits::BodyLimits;
use crate::services::api_keys;

/// Renders the metrics.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct HttpSettings {
    /// The operator's key, where tenants are to be managed over HTTP.
    pub operator_key: Option<SecretString>,
    /// Renders the metrics.
    pub metrics: Option<RenderMetrics>,
    /// Whether the API is served, and not only how the process is.
    pub serves_api: bool,
    /// How many threads serve.
    pub threads: usize,
    /// What reading bodies may cost.
    pub body_limits: BodyLimits,
}

impl HttpSettings {
    /// Whether a presented key is the operator's.
    pub fn is_operator(&self, known: &SecretString, presented: &str) -> bool {
        api_keys::is_operator(known.expose_secret(), presented)
    }
}

//! The settings of the HTTP server.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use secrecy::{ExposeSecret, SecretString};

use super::example_ids::ExampleIds;
use super::extract::body_limits::BodyLimits;
use crate::services::security::api_keys;

/// Returns the metrics in the Prometheus text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The settings of the HTTP server.
#[derive(Clone)]
pub struct HttpSettings {
    /// The operator's key; without it, tenants cannot be managed over HTTP.
    pub operator_key: Option<SecretString>,
    /// Renders the response of `/metrics`; without it the response is empty.
    pub metrics: Option<RenderMetrics>,
    /// The origins whose pages may call the API from a browser, such as `https://billing.example.com`.
    pub cors_origins: Vec<String>,
    /// Whether the API is served, and not only health and metrics.
    pub serves_api: bool,
    /// Whether the console is served beside the API.
    pub serves_console: bool,
    /// Number of threads that serve requests.
    pub threads: usize,
    /// Whether changes and deletions must name the version that they apply to.
    pub require_versions: bool,
    /// The example ids of the served document.
    pub example_ids: ExampleIds,
    /// The limits for reading request bodies.
    pub body_limits: BodyLimits,
}

impl HttpSettings {
    /// The settings of the server that handles a request.
    pub fn of(req: &HttpRequest) -> Option<&Self> {
        req.app_data::<web::Data<Self>>().map(|settings| settings.get_ref())
    }

    /// Whether a key is the operator's, compared in constant time.
    pub fn is_operator(&self, known: &SecretString, presented: &str) -> bool {
        api_keys::is_operator(known.expose_secret(), presented)
    }
}

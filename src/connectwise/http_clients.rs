//! The HTTP clients that all connections share.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect;

use super::error::CwError;
use super::site::Site;
use crate::outgoing::{PublicOnly, root_cause};

/// The HTTP clients of the process. Connections share them, because each has a copy of all CA certificates.
#[derive(Debug, Default)]
pub struct HttpClients {
    with_tls: OnceLock<reqwest::Client>,
    without_tls: OnceLock<reqwest::Client>,
}

impl HttpClients {
    /// Returns the client for a site, which is created with the given settings if it is the first. Errors if it needs
    /// TLS and no CA certificates are installed.
    pub(super) fn of_site(
        &self,
        site: &Site,
        timeout: Duration,
        allow_private: bool,
    ) -> Result<reqwest::Client, CwError> {
        let needs_tls = site.api().scheme() != "http";
        let shared = if needs_tls { &self.with_tls } else { &self.without_tls };
        if let Some(client) = shared.get() {
            return Ok(client.clone());
        }
        let client = build(timeout, allow_private, needs_tls)?;
        Ok(shared.get_or_init(|| client).clone())
    }
}

fn build(timeout: Duration, allow_private: bool, needs_tls: bool) -> Result<reqwest::Client, CwError> {
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("connectwise-billing/", env!("CARGO_PKG_VERSION")));
    if !allow_private {
        builder = builder.dns_resolver(PublicOnly);
    }
    if !needs_tls {
        // CA certificates need not be installed.
        builder = builder.tls_certs_only(std::iter::empty());
    }
    builder.build().map_err(|error| CwError::Unavailable(root_cause(&error)))
}

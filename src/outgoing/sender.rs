//! Sends deliveries to webhooks.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};

use super::address::{PublicOnly, private_address, root_cause};
use super::signature::DeliveryHeaders;
use super::webhook_url::WebhookUrl;
use crate::domain::clock::Timestamp;

/// How long an address may take to respond. The specification recommends 15 to 30 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Sends deliveries. Each process has one.
pub struct WebhookSender {
    http: Client,
    allow_private: bool,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status of the response; `None` if there was none.
    pub status: Option<u16>,
    /// How long the address asks to wait.
    pub retry_after: Option<TimeDelta>,
    /// Why the attempt failed; `None` if the address accepted the delivery.
    pub failure: Option<String>,
}

impl Attempt {
    /// An attempt that failed before a response.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { status: None, retry_after: None, failure: Some(why.into()) }
    }

    /// Whether the address reports that it no longer exists.
    pub fn is_gone(&self) -> bool {
        self.status == Some(StatusCode::GONE.as_u16())
    }
}

impl WebhookSender {
    /// Creates a sender, which sends to private addresses and by plain http only if `allow_private`.
    pub fn new(allow_private: bool) -> Result<Self, String> {
        let builder = || {
            let builder = Client::builder()
                .timeout(TIMEOUT)
                .connect_timeout(TIMEOUT / 2)
                // A redirect could lead anywhere, and the specification counts it as a failure.
                .redirect(redirect::Policy::none())
                .no_proxy()
                .user_agent(concat!("connectwise-billing/", env!("CARGO_PKG_VERSION")));
            if allow_private { builder } else { builder.dns_resolver(PublicOnly) }
        };
        // Without CA certificates on this machine, every https address fails, but the service works.
        let http = builder().build().or_else(|_| builder().tls_certs_only(std::iter::empty()).build());
        Ok(Self { http: http.map_err(|error| root_cause(&error))?, allow_private })
    }

    /// Whether private addresses and plain http are allowed.
    pub fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Sends a body once. The response's body is not read.
    pub async fn send(&self, url: &WebhookUrl, signed: &DeliveryHeaders, body: String, now: Timestamp) -> Attempt {
        let request = self
            .http
            .post(url.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &signed.id)
            .header("webhook-timestamp", signed.timestamp)
            .header("webhook-signature", &signed.signature)
            .body(body);
        match request.send().await {
            Ok(response) => attempt(response.status(), response.headers(), now),
            Err(error) => Attempt::failed(why(&error)),
        }
    }
}

fn attempt(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Attempt {
    let failure = match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(format!("the address responded with {status}, and redirects are not followed")),
        410 => Some("the address responded with 410 Gone".to_owned()),
        _ => Some(format!("the address responded with {status}")),
    };
    Attempt { status: Some(status.as_u16()), retry_after: retry_after(headers, now), failure }
}

/// Reads `Retry-After`: seconds, or a time (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<TimeDelta> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => TimeDelta::try_seconds(seconds),
        Err(_) => DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc() - now),
    }
}

/// Why there was no response. reqwest's messages contain the URL, so only the root cause is reported.
fn why(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    let is_unknown = ["name or service not known", "no address associated", "failed to lookup"];
    // Do not disclose which names exist in the operator's network.
    if private_address(error).is_some() || is_unknown.iter().any(|text| cause.to_lowercase().contains(text)) {
        return "the host of the address is unknown, or has no public address".to_owned();
    }
    if error.is_timeout() {
        return format!("the address did not respond within {} s", TIMEOUT.as_secs());
    }
    format!("the address cannot be reached: {cause}")
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_time() {
        let now = Utc.with_ymd_and_hms(2026, 11, 29, 10, 0, 0).unwrap();
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(TimeDelta::seconds(120)));
        assert_eq!(read("Sun, 29 Nov 2026 10:01:00 GMT"), Some(TimeDelta::seconds(60)));
        assert_eq!(read("soon"), None);
        assert_eq!(read("99999999999999999"), None);
    }
}

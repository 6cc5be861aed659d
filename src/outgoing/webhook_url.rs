//! The address of a webhook.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::address::is_public;

/// Maximum length of an address, encoded.
const MAX_LENGTH: usize = 2_000;

/// The address of a webhook: https, without a user name, a password or a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// Why the address of a webhook was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhookUrl {
    /// It is not an address.
    #[error("not an address: write it as https://example.com/path")]
    Syntax,
    /// It is too long.
    #[error("must have at most {MAX_LENGTH} characters once it is encoded")]
    Length,
    /// It is plain http, which is not encrypted.
    #[error("must begin with https://")]
    PlainHttp,
    /// It contains a user name or password, which would end up in logs.
    #[error("must not contain a user name or password: deliveries are signed instead")]
    Credentials,
    /// It contains a fragment, which is never sent.
    #[error("must not contain a fragment (#)")]
    Fragment,
    /// It is a private, loopback or link-local address.
    #[error("must not be a private, loopback or link-local address")]
    Private,
}

impl WebhookUrl {
    /// Parses an address. Plain http and private addresses need `allow_private`. A host name is checked again, by its
    /// addresses, whenever something is sent to it.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, BadWebhookUrl> {
        // The parser would leave out tabs and line breaks.
        let url = Url::parse(text).ok().filter(|_| !text.chars().any(char::is_control)).ok_or(BadWebhookUrl::Syntax)?;
        if url.as_str().len() > MAX_LENGTH {
            return Err(BadWebhookUrl::Length);
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_private => {}
            "http" => return Err(BadWebhookUrl::PlainHttp),
            _ => return Err(BadWebhookUrl::Syntax),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadWebhookUrl::Credentials);
        }
        if url.fragment().is_some() {
            return Err(BadWebhookUrl::Fragment);
        }
        let literal: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) => None,
            None => return Err(BadWebhookUrl::Syntax),
        };
        if !allow_private && literal.is_some_and(|address| !is_public(address)) {
            return Err(BadWebhookUrl::Private);
        }
        Ok(Self(url))
    }

    /// The address to send to.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_https() {
        for fine in ["https://example.com/hooks?x=1", "https://example.com:8443", "https://1.1.1.1/x"] {
            assert!(WebhookUrl::parse(fine, false).is_ok(), "{fine}");
        }
        for (bad, why) in [
            ("example.com", BadWebhookUrl::Syntax),
            ("ftp://example.com", BadWebhookUrl::Syntax),
            ("http://example.com", BadWebhookUrl::PlainHttp),
            ("https://user@example.com", BadWebhookUrl::Credentials),
            ("https://:pass@example.com", BadWebhookUrl::Credentials),
            ("https://example.com/#x", BadWebhookUrl::Fragment),
            ("https://127.0.0.1/", BadWebhookUrl::Private),
            ("https://2130706433/", BadWebhookUrl::Private),
            ("https://0x7f.1/", BadWebhookUrl::Private),
            ("https://[::1]/", BadWebhookUrl::Private),
            ("https://169.254.169.254/latest", BadWebhookUrl::Private),
        ] {
            assert_eq!(WebhookUrl::parse(bad, false), Err(why), "{bad}");
        }
        assert!(WebhookUrl::parse("http://127.0.0.1:9000/x", true).is_ok());
    }
}

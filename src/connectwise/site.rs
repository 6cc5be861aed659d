//! The address of a ConnectWise site: parses what people paste into the web host and the API host.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Cloud hosts. Their API has the same host name with the prefix `api-`.
/// Source: ConnectWise Developer Guide, Cloud URLs; `au` and `aus` are both in use.
const CLOUD: &[&str] = &[
    "na.myconnectwise.net",
    "eu.myconnectwise.net",
    "au.myconnectwise.net",
    "aus.myconnectwise.net",
    "za.myconnectwise.net",
    "staging.connectwisedev.com",
];

/// A ConnectWise site, normalised: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    web: Url,
    api: Url,
}

/// Why a site was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSite {
    /// It is not an address.
    #[error("not an address: write a host name such as na.myconnectwise.net")]
    Syntax,
    /// It contains a user name or password.
    #[error("an address must not contain a user name or password")]
    Credentials,
    /// It is plain http: ConnectWise rejects it, and the keys would be sent unencrypted.
    #[error("ConnectWise accepts https only: write the host name, alone or after https://")]
    PlainHttp,
}

impl Site {
    /// Parses a site as people paste it: with or without scheme, `api-` and path. Plain http needs `allow_http`.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, BadSite> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&with_scheme).map_err(|_| BadSite::Syntax)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadSite::Credentials);
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => return Err(BadSite::PlainHttp),
            _ => return Err(BadSite::Syntax),
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadSite::Syntax)?;
        let (web, api) = web_and_api_hosts(host);
        let at = |host: &str| {
            let mut base = url.clone();
            base.set_path("/");
            base.set_query(None);
            base.set_fragment(None);
            base.set_host(Some(host)).map(|()| base).map_err(|_| BadSite::Syntax)
        };
        Ok(Self { web: at(&web)?, api: at(&api)? })
    }

    /// The address that people use, which also serves the company information.
    pub(super) fn web(&self) -> &Url {
        &self.web
    }

    /// The address of the API.
    pub(super) fn api(&self) -> &Url {
        &self.api
    }

    /// Returns the IP address, if the site is given as one instead of a host name.
    pub(super) fn literal_address(&self) -> Option<IpAddr> {
        match self.api.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.web.as_str().trim_end_matches('/'))
    }
}

fn web_and_api_hosts(host: &str) -> (String, String) {
    let plain = host.strip_prefix("api-").unwrap_or(host);
    if CLOUD.contains(&plain) { (plain.to_owned(), format!("api-{plain}")) } else { (host.to_owned(), host.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_is_understood() {
        for pasted in [
            "na.myconnectwise.net",
            " https://na.myconnectwise.net/ ",
            "api-na.myconnectwise.net",
            "https://api-na.myconnectwise.net/v4_6_release/apis/3.0",
            "NA.MyConnectWise.net/login?x=1#y",
        ] {
            let site = Site::parse(pasted, false).unwrap();
            assert_eq!(site.to_string(), "https://na.myconnectwise.net", "{pasted}");
            assert_eq!(site.api().as_str(), "https://api-na.myconnectwise.net/");
        }
    }

    #[test]
    fn a_host_of_ones_own_is_left_as_given() {
        let site = Site::parse("https://psa.example.com:8443/v4_6_release", false).unwrap();
        assert_eq!(site.to_string(), "https://psa.example.com:8443");
        assert_eq!(site.api(), site.web());
    }

    #[test]
    fn what_is_no_site_is_rejected() {
        for (text, error) in [
            ("", BadSite::Syntax),
            ("ftp://x", BadSite::Syntax),
            ("http://na.myconnectwise.net", BadSite::PlainHttp),
            ("https://me:secret@x.com", BadSite::Credentials),
            ("https://", BadSite::Syntax),
        ] {
            assert_eq!(Site::parse(text, false).unwrap_err(), error, "{text}");
        }
        assert!(Site::parse("http://127.0.0.1:9", true).is_ok());
    }
}

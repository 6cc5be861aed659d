//! The headers `If-Match`, `ETag`, `Idempotency-Key` and `Content-Type`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_TYPE, IF_MATCH};
use actix_web::{FromRequest, HttpRequest};

use crate::domain::{FieldCode, FieldError};
use crate::http::kit::etag::version_of;
use crate::http::kit::problem::{ApiError, ApiResult};
use crate::http::kit::problem_code::RequestCode;
use crate::http::kit::settings::HttpSettings;
use crate::services::IfMatch;
use crate::services::idempotency::{IdempotentWrite, Key};

/// The versions that the caller's `If-Match` allows.
#[derive(Debug)]
pub struct IfMatchHeader(pub IfMatch);

impl FromRequest for IfMatchHeader {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(if_match(req).map(Self))
    }
}

fn if_match(req: &HttpRequest) -> ApiResult<IfMatch> {
    let bad = || {
        let message = "If-Match must be the ETag that GET returned, such as \"3\" with its quotes, or *";
        ApiError::Malformed(vec![FieldError::new("If-Match", FieldCode::BadHeader, message)])
    };
    if !req.headers().contains_key(IF_MATCH) && HttpSettings::of(req).is_some_and(|settings| settings.require_versions)
    {
        let detail =
            "send the ETag of the version that you read as If-Match, or * for any version or if there is none yet";
        return Err(ApiError::Http(RequestCode::VersionRequired, detail.to_owned()));
    }
    let mut versions: Option<Vec<String>> = None;
    for header in req.headers().get_all(IF_MATCH) {
        let text = header.to_str().map_err(|_| bad())?.trim();
        if text == "*" {
            return Ok(IfMatch(None));
        }
        versions.get_or_insert_default().extend(tags(text).ok_or_else(bad)?);
    }
    Ok(IfMatch(versions))
}

/// Whether the operator requires versions in bulk edits, which have the versions in the body.
#[derive(Debug, Clone, Copy)]
pub struct RequiredVersions(bool);

impl RequiredVersions {
    /// Errors with 428 if versions are required and an edit has none.
    pub fn check(self, mut edits_with_version: impl Iterator<Item = bool>) -> ApiResult<()> {
        if !self.0 || edits_with_version.all(|has_version| has_version) {
            return Ok(());
        }
        let detail = "send with each change the version of the line that you read";
        Err(ApiError::Http(RequestCode::VersionRequired, detail.to_owned()))
    }
}

impl FromRequest for RequiredVersions {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(HttpSettings::of(req).is_some_and(|settings| settings.require_versions))))
    }
}

/// The strong tags of a list such as `"3", W/"4"`. A weak tag never matches (RFC 9110, section 13.1.1), and an unknown
/// one matches no version. `None` if the text is not such a list.
fn tags(text: &str) -> Option<Vec<String>> {
    let (mut strong, mut rest) = (Vec::new(), text);
    loop {
        let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
        // A comma within the quotes is a part of the tag.
        let (tag, after) = tag.strip_prefix('"')?.split_once('"')?;
        if !is_weak {
            // A caller who changes a version need not have its latest content: usage may have arrived since.
            strong.push(version_of(tag).to_owned());
        }
        let after = after.trim_start();
        if after.is_empty() {
            return Some(strong);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// The `Idempotency-Key` of a request, with its method and path.
#[derive(Debug)]
pub struct Idempotency {
    key: Option<String>,
    operation: String,
}

impl Idempotency {
    /// Prepares to handle a request with this body once for its key, if it has one. `render` makes the response.
    pub fn once<R>(&self, body_hash: &str, render: R) -> ApiResult<IdempotentWrite<R>> {
        let parse = |key: &String| Key::parse(key, format!("{} {body_hash}", self.operation));
        Ok(IdempotentWrite::new(self.key.as_ref().map(parse).transpose()?, render))
    }
}

impl FromRequest for Idempotency {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = req.headers().get("Idempotency-Key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        ready(Ok(Self { key, operation: format!("{} {}", req.method(), req.path()) }))
    }
}

/// The media type of a request's body, in lower case and without its parameters; empty without a `Content-Type`.
pub(super) fn media_type(req: &HttpRequest) -> String {
    let given = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::tags;

    #[test]
    fn tags_are_read_as_http_writes_them() {
        let read = |text: &str| tags(text).map(|tags| tags.join(" "));
        assert_eq!(read("\"3\"").as_deref(), Some("3"));
        assert_eq!(read("\"3.5f2c\"").as_deref(), Some("3"));
        assert_eq!(read("\"3\", W/\"4\",\"a,b\"").as_deref(), Some("3 a,b"));
        assert_eq!(read("W/\"3\"").as_deref(), Some(""));
        for bad in ["", "3", "\"3", "3\"", "\"3\" \"4\"", "\"3\",", "w/\"3\"", "*, \"3\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

//! Query parameters, read whole: an unknown one is an error, as a misspelt filter would silently widen a list.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;

use crate::domain::FieldError;
use crate::http::kit::problem::{ApiError, ApiResult};

/// The parameters of a request.
#[derive(Debug)]
pub struct StrictQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequest for StrictQuery<T> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(req.query_string()).map(Self))
    }
}

/// The longest text of a parameter, in characters: longer than any id, code or name.
const MAX_LENGTH: usize = 300;
/// The longest cursor: it holds a sort key, as base64.
const MAX_CURSOR: usize = 4_000;

fn refuse_long_texts(query: &str) -> ApiResult<()> {
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let limit = if name == "cursor" { MAX_CURSOR } else { MAX_LENGTH };
        if value.chars().nth(limit).is_some() {
            let message = format!("must be at most {limit} characters long");
            let name = name.chars().take(MAX_LENGTH).collect::<String>();
            return Err(ApiError::Malformed(vec![FieldError::new(name, "length", message)]));
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(query: &str) -> ApiResult<T> {
    refuse_long_texts(query)?;
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let text = error.inner().to_string();
        let (field, code) = match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            Some(name) => (name.to_owned(), "unknown_parameter"),
            None => (error.path().to_string(), "bad_value"),
        };
        let message = match text.as_str() {
            "premature end of input" | "input contains invalid characters" | "input is out of range" => {
                "write a time such as 2026-11-22T12:00:00Z; an offset's + must be sent as %2B".to_owned()
            }
            "invalid digit found in string" => "write a whole number".to_owned(),
            _ => text,
        };
        ApiError::Malformed(vec![FieldError::new(field, code, message)])
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading is tried")]
    struct Asked {
        limit: Option<i64>,
        from: Option<chrono::DateTime<chrono::Utc>>,
        matched: Option<bool>,
    }

    #[test]
    fn the_bad_parameter_is_named() {
        for (query, field, says) in [
            ("limit=abc", "limit", "whole number"),
            ("limit=1&from=2026-01-01", "from", "2026-11-22T12:00:00Z"),
            ("from=2026-01-01T00:00:00+02:00", "from", "%2B"),
            ("matched=yes", "matched", "true"),
            ("lmit=1", "lmit", "expected one of"),
            (&format!("limit={}", "1".repeat(301)), "limit", "at most 300 characters"),
        ] {
            let Err(ApiError::Malformed(fields)) = parse::<Asked>(query) else { panic!("{query} was read") };
            assert_eq!(fields[0].field, field, "{query}: {fields:?}");
            assert!(fields[0].message.contains(says), "{query}: {fields:?}");
        }
        assert!(parse::<Asked>("limit=5&from=2026-01-01T00:00:00Z&matched=true").is_ok());
        assert!(parse::<Asked>("").is_ok());
    }
}

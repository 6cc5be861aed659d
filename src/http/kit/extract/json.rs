//! JSON bodies, parsed and validated. An error names the invalid field by JSON pointer.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::body_limits;
use super::headers::media_type;
use super::schema_errors::Checked;
use crate::domain::{Error, FieldCode, FieldError};
use crate::http::kit::problem::ApiError;
use crate::http::kit::problem_code::RequestCode;

/// Maximum size of a body in bytes, unless the extractor's type has another.
pub(super) const DEFAULT_LIMIT: usize = 1024 * 1024;
/// Maximum size in bytes of a body whose invalid fields are all listed: the list needs a multiple of that memory. For a
/// larger body, only the first one is listed.
const MAX_FULL_CHECK: usize = 64 * 1024;

/// A JSON body of at most `LIMIT` bytes, parsed and validated.
#[derive(Debug)]
pub struct ValidatedJson<T, const LIMIT: usize = DEFAULT_LIMIT> {
    /// The parsed body.
    pub value: T,
    /// The SHA-256 of its bytes in hex, to distinguish requests with the same `Idempotency-Key`.
    pub hash: String,
}

impl<T: DeserializeOwned + Validate + ToSchema + 'static, const LIMIT: usize> FromRequest for ValidatedJson<T, LIMIT> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, mut payload) = (req.clone(), payload.take());
        Box::pin(async move {
            require_json(&req)?;
            let read = body_limits::read(&req, &mut payload, LIMIT).await?;
            parse(&read.bytes)
        })
    }
}

fn require_json(req: &HttpRequest) -> Result<(), ApiError> {
    if is_json(&media_type(req)) {
        return Ok(());
    }
    let detail = "send JSON with the header Content-Type: application/json".to_owned();
    Err(ApiError::Http(RequestCode::UnsupportedMediaType, detail))
}

/// Whether a media type is JSON.
pub(super) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

fn parse<T: DeserializeOwned + Validate + ToSchema, const LIMIT: usize>(
    bytes: &Bytes,
) -> Result<ValidatedJson<T, LIMIT>, ApiError> {
    Ok(ValidatedJson { value: parse_value(bytes)?, hash: hash(bytes) })
}

/// The SHA-256 of a body in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses and validates one JSON object.
pub(super) fn parse_value<T: DeserializeOwned + Validate + ToSchema>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde accepts a list for a struct, by position, which must not become part of the API.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let message = "the body must be a JSON object, not a list";
        return Err(ApiError::Domain(Error::invalid("", FieldCode::WrongType, message)));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    let value: T =
        serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| unreadable::<T>(&error, bytes))?;
    deserializer.end().map_err(|error| {
        malformed("", format!("unexpected text after the JSON (line {}, column {})", error.line(), error.column()))
    })?;
    value.validate().map_err(|errors| {
        let mut fields = Vec::new();
        collect(&errors, "", &mut fields);
        fields.sort_by(|a: &FieldError, b| a.field.cmp(&b.field));
        fields.dedup_by(|a, b| a.field == b.field);
        ApiError::Domain(Error::Invalid(fields))
    })?;
    Ok(value)
}

fn unreadable<T: ToSchema>(error: &serde_path_to_error::Error<serde_json::Error>, bytes: &[u8]) -> ApiError {
    let (path, inner) = (pointer(error.path()), error.inner());
    let text = inner.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let is_small = bytes.len() <= MAX_FULL_CHECK;
    let value = is_small.then(|| serde_json::from_slice::<Value>(bytes).ok()).flatten();
    let is_of_content = inner.classify() == serde_json::error::Category::Data;
    // Where an enumeration is expected, serde reports anything but a string as a syntax error.
    let first = if is_of_content {
        first_error(path, message)
    } else if value.is_some() || !is_small && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        FieldError::new(path, FieldCode::WrongType, "must be a string")
    } else {
        let place = format!("{message} (line {}, column {})", inner.line(), inner.column());
        return malformed(path, format!("the body is not valid JSON: {place}"));
    };
    let checked = value.and_then(|value| Some(Checked::of::<T>()?.errors(&value)));
    let mut fields = checked.unwrap_or_default();
    // Only serde finds errors that the schema cannot express, such as an unknown time zone.
    if fields.iter().all(|field| field.field != first.field) {
        fields.push(first);
        fields.sort_by(|a, b| a.field.cmp(&b.field));
    }
    ApiError::Domain(Error::Invalid(fields))
}

/// The error at which serde stopped: valid JSON with unexpected content.
fn first_error(path: String, message: &str) -> FieldError {
    let name = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split('`').next());
    if let Some(name) = name("missing field `") {
        return FieldError::new(format!("{path}/{name}"), FieldCode::Required, "is required");
    }
    if let Some(name) = name("duplicate field `") {
        return FieldError::new(format!("{path}/{name}"), FieldCode::Duplicate, "is given twice");
    }
    let code = if message.starts_with("unknown field") {
        FieldCode::UnknownField
    } else if message.starts_with("invalid type") {
        FieldCode::WrongType
    } else {
        FieldCode::BadValue
    };
    FieldError::new(path, code, message)
}

fn malformed(field: impl Into<String>, message: impl Into<String>) -> ApiError {
    ApiError::Malformed(vec![FieldError::new(field, FieldCode::Malformed, message)])
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

fn collect(errors: &ValidationErrors, at: &str, fields: &mut Vec<FieldError>) {
    for (name, kind) in &errors.0 {
        let here = format!("{at}/{name}");
        match kind {
            ValidationErrorsKind::Field(found) => {
                fields.extend(found.iter().map(|error| field_error(&here, error)));
            }
            ValidationErrorsKind::Struct(inner) => collect(inner, &here, fields),
            ValidationErrorsKind::List(items) => {
                items.iter().for_each(|(index, inner)| collect(inner, &format!("{here}/{index}"), fields));
            }
        }
    }
}

fn field_error(field: &str, error: &ValidationError) -> FieldError {
    let code = match error.code.as_ref() {
        "length" => FieldCode::Length,
        "range" => FieldCode::OutOfRange,
        "plain_text" => FieldCode::NotPlainText,
        _ => FieldCode::BadValue,
    };
    let bound = |name: &str| error.params.get(name).map(ToString::to_string);
    let message = error.message.as_ref().map(ToString::to_string).unwrap_or_else(|| {
        let what = if code == FieldCode::Length { " long" } else { "" };
        match (bound("min"), bound("max")) {
            (Some(min), Some(max)) => format!("must be from {min} to {max}{what}"),
            (Some(min), None) => format!("must be at least {min}{what}"),
            (None, Some(max)) => format!("must be at most {max}{what}"),
            (None, None) => "is not valid".to_owned(),
        }
    });
    FieldError::new(field, code, message)
}

/// For `#[validate(custom)]`: rejects a text that is blank or has control characters.
pub fn plain_text(text: &str) -> Result<(), ValidationError> {
    if text.trim().is_empty() {
        return Err(ValidationError::new("plain_text").with_message("must not be blank".into()));
    }
    if text.chars().any(char::is_control) {
        return Err(ValidationError::new("plain_text").with_message("must not contain control characters".into()));
    }
    Ok(())
}

/// For fields that may be absent or set. Null is an error, as it would look like a way to clear the field.
pub fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// For whole numbers. `29.0` also counts: JSON Schema says so, and some clients write it.
pub fn whole_number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = serde_json::Number::deserialize(deserializer)?;
    whole(&number).ok_or_else(|| serde::de::Error::custom("must be a whole number in the valid range"))
}

/// Same as [`whole_number`], for fields that may be absent, but not null.
pub fn present_whole_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i64>,
{
    whole_number(deserializer).map(Some)
}

/// Same as [`whole_number`], for fields that may be absent or null.
pub fn optional_whole_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    let whole = |number: &serde_json::Number| {
        whole(number).ok_or_else(|| serde::de::Error::custom("must be a whole number in the valid range"))
    };
    number.as_ref().map(whole).transpose()
}

/// Same as [`whole_number`], for the values of an object that may be absent, but not null.
pub fn whole_numbers<'de, D>(deserializer: D) -> Result<Option<BTreeMap<String, i64>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let numbers = BTreeMap::<String, serde_json::Number>::deserialize(deserializer)?;
    let read = |(name, number): (String, serde_json::Number)| {
        whole(&number).map(|number| (name, number)).ok_or_else(|| serde::de::Error::custom("must have whole numbers"))
    };
    numbers.into_iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn whole<T: TryFrom<i64>>(number: &serde_json::Number) -> Option<T> {
    let text = number.to_string();
    let digits = text.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0'));
    digits.map_or(text.as_str(), |(whole, _)| whole).parse::<i64>().ok()?.try_into().ok()
}

/// For fields that may be absent, null or set: `None`, `Some(None)`, `Some(Some(_))`.
pub fn double_option<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

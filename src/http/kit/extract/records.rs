//! Bodies of many records in one of several formats: one JSON object, a JSON object on each line, or a CSV table.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use validator::Validate;

use super::body_limits::{self, BodyBytes, LARGEST_BODY};
use super::headers::media_type;
use super::json;
use crate::domain::{Error, FieldCode, FieldError};
use crate::http::kit::problem::ApiError;
use crate::http::kit::problem_code::RequestCode;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one object.
    Json,
    /// `application/x-ndjson`: an object on each line.
    JsonLines,
    /// `text/csv`: a table with a header row.
    Csv,
}

/// A body that is received but not parsed.
#[derive(Debug)]
pub struct RecordsBody {
    /// The format that the `Content-Type` names.
    pub format: Format,
    body: BodyBytes,
}

impl FromRequest for RecordsBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, mut payload) = (req.clone(), payload.take());
        Box::pin(async move {
            let format = format(&req)?;
            Ok(Self { format, body: body_limits::read(&req, &mut payload, LARGEST_BODY).await? })
        })
    }
}

fn format(req: &HttpRequest) -> Result<Format, ApiError> {
    match media_type(req).as_str() {
        "text/csv" => Ok(Format::Csv),
        "application/x-ndjson" | "application/jsonl" => Ok(Format::JsonLines),
        kind if json::is_json(kind) => Ok(Format::Json),
        _ => {
            let detail = "send the header Content-Type: application/json, application/x-ndjson or text/csv".to_owned();
            Err(ApiError::Http(RequestCode::UnsupportedMediaType, detail))
        }
    }
}

impl RecordsBody {
    /// The bytes as they were received.
    pub fn bytes(&self) -> &[u8] {
        &self.body.bytes
    }

    /// The SHA-256 of the bytes and of the query, to distinguish requests with the same `Idempotency-Key`.
    pub fn hash(&self, query: &str) -> String {
        if query.is_empty() {
            json::hash(self.bytes())
        } else {
            json::hash(&[query.as_bytes(), b"\n", self.bytes()].concat())
        }
    }

    /// Parses and validates the one object of a JSON body.
    pub fn json<T: DeserializeOwned + Validate + ToSchema>(&self) -> Result<T, ApiError> {
        json::parse_value(self.bytes())
    }

    /// Parses and validates the object on each line, with the number of the line. Blank lines are skipped. An error
    /// names the line and the member, such as `/7/amount`.
    pub fn json_lines<T: DeserializeOwned + Validate + ToSchema>(
        &self,
        most: usize,
    ) -> Result<Vec<(usize, T)>, ApiError> {
        let lines = self.bytes().split(|byte| *byte == b'\n').zip(1..);
        let lines = lines.filter(|(line, _)| !line.iter().all(u8::is_ascii_whitespace));
        let (mut values, mut bad, mut is_json) = (Vec::new(), Vec::new(), true);
        for (count, (line, number)) in lines.enumerate() {
            if count >= most {
                return Err(too_many(most));
            }
            match json::parse_value(line) {
                Ok(value) => values.push((number, value)),
                Err(ApiError::Domain(Error::Invalid(fields))) => bad.extend(at_line(number, fields)),
                Err(ApiError::Malformed(fields)) => {
                    is_json = false;
                    bad.extend(at_line(number, fields));
                }
                Err(other) => return Err(other),
            }
        }
        match (bad.is_empty(), is_json) {
            (true, _) => Ok(values),
            (false, true) => Err(ApiError::Domain(Error::Invalid(bad))),
            (false, false) => Err(ApiError::Malformed(bad)),
        }
    }
}

/// The error of a body with too many records.
pub fn too_many(most: usize) -> ApiError {
    ApiError::Domain(Error::invalid(
        "",
        FieldCode::Length,
        format!("at most {most} records are allowed in one request"),
    ))
}

fn at_line(number: usize, fields: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    fields.into_iter().map(move |error| FieldError { field: format!("/{number}{}", error.field), ..error })
}

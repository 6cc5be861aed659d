//! The OpenAPI document as the server uses it.

use actix_web::http::Method;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::Value;

/// The document as it is served, with the operations of each path.
pub struct ServedDocument {
    /// The document as JSON.
    pub json: String,
    paths: Vec<ServedPath>,
}

struct ServedPath {
    /// The segments of the path, where `None` is a parameter.
    segments: Vec<Option<String>>,
    operations: Vec<(Method, OperationInfo)>,
}

/// An operation.
struct OperationInfo {
    takes: Takes,
    deprecation: Option<Deprecation>,
}

/// The input that an operation accepts besides its path and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// Whether it has query parameters.
    pub query: bool,
    /// Whether it has a body.
    pub body: bool,
}

/// Since when an operation is deprecated, and the earliest date of its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecation {
    since: DateTime<Utc>,
    sunset: DateTime<Utc>,
}

impl Deprecation {
    /// Reads the deprecation of an operation from the document; `None` if it is not deprecated.
    pub fn read(operation: &Value) -> Option<Self> {
        let day = |name: &str| -> Option<DateTime<Utc>> {
            let day: NaiveDate = operation.get(name)?.as_str()?.parse().ok()?;
            Some(day.and_time(NaiveTime::MIN).and_utc())
        };
        Some(Self { since: day("x-deprecated-since")?, sunset: day("x-sunset")? })
    }

    /// The headers that announce it: a time in seconds since 1970, and an HTTP date.
    pub fn headers(self) -> [(&'static str, String); 2] {
        let sunset = self.sunset.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        [("deprecation", format!("@{}", self.since.timestamp())), ("sunset", sunset)]
    }
}

impl ServedDocument {
    /// Reads the paths and their operations from the document.
    pub fn new(json: String) -> Self {
        let document: Value = serde_json::from_str(&json).unwrap_or_default();
        let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
        let paths = paths.map(|(path, item)| {
            let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
            let operations = item.as_object().into_iter().flatten().filter_map(|(name, operation)| {
                let served =
                    OperationInfo { takes: takes(&document, operation), deprecation: Deprecation::read(operation) };
                Some((name.to_ascii_uppercase().parse().ok()?, served))
            });
            ServedPath { segments: path.split('/').map(segment).collect(), operations: operations.collect() }
        });
        Self { paths: paths.collect(), json }
    }

    /// The methods that a path supports; empty if there is no such path.
    pub fn methods(&self, path: &str) -> Vec<Method> {
        let operations = self.find(path).map(|path| &path.operations).into_iter().flatten();
        operations.map(|(method, _)| method.clone()).collect()
    }

    /// The input that an operation accepts; `None` if there is no such operation.
    pub fn takes(&self, path: &str, method: &Method) -> Option<Takes> {
        Some(self.operation(path, method)?.takes)
    }

    /// The deprecation of an operation; `None` if it is not deprecated.
    pub fn deprecation(&self, path: &str, method: &Method) -> Option<Deprecation> {
        self.operation(path, method)?.deprecation
    }

    fn operation(&self, path: &str, method: &Method) -> Option<&OperationInfo> {
        let mut operations = self.find(path)?.operations.iter();
        operations.find(|(known, _)| known == method).map(|(_, served)| served)
    }

    fn find(&self, path: &str) -> Option<&ServedPath> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |path: &&ServedPath| {
            path.segments.len() == parts.len()
                && path
                    .segments
                    .iter()
                    .zip(&parts)
                    .all(|(known, part)| known.as_ref().map_or(!part.is_empty(), |known| known == part))
        };
        // The path with the fewest parameters wins: /companies/auto-match is not a company.
        let fitting = self.paths.iter().filter(fits);
        fitting.min_by_key(|path| path.segments.iter().filter(|part| part.is_none()).count())
    }
}

fn takes(document: &Value, operation: &Value) -> Takes {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let mut places = parameters.filter_map(|parameter| {
        let reference = parameter.get("$ref").and_then(Value::as_str);
        let parameter = reference.map_or(Some(parameter), |at| document.pointer(at.trim_start_matches('#')));
        parameter?.get("in")?.as_str()
    });
    Takes { query: places.any(|place| place == "query"), body: operation.get("requestBody").is_some() }
}

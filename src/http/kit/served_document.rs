//! The OpenAPI document as the server uses it.

use std::collections::HashMap;
use std::sync::OnceLock;

use actix_web::http::Method;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

/// The operations of each path, and the document as it is served.
pub struct ServedDocument {
    /// By their number of segments.
    paths: HashMap<usize, Vec<ServedPath>>,
    render: fn() -> String,
    json: OnceLock<String>,
}

struct ServedPath {
    /// The segments of the path, where `None` is a parameter.
    segments: Vec<Option<String>>,
    operations: Vec<(Method, OperationInfo)>,
}

/// What the service needs to know of an operation of the document.
struct OperationInfo {
    accepted_input: AcceptedInput,
    deprecation: Option<Deprecation>,
}

/// The input that an operation accepts besides its path and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedInput {
    /// Whether it has query parameters.
    pub query: bool,
    /// Whether it has a body.
    pub body: bool,
}

/// When an operation became deprecated, and the earliest date of its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecation {
    since: DateTime<Utc>,
    sunset: DateTime<Utc>,
}

impl Deprecation {
    /// Reads the deprecation of an operation from its extensions; `None` if it is not deprecated.
    fn read(extensions: &Extensions) -> Option<Self> {
        let day = |name: &str| -> Option<DateTime<Utc>> {
            let day: NaiveDate = extensions.get(name)?.as_str()?.parse().ok()?;
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
    /// Reads the paths and their operations from a document whose parameters are still inline. `render` makes the
    /// document as JSON when it is first requested, because making it would delay every start.
    pub fn new(openapi: &OpenApi, render: fn() -> String) -> Self {
        let mut paths: HashMap<usize, Vec<ServedPath>> = HashMap::new();
        for (path, item) in &openapi.paths.paths {
            let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
            let segments: Vec<Option<String>> = path.split('/').map(segment).collect();
            let operations = operations_of(item);
            paths.entry(segments.len()).or_default().push(ServedPath { segments, operations });
        }
        Self { paths, render, json: OnceLock::new() }
    }

    /// The document as JSON.
    pub fn json(&self) -> &str {
        self.json.get_or_init(self.render)
    }

    /// The methods that a path supports; empty if there is no such path.
    pub fn methods(&self, path: &str) -> Vec<Method> {
        let operations = self.find(path).map(|path| &path.operations).into_iter().flatten();
        operations.map(|(method, _)| method.clone()).collect()
    }

    /// The input that an operation accepts; `None` if there is no such operation.
    pub fn accepted_input(&self, path: &str, method: &Method) -> Option<AcceptedInput> {
        Some(self.operation(path, method)?.accepted_input)
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
        // From the end, because all paths begin with the same segments.
        let fits = |known: &&ServedPath| {
            let mut pairs = known.segments.iter().rev().zip(path.rsplit('/'));
            pairs.all(|(known, part)| known.as_ref().map_or(!part.is_empty(), |known| known == part))
        };
        // The path with the fewest parameters wins: /companies/auto-match is not a company.
        let fitting = self.paths.get(&path.split('/').count())?.iter().filter(fits);
        fitting.min_by_key(|path| path.segments.iter().filter(|part| part.is_none()).count())
    }
}

fn operations_of(item: &PathItem) -> Vec<(Method, OperationInfo)> {
    let operations = [
        (Method::DELETE, &item.delete),
        (Method::GET, &item.get),
        (Method::PATCH, &item.patch),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?.into()))).collect()
}

impl From<&Operation> for OperationInfo {
    fn from(operation: &Operation) -> Self {
        let is_query = |parameter: &RefOr<Parameter>| match parameter {
            RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
            RefOr::Ref(_) => false,
        };
        let query = operation.parameters.iter().flatten().any(is_query);
        let accepted_input = AcceptedInput { query, body: operation.request_body.is_some() };
        Self { accepted_input, deprecation: operation.extensions.as_ref().and_then(Deprecation::read) }
    }
}

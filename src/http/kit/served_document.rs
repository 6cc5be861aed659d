//! The OpenAPI document as the server uses it.

use std::collections::HashMap;

use actix_web::http::Method;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The operations of each path, and the document as it is served.
pub struct ServedDocument {
    /// By their number of segments.
    paths: HashMap<usize, Vec<ServedPath>>,
    json: &'static str,
}

/// The part of a document that the server needs to know.
#[derive(Deserialize)]
struct Document {
    paths: HashMap<String, PathItem>,
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Components {
    #[serde(default)]
    parameters: HashMap<String, Parameter>,
}

#[derive(Deserialize)]
struct PathItem {
    delete: Option<Operation>,
    get: Option<Operation>,
    patch: Option<Operation>,
    post: Option<Operation>,
    put: Option<Operation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    #[serde(default)]
    parameters: Vec<Parameter>,
    request_body: Option<IgnoredAny>,
    #[serde(rename = "x-deprecated-since")]
    deprecated_since: Option<NaiveDate>,
    #[serde(rename = "x-sunset")]
    sunset: Option<NaiveDate>,
}

/// A parameter, or a reference to one of the components.
#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "in")]
    place: Option<String>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
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
    /// Returns the deprecation of an operation; `None` if it is not deprecated.
    fn of(operation: &Operation) -> Option<Self> {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        Some(Self { since: operation.deprecated_since.map(midnight)?, sunset: operation.sunset.map(midnight)? })
    }

    /// The headers that announce it: a time in seconds since 1970, and an HTTP date.
    pub fn headers(self) -> [(&'static str, String); 2] {
        let sunset = self.sunset.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        [("deprecation", format!("@{}", self.since.timestamp())), ("sunset", sunset)]
    }
}

impl ServedDocument {
    /// Reads the paths and their operations from a document. Errors if it is not an OpenAPI document.
    pub fn parse(json: &'static str) -> serde_json::Result<Self> {
        let Document { paths: items, components } = serde_json::from_str(json)?;
        let mut paths: HashMap<usize, Vec<ServedPath>> = HashMap::new();
        for (path, item) in items {
            let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
            let segments: Vec<Option<String>> = path.split('/').map(segment).collect();
            let operations = item.operations(&components);
            paths.entry(segments.len()).or_default().push(ServedPath { segments, operations });
        }
        Ok(Self { paths, json })
    }

    /// The document as JSON.
    pub fn json(&self) -> &'static str {
        self.json
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

impl PathItem {
    fn operations(self, components: &Components) -> Vec<(Method, OperationInfo)> {
        let operations = [
            (Method::DELETE, self.delete),
            (Method::GET, self.get),
            (Method::PATCH, self.patch),
            (Method::POST, self.post),
            (Method::PUT, self.put),
        ];
        operations.into_iter().filter_map(|(method, operation)| Some((method, operation?.info(components)))).collect()
    }
}

impl Operation {
    fn info(&self, components: &Components) -> OperationInfo {
        let resolved = |parameter: &Parameter| match &parameter.reference {
            Some(reference) => {
                let name = reference.rsplit('/').next().unwrap_or_default();
                components.parameters.get(name).and_then(|shared| shared.place.clone())
            }
            None => parameter.place.clone(),
        };
        let query = self.parameters.iter().any(|parameter| resolved(parameter).as_deref() == Some("query"));
        let accepted_input = AcceptedInput { query, body: self.request_body.is_some() };
        OperationInfo { accepted_input, deprecation: Deprecation::of(self) }
    }
}

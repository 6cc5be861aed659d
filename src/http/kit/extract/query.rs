//! Query parameters. An unknown parameter is an error: a misspelt filter would silently widen a list.

use std::borrow::Cow;
use std::collections::HashSet;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::db::{ListName, PageRequest};
use crate::domain::string_enum::StringEnum;
use crate::domain::{FieldCode, FieldError, Result};
use crate::http::kit::problem::{ApiError, ApiResult};

/// The query parameters of a request.
#[derive(Debug)]
pub struct StrictQuery<T>(pub T);

impl<T: DeserializeOwned + IntoParams> FromRequest for StrictQuery<T> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(req.query_string(), || T::into_params(|| None)).map(Self))
    }
}

/// The filter of a list: every query parameter but `sort`, `limit`, `cursor` and `total`.
pub trait ListFilter: DeserializeOwned + IntoParams {
    /// The sort keys of the list.
    type Sort: StringEnum;
    /// The value of `sort` if a request has none.
    const DEFAULT_SORT: &'static str;
}

/// The query parameters of a list: its filter, sort key and page.
#[derive(Debug)]
pub struct ListQuery<F> {
    filter: F,
    filter_hash: u64,
    page: PageParams,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageParams {
    #[param(ignore)]
    sort: Option<String>,
    /// Maximum number of items in the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
    /// The `next_cursor` of the previous page. Omit it for the first page. The filters and `sort` must stay the same.
    #[param(min_length = 1, max_length = 4000)]
    cursor: Option<String>,
    /// Whether to count all items that match the filters, as `total`. It takes longer with very many items.
    #[param(default = false)]
    total: Option<bool>,
}

impl<F: ListFilter> ListQuery<F> {
    /// The filter, and the page of the list with this name. Errors if `sort`, `limit` or `cursor` is invalid.
    pub fn for_list(self, list: &'static str) -> Result<(F, PageRequest<F::Sort>)> {
        let PageParams { sort, limit, cursor, total } = self.page;
        let list = ListName { name: list, filter: self.filter_hash };
        let page = PageRequest::parse(list, limit, cursor.as_deref(), sort.as_deref().unwrap_or(F::DEFAULT_SORT))?;
        Ok((self.filter, if total == Some(true) { page.counted() } else { page }))
    }
}

impl<F: ListFilter> FromRequest for ListQuery<F> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_list(req.path(), req.query_string()))
    }
}

impl<F: ListFilter> IntoParams for ListQuery<F> {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let keys: Vec<String> = F::Sort::VALUES.iter().flat_map(|key| [key.to_string(), format!("-{key}")]).collect();
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(keys));
        let schema = schema.default(Some(F::DEFAULT_SORT.into()));
        let sort = ParameterBuilder::new().name("sort").parameter_in(ParameterIn::Query);
        let sort =
            sort.description(Some("The sort key. A `-` before it sorts in descending order.")).schema(Some(schema));
        let mut params = F::into_params(parameter_in);
        params.push(sort.build());
        params.extend(PageParams::into_params(|| None));
        params
    }
}

/// One or more values of a filter, separated by commas, such as `ambiguous,unresolved`. Empty if not given.
#[derive(Debug, Clone)]
pub struct Values<T>(pub Vec<T>);

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: StringEnum> Deserialize<'de> for Values<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.split(',').nth(MAX_VALUES).is_some() {
            return Err(serde::de::Error::custom(format!("must have at most {MAX_VALUES} values")));
        }
        let values = text.split(',').map(|value| value.parse().map_err(serde::de::Error::custom));
        values.collect::<Result<_, _>>().map(Self)
    }
}

/// Maximum number of values of a filter.
pub const MAX_VALUES: usize = 50;
/// Maximum length of a filter with several values, in characters.
const MAX_LIST: usize = 2_000;
/// Maximum length of a parameter in characters: no id, code or name is longer.
const MAX_LENGTH: usize = 300;
/// Maximum length of a cursor in characters: it contains the sort key of a row, in base64.
const MAX_CURSOR: usize = 4_000;

/// Maximum number of parameters of a request: no operation has nearly as many.
const MAX_PARAMETERS: usize = 50;

/// Rejects more parameters than any operation accepts, before any work is done for each of them.
fn reject_many(query: &str) -> ApiResult<()> {
    if form_urlencoded::parse(query.as_bytes()).nth(MAX_PARAMETERS).is_none() {
        return Ok(());
    }
    let message = format!("a request may have at most {MAX_PARAMETERS} query parameters");
    Err(ApiError::Malformed(vec![FieldError::new("query", FieldCode::OutOfRange, message)]))
}

/// The parameters that are too long. `known` lists the valid ones; it is called only for a long one.
fn too_long(query: &str, known: impl Fn() -> Vec<Parameter>) -> Vec<FieldError> {
    let mut bad = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if value.chars().nth(MAX_LENGTH).is_none() {
            continue;
        }
        let is_list = || known().iter().any(|parameter| parameter.name == name && is_list(parameter));
        let limit = match &*name {
            "cursor" => MAX_CURSOR,
            _ if is_list() => MAX_LIST,
            _ => MAX_LENGTH,
        };
        if value.chars().nth(limit).is_some() {
            let message = format!("must be at most {limit} characters long");
            let name = name.chars().take(MAX_LENGTH).collect::<String>();
            bad.push(FieldError::new(name, FieldCode::Length, message));
        }
    }
    bad
}

fn parse_list<F: ListFilter>(path: &str, query: &str) -> ApiResult<ListQuery<F>> {
    reject_many(query)?;
    let known = || ListQuery::<F>::into_params(|| None);
    let (mut page, mut filter) =
        (form_urlencoded::Serializer::new(String::new()), form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let part = if matches!(&*name, "sort" | "limit" | "cursor" | "total") { &mut page } else { &mut filter };
        part.append_pair(&name, &value);
    }
    let filter = filter.finish();
    match (parse(&filter, known), parse(&page.finish(), known)) {
        (Ok(parsed), Ok(page)) => Ok(ListQuery { filter: parsed, filter_hash: hash(path, &filter), page }),
        (Err(ApiError::Malformed(of_filter)), Err(ApiError::Malformed(of_page))) => {
            Err(ApiError::Malformed(of_filter.into_iter().chain(of_page).collect()))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// A hash of a list's path and filter that does not depend on the order of the parameters.
fn hash(path: &str, filter: &str) -> u64 {
    let mut pairs: Vec<_> = form_urlencoded::parse(filter.as_bytes()).collect();
    pairs.sort();
    let digest = pairs
        .iter()
        .fold(Sha256::new_with_prefix(path), |hash, (name, value)| hash.chain_update(format!("{name}={value}\n")));
    digest.finalize().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Parses parameters, or returns all invalid ones. `known` lists the valid ones; it is called only for an error.
pub(super) fn parse<T: DeserializeOwned>(query: &str, known: impl Fn() -> Vec<Parameter>) -> ApiResult<T> {
    reject_many(query)?;
    let mut bad = too_long(query, &known);
    if !bad.is_empty() {
        return Err(ApiError::Malformed(bad));
    }
    let mut rest = joined(query, &known);
    // Serde stops at the first error. Without that parameter it finds the next one.
    loop {
        let (name, error) = match read(&rest) {
            Ok(value) if bad.is_empty() => return Ok(value),
            Ok(_) => return Err(ApiError::Malformed(bad)),
            Err(error) => invalid_parameter(&error, &known),
        };
        bad.push(error);
        let others = form_urlencoded::parse(rest.as_bytes()).filter(|(given, _)| *given != name);
        let others = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
        if others.len() >= rest.len() {
            return Err(ApiError::Malformed(bad));
        }
        rest = Cow::Owned(others);
    }
}

/// Whether a parameter has several values.
fn is_list(parameter: &Parameter) -> bool {
    matches!(parameter.schema, Some(RefOr::T(Schema::Array(_))))
}

/// The query with one parameter for each list: some clients repeat it for each value.
fn joined<'q>(query: &'q str, known: impl Fn() -> Vec<Parameter>) -> Cow<'q, str> {
    let mut names = HashSet::new();
    if form_urlencoded::parse(query.as_bytes()).all(|(name, _)| names.insert(name)) {
        return Cow::Borrowed(query);
    }
    let lists: Vec<String> = known().into_iter().filter(is_list).map(|parameter| parameter.name).collect();
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match pairs.iter_mut().find(|(known, _)| *known == name && lists.iter().any(|list| *list == name)) {
            Some((_, values)) => *values = format!("{values},{value}").into(),
            None => pairs.push((name, value)),
        }
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into()
}

type ReadError = serde_path_to_error::Error<serde::de::value::Error>;

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes())))
}

/// The name of the parameter that could not be read, and its error.
fn invalid_parameter(error: &ReadError, known: impl Fn() -> Vec<Parameter>) -> (String, FieldError) {
    let text = error.inner().to_string();
    let named = |start: &str| text.strip_prefix(start).and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let (name, code, message) = if let Some(name) = named("duplicate field `") {
        (name, FieldCode::Duplicate, "the parameter is given twice".to_owned())
    } else if let Some(name) = named("missing field `") {
        (name, FieldCode::Required, "is required".to_owned())
    } else if let Some(name) = named("unknown field `") {
        let known: Vec<String> = known().into_iter().map(|parameter| parameter.name).collect();
        (name, FieldCode::UnknownParameter, format!("unknown parameter; expected one of: {}", known.join(", ")))
    } else {
        (error.path().to_string(), FieldCode::BadValue, plain_message(&text))
    };
    (name.clone(), FieldError::new(name, code, message))
}

/// Rewords the messages of value parsers.
fn plain_message(text: &str) -> String {
    if let Some((_, values)) = text.strip_prefix("unknown variant").and_then(|rest| rest.split_once("expected ")) {
        return format!("must be one of: {}", values.trim_start_matches("one of ").replace('`', ""));
    }
    match text {
        "premature end of input" | "input contains invalid characters" | "input is out of range" => {
            "write a time such as 2026-11-22T12:00:00Z; an offset's + must be sent as %2B".to_owned()
        }
        "invalid digit found in string"
        | "number too large to fit in target type"
        | "cannot parse integer from empty string" => "must be a whole number".to_owned(),
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::string_enum::string_enum;

    string_enum! {
        /// The sort keys of the list in these tests.
        Sort {
            /// By name.
            Name = "name",
        }
    }

    #[derive(Debug, Deserialize, IntoParams)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsing is tested")]
    struct Filter {
        from: Option<chrono::DateTime<chrono::Utc>>,
        matched: Option<bool>,
    }

    impl ListFilter for Filter {
        type Sort = Sort;
        const DEFAULT_SORT: &'static str = "name";
    }

    #[test]
    fn the_bad_parameter_is_named() {
        for (query, field, message) in [
            ("limit=abc", "limit", "whole number"),
            ("limit=1&from=2026-01-01", "from", "2026-11-22T12:00:00Z"),
            ("from=2026-01-01T00:00:00+02:00", "from", "%2B"),
            ("matched=yes", "matched", "true"),
            ("lmit=1", "lmit", "expected one of: from, matched, sort, limit, cursor, total"),
            ("limit=1&limit=2", "limit", "given twice"),
            (&format!("limit={}", "1".repeat(301)), "limit", "at most 300 characters"),
        ] {
            let Err(ApiError::Malformed(fields)) = parse_list::<Filter>("/things", query) else {
                panic!("{query} was accepted")
            };
            assert!(fields[0].message.contains(message), "{query}: {fields:?}");
            assert_eq!(fields[0].field, field, "{query}: {fields:?}");
        }
        let Err(ApiError::Malformed(fields)) = parse_list::<Filter>("/things", "limit=x&matched=y&lmit=1&from=z")
        else {
            panic!("four invalid parameters were accepted")
        };
        let names: Vec<&str> = fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(names, ["matched", "lmit", "from", "limit"]);
        assert!(parse_list::<Filter>("/things", "limit=5&from=2026-01-01T00:00:00Z&matched=true").is_ok());
        assert!(parse_list::<Filter>("/things", "").is_ok());
        let query = parse_list::<Filter>("/things", "sort=-nam").unwrap();
        assert!(query.for_list("things").is_err());
    }
}

//! Query parameters. An unknown parameter is an error: a misspelt filter would silently widen a list.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::db::PageRequest;
use crate::domain::string_enum::StringEnum;
use crate::domain::{FieldError, Result};
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

/// The filter of a list: every query parameter but `sort`, `limit` and `cursor`.
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
    /// The `next_cursor` of the previous page. Left out for the first page. The filters and `sort` must stay the same.
    cursor: Option<String>,
}

impl<F: ListFilter> ListQuery<F> {
    /// The filter, and the page of the list with this name. Errors if `sort`, `limit` or `cursor` is invalid.
    pub fn for_list(self, list: &'static str) -> Result<(F, PageRequest<F::Sort>)> {
        let PageParams { sort, limit, cursor } = self.page;
        let page = PageRequest::parse(list, limit, cursor.as_deref(), sort.as_deref().unwrap_or(F::DEFAULT_SORT))?;
        Ok((self.filter, page))
    }
}

impl<F: ListFilter> FromRequest for ListQuery<F> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_list(req.query_string()))
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

/// Maximum length of a parameter in characters: no id, code or name is longer.
const MAX_LENGTH: usize = 300;
/// Maximum length of a cursor in characters: it contains the sort key of a row, in base64.
const MAX_CURSOR: usize = 4_000;

fn refuse_long_texts(query: &str) -> ApiResult<()> {
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let limit = if name == "cursor" { MAX_CURSOR } else { MAX_LENGTH };
        if value.chars().nth(limit).is_some() {
            let message = format!("must be at most {limit} characters long");
            let name = name.chars().take(MAX_LENGTH).collect::<String>();
            return Err(ApiError::Malformed(vec![FieldError::new(name, "length", message)]));
        }
    }
    Ok(())
}

fn parse_list<F: ListFilter>(query: &str) -> ApiResult<ListQuery<F>> {
    let known = || ListQuery::<F>::into_params(|| None);
    let (mut page, mut filter) =
        (form_urlencoded::Serializer::new(String::new()), form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let part = if matches!(&*name, "sort" | "limit" | "cursor") { &mut page } else { &mut filter };
        part.append_pair(&name, &value);
    }
    Ok(ListQuery { filter: parse(&filter.finish(), known)?, page: parse(&page.finish(), known)? })
}

/// Parses parameters. `known` lists the valid ones; it is called only for an error.
fn parse<T: DeserializeOwned>(query: &str, known: impl Fn() -> Vec<Parameter>) -> ApiResult<T> {
    refuse_long_texts(query)?;
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let text = error.inner().to_string();
        let named = |start: &str| text.strip_prefix(start).and_then(|rest| rest.split('`').next());
        if let Some(name) = named("duplicate field `") {
            return ApiError::Malformed(vec![FieldError::new(name, "duplicate", "the parameter is given twice")]);
        }
        let unknown = named("unknown field `");
        let bad = match (unknown, text.as_str()) {
            (Some(name), _) => {
                let known: Vec<String> = known().into_iter().map(|parameter| parameter.name).collect();
                let message = format!("unknown parameter; expected one of: {}", known.join(", "));
                return ApiError::Malformed(vec![FieldError::new(name, "unknown_parameter", message)]);
            }
            (None, "premature end of input" | "input contains invalid characters" | "input is out of range") => {
                "write a time such as 2026-11-22T12:00:00Z; an offset's + must be sent as %2B"
            }
            (None, "invalid digit found in string") => "must be a whole number",
            (None, text) => text,
        };
        ApiError::Malformed(vec![FieldError::new(error.path().to_string(), "bad_value", bad)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::string_enum::string_enum;

    string_enum! {
        /// What the list of these tests can be sorted by.
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
            ("lmit=1", "lmit", "expected one of: from, matched, sort, limit, cursor"),
            ("limit=1&limit=2", "limit", "given twice"),
            (&format!("limit={}", "1".repeat(301)), "limit", "at most 300 characters"),
        ] {
            let Err(ApiError::Malformed(fields)) = parse_list::<Filter>(query) else { panic!("{query} was accepted") };
            assert!(fields[0].message.contains(message), "{query}: {fields:?}");
            assert_eq!(fields[0].field, field, "{query}: {fields:?}");
        }
        assert!(parse_list::<Filter>("limit=5&from=2026-01-01T00:00:00Z&matched=true").is_ok());
        assert!(parse_list::<Filter>("").is_ok());
        let query = parse_list::<Filter>("sort=-nam").unwrap();
        assert!(query.for_list("things").is_err());
    }
}

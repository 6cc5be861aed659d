//! The query parameters of an export: its filter, and how the table is written.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::query::parse;
use crate::http::kit::problem::{ApiError, ApiResult};

/// The query parameters of an export.
#[derive(Debug)]
pub struct TableQuery<F> {
    /// Which rows to export.
    pub filter: F,
    /// Whether the table begins with a byte order mark.
    pub bom: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TableParams {
    /// Whether to begin the table with a byte order mark, which Excel needs to show accents and umlauts correctly.
    #[param(default = false)]
    bom: Option<bool>,
}

impl<F: DeserializeOwned + IntoParams> FromRequest for TableQuery<F> {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_table(req.query_string()))
    }
}

fn parse_table<F: DeserializeOwned + IntoParams>(query: &str) -> ApiResult<TableQuery<F>> {
    let known = || TableQuery::<F>::into_params(|| None);
    let (own, filter): (Vec<_>, Vec<_>) = form_urlencoded::parse(query.as_bytes()).partition(|(name, _)| name == "bom");
    let text = |pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs::<_, _, _>(pairs).finish();
    let table: ApiResult<TableParams> = parse(&text(own), known);
    Ok(TableQuery { filter: parse(&text(filter), known)?, bom: table?.bom.unwrap_or_default() })
}

impl<F: IntoParams> IntoParams for TableQuery<F> {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut params = F::into_params(parameter_in);
        params.extend(TableParams::into_params(|| None));
        params
    }
}

/// The filter of an export that has none.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NoFilter {}

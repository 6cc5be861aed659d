//! Lists: conditions, sorting, paging, fields, and the `Link` header.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::conditions::{self, Condition, member};
use super::response::{Response, without_nulls};

/// The query parameters, by lower-case name.
pub(super) type Query = BTreeMap<String, String>;

/// The parameters that lists support. Others are ignored, as ConnectWise does.
pub(super) const KNOWN_PARAMETERS: &[&str] =
    &["conditions", "childconditions", "customfieldconditions", "orderby", "fields", "page", "pagesize", "pageid"];

const MAX_PAGE: usize = 1_000;

/// Where a list's links point, and how it is paged.
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) forward_only: bool,
    pub(super) cap: usize,
}

/// The records that satisfy the `conditions` parameter.
pub(super) fn filtered<'r>(
    records: impl Iterator<Item = &'r Map<String, Value>>,
    query: &Query,
    known: &impl Fn(&str) -> bool,
) -> Result<Vec<&'r Map<String, Value>>, Response> {
    let condition = match query.get("conditions").map(|text| text.trim()).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(parse(text, known)?),
    };
    Ok(records.filter(|record| condition.as_ref().is_none_or(|condition| condition.holds(record))).collect())
}

fn parse(text: &str, known: &impl Fn(&str) -> bool) -> Result<Condition, Response> {
    let condition = conditions::parse(text).map_err(|error| Response::error(400, "ApiFindCondition", error))?;
    match condition.unknown_name(known) {
        Some(name) => {
            let message = format!("{} is not a recognized name.", name.to_ascii_lowercase());
            Err(Response::error(400, "ApiFindCondition", message))
        }
        None => Ok(condition),
    }
}

/// Returns one page of a list.
pub(super) fn page(mut rows: Vec<&Map<String, Value>>, query: &Query, place: &Place<'_>) -> Result<Response, Response> {
    let size = number(query, "pagesize", 25)?.min(MAX_PAGE).min(place.cap);
    let shown: Vec<&Map<String, Value>>;
    let link;
    if place.forward_only {
        if query.contains_key("orderby") {
            return Err(Response::error(
                400,
                "InvalidParameter",
                "orderBy is not allowed with forward-only pagination",
            ));
        }
        let after = number(query, "pageid", 0)?;
        rows.sort_by_key(|record| id(record));
        let mut later = rows.into_iter().filter(|record| id(record) > i64::try_from(after).unwrap_or(i64::MAX));
        shown = later.by_ref().take(size).collect();
        let more = later.next().is_some();
        let last = shown.last().map(|record| id(record));
        link = match last.filter(|_| more) {
            Some(last) => format!("<{}>; rel=\"next\"", url(place, query, "pageId", &last.to_string())),
            None => String::new(),
        };
    } else {
        order(&mut rows, query)?;
        let (total, page) = (rows.len(), number(query, "page", 1)?.max(1));
        shown = rows.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
        link = page_links(place, query, page, total.div_ceil(size).max(1));
    }
    let fields = query.get("fields").map(String::as_str);
    let body = shown.into_iter().map(|record| chosen(record, fields)).collect();
    Ok(Response { link: Some(link), ..Response::json(200, Value::Array(body)) })
}

fn page_links(place: &Place<'_>, query: &Query, page: usize, last: usize) -> String {
    let link =
        |number: usize, rel: &str| format!("<{}>; rel=\"{rel}\"", url(place, query, "page", &number.to_string()));
    let mut links = Vec::new();
    if page < last {
        links.push(link(page + 1, "next"));
    }
    links.push(link(last, "last"));
    if page > 1 {
        links.push(link(1, "first"));
        links.push(link(page - 1, "prev"));
    }
    links.join(", ")
}

fn url(place: &Place<'_>, query: &Query, name: &str, value: &str) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (known, text) in query.iter().filter(|(known, _)| !known.eq_ignore_ascii_case(name)) {
        pairs.append_pair(known, text);
    }
    pairs.append_pair(name, value);
    format!("https://{}/{}?{}", place.host, place.path, pairs.finish())
}

fn number(query: &Query, name: &str, default: usize) -> Result<usize, Response> {
    let Some(text) = query.get(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if number > 0 || name == "pageid" => Ok(number),
        _ => Err(Response::error(400, "InvalidParameter", format!("{name} must be a positive number"))),
    }
}

fn id(record: &Map<String, Value>) -> i64 {
    record.get("id").and_then(Value::as_i64).unwrap_or_default()
}

fn order(rows: &mut [&Map<String, Value>], query: &Query) -> Result<(), Response> {
    let Some(text) = query.get("orderby") else { return Ok(()) };
    let mut words = text.split_whitespace();
    let (path, direction) = (words.next().unwrap_or("id"), words.next().unwrap_or("asc"));
    let descending = match direction.to_ascii_lowercase().as_str() {
        "asc" => false,
        "desc" => true,
        _ => return Err(Response::error(400, "InvalidParameter", "orderBy takes a field and asc or desc")),
    };
    let key = |record: &Map<String, Value>| match member(record, path) {
        Some(Value::Number(number)) => (number.as_f64().unwrap_or_default(), String::new()),
        Some(Value::String(text)) => (0.0, text.to_lowercase()),
        _ => (0.0, String::new()),
    };
    rows.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
    if descending {
        rows.reverse();
    }
    Ok(())
}

/// A record, reduced to `fields` if given: `id,type/name` returns `{"id": …, "type": {"name": …}}`.
pub(super) fn chosen(record: &Map<String, Value>, fields: Option<&str>) -> Value {
    let Some(fields) = fields.filter(|fields| !fields.trim().is_empty()) else {
        return without_nulls(Value::Object(record.clone()));
    };
    let mut chosen = Map::new();
    for path in fields.split(',').map(str::trim) {
        copy(record, path, &mut chosen);
    }
    without_nulls(Value::Object(chosen))
}

fn copy(from: &Map<String, Value>, path: &str, into: &mut Map<String, Value>) {
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some((name, value)) = from.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else { return };
    match (rest, value) {
        (Some(rest), Value::Object(inner)) => {
            let slot = into.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(slot) = slot {
                copy(inner, rest, slot);
            }
        }
        _ => {
            into.insert(name.clone(), value.clone());
        }
    }
}

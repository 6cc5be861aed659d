//! ConnectWise's API endpoints.

use serde_json::{Map, Value, json};

use super::ledger::Write;
use super::list::{self, Place, Query};
use super::response::Response;
use super::state::Inner;
use super::store::{Kind, Store};
use crate::sandbox::addition_patch;

/// A request that has passed authentication.
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// The path after `apis/3.0/`.
    pub(super) path: &'r str,
    pub(super) query: &'r Query,
    pub(super) body: Option<&'r Value>,
    /// Whether the response uses forward-only paging.
    pub(super) forward_only: bool,
    /// Whether forward-only paging was requested, even if it is not supported.
    pub(super) wants_forward_only: bool,
    pub(super) host: &'r str,
    /// Return success without changing anything.
    pub(super) false_success: bool,
}

/// Processes a request and returns the response.
pub(super) fn answer(inner: &mut Inner, request: &Request<'_>) -> Response {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    if let Some(denied) = inner.behavior.denied(&parts, request.method) {
        return Response::error(403, "Security", format!("You do not have security permission: {denied}"));
    }
    let recap = request.path.strip_prefix("finance/").filter(|path| Some(*path) == inner.behavior.recap.as_deref());
    let outcome = match (request.method, parts.as_slice()) {
        ("GET", _) if recap.is_some() => recaps(inner, request),
        ("GET", ["system", "info"]) => Ok(info()),
        ("GET", ["company", "companies", rest @ ..]) => read(inner, request, Kind::Companies, "Company", rest, None),
        ("GET", ["finance", "agreements", "types", rest @ ..]) => {
            read(inner, request, Kind::Types, "AgreementType", rest, None)
        }
        (method, ["finance", "agreements", parent, "additions", rest @ ..]) => match parent.parse() {
            Ok(parent) => additions(inner, request, method, parent, rest),
            Err(_) => Err(Response::not_found("Agreement")),
        },
        ("GET", ["finance", "agreements", rest @ ..]) => {
            read(inner, request, Kind::Agreements, "Agreement", rest, None)
        }
        (_, ["company" | "finance" | "system", ..]) => {
            Err(Response::error(405, "MethodNotAllowed", "The method is not allowed here"))
        }
        _ => Err(Response::not_found("Resource")),
    };
    outcome.unwrap_or_else(|rejection| rejection)
}

fn info() -> Response {
    let body = json!({
        "version": "v2025.1.0", "isCloud": true, "serverTimeZone": "Eastern Standard Time", "cloudRegion": "NA",
        "licenseBits": [{"name": "Finance", "activeFlag": true}], "maxWorkFlowRecordsAllowed": 1000
    });
    Response::json(200, body)
}

fn read(
    inner: &Inner,
    request: &Request<'_>,
    kind: Kind,
    what: &str,
    rest: &[&str],
    parent: Option<i64>,
) -> Result<Response, Response> {
    let records = || -> Box<dyn Iterator<Item = &Map<String, Value>>> {
        match parent {
            None => Box::new(inner.store.all(kind)),
            Some(agreement) => Box::new(inner.store.additions_of(agreement)),
        }
    };
    match rest {
        [] => {
            let rows = list::filtered(records(), request.query, &|path| knows(kind, path))?;
            let place = Place {
                host: request.host,
                path: request.path,
                forward_only: request.forward_only,
                cap: inner.behavior.page_cap,
            };
            let answer = list::page(rows, request.query, &place)?;
            // An endpoint without forward-only paging ignores the request for it, but sends no Link.
            let silent = request.wants_forward_only && !request.forward_only;
            Ok(if silent { Response { link: None, ..answer } } else { answer })
        }
        ["count"] => {
            let rows = list::filtered(records(), request.query, &|path| knows(kind, path))?;
            Ok(Response::json(200, json!({"count": rows.len()})))
        }
        [id] => {
            let id: Option<i64> = id.parse().ok();
            let record = id.and_then(|id| match parent {
                None => inner.store.get(kind, id),
                Some(agreement) => inner.store.addition(agreement, id),
            });
            let record = record.ok_or_else(|| Response::not_found(what))?;
            let fields = request.query.get("fields").map(String::as_str);
            Ok(Response::json(200, list::chosen(record, fields)))
        }
        _ => Err(Response::not_found("Resource")),
    }
}

/// The agreement recap: one record for each agreement, with its id.
fn recaps(inner: &Inner, request: &Request<'_>) -> Result<Response, Response> {
    let recap = |agreement: &Map<String, Value>| {
        let id = agreement.get("id").and_then(Value::as_i64)?;
        let mut record = Map::new();
        for name in ["id", "agreementStatus", "nextInvoiceDate"] {
            record.extend(agreement.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let company = agreement.get("company").and_then(|company| company.get("name"));
        record.extend(company.map(|name| ("companyName".to_owned(), name.clone())));
        record.extend(inner.store.get(Kind::Recaps, id).cloned().unwrap_or_default());
        Some(record)
    };
    let records: Vec<Map<String, Value>> = inner.store.all(Kind::Agreements).filter_map(recap).collect();
    let place = Place { host: request.host, path: request.path, forward_only: false, cap: inner.behavior.page_cap };
    list::page(records.iter().collect(), request.query, &place)
}

/// Whether conditions may contain this path.
fn knows(kind: Kind, path: &str) -> bool {
    let names: &[&str] = match kind {
        Kind::Companies => &["id", "identifier", "name", "status", "deletedFlag", "territory", "lastUpdated"],
        Kind::Agreements => &[
            "id",
            "name",
            "type",
            "company",
            "agreementStatus",
            "cancelledFlag",
            "dateCancelled",
            "startDate",
            "endDate",
            "noEndingDateFlag",
            "parentAgreement",
            "lastUpdated",
        ],
        Kind::Additions => addition_patch::ADDITION,
        Kind::Types => &["id", "name", "inactiveFlag"],
        Kind::Recaps => &["id"],
    };
    let first = path.split('/').next().unwrap_or_default();
    names.iter().any(|name| name.eq_ignore_ascii_case(first))
}

fn additions(
    inner: &mut Inner,
    request: &Request<'_>,
    method: &str,
    parent: i64,
    rest: &[&str],
) -> Result<Response, Response> {
    if inner.store.get(Kind::Agreements, parent).is_none() {
        return Err(Response::not_found("Agreement"));
    }
    let body = || request.body.ok_or_else(|| Response::error(400, "InvalidOperation", "A body is required"));
    match (method, rest) {
        ("GET", _) => read(inner, request, Kind::Additions, "Addition", rest, Some(parent)),
        ("POST", []) => create(inner, parent, body()?),
        ("PATCH", [id]) => change(inner, request, parent, id, |record| addition_patch::apply(record, body()?)),
        ("PUT", [id]) => change(inner, request, parent, id, |record| addition_patch::replace(record, body()?)),
        ("DELETE", [id]) => {
            let id = id.parse().unwrap_or_default();
            inner.store.addition(parent, id).ok_or_else(|| Response::not_found("Addition"))?;
            inner.store.remove(Kind::Additions, id);
            Ok(Response { status: 204, body: None, link: None, retry_after: None })
        }
        _ => Err(Response::error(405, "MethodNotAllowed", "The method is not allowed here")),
    }
}

fn create(inner: &mut Inner, parent: i64, body: &Value) -> Result<Response, Response> {
    let id = inner.store.new_id(Kind::Additions);
    let blank = json!({"id": id, "agreementId": parent, "agreementStatus": "Active"});
    let record = addition_patch::replace(blank.as_object().unwrap_or(&Map::new()), body)?;
    inner.store.put(Kind::Additions, Value::Object(record.clone()));
    Ok(Response::json(201, Value::Object(record)))
}

fn change(
    inner: &mut Inner,
    request: &Request<'_>,
    parent: i64,
    id: &str,
    make: impl FnOnce(&Map<String, Value>) -> Result<Map<String, Value>, Response>,
) -> Result<Response, Response> {
    let id = id.parse().unwrap_or_default();
    let before = inner.store.addition(parent, id).ok_or_else(|| Response::not_found("Addition"))?.clone();
    if let Some(why) = inner.store.rejection(id) {
        return Err(Response::invalid("addition", "effectiveDate", "InvalidObject", why));
    }
    if request.false_success {
        return Ok(Response::json(200, Value::Object(before)));
    }
    let after = make(&before)?;
    let quantity = |store: &Store| store.quantity(id);
    let from = quantity(&inner.store);
    inner.store.put(Kind::Additions, Value::Object(after.clone()));
    let to = quantity(&inner.store);
    let write = Write { addition: id, from, to };
    if let Some(observe) = &inner.observer {
        observe(&write);
    }
    inner.ledger.writes.push(write);
    if let Err(error) = inner.store.save() {
        return Err(Response::error(500, "ConnectWiseApi", error.to_string()));
    }
    Ok(Response::json(200, Value::Object(after)))
}

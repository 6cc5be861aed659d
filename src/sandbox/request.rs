//! An incoming request: parsed, checked against ConnectWise's rules, authenticated, and processed.

use actix_web::http::header::{ACCEPT, AUTHORIZATION, HOST};
use actix_web::{HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::ledger::{Entry, Ledger};
use super::list::{KNOWN_PARAMETERS, Query};
use super::response::Response;
use super::state::{Identity, Shared};
use crate::sandbox::endpoints::{self, Request};

/// A parsed request.
pub(super) struct IncomingRequest {
    method: String,
    path: String,
    query: Query,
    pairs: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    authorization: Option<String>,
    client_id: Option<String>,
    accept: String,
    host: String,
    body: Option<Value>,
    length: usize,
}

impl IncomingRequest {
    pub(super) fn read(req: &HttpRequest, bytes: &web::Bytes) -> Self {
        let header = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(req.query_string().as_bytes()).into_owned().collect();
        let kept = ["accept", "clientid", "content-type", "pagination-type"];
        Self {
            method: req.method().to_string(),
            path: req.path().to_owned(),
            query: pairs.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
            pairs,
            headers: kept.iter().filter_map(|name| header(name).map(|value| ((*name).to_owned(), value))).collect(),
            authorization: header(AUTHORIZATION.as_str()),
            client_id: header("clientid"),
            accept: header(ACCEPT.as_str()).unwrap_or_default(),
            host: header(HOST.as_str()).unwrap_or_default(),
            body: serde_json::from_slice(bytes).ok(),
            length: req.uri().to_string().len(),
        }
    }

    /// Records in the ledger whatever ConnectWise forbids, discourages or silently ignores.
    pub(super) fn note_violations(&self, ledger: &mut Ledger) {
        let mut note = |what: String| ledger.violations.push(format!("{} {}: {what}", self.method, self.path));
        if self.length > 1_745 {
            note(format!("the URL is {} characters long", self.length));
        }
        if !self.accept.contains("application/vnd.connectwise.com+json") {
            note("no version is pinned by Accept".to_owned());
        }
        for (name, _) in &self.pairs {
            if !KNOWN_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) {
                note(format!("the parameter {name} is unknown and ignored"));
            }
        }
        if self.query.get("pagesize").and_then(|size| size.parse::<usize>().ok()).is_some_and(|size| size > 1_000) {
            note("pageSize is above 1000".to_owned());
        }
        if self.method == "PUT" {
            note("PUT resets every member that is left out".to_owned());
        }
    }

    pub(super) fn answer(&self, shared: &Shared, false_success: bool) -> Response {
        let mut inner = shared.lock();
        let prefix = format!("/{}/apis/3.0/", inner.behavior.codebase);
        let Some(path) = self.path.strip_prefix(&prefix) else {
            return Response::error(404, "NotFound", "Cannot route. Codebase/company is invalid");
        };
        if self.client_id.as_deref() != Some(shared.identity.client_id.as_str()) {
            return Response::error(400, "ConnectWiseApi", "The clientId header is missing or invalid");
        }
        if !self.is_known(&shared.identity) {
            return Response::error(401, "ConnectWiseApi", "UserNotAuthenticated");
        }
        let wants_forward_only =
            self.headers.iter().any(|(name, value)| name == "pagination-type" && value == "forward-only");
        let host = inner.behavior.link_host.clone().unwrap_or_else(|| self.host.clone());
        let request = Request {
            method: &self.method,
            path,
            query: &self.query,
            body: self.body.as_ref(),
            forward_only: wants_forward_only && inner.behavior.forward_only,
            wants_forward_only,
            host: &host,
            false_success,
        };
        endpoints::answer(&mut inner, &request)
    }

    fn is_known(&self, identity: &Identity) -> bool {
        let token = self.authorization.as_deref().and_then(|header| header.strip_prefix("Basic "));
        let plain = token.and_then(|token| STANDARD.decode(token).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
        let wanted = format!("{}+{}:{}", identity.company_id, identity.public_key, identity.private_key);
        plain.is_some_and(|plain| plain == wanted)
    }

    pub(super) fn into_entry(self, status: u16, answer: Option<Value>) -> Entry {
        let path = self.path.split_once("/apis/3.0/").map_or(self.path.clone(), |(_, path)| path.to_owned());
        Entry { method: self.method, path, query: self.pairs, headers: self.headers, body: self.body, status, answer }
    }
}

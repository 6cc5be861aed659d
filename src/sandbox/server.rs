//! The sandbox's HTTP server: routing, authentication, throttling, faults.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, HOST};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Answer;
use super::api::{self, Request};
use super::control;
use super::faults::{Fault, FaultKind, Faults};
use super::ledger::{Entry, Ledger};
use super::list::{KNOWN, Query};
use super::store::Store;

/// Who may come in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The company that logs in.
    pub company_id: String,
    /// The public key.
    pub public_key: String,
    /// The private key.
    pub private_key: String,
    /// The integration's id.
    pub client_id: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            company_id: "sandbox".to_owned(),
            public_key: "sandboxpublickey".to_owned(),
            private_key: "sandboxprivatekey".to_owned(),
            client_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        }
    }
}

/// How it behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// Requests a minute before it throttles.
    pub requests_per_minute: usize,
    /// Requests at once before it throttles.
    pub parallel: usize,
    /// What `Retry-After` says when it throttles.
    pub retry_after: u64,
    /// How long every answer takes, in milliseconds.
    pub latency_ms: u64,
    /// The folder that company information names.
    pub codebase: String,
    /// Rights that the API member lacks: `companies`, `agreements`, `additions`, `edit`.
    pub deny: Vec<String>,
    /// Whether lists can be read forward only; endpoints that cannot send no `Link` then.
    pub forward_only: bool,
    /// The most records that a page holds, whatever is asked for.
    pub page_cap: usize,
    /// Where `Link`s point, in place of this host.
    pub link_host: Option<String>,
    /// Whether the ledger keeps the bodies of answers.
    pub keep_answers: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            requests_per_minute: 1_000_000,
            parallel: 1_000,
            retry_after: 1,
            latency_ms: 0,
            codebase: "v2025_1".to_owned(),
            deny: Vec::new(),
            forward_only: true,
            page_cap: 1_000,
            link_host: None,
            keep_answers: false,
        }
    }
}

impl Tuning {
    pub(super) fn denied(&self, parts: &[&str], method: &str) -> Option<&'static str> {
        let right = match (method, parts) {
            ("GET", ["company", ..]) => "companies",
            ("GET", ["finance", "agreements", _, "additions", ..]) => "additions",
            ("GET", ["finance", ..]) => "agreements",
            ("GET", _) => return None,
            _ => "edit",
        };
        self.deny.iter().any(|denied| denied == right).then_some(right)
    }
}

/// Everything that changes.
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    pub(super) tuning: Tuning,
    recent: VecDeque<Instant>,
}

/// What all handlers share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    identity: Identity,
    in_flight: AtomicUsize,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner.store);
        if let Err(error) = inner.store.save() {
            tracing::warn!(cause = %error, "the sandbox's file could not be written");
        }
        changed
    }
}

/// A running sandbox.
pub struct Sandbox {
    address: SocketAddr,
    identity: Identity,
    shared: web::Data<Shared>,
    handle: ServerHandle,
}

impl Sandbox {
    /// Starts on a listener, which must be on loopback. Serves until [`Sandbox::stop`].
    pub fn start(listener: TcpListener, store: Store, identity: Identity) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(std::io::Error::other("the sandbox serves on loopback addresses only"));
        }
        let inner = Inner {
            store,
            ledger: Ledger::default(),
            faults: Faults::default(),
            tuning: Tuning::default(),
            recent: VecDeque::new(),
        };
        let (in_flight, identity_copy) = (AtomicUsize::new(0), identity.clone());
        let shared = web::Data::new(Shared { inner: Mutex::new(inner), identity: identity_copy, in_flight });
        let data = shared.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(4 * 1024 * 1024))
                .configure(control::routes)
                .route("/login/companyinfo/{company}", web::get().to(company_info))
                .default_service(web::to(serve))
        })
        .workers(2)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { address, identity, shared, handle })
    }

    /// Where it is, as a connection's site.
    pub fn site(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who may come in.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Looks at the records.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.shared.lock().store)
    }

    /// Changes the records, as somebody in ConnectWise would.
    pub fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        self.shared.change(change)
    }

    /// What was asked so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.lock().ledger.clone()
    }

    /// Forgets what was asked so far.
    pub fn clear_ledger(&self) {
        self.shared.lock().ledger = Ledger::default();
    }

    /// Makes requests fail.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Forgets the faults that wait.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Changes how it behaves.
    pub fn tune(&self, change: impl FnOnce(&mut Tuning)) {
        change(&mut self.shared.lock().tuning);
    }

    /// Ends it.
    pub async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

/// Company information: no credentials, and an unknown company is answered with null.
async fn company_info(shared: web::Data<Shared>, company: web::Path<String>, req: HttpRequest) -> HttpResponse {
    let (codebase, fault) = {
        let mut inner = shared.lock();
        let fault = inner.faults.hit("GET", req.path());
        (inner.tuning.codebase.clone(), fault)
    };
    let body = if *company == shared.identity.company_id {
        json!({
            "CompanyName": "Sandbox MSP", "Codebase": format!("{codebase}/"), "VersionCode": "v2025.1",
            "VersionNumber": "v4.6.95000", "CompanyID": *company, "IsCloud": "True",
            "SiteUrl": req.connection_info().host()
        })
    } else {
        Value::Null
    };
    let answer = Answer { status: 200, body: Some(body), link: None, retry_after: None };
    match fault {
        Some(kind) => spoil(kind, answer).await,
        None => answer.into_response(),
    }
}

/// One request that waits for its answer; counted while it does.
struct InFlight<'s>(&'s AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(shared: web::Data<Shared>, req: HttpRequest, bytes: web::Bytes) -> HttpResponse {
    let parallel = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    let _counted = InFlight(&shared.in_flight);
    let asked = Asked::read(&req, &bytes);
    let (fault, latency, throttled) = {
        let mut inner = shared.lock();
        inner.ledger.most_parallel = inner.ledger.most_parallel.max(parallel);
        asked.note_violations(&mut inner.ledger);
        let throttled = throttle(&mut inner, parallel);
        (inner.faults.hit(req.method().as_str(), req.path()), inner.tuning.latency_ms, throttled)
    };
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    let acts = |fault: &FaultKind| {
        matches!(
            fault,
            FaultKind::StatusAfter { .. }
                | FaultKind::DropAfter
                | FaultKind::Slow { .. }
                | FaultKind::FalseSuccess
                | FaultKind::Truncated
                | FaultKind::WrongType
        )
    };
    let pretend = matches!(fault, Some(FaultKind::FalseSuccess));
    let answer = match (throttled, &fault) {
        (Some(answer), _) => answer,
        (None, Some(fault)) if !acts(fault) => Answer::json(200, json!({})),
        (None, _) => asked.answer(&shared, pretend),
    };
    let (status, body, spoilt) = (answer.status, answer.body.clone(), fault.is_some());
    let response = match fault {
        Some(kind) => spoil(kind, answer).await,
        None => answer.into_response(),
    };
    let mut inner = shared.lock();
    let status = if response.status().as_u16() == status { status } else { response.status().as_u16() };
    let answer = body.filter(|_| inner.tuning.keep_answers && !spoilt);
    inner.ledger.requests.push(asked.into_entry(status, answer));
    response
}

fn throttle(inner: &mut Inner, parallel: usize) -> Option<Answer> {
    let now = Instant::now();
    while inner.recent.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60)) {
        inner.recent.pop_front();
    }
    inner.recent.push_back(now);
    let too_many = inner.recent.len() > inner.tuning.requests_per_minute || parallel > inner.tuning.parallel;
    too_many.then(|| Answer::throttled(inner.tuning.retry_after))
}

/// Turns an answer into what a fault makes of it.
async fn spoil(kind: FaultKind, answer: Answer) -> HttpResponse {
    let html = "<html><body><h1>Something went wrong</h1></body></html>";
    match kind {
        FaultKind::Status { status, code, message } => {
            let message = message.unwrap_or_else(|| "It failed on purpose".to_owned());
            Answer::error(status, code.as_deref().unwrap_or("ConnectWiseApi"), message).into_response()
        }
        FaultKind::StatusAfter { status } => {
            Answer::error(status, "ConnectWiseApi", "It failed after the fact").into_response()
        }
        FaultKind::Throttle { retry_after, html: false } => Answer::throttled(retry_after).into_response(),
        FaultKind::Throttle { retry_after, html: true } => HttpResponse::TooManyRequests()
            .insert_header(("Retry-After", retry_after.to_string()))
            .content_type("text/html")
            .body(html),
        FaultKind::Html => HttpResponse::Ok().content_type("text/html").body(html),
        FaultKind::Truncated => {
            let bytes = answer.bytes();
            HttpResponse::Ok().content_type("application/json").body(bytes[..bytes.len() / 2].to_vec())
        }
        FaultKind::WrongType => Answer::json(200, json!("a text where something else belongs")).into_response(),
        FaultKind::Slow { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer.into_response()
        }
        FaultKind::Hang { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            cut()
        }
        FaultKind::Drop | FaultKind::DropAfter => cut(),
        FaultKind::FalseSuccess => answer.into_response(),
        FaultKind::Redirect { to } => HttpResponse::Found().insert_header(("Location", to)).finish(),
    }
}

/// Cuts the connection: the body fails before its first byte.
fn cut() -> HttpResponse {
    let broken = futures_util::stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("cut")) });
    HttpResponse::Ok().streaming(broken)
}

/// A request, read.
struct Asked {
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

impl Asked {
    fn read(req: &HttpRequest, bytes: &web::Bytes) -> Self {
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

    /// What ConnectWise forbids, discourages or silently ignores.
    fn note_violations(&self, ledger: &mut Ledger) {
        let mut note = |what: String| ledger.violations.push(format!("{} {}: {what}", self.method, self.path));
        if self.length > 1_745 {
            note(format!("the URL is {} characters long", self.length));
        }
        if !self.accept.contains("application/vnd.connectwise.com+json") {
            note("no version is pinned by Accept".to_owned());
        }
        for (name, _) in &self.pairs {
            if !KNOWN.contains(&name.to_ascii_lowercase().as_str()) {
                note(format!("the parameter {name} is not known and ignored"));
            }
        }
        if self.query.get("pagesize").and_then(|size| size.parse::<usize>().ok()).is_some_and(|size| size > 1_000) {
            note("pageSize is above 1000".to_owned());
        }
        if self.method == "PUT" {
            note("PUT resets every member that is left out".to_owned());
        }
    }

    fn answer(&self, shared: &Shared, pretend: bool) -> Answer {
        let mut inner = shared.lock();
        let prefix = format!("/{}/apis/3.0/", inner.tuning.codebase);
        let Some(path) = self.path.strip_prefix(&prefix) else {
            return Answer::error(404, "NotFound", "Cannot route. Codebase/company is invalid");
        };
        if self.client_id.as_deref() != Some(shared.identity.client_id.as_str()) {
            return Answer::error(400, "ConnectWiseApi", "The clientId header is missing or invalid");
        }
        if !self.is_known(&shared.identity) {
            return Answer::error(401, "ConnectWiseApi", "UserNotAuthenticated");
        }
        let wants_forward_only =
            self.headers.iter().any(|(name, value)| name == "pagination-type" && value == "forward-only");
        let host = inner.tuning.link_host.clone().unwrap_or_else(|| self.host.clone());
        let request = Request {
            method: &self.method,
            path,
            query: &self.query,
            body: self.body.as_ref(),
            forward_only: wants_forward_only && inner.tuning.forward_only,
            wants_forward_only,
            host: &host,
            pretend,
        };
        api::answer(&mut inner, &request)
    }

    fn is_known(&self, identity: &Identity) -> bool {
        let token = self.authorization.as_deref().and_then(|header| header.strip_prefix("Basic "));
        let plain = token.and_then(|token| STANDARD.decode(token).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
        let wanted = format!("{}+{}:{}", identity.company_id, identity.public_key, identity.private_key);
        plain.is_some_and(|plain| plain == wanted)
    }

    fn into_entry(self, status: u16, answer: Option<Value>) -> Entry {
        let path = self.path.split_once("/apis/3.0/").map_or(self.path.clone(), |(_, path)| path.to_owned());
        Entry { method: self.method, path, query: self.pairs, headers: self.headers, body: self.body, status, answer }
    }
}

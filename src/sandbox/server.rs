//! The sandbox's HTTP server: routing, throttling, faults, and the ledger.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::control;
use super::faults::{Fault, FaultKind, Faults};
use super::ledger::{Ledger, Write};
use super::request::IncomingRequest;
use super::response::Response;
use super::state::{Behavior, Identity, Inner, Shared};
use super::store::Store;

/// A running sandbox.
pub struct Sandbox {
    address: SocketAddr,
    identity: Identity,
    shared: web::Data<Shared>,
    handle: ServerHandle,
}

impl Sandbox {
    /// Starts on a listener, and serves until [`Sandbox::stop`]. Errors if the listener is not on a loopback address.
    pub fn start(listener: TcpListener, store: Store, identity: Identity) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(std::io::Error::other("the sandbox serves on loopback addresses only"));
        }
        let inner = Inner {
            store,
            ledger: Ledger::default(),
            faults: Faults::default(),
            behavior: Behavior::default(),
            recent: VecDeque::new(),
            observer: None,
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

    /// The sandbox's URL, for use as a connection's site.
    pub fn site(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The credentials that the sandbox accepts.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads the records.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.shared.lock().store)
    }

    /// Changes the records, as a user of ConnectWise would.
    pub fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        self.shared.change(change)
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.shared.lock().ledger.clone()
    }

    /// Calls a function with each change of an addition through the API, before the response is sent. It replaces an
    /// earlier function. The function must not use the sandbox.
    pub fn observe_writes(&self, observer: impl Fn(&Write) + Send + 'static) {
        self.shared.lock().observer = Some(Box::new(observer));
    }

    /// The number of requests that are being processed.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Clears the ledger.
    pub fn clear_ledger(&self) {
        self.shared.lock().ledger = Ledger::default();
    }

    /// Adds a fault, which makes requests fail.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Changes the sandbox's behaviour.
    pub fn tune(&self, change: impl FnOnce(&mut Behavior)) {
        change(&mut self.shared.lock().behavior);
    }

    /// Stops the server without waiting for open requests.
    pub async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

/// Returns company information. It needs no credentials, and returns null for an unknown company.
async fn company_info(shared: web::Data<Shared>, company: web::Path<String>, req: HttpRequest) -> HttpResponse {
    let (codebase, fault) = {
        let mut inner = shared.lock();
        let fault = inner.faults.hit("GET", req.path());
        (inner.behavior.codebase.clone(), fault)
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
    let answer = Response { status: 200, body: Some(body), link: None, retry_after: None };
    match fault {
        Some(kind) => apply_fault(kind, answer).await,
        None => answer.into_response(),
    }
}

/// Counts a request as being processed until it is dropped.
struct InFlight<'s>(&'s AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(shared: web::Data<Shared>, req: HttpRequest, bytes: web::Bytes) -> HttpResponse {
    let parallel = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    let _counted = InFlight(&shared.in_flight);
    let asked = IncomingRequest::read(&req, &bytes);
    let (fault, latency, throttled) = {
        let mut inner = shared.lock();
        inner.ledger.most_parallel = inner.ledger.most_parallel.max(parallel);
        asked.note_violations(&mut inner.ledger);
        let throttled = throttle(&mut inner, parallel);
        (inner.faults.hit(req.method().as_str(), req.path()), inner.behavior.latency_ms, throttled)
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
    let false_success = matches!(fault, Some(FaultKind::FalseSuccess));
    let answer = match (throttled, &fault) {
        (Some(answer), _) => answer,
        (None, Some(fault)) if !acts(fault) => Response::json(200, json!({})),
        (None, _) => asked.answer(&shared, false_success),
    };
    let (body, spoilt) = (answer.body.clone(), fault.is_some());
    let cut = matches!(fault, Some(FaultKind::Drop | FaultKind::DropAfter | FaultKind::Hang { .. }));
    let response = match fault {
        Some(kind) => apply_fault(kind, answer).await,
        None => answer.into_response(),
    };
    let mut inner = shared.lock();
    let status = if cut { 0 } else { response.status().as_u16() };
    let answer = body.filter(|_| inner.behavior.keep_answers && !spoilt);
    inner.ledger.requests.push(asked.into_entry(status, answer));
    response
}

fn throttle(inner: &mut Inner, parallel: usize) -> Option<Response> {
    let now = Instant::now();
    while inner.recent.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60)) {
        inner.recent.pop_front();
    }
    inner.recent.push_back(now);
    let too_many = inner.recent.len() > inner.behavior.requests_per_minute || parallel > inner.behavior.parallel;
    too_many.then(|| Response::throttled(inner.behavior.retry_after))
}

/// Applies a fault to a response.
async fn apply_fault(kind: FaultKind, answer: Response) -> HttpResponse {
    let html = "<html><body><h1>Something went wrong</h1></body></html>";
    match kind {
        FaultKind::Status { status, code, message } => {
            let message = message.unwrap_or_else(|| "It failed on purpose".to_owned());
            Response::error(status, code.as_deref().unwrap_or("ConnectWiseApi"), message).into_response()
        }
        FaultKind::StatusAfter { status } => {
            Response::error(status, "ConnectWiseApi", "It failed after the fact").into_response()
        }
        FaultKind::Throttle { retry_after, html: false } => Response::throttled(retry_after).into_response(),
        FaultKind::Throttle { retry_after, html: true } => HttpResponse::TooManyRequests()
            .insert_header(("Retry-After", retry_after.to_string()))
            .content_type("text/html")
            .body(html),
        FaultKind::Html => HttpResponse::Ok().content_type("text/html").body(html),
        FaultKind::Page { status } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            HttpResponse::build(status).content_type("text/html").body(html)
        }
        FaultKind::Truncated => {
            let bytes = answer.bytes();
            HttpResponse::Ok().content_type("application/json").body(bytes[..bytes.len() / 2].to_vec())
        }
        FaultKind::WrongType => Response::json(200, json!("a text where something else belongs")).into_response(),
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

/// Returns a response whose body fails before its first byte, which cuts the connection.
fn cut() -> HttpResponse {
    let broken = futures_util::stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("cut")) });
    HttpResponse::Ok().streaming(broken)
}

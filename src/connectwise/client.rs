//! The client of one connection: address, authentication, rate limit, retries.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use chrono::TimeDelta;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::body::{JsonText, read_start};
use super::error::{ConnectionFault, CwError, Purpose, from_answer};
use super::http_clients::HttpClients;
use super::limiter::{CircuitStatus, RateLimit, RequestLimiter, SharedBudget};
use super::list_budget::ConnectionMemory;
use super::site::Site;
use super::timed_body::{TimedBody, TooLate};
use crate::domain::clock::{Clock, Timestamp};
use crate::outgoing::{PrivateAddress, is_public, private_address, root_cause};

/// The version of ConnectWise's models that this client was written for.
const ACCEPT_HEADER: &str = "application/vnd.connectwise.com+json; version=2025.1";

/// The settings of every connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Maximum number of requests a minute, for each connection.
    pub per_minute: NonZeroU32,
    /// Maximum number of parallel requests, for each connection.
    pub parallel: usize,
    /// The timeout of one request.
    pub timeout: Duration,
    /// The wait before the first retry; it doubles with each retry.
    pub first_wait: Duration,
    /// Whether sites on private networks, and plain http, are allowed.
    pub allow_private: bool,
}

/// The credentials of a connection.
#[derive(Clone)]
pub struct Credentials {
    /// The site to connect to.
    pub site: Site,
    /// The company id that the MSP logs in with.
    pub company_id: String,
    /// The API member's public key.
    pub public_key: SecretString,
    /// The API member's private key.
    pub private_key: SecretString,
    /// The client id of the integration, issued by ConnectWise.
    pub client_id: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} at {})", self.company_id, self.site)
    }
}

/// How long a failing request is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// A person waits: a few retries within seconds.
    Interactive,
    /// A job waits: more retries. But a worker waits only for seconds at a time, because it has other tenants' work to
    /// do: a job's lines are retried later.
    Background,
}

impl RetryPolicy {
    fn tries(self) -> usize {
        match self {
            Self::Interactive => 2,
            Self::Background => 6,
        }
    }

    fn longest_wait(self) -> Duration {
        Duration::from_secs(if self == Self::Interactive { 5 } else { 2 })
    }
}

/// A client for one connection. All users of a connection share one client, and so its request budget.
pub struct Client {
    http: reqwest::Client,
    credentials: Credentials,
    pub(super) limiter: RequestLimiter,
    settings: Settings,
    pub(super) list_memory: ConnectionMemory,
    /// The API's base URL, from the company information that was read last.
    base: Mutex<Option<Url>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.credentials)
    }
}

/// A request, relative to the API's base URL.
#[derive(Debug, Clone)]
pub(super) struct ApiRequest {
    pub(super) purpose: Purpose,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) forward_only: bool,
    pub(super) body: Option<Value>,
    /// The request is not sent at this time or later.
    pub(super) not_after: Option<Timestamp>,
}

impl ApiRequest {
    pub(super) fn get(purpose: Purpose, path: impl Into<String>) -> Self {
        let (method, path) = (Method::GET, path.into());
        Self { purpose, method, path, query: Vec::new(), forward_only: false, body: None, not_after: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

impl Client {
    /// Creates the client of a connection. Errors if the site is not allowed, or if no CA certificates are installed.
    ///
    /// `shared` is the request budget if other processes also use the connection.
    pub fn new(
        credentials: Credentials,
        settings: Settings,
        http_clients: &HttpClients,
        shared: Option<Arc<dyn SharedBudget>>,
        clock: Clock,
    ) -> Result<Self, CwError> {
        if let Some(address) = credentials.site.literal_address().filter(|_| !settings.allow_private)
            && !is_public(address)
        {
            return Err(CwError::fault(ConnectionFault::Address, PrivateAddress(address.to_string()).to_string()));
        }
        let http = http_clients.of_site(&credentials.site, settings.timeout, settings.allow_private)?;
        let limiter = RequestLimiter::new(RateLimit::of(settings.per_minute), settings.parallel, shared, clock);
        Ok(Self { http, credentials, limiter, settings, list_memory: Arc::default(), base: Mutex::new(None) })
    }

    /// Returns whether the circuit breaker lets requests through.
    pub fn circuit(&self) -> CircuitStatus {
        self.limiter.status()
    }

    /// Returns how long ConnectWise asked to wait, if that is longer than [`RetryPolicy::Background`] waits.
    pub fn paused_for(&self) -> Option<Duration> {
        self.limiter.pause().filter(|wait| *wait > RetryPolicy::Background.longest_wait())
    }

    /// Returns the latest time to send a request that must have ended by `lease_ends_at`.
    pub(super) fn last_moment(&self, lease_ends_at: Timestamp) -> Timestamp {
        let timeout = TimeDelta::from_std(self.settings.timeout).ok();
        timeout.and_then(|timeout| lease_ends_at.checked_sub_signed(timeout)).unwrap_or(Timestamp::MIN_UTC)
    }

    /// Sends a request and retries it as the policy allows. `receive` reads the successful response; it is called again
    /// for each retry.
    pub(super) async fn send_with_retry<T, F: Future<Output = Result<T, CwError>>>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        receive: impl Fn(Response) -> F,
    ) -> Result<T, CwError> {
        self.send_watched(request, policy, &receive, &|_| {}).await
    }

    /// Like [`Self::send_with_retry`], but also calls `watch` with each failure.
    pub(super) async fn send_watched<T, F: Future<Output = Result<T, CwError>>>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        receive: &impl Fn(Response) -> F,
        watch: &(dyn Fn(&CwError) + Sync),
    ) -> Result<T, CwError> {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.settings.first_wait)
            .with_max_delay(policy.longest_wait())
            .with_max_times(policy.tries());
        let once = || async { self.send_once(request, policy, receive).await.inspect_err(|error| watch(error)) };
        once.retry(backoff)
            .when(CwError::is_transient)
            // A Retry-After applies to the whole connection, so the limiter waits for it.
            .adjust(
                |error, wait| if matches!(error, CwError::Throttled(_)) { wait.map(|_| Duration::ZERO) } else { wait },
            )
            .notify(|error, wait| {
                tracing::debug!(
                    path = %request.path, cause = %error, wait_ms = wait.as_millis(),
                    "retrying a request to ConnectWise"
                );
            })
            .await
    }

    async fn send_once<T, F: Future<Output = Result<T, CwError>>>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        receive: &impl Fn(Response) -> F,
    ) -> Result<T, CwError> {
        let _permit = self.limiter.acquire(policy.longest_wait()).await?;
        let outcome = self.send_with_fresh_base(request, receive).await;
        self.limiter.record_outcome(outcome.as_ref().err()).await;
        let code = outcome.as_ref().map_or_else(|error| error.code().as_str(), |_| "ok");
        metrics::counter!("connectwise_requests_total", "method" => request.method.to_string(), "outcome" => code)
            .increment(1);
        outcome
    }

    /// Sends a request once. The codebase changes when the hosted version is upgraded: if the API is not found at the
    /// known address, looks the address up again and, if it changed, repeats the request.
    async fn send_with_fresh_base<T, F: Future<Output = Result<T, CwError>>>(
        &self,
        request: &ApiRequest,
        receive: &impl Fn(Response) -> F,
    ) -> Result<T, CwError> {
        let known = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let base = match &known {
            Some(base) => base.clone(),
            None => self.discover().await?,
        };
        let first = self.send_to(request, &base, receive).await;
        let lost =
            matches!(&first, Err(CwError::NotFound | CwError::Configuration { fault: ConnectionFault::Codebase, .. }));
        if known.is_none() || !lost {
            return first;
        }
        let fresh = self.discover().await?;
        if fresh == base { first } else { self.send_to(request, &fresh, receive).await }
    }

    /// Reads the API's base URL from the company information. Sends no credentials.
    pub(super) async fn discover(&self) -> Result<Url, CwError> {
        let mut url = self.credentials.site.web().clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["login", "companyinfo", &self.credentials.company_id]);
        }
        let response = self.http.get(url).send().await.map_err(|error| unreachable_site(&error))?;
        let status = response.status();
        let unknown = || {
            let id = &self.credentials.company_id;
            CwError::fault(
                ConnectionFault::Company,
                format!("ConnectWise has no company \"{id}\" (letter case matters)"),
            )
        };
        if status.as_u16() == 404 {
            return Err(unknown());
        }
        if !status.is_success() {
            return Err(failure(Purpose::ReadSystem, response).await?);
        }
        let not_json = "the company information is not JSON: is this the address of a ConnectWise site?";
        let value = match JsonText::read(response).await.and_then(|info| info.record()) {
            Err(CwError::InvalidResponse(_)) => return Err(CwError::InvalidResponse(not_json.to_owned())),
            read => read?,
        };
        if value.is_null() {
            return Err(unknown());
        }
        let codebase = value.get("Codebase").and_then(Value::as_str).map(|text| text.trim_matches('/'));
        // Only a plain folder name may become part of the URL; ConnectWise sends nothing else.
        let plain =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        let Some(codebase) = codebase.filter(plain) else {
            return Err(CwError::InvalidResponse("the company information contains no codebase".to_owned()));
        };
        let mut base = self.credentials.site.api().clone();
        base.set_path(&format!("/{codebase}/apis/3.0/"));
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base.clone());
        Ok(base)
    }

    async fn send_to<T, F: Future<Output = Result<T, CwError>>>(
        &self,
        request: &ApiRequest,
        base: &Url,
        receive: &impl Fn(Response) -> F,
    ) -> Result<T, CwError> {
        let url = base.join(&request.path).map_err(|error| CwError::Rejected(error.to_string()))?;
        let user = format!("{}+{}", self.credentials.company_id, self.credentials.public_key.expose_secret());
        let mut http_request = self
            .http
            .request(request.method.clone(), url)
            .basic_auth(user, Some(self.credentials.private_key.expose_secret()))
            .header("clientId", &self.credentials.client_id)
            .header(ACCEPT, ACCEPT_HEADER)
            .query(&request.query);
        if request.forward_only {
            http_request = http_request.header("pagination-type", "forward-only");
        }
        if let Some(body) = &request.body {
            let bytes = serde_json::to_vec(body).map_err(|error| CwError::Rejected(error.to_string()))?;
            http_request = http_request.header(CONTENT_TYPE, "application/json");
            http_request = match request.not_after {
                Some(at) => http_request.body(reqwest::Body::wrap(TimedBody::new(bytes, at, self.limiter.clock()))),
                None => http_request.body(bytes),
            };
        }
        // Checked after the wait for the limiter, which may have been long. The body checks it once more.
        if request.not_after.is_some_and(|at| self.limiter.now() >= at) {
            return Err(CwError::DeadlineExceeded);
        }
        let response = http_request.send().await.map_err(|error| unreachable_site(&error))?;
        let status = response.status();
        let request_id = response.headers().get("x-cw-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
        tracing::debug!(method = %request.method, path = %request.path, %status, request_id, "ConnectWise responded");
        if status.is_success() { receive(response).await } else { Err(failure(request.purpose, response).await?) }
    }
}

/// Reads the failure that a response reports. Errors if the response is cut off.
async fn failure(purpose: Purpose, response: Response) -> Result<CwError, CwError> {
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    Ok(from_answer(purpose, status, retry_after, &read_start(response).await?))
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Classifies a failed connection. reqwest's messages contain the URL, so only the root cause is reported.
fn unreachable_site(error: &reqwest::Error) -> CwError {
    let cause = root_cause(error);
    if TooLate::caused(error) {
        return CwError::DeadlineExceeded;
    }
    if let Some(private) = private_address(error) {
        return CwError::fault(ConnectionFault::Address, private.to_string());
    }
    if error.is_timeout() {
        return CwError::Unavailable("the request timed out".to_owned());
    }
    if error.is_connect()
        && ["name or service not known", "no address associated", "certificate"]
            .iter()
            .any(|known| cause.to_lowercase().contains(known))
    {
        return CwError::fault(ConnectionFault::Address, format!("the site cannot be reached: {cause}"));
    }
    CwError::Unavailable(cause)
}

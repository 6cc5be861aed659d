//! The application under test, with a sandbox, a clock that the test moves, and a worker that it steps.

mod cluster;
mod database;
mod disk;
mod dump;
pub mod receiver;
mod reply;
pub mod schema;

use std::net::TcpListener;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use connectwise_billing::app::{Application, Config, WorkerHandle};
use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{FaultKind, Identity, Sandbox, Store};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use cluster::{Cluster, Way};
pub use database::{Backend, Original, TestDatabase};
pub use disk::{Disk, read_only};
pub use dump::{Dump, dump, execute};
pub use reply::Reply;

/// Runs each test named on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::Backend::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::Backend::Postgres).await;
            })+
        }
    };
}

/// The time at which every test begins.
pub fn start_of_test() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
}

/// The seed of a random test: the number in `TEST_SEED`, to replay a failure, or a random one.
pub fn seed() -> u64 {
    std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// A response with this status and an error body as ConnectWise sends it.
pub fn status(status: u16) -> FaultKind {
    FaultKind::Status { status, code: None, message: None }
}

/// The path of a push job.
pub fn job_path(job: &Value) -> String {
    format!("/push-jobs/{}", job["id"].as_str().unwrap())
}

/// A running application.
pub struct TestApp {
    pub base: String,
    pub key: String,
    pub clock: Clock,
    pub sandbox: Arc<Sandbox>,
    pub worker: WorkerHandle,
    /// Another worker of the same process.
    pub second_worker: WorkerHandle,
    http: reqwest::Client,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    database: Arc<TestDatabase>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
        // In every test, the requests to ConnectWise must match its schema.
        if !std::thread::panicking() {
            schema::assert_requests_match(&self.sandbox.ledger());
        }
    }
}

/// A client for loopback. No TLS is spoken, so the machine's CA certificates are not read.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().gzip(false).redirect(reqwest::redirect::Policy::none());
    builder.tls_certs_only(std::iter::empty()).build().unwrap()
}

/// Writes the application's log to standard error if `TEST_LOG` is set: a filter like that of `--log`, or 1 for
/// everything of ours.
fn show_log_if_asked() {
    let Ok(filter) = std::env::var("TEST_LOG") else { return };
    let filter = if filter == "1" { "info,connectwise_billing=debug".to_owned() } else { filter };
    // One log for each process; the second application of a test uses it as well.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The settings of tests: short waits, and the sandbox on loopback allowed.
pub fn test_config(database: &TestDatabase) -> Config {
    let mut config = Config::local(database.url());
    config.database_connections = 4;
    config.allow_private_connectwise = true;
    config.allow_private_webhooks = true;
    config.connectwise_first_wait = 1;
    config.connectwise_timeout = 2;
    config.operator_key = Some("the-operators-own-key".into());
    config.encryption_key.encryption_key_file = Some(database.folder().join("test.key"));
    config
}

pub fn sandbox(store: Store) -> Sandbox {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::start(listener, store, Identity::default()).unwrap();
    sandbox.tune(|behavior| behavior.keep_answers = true);
    sandbox
}

impl TestApp {
    /// Starts the application on a new database, not connected to ConnectWise yet.
    pub async fn start(backend: Backend, store: Store) -> Self {
        Self::start_with(backend, store, |_| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(backend: Backend, store: Store, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(start_of_test(), backend, store, change).await
    }

    /// Starts it a day before the machine's time, for a test that then starts a real process on its database. That
    /// process reads the machine's clock, and must not find data from another time.
    pub async fn start_yesterday(backend: Backend, store: Store) -> Self {
        Self::start_at(Clock::system().now() - TimeDelta::days(1), backend, store, |_| {}).await
    }

    /// Starts it at the machine's time.
    pub async fn start_now(backend: Backend, store: Store) -> Self {
        Self::start_at(Clock::system().now(), backend, store, |_| {}).await
    }

    async fn start_at(at: DateTime<Utc>, backend: Backend, store: Store, change: impl FnOnce(&mut Config)) -> Self {
        show_log_if_asked();
        let database = Arc::new(TestDatabase::new(backend));
        let sandbox = Arc::new(sandbox(store));
        let clock = Clock::fixed(at);
        let mut config = test_config(&database);
        change(&mut config);
        let mut application = Application::build(&config, clock.clone()).await.unwrap();
        let key = application.first_key().expect("an empty database makes a key");
        Self::run(application, key, clock, sandbox, database)
    }

    /// Runs a statement on the database, without the application.
    pub fn execute(&self, statement: &str) -> usize {
        tokio::task::block_in_place(|| execute(self.database.text(), statement))
    }

    /// Another replica on the same database.
    pub async fn replica(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = test_config(&self.database);
        change(&mut config);
        let application = Application::build(&config, self.clock.clone()).await.unwrap();
        Self::run(application, self.key.clone(), self.clock.clone(), self.sandbox.clone(), self.database.clone())
    }

    /// An application on an existing database.
    pub async fn on(database: Arc<TestDatabase>, key: String, clock: Clock, sandbox: Arc<Sandbox>) -> Self {
        let application = Application::build(&test_config(&database), clock.clone()).await.unwrap();
        Self::run(application, key, clock, sandbox, database)
    }

    fn run(
        application: Application,
        key: String,
        clock: Clock,
        sandbox: Arc<Sandbox>,
        database: Arc<TestDatabase>,
    ) -> Self {
        let (base, stop) = (format!("http://{}", application.address()), application.stop_token());
        let (worker, second_worker) = (application.worker_handle(), application.worker_handle());
        let running = Some(tokio::spawn(async move { application.run_without_worker().await.unwrap() }));
        let http = http_client();
        Self { base, key, clock, sandbox, worker, second_worker, http, stop, running, database }
    }

    /// Ends it; returns its database.
    pub async fn stop(mut self) -> Arc<TestDatabase> {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
        self.database.clone()
    }

    /// The encryption key for its connections' keys.
    pub fn key_file(&self) -> std::path::PathBuf {
        self.database.folder().join("test.key")
    }

    /// The address of its database.
    pub fn database_url(&self) -> &str {
        self.database.text()
    }

    /// Starts it and connects it to the sandbox.
    pub async fn connected(backend: Backend, store: Store) -> Self {
        let app = Self::start(backend, store).await;
        app.connect().await;
        app
    }

    pub async fn connect(&self) {
        self.put("/connection", &self.connection()).await.expect(200);
    }

    /// The body that connects to the sandbox.
    pub fn connection(&self) -> Value {
        let identity = self.sandbox.identity();
        json!({
            "site": self.sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
            "public_key": identity.public_key, "private_key": identity.private_key,
        })
    }

    /// Any request, with any headers besides the key's.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Reply {
        let url = if path.starts_with("/v") || path.starts_with("//") {
            format!("{}{}", self.base, path.trim_start_matches("/v"))
        } else {
            format!("{}/api/v1{path}", self.base)
        };
        let mut request = self.http.request(method, &url);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.bearer_auth(&self.key);
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Reply::read(request.send().await.unwrap()).await
    }

    async fn send_json(&self, method: Method, path: &str, body: &Value) -> Reply {
        let bytes = serde_json::to_vec(body).unwrap();
        self.send(method, path, &[("content-type", "application/json")], Some(bytes)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send_json(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send_json(Method::PUT, path, body).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send_json(Method::PATCH, path, body).await
    }

    /// A request outside `/api/v1`.
    pub async fn outside(&self, path: &str) -> Reply {
        self.send(Method::GET, &format!("/v{path}"), &[("authorization", "")], None).await
    }

    /// All rows of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let next = if cursor.is_empty() { String::new() } else { format!("{join}cursor={cursor}") };
            let page = self.get(&format!("{path}{next}")).await.expect(200);
            rows.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return rows,
            }
        }
    }

    /// Adds a company; returns its id.
    pub async fn company(&self, external_id: &str, name: &str) -> String {
        let body = json!({"external_id": external_id, "name": name});
        self.post("/companies", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Adds a product billed in blocks of 100 GB; returns its id.
    pub async fn product(&self, code: &str) -> String {
        let body = json!({"code": code, "name": format!("Product {code}"), "unit": "GB", "block_size": "100"});
        self.post("/products", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Adds a rule; returns its id.
    pub async fn rule(&self, product: &str, target: &str, expression: &str) -> String {
        let body = json!({"product_id": product, "target": target, "expression": expression});
        self.post("/matching-rules", &body).await.expect(201)["rule"]["id"].as_str().unwrap().to_owned()
    }

    /// Adds one usage record, measured now.
    pub async fn usage(&self, company_external_id: &str, product_code: &str, amount: &str) {
        let record = json!({
            "company_external_id": company_external_id, "product_code": product_code, "amount": amount,
            "measured_at": self.clock.now(),
        });
        self.post("/usage", &json!({"records": [record]})).await.expect(200);
    }

    /// The one line of a company and product.
    pub async fn line(&self, product: &str, company: &str) -> Value {
        let path = format!("/billing-lines?product_id={product}&company_id={company}");
        let page = self.get(&path).await.expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
        page["items"][0].clone()
    }

    /// Starts a push, steps the worker to its end, and returns the job and its lines.
    pub async fn push(&self, body: &Value) -> (Value, Vec<Value>) {
        let job = self.post("/push-jobs", body).await.expect(202);
        self.worker.run_until_idle().await.unwrap();
        self.job_and_lines(&job).await
    }

    /// A push job as it is now, with its lines.
    pub async fn job_and_lines(&self, job: &Value) -> (Value, Vec<Value>) {
        let path = job_path(job);
        (self.get(&path).await.expect(200), self.all(&format!("{path}/lines?limit=500")).await)
    }
}

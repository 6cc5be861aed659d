//! Two tenants with a sandbox each, and the replicas of the application on one database.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use connectwise_billing::app::{Application, Config, WorkerHandle};
use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Kind, Sandbox, Store, sample};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Backend, Original, TestDatabase, http_client, sandbox, start_of_test, test_config};

pub const COMPANIES: i64 = 3;
/// The products: code, and the identifier of their additions.
pub const PRODUCTS: [(&str, &str); 2] = [("STORAGE", "BKP-GB"), ("SEATS", "BKP-USER")];
/// How long a worker may hold its lines without a renewal, in seconds.
pub const LEASE: i64 = 60;
/// How long a request to ConnectWise may take, in seconds.
pub const TIMEOUT: u64 = 1;

/// The ids differ from the other tenant's, so that a write to the wrong sandbox hits unknown ids.
fn store(tenant: i64) -> Store {
    let mut store = Store::default();
    for c in 1..=COMPANIES {
        let agreement = c * 10 + tenant;
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(agreement, c, "Backup", (1, "SP Backup")));
        for (n, (_, product)) in (0..).zip(PRODUCTS) {
            store.put(Kind::Additions, sample::addition(agreement * 10 + n, agreement, product, "Item", 1.0));
        }
    }
    store
}

/// The ids of a tenant's additions in its sandbox.
pub fn additions(tenant: usize) -> Vec<i64> {
    let tenant = i64::try_from(tenant).unwrap();
    (1..=COMPANIES).flat_map(|c| [(c * 10 + tenant) * 10, (c * 10 + tenant) * 10 + 1]).collect()
}

/// The ids of a tenant's agreements in its sandbox.
pub fn agreements(tenant: usize) -> Vec<i64> {
    (1..=COMPANIES).map(|c| c * 10 + i64::try_from(tenant).unwrap()).collect()
}

/// Sends requests for a tenant, as a person would.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
    /// Responses that no request may have.
    wrong: Arc<Mutex<Vec<String>>>,
    /// The responses that people received.
    rejections: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// Sends a request. Returns `None` if it was rejected, or if the replica ended.
    pub async fn send(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let mut request = self.http.request(method.clone(), format!("{}/api/v1{path}", self.base));
        request = request.bearer_auth(&self.key);
        if method != Method::GET {
            request = request.json(&body);
        }
        let response = request.send().await.inspect_err(|error| self.rejected(&method, path, error)).ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        if status == 500 || (status == 400 || status == 422) {
            self.wrong.lock().unwrap().push(format!("{method} {path} {body}: {status} {text}"));
        }
        if !status.is_success() {
            self.rejected(&method, path, &format!("{status} {text}"));
        }
        status.is_success().then(|| serde_json::from_str(&text).unwrap_or_default())
    }

    /// Notes a response that a person received, to be shown when a seed fails.
    fn rejected(&self, method: &Method, path: &str, why: &dyn std::fmt::Display) {
        self.rejections.lock().unwrap().push(format!("{method} {path}: {why}"));
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        let page = self.send(Method::GET, path, Value::Null).await;
        page.map_or_else(Vec::new, |page| page["items"].as_array().cloned().unwrap_or_default())
    }

    pub fn rejections(&self) -> Vec<String> {
        self.rejections.lock().unwrap().clone()
    }

    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }
}

pub struct Tenant {
    pub id: String,
    key: String,
    pub sandbox: Arc<Sandbox>,
}

impl Tenant {
    pub fn connection(&self, private_key: Option<&str>) -> Value {
        let identity = self.sandbox.identity();
        json!({
            "site": self.sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
            "public_key": identity.public_key, "private_key": private_key.unwrap_or(&identity.private_key),
        })
    }
}

/// The start of each seed: a database with two tenants that are ready to push.
pub struct Template {
    pub backend: Backend,
    pub tenants: Vec<Tenant>,
    original: Original,
    folder: TempDir,
    http: reqwest::Client,
}

fn config(database: &TestDatabase, folder: &Path) -> Config {
    let mut config = test_config(database);
    config.encryption_key.encryption_key_file = Some(folder.join("simulation.key"));
    config.connectwise_timeout = u32::try_from(TIMEOUT).unwrap();
    config.lease = u32::try_from(LEASE).unwrap();
    config.http_threads = 1;
    config
}

impl Template {
    pub async fn new(backend: Backend) -> Self {
        let (database, folder, http) = (TestDatabase::new(backend), tempfile::tempdir().unwrap(), http_client());
        let mut application =
            Application::build(&config(&database, folder.path()), Clock::fixed(start_of_test())).await.unwrap();
        let first = application.first_key().unwrap();
        let replica = Replica::run(application);
        let operator = replica.api(&http, "the-operators-own-key", &Arc::default());
        let second = operator.send(Method::POST, "/tenants", json!({"name": "Second"})).await.unwrap();
        let listed = operator.items("/tenants").await;
        let mut tenants = Vec::new();
        for (number, key) in [first.as_str(), second["key"].as_str().unwrap()].into_iter().enumerate() {
            let sandbox = Arc::new(sandbox(store(i64::try_from(number).unwrap())));
            sandbox.tune(|behavior| behavior.keep_answers = false);
            let (key, id) = (key.to_owned(), listed[number]["id"].as_str().unwrap().to_owned());
            let tenant = Tenant { id, key, sandbox };
            set_up(&replica.api(&http, &tenant.key, &Arc::default()), &tenant).await;
            tenants.push(tenant);
        }
        replica.stop().await;
        Self { backend, tenants, original: database.into_original(), folder, http }
    }
}

async fn set_up(api: &Api, tenant: &Tenant) {
    let send = async |method, path: &str, body| api.send(method, path, body).await.unwrap_or_else(|| panic!("{path}"));
    send(Method::PUT, "/connection", tenant.connection(None)).await;
    let schedule = json!({"enabled": true, "day_of_month": 25, "time": "02:00", "time_zone": "America/New_York"});
    send(Method::PUT, "/push-schedule", schedule).await;
    for c in 1..=COMPANIES {
        let body = json!({"external_id": format!("C{c}"), "name": format!("Company {c}")});
        send(Method::POST, "/companies", body).await;
    }
    for (code, identifier) in PRODUCTS {
        let body = json!({"code": code, "name": code, "unit": "GB", "block_size": "100"});
        let product = send(Method::POST, "/products", body).await["id"].clone();
        for (target, rule) in [
            ("agreement", r#"name = "Backup""#.to_owned()),
            ("addition", format!("product/identifier = '{identifier}'")),
        ] {
            let body = json!({"product_id": product, "target": target, "expression": rule});
            send(Method::POST, "/matching-rules", body).await;
        }
        let records: Vec<Value> = (1..=COMPANIES)
            .map(|c| {
                json!({"company_external_id": format!("C{c}"), "product_code": code, "amount": (c * 150).to_string(),
                    "measured_at": start_of_test()})
            })
            .collect();
        send(Method::POST, "/usage", json!({"records": records})).await;
    }
    send(Method::POST, "/companies/auto-match", json!({})).await;
    let lines = api.items("/billing-lines?limit=500").await;
    let ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
    send(Method::PATCH, "/billing-lines", json!({"ids": ids, "push_enabled": true})).await;
    let lines = api.items("/billing-lines?limit=500").await;
    assert!(lines.iter().all(|line| line["addition"]["status"] == "resolved"), "{lines:?}");
}

/// One process's part: the server and its workers.
pub struct Replica {
    base: String,
    pub workers: Vec<Arc<WorkerHandle>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Replica {
    fn run(application: Application) -> Self {
        let (base, stop) = (format!("http://{}", application.address()), application.stop_token());
        let workers = (0..3).map(|_| Arc::new(application.worker_handle())).collect();
        let running = tokio::spawn(async move { application.run_without_worker().await.unwrap() });
        Self { base, workers, stop, running }
    }

    fn api(&self, http: &reqwest::Client, key: &str, wrong: &Arc<Mutex<Vec<String>>>) -> Api {
        Api {
            http: http.clone(),
            base: self.base.clone(),
            key: key.to_owned(),
            wrong: wrong.clone(),
            rejections: Arc::default(),
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// Everything that one seed acts on.
pub struct World<'t> {
    pub template: &'t Template,
    pub clock: Clock,
    pub replicas: Vec<Replica>,
    pub wrong: Arc<Mutex<Vec<String>>>,
    pub grace: Grace,
    database: TestDatabase,
}

/// A killed worker's last request may still arrive, at most one timeout later. If the clock has jumped meanwhile, its
/// lease is judged by the time before the jump, because in reality no timeout is that long.
#[derive(Clone, Default)]
pub struct Grace(Arc<Mutex<GraceState>>);

#[derive(Default)]
struct GraceState {
    killed: Option<Instant>,
    /// When the clock jumped, and the time before.
    jumped: Option<(Instant, DateTime<Utc>)>,
}

impl Grace {
    fn is_young(since: Instant) -> bool {
        since.elapsed() < Duration::from_secs(TIMEOUT)
    }

    pub fn note_kill(&self) {
        self.0.lock().unwrap().killed = Some(Instant::now());
    }

    /// Call this before the clock jumps or leases end.
    pub fn note_jump(&self, before: DateTime<Utc>) {
        let mut state = self.0.lock().unwrap();
        if state.killed.is_some_and(Self::is_young) && !state.jumped.is_some_and(|(at, _)| Self::is_young(at)) {
            state.jumped = Some((Instant::now(), before));
        }
    }

    /// The time at which the lease of a write that arrives now is judged.
    pub fn time_of_lease(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let jumped = self.0.lock().unwrap().jumped;
        jumped.filter(|(at, _)| Self::is_young(*at)).map_or(now, |(_, before)| before)
    }
}

impl<'t> World<'t> {
    pub async fn start(template: &'t Template) -> Self {
        for (number, tenant) in (0..).zip(&template.tenants) {
            tenant.sandbox.clear_faults();
            tenant.sandbox.change(|records| *records = store(number));
            tenant.sandbox.clear_ledger();
        }
        let database = TestDatabase::copy(&template.original);
        let clock = Clock::fixed(start_of_test());
        let (wrong, grace) = (Arc::default(), Grace::default());
        let mut world = Self { template, clock, replicas: Vec::new(), wrong, grace, database };
        // One process owns an SQLite file.
        for _ in 0..if template.backend == Backend::Sqlite { 1 } else { 2 } {
            let replica = world.new_replica().await;
            world.replicas.push(replica);
        }
        world
    }

    async fn new_replica(&self) -> Replica {
        let config = config(&self.database, self.template.folder.path());
        Replica::run(Application::build(&config, self.clock.clone()).await.unwrap())
    }

    pub fn url(&self) -> &str {
        self.database.text()
    }

    pub fn api(&self, tenant: usize, replica: usize) -> Api {
        self.replicas[replica].api(&self.template.http, &self.template.tenants[tenant].key, &self.wrong)
    }

    /// Ends a process and starts another in its place.
    pub async fn restart(&mut self, replica: usize) {
        let old = self.replicas.remove(replica);
        old.stop().await;
        // A process that starts on SQLite sets the end of all leases to a second before the current time.
        self.grace.note_jump(self.clock.now() - TimeDelta::seconds(1));
        // Requests sent before are processed by now: the sandbox takes no longer.
        self.until_quiet().await;
        let new = self.new_replica().await;
        self.replicas.insert(replica, new);
    }

    /// Waits until no sandbox processes a request.
    pub async fn until_quiet(&self) {
        let quiet = || self.template.tenants.iter().all(|tenant| tenant.sandbox.in_flight() == 0);
        for _ in 0..2 {
            // A request that was handed over a moment ago may still be on its way.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            while !quiet() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }

    pub async fn stop(self) {
        for replica in self.replicas {
            replica.stop().await;
        }
        self.database.remove();
    }
}

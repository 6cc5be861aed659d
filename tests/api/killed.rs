//! The real process, killed a hundred times in the middle of one push while ConnectWise fails in every way.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Fault, FaultKind, Kind, Sandbox, Store, Write, sample};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Running, after, program};
use crate::support::{Backend, TestDatabase, sandbox};

const LINES: i64 = 300;
const KILLS: usize = 100;

struct Service {
    process: Running,
    api: String,
    http: reqwest::Client,
    key: String,
}

impl Service {
    /// Starts the process; the first start says the key.
    fn start(database: &TestDatabase, key: Option<&str>) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "off", "--allow-private-connectwise"]);
        // What a killed process held is free after the lease, and on SQLite at once.
        command.args(["--connectwise-timeout", "1", "--connectwise-first-wait", "5", "--lease", "3"]);
        command.args(["--connectwise-per-minute", "100000", "--database-url", database.text()]);
        command.args(["--encryption-key-file", &database.folder().join("key").display().to_string()]);
        let mut process = Running::start(&mut command);
        let said = process.until("Listening on ");
        let key = key.map_or_else(|| format!("cwb_{}", after(&said, "cwb_")), str::to_owned);
        let api = format!("{}/api/v1", after(&said, "Listening on "));
        Self { process, api, http: reqwest::Client::builder().no_proxy().build().unwrap(), key }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.api)).bearer_auth(&self.key);
        let reply = request.json(&body).send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn all(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.ask(Method::GET, &format!("{path}{cursor}"), json!({})).await;
            rows.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }
}

fn store() -> Store {
    let mut store = Store::default();
    for c in 1..=LINES {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c:03}")));
        store.put(Kind::Agreements, sample::agreement(c, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c + 1_000, c, "BKP-GB", "Storage", 1.0));
    }
    store
}

/// Everything that a push of all lines needs; each line is to become its company's number plus 1.
async fn set_up(service: &Service, sandbox: &Sandbox) {
    let identity = sandbox.identity();
    let connection = json!({
        "site": sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
        "public_key": identity.public_key, "private_key": identity.private_key,
    });
    service.ask(Method::PUT, "/connection", connection).await;
    let product = json!({"code": "STORAGE", "name": "Storage", "unit": "GB", "block_size": "1"});
    let product = service.ask(Method::POST, "/products", product).await["id"].clone();
    for c in 1..=LINES {
        service
            .ask(Method::POST, "/companies", json!({"external_id": format!("C{c}"), "name": format!("Company {c:03}")}))
            .await;
    }
    for (target, expression) in [("agreement", "name = 'Backup'"), ("addition", "product/identifier = 'BKP-GB'")] {
        let rule = json!({"product_id": product, "target": target, "expression": expression});
        service.ask(Method::POST, "/matching-rules", rule).await;
    }
    let matched = service.ask(Method::POST, "/companies/auto-match", json!({})).await;
    assert_eq!(matched["applied"], LINES, "{matched}");
    let records: Vec<Value> = (1..=LINES)
        .map(|c| {
            json!({"company_external_id": format!("C{c}"), "product_code": "STORAGE", "amount": (c + 1).to_string(),
                "measured_at": Clock::system().now()})
        })
        .collect();
    service.ask(Method::POST, "/usage", json!({"records": records})).await;
    let lines: Vec<Value> = service.all("/billing-lines?limit=500").await.iter().map(|l| l["id"].clone()).collect();
    service.ask(Method::PATCH, "/billing-lines", json!({"ids": lines, "push_enabled": true})).await;
}

/// A fifth of all calls fail; the distances between the failures of each kind have no common measure.
fn fail_often(sandbox: &Sandbox) {
    let always =
        |kind, one_in| Fault { kind, times: u32::MAX, method: None, path: Some("additions".to_owned()), one_in };
    let status = |status| FaultKind::Status { status, code: None, message: None };
    for fault in [
        always(FaultKind::StatusAfter { status: 500 }, 29),
        always(FaultKind::DropAfter, 31),
        always(status(500), 37),
        always(FaultKind::Throttle { retry_after: 0, html: false }, 41),
        always(FaultKind::Throttle { retry_after: 0, html: true }, 43),
        always(FaultKind::Drop, 47),
        always(FaultKind::Hang { ms: 1_500 }, 97),
        always(FaultKind::Html, 23).on("GET"),
        always(FaultKind::Truncated, 53).on("GET"),
    ] {
        sandbox.fail(fault);
    }
}

async fn killed_a_hundred_times_every_line_is_written_and_recorded_once(backend: Backend) {
    let (database, sandbox) = (TestDatabase::new(backend), sandbox(store()));
    let mut service = Service::start(&database, None);
    let key = service.key.clone();
    set_up(&service, &sandbox).await;
    sandbox.clear_ledger();
    sandbox.tune(|tuning| {
        tuning.latency_ms = 150;
        tuning.keep_answers = false;
    });
    fail_often(&sandbox);
    let job = service.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    let seed = if backend == Backend::Sqlite { 1 } else { 2 };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut random = TestRunner::new_with_rng(Config::default(), random);
    for _ in 0..KILLS {
        // The one place where time passes for real: the instant of the kill is what is tried.
        let instant = (0_u64..200).new_tree(&mut random).unwrap().current();
        tokio::time::sleep(Duration::from_millis(instant)).await;
        drop(service);
        service = Service::start(&database, Some(&key));
    }
    let left = service.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    assert_eq!(left["finished_at"], Value::Null, "the kills came while it ran: {left}");
    sandbox.tune(|tuning| tuning.latency_ms = 0);
    every_line_is_right(&service, &sandbox, &job).await;
    only_lost_answers_cost_a_write(&sandbox);
    service.process.interrupt();
}

/// Waits for the job's end; then every line is in the record once, and ConnectWise has what it should.
async fn every_line_is_right(service: &Service, sandbox: &Sandbox, job: &str) {
    let path = format!("/push-jobs/{job}");
    let started = Instant::now();
    let ended = loop {
        let now = service.ask(Method::GET, &path, json!({})).await;
        if now["finished_at"].is_string() {
            break now;
        }
        assert!(started.elapsed() < Duration::from_secs(240), "it does not end: {now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((&ended["state"], &ended["lines"]["pushed"]), (&json!("succeeded"), &json!(LINES)), "{ended}");
    let lines = service.all(&format!("{path}/lines?limit=500")).await;
    let distinct: HashSet<&str> = lines.iter().map(|line| line["billing_line_id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), distinct.len()), (300, 300), "each line is in the record once");
    assert!(lines.iter().all(|line| line["from"] == "1" && line["state"] == "pushed"));
    for c in 1..=LINES {
        assert_eq!(sandbox.read(|store| store.quantity(c + 1_000)), Some((c + 1) as f64), "company {c}");
    }
}

/// Two replicas share a push. One is stopped for longer than its lease and then goes on: the other has done its lines,
/// and nothing is written twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stopped_past_its_lease_writes_nothing_late() {
    let (database, sandbox) = (TestDatabase::new(Backend::Postgres), sandbox(store()));
    let first = Service::start(&database, None);
    set_up(&first, &sandbox).await;
    let second = Service::start(&database, Some(&first.key));
    sandbox.clear_ledger();
    sandbox.tune(|tuning| tuning.latency_ms = 100);
    let job = first.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(700)).await;
    first.process.signal("STOP");
    // Longer than its lease of 3 s, and than the 5 s for which the database leaves it a lock that it may hold.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let meanwhile = second.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    assert!(meanwhile["lines"]["pushed"].as_i64().unwrap() > 20, "the other goes on: {meanwhile}");
    first.process.signal("CONT");
    every_line_is_right(&second, &sandbox, &job).await;
    assert_eq!(sandbox.ledger().writes.len(), 300, "nothing was written twice");
    every_line_is_right(&first, &sandbox, &job).await;
}

/// An addition is written again only after a write whose answer never came: cut off by ConnectWise's failure, or by
/// the kill. A write that was on its way when the process died may take effect after the next process has looked.
fn only_lost_answers_cost_a_write(sandbox: &Sandbox) {
    let ledger = sandbox.ledger();
    let mut lost: HashMap<i64, usize> = HashMap::new();
    let mut failed = 0;
    for request in &ledger.requests {
        failed += usize::from(request.status != 200);
        if request.method == "PATCH" && matches!(request.status, 0 | 500) {
            let addition = request.path.rsplit('/').next().unwrap().parse().unwrap();
            *lost.entry(addition).or_default() += 1;
        }
    }
    assert!(failed * 10 > ledger.requests.len(), "{failed} of {}: too few fail", ledger.requests.len());
    let mut writes: HashMap<i64, Vec<&Write>> = HashMap::new();
    ledger.writes.iter().for_each(|write| writes.entry(write.addition).or_default().push(write));
    assert_eq!(writes.len(), 300);
    let mut by_kills = 0;
    for (addition, writes) in writes {
        assert!(writes[1..].iter().all(|write| write.from == write.to), "addition {addition}: {writes:?}");
        by_kills += (writes.len() - 1).saturating_sub(lost.get(&addition).copied().unwrap_or_default());
    }
    assert_eq!(by_kills, 0, "{by_kills} writes were made again for no reason but a kill");
}

on_both!(killed_a_hundred_times_every_line_is_written_and_recorded_once);

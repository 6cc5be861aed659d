//! The real process, or several of them, and a push of many lines through it.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Kind, Sandbox, Store, sample};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Running, after, program};
use crate::support::{Disk, TestDatabase, http_client};

pub struct Service {
    pub process: Running,
    /// Its address, without a path.
    pub base: String,
    http: reqwest::Client,
    pub key: String,
}

impl Service {
    /// Starts the process; the first start prints the key.
    pub fn start(database: &TestDatabase, key: Option<&str>) -> Self {
        Self::start_at(database, database.text(), key, &[])
    }

    /// Starts it with more settings, and with the database at another address.
    pub fn start_at(database: &TestDatabase, url: &str, key: Option<&str>, more: &[&str]) -> Self {
        Self::begin(program(), url, &database.folder().join("key"), key, more)
    }

    /// Starts it on a database that another process wrote, with the same encryption key.
    pub fn start_with_key(url: &str, key_file: &Path, key: &str) -> Self {
        Self::begin(program(), url, key_file, Some(key), &[])
    }

    /// Starts it with its database on a separate disk.
    pub fn start_in(disk: &Disk, database: &TestDatabase) -> Self {
        Self::begin(disk.program(), &disk.database(), &database.folder().join("key"), None, &[])
    }

    /// Starts it with a filter for its log, which goes to a file, and more settings.
    pub fn start_logging(database: &TestDatabase, filter: &str, log: File, more: &[&str]) -> Self {
        let mut command = program();
        command.args(["serve", "--log", filter, "--log-format", "json"]).args(more);
        let command = Self::with_settings(&mut command, database.text(), &database.folder().join("key"));
        Self::listening(Running::start_logging(command, log), None)
    }

    fn begin(mut command: Command, url: &str, key_file: &Path, key: Option<&str>, more: &[&str]) -> Self {
        command.args(["serve", "--log", "off"]).args(more);
        Self::listening(Running::start(Self::with_settings(&mut command, url, key_file)), key)
    }

    fn with_settings<'c>(command: &'c mut Command, url: &str, key_file: &Path) -> &'c mut Command {
        command.args(["--listen", "127.0.0.1:0", "--allow-private-connectwise", "--database-url", url]);
        // Lines of a killed process are free after the lease, and on SQLite at once.
        command.args(["--connectwise-timeout", "1", "--connectwise-first-wait", "5", "--lease", "3"]);
        command.args(["--connectwise-per-minute", "100000"]).arg("--encryption-key-file").arg(key_file)
    }

    fn listening(mut process: Running, key: Option<&str>) -> Self {
        let said = process.until("Listening on ");
        let key = key.map_or_else(|| format!("cwb_{}", after(&said, "cwb_")), str::to_owned);
        let base = after(&said, "Listening on ");
        Self { process, base, http: http_client(), key }
    }

    /// The status and the body, whatever they are; `None` without a response.
    pub async fn try_ask(&self, method: Method, path: &str, body: Value) -> Option<(u16, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        let reply = request.json(&body).timeout(Duration::from_secs(30)).send().await.ok()?;
        let (status, text) = (reply.status().as_u16(), reply.text().await.ok()?);
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.key);
        let reply = request.json(&body).send().await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn all(&self, path: &str) -> Vec<Value> {
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

/// Companies with an agreement and an addition each, of quantity 1.
pub fn store(lines: i64) -> Store {
    let mut store = Store::default();
    for c in 1..=lines {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c:03}")));
        store.put(Kind::Agreements, sample::agreement(c, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c + 1_000, c, "BKP-GB", "Storage", 1.0));
    }
    store
}

/// Connects the service to the sandbox.
pub async fn connect(service: &Service, sandbox: &Sandbox) {
    let identity = sandbox.identity();
    let connection = json!({
        "site": sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
        "public_key": identity.public_key, "private_key": identity.private_key,
    });
    service.ask(Method::PUT, "/connection", connection).await;
}

/// Sets up a push of all lines; each quantity is to become its company's number plus 1.
pub async fn set_up(service: &Service, sandbox: &Sandbox, lines: i64) {
    connect(service, sandbox).await;
    let product = json!({"code": "STORAGE", "name": "Storage", "unit": "GB", "block_size": "1"});
    let product = service.ask(Method::POST, "/products", product).await["id"].clone();
    for c in 1..=lines {
        service
            .ask(Method::POST, "/companies", json!({"external_id": format!("C{c}"), "name": format!("Company {c:03}")}))
            .await;
    }
    for (target, expression) in [("agreement", "name = 'Backup'"), ("addition", "product/identifier = 'BKP-GB'")] {
        let rule = json!({"product_id": product, "target": target, "expression": expression});
        service.ask(Method::POST, "/matching-rules", rule).await;
    }
    let matched = service.ask(Method::POST, "/companies/auto-match", json!({})).await;
    assert_eq!(matched["applied"], lines, "{matched}");
    let records: Vec<Value> = (1..=lines)
        .map(|c| {
            json!({"company_external_id": format!("C{c}"), "product_code": "STORAGE", "amount": (c + 1).to_string(),
                "measured_at": Clock::system().now()})
        })
        .collect();
    for records in records.chunks(500) {
        service.ask(Method::POST, "/usage", json!({"records": records})).await;
    }
    let lines: Vec<Value> = service.all("/billing-lines?limit=500").await.iter().map(|l| l["id"].clone()).collect();
    service.ask(Method::PATCH, "/billing-lines", json!({"ids": lines, "push_enabled": true})).await;
}

/// Waits until a push job has finished; returns it.
pub async fn finished(service: &Service, job: &str) -> Value {
    let started = Instant::now();
    loop {
        let now = service.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
        if now["finished_at"].is_string() {
            return now;
        }
        assert!(started.elapsed() < Duration::from_secs(240), "it does not end: {now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for the job's end; then every line is recorded once, and ConnectWise has the right quantities.
pub async fn every_line_is_right(service: &Service, sandbox: &Sandbox, job: &str, lines: i64) {
    let path = format!("/push-jobs/{job}");
    let ended = finished(service, job).await;
    assert_eq!((&ended["state"], &ended["lines"]["pushed"]), (&json!("succeeded"), &json!(lines)), "{ended}");
    let rows = service.all(&format!("{path}/lines?limit=500")).await;
    let distinct: HashSet<&str> = rows.iter().map(|line| line["billing_line_id"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), distinct.len()), (lines as usize, lines as usize), "each line is in the record once");
    assert!(rows.iter().all(|line| line["from"] == "1" && line["state"] == "pushed"));
    for c in 1..=lines {
        assert_eq!(sandbox.read(|store| store.quantity(c + 1_000)), Some((c + 1) as f64), "company {c}");
    }
}

/// The number of pushed lines of a job, and the job.
pub async fn progress(service: &Service, job: &str) -> (i64, Value) {
    let job = service.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    (job["lines"]["pushed"].as_i64().unwrap(), job)
}

/// Starts a push of everything, with a ConnectWise of the given latency.
pub async fn start_push(service: &Service, sandbox: &Sandbox, latency_ms: u64) -> String {
    sandbox.clear_ledger();
    sandbox.tune(|behavior| {
        behavior.latency_ms = latency_ms;
        behavior.keep_answers = false;
    });
    service.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned()
}

/// Every write changed something, or repeated a write whose outcome was lost.
pub fn written_once(sandbox: &Sandbox, lines: i64) {
    let writes = sandbox.ledger().writes;
    let real = writes.iter().filter(|write| write.from != write.to).count();
    assert_eq!(real as i64, lines, "{} writes in all", writes.len());
}

//! How fast the service answers and stores data, compared with a baseline: an HTTP server that sends the same
//! bytes, or plain inserts of the same rows. Every commit is synced to the disk.
//!
//! `scripts/bench` runs it on SQLite and on a temporary PostgreSQL, and prints the lines of README's table.

#![allow(missing_docs, reason = "a program, not a library")]

use std::error::Error;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use connectwise_billing::app::{Application, Config};
use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Identity, Sandbox, sample};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A measurement that fails ends the program with its error.
type Measured<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that send requests at the same time.
const CONNECTIONS: usize = 16;
/// How long requests are sent for one measurement.
const MEASURED: Duration = Duration::from_secs(4);
const COMPANIES: usize = 10_000;

struct Service {
    name: &'static str,
    base: String,
    key: String,
    http: Client,
    sandbox: Sandbox,
    /// Another database of the same kind, for the plain inserts.
    baseline: String,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start(name: &'static str, server: Option<&str>) -> Measured<Self> {
        let folder = tempfile::tempdir()?;
        let (url, baseline) = match server {
            Some(server) => {
                let id = uuid::Uuid::now_v7().simple().to_string();
                let mut admin = PgConnection::establish(&format!("{server}/postgres"))?;
                admin.batch_execute(&format!("CREATE DATABASE b{id}; "))?;
                admin.batch_execute(&format!("CREATE DATABASE c{id}"))?;
                (format!("{server}/b{id}?sslmode=disable"), format!("{server}/c{id}?sslmode=disable"))
            }
            None => {
                let file = |name: &str| folder.path().join(name).display().to_string();
                (format!("sqlite:{}", file("billing.db")), file("baseline.db"))
            }
        };
        let mut config = Config::local(url.parse()?);
        config.allow_private_connectwise = true;
        config.connectwise_per_minute = 600_000.try_into()?;
        config.encryption_key.encryption_key_file = Some(folder.path().join("key"));
        let mut application = Application::build(&config, Clock::system()).await?;
        let key = application.first_key().ok_or("the database is not new")?;
        let base = format!("http://{}/api/v1", application.address());
        tokio::spawn(application.run());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let store = sample::many(i64::try_from(COMPANIES)?, 1, 2);
        let sandbox = Sandbox::start(listener, store, Identity::default())?;
        // The baseline server does not compress either.
        let http = Client::builder().pool_max_idle_per_host(CONNECTIONS).no_gzip().build()?;
        Ok(Self { name, base, key, http, sandbox, baseline, _folder: folder })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Measured<Vec<u8>> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?.to_vec();
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(bytes)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Measured<Value> {
        Ok(serde_json::from_slice(&self.send(method, path, Some(body)).await?)?)
    }

    async fn product(&self, code: &str) -> Measured<String> {
        let body = json!({"code": code, "name": code, "unit": "GB", "block_size": "10"});
        let made = self.call(Method::POST, "/products", &body).await?;
        Ok(made["id"].as_str().ok_or("a product has an id")?.to_owned())
    }

    async fn connect(&self) -> Measured {
        let identity = self.sandbox.identity();
        let body = json!({
            "site": self.sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
            "public_key": identity.public_key, "private_key": identity.private_key,
        });
        self.call(Method::PUT, "/connection", &body).await?;
        Ok(())
    }

    fn line(&self, what: &str, value: String, baseline: String) {
        println!("| {what} | {} | {value} | {baseline} |", self.name);
    }
}

/// Requests a second at [`CONNECTIONS`] connections.
async fn rate(http: &Client, url: &str, key: &str) -> Measured<f64> {
    let begun = Instant::now();
    let ask = || async {
        let mut asked = 0_u32;
        while begun.elapsed() < MEASURED {
            http.get(url).bearer_auth(key).send().await?.error_for_status()?.bytes().await?;
            asked += 1;
        }
        Ok::<u32, reqwest::Error>(asked)
    };
    let asked: u32 = futures_util::future::try_join_all((0..CONNECTIONS).map(|_| ask())).await?.into_iter().sum();
    Ok(f64::from(asked) / begun.elapsed().as_secs_f64())
}

/// A server that only sends these bytes.
async fn baseline_rate(http: &Client, bytes: Vec<u8>) -> Measured<f64> {
    let body = web::Bytes::from(bytes);
    let server = HttpServer::new(move || {
        let body = body.clone();
        App::new().default_service(web::to(move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        }))
    });
    let server = server.workers(2).bind("127.0.0.1:0")?;
    let url = format!("http://{}/", server.addrs()[0]);
    let server = server.disable_signals().run();
    let handle = server.handle();
    tokio::spawn(server);
    let rate = rate(http, &url, "x").await;
    handle.stop(false).await;
    rate
}

async fn reads(service: &Service, what: &str, path: &str) -> Measured {
    let bytes = service.send(Method::GET, path, None).await?;
    let rate = rate(&service.http, &format!("{}{path}", service.base), &service.key).await?;
    let baseline = baseline_rate(&service.http, bytes).await?;
    service.line(what, format!("{rate:.0} requests/s"), format!("{baseline:.0}, {:.1} times", baseline / rate));
    Ok(())
}

/// Usage records of all companies at one moment, in batches.
async fn usage(service: &Service, batch: usize, days_ago: i64) -> Measured {
    let at = Clock::system().now() - chrono::TimeDelta::days(days_ago);
    let record = |c: usize| {
        json!({"company_external_id": format!("C{c}"), "product_code": "P0", "amount": format!("{c}.5"),
            "measured_at": at})
    };
    let records: Vec<Value> = (0..COMPANIES).map(record).collect();
    let batches: Vec<Value> = records.chunks(batch).map(|records| json!({"records": records})).collect();
    let begun = Instant::now();
    for batch in &batches {
        service.send(Method::POST, "/usage", Some(batch)).await?;
    }
    let rate = COMPANIES as f64 / begun.elapsed().as_secs_f64();
    let baseline = plain_inserts(&service.baseline, batch)?;
    let what = format!("usage records in batches of {batch}");
    service.line(&what, format!("{rate:.0} records/s"), format!("{baseline:.0}, {:.1} times", baseline / rate));
    Ok(())
}

fn plain_inserts(database: &str, batch: usize) -> Measured<f64> {
    if database.starts_with("postgres") {
        return insert_rows(&mut PgConnection::establish(database)?, batch);
    }
    let mut conn = SqliteConnection::establish(database)?;
    conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    insert_rows(&mut conn, batch)
}

/// Rows a second, as wide as a usage record, inserted in transactions of this many rows.
fn insert_rows(conn: &mut impl SimpleConnection, batch: usize) -> Measured<f64> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS baseline (id TEXT PRIMARY KEY, tenant TEXT, product TEXT, company TEXT, \
        at TEXT, source TEXT, amount TEXT); CREATE INDEX IF NOT EXISTS baseline_key ON baseline (tenant, product, company, at)";
    conn.batch_execute(TABLE)?;
    let id = || uuid::Uuid::now_v7();
    let (tenant, product) = (id(), id());
    let row = |c: usize| format!("('{}','{tenant}','{product}','{}','2026-11-01T00:00:00','api','{c}.5')", id(), id());
    let rows: Vec<String> = (0..COMPANIES).map(row).collect();
    let begun = Instant::now();
    for rows in rows.chunks(batch) {
        conn.batch_execute(&format!("BEGIN; INSERT INTO baseline VALUES {}; COMMIT", rows.join(",")))?;
    }
    Ok(COMPANIES as f64 / begun.elapsed().as_secs_f64())
}

async fn companies(service: &Service) -> Measured {
    let company = |c: usize| json!({"external_id": format!("C{c}"), "name": format!("Customer {c:06}")});
    let body = json!({"companies": (0..COMPANIES).map(company).collect::<Vec<Value>>()});
    let begun = Instant::now();
    service.call(Method::POST, "/companies/batch", &body).await?;
    let rate = COMPANIES as f64 / begun.elapsed().as_secs_f64();
    service.line("companies in one request, with a line each", format!("{rate:.0} companies/s"), "-".to_owned());
    Ok(())
}

async fn rules(service: &Service, product: &str) -> Measured {
    service.connect().await?;
    let begun = Instant::now();
    service.call(Method::POST, "/companies/auto-match", &json!({})).await?;
    let matched = begun.elapsed();
    service.line("matching 10,000 companies, with a refresh", format!("{} ms", matched.as_millis()), "-".to_owned());
    for (target, expression) in
        [("agreement", "type/name = 'SP Backup'"), ("addition", "product/identifier = 'BKP-GB'")]
    {
        let begun = Instant::now();
        let rule = json!({"product_id": product, "target": target, "expression": expression});
        service.call(Method::POST, "/matching-rules", &rule).await?;
        let what = format!("an {target} rule over 10,000 companies saved");
        service.line(&what, format!("{} ms", begun.elapsed().as_millis()), "-".to_owned());
    }
    Ok(())
}

async fn measure(name: &'static str, server: Option<&str>) -> Measured {
    let service = Service::start(name, server).await?;
    let product = service.product("P0").await?;
    companies(&service).await?;
    usage(&service, 100, 1).await?;
    usage(&service, 10_000, 0).await?;
    reads(&service, "a page of 50 of 10,000 lines", &format!("/billing-lines?limit=50&product_id={product}")).await?;
    reads(&service, "a product by id", &format!("/products/{product}")).await?;
    rules(&service, &product).await?;
    for n in 1..10 {
        service.product(&format!("P{n}")).await?;
    }
    reads(&service, "a page of 50 of 100,000 lines", "/billing-lines?limit=50").await?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Measured {
    // An error only means that it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    println!("| what | database | service | the baseline |\n| --- | --- | --- | --- |");
    measure("SQLite", None).await?;
    match std::env::var("CWB_TEST_POSTGRES_URL") {
        Ok(server) => measure("PostgreSQL", Some(&server)).await?,
        Err(_) => println!("no PostgreSQL: run scripts/bench, which starts one"),
    }
    std::process::exit(0);
}

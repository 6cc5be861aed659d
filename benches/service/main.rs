//! How fast the service answers, stores data and pushes, compared with a baseline: an HTTP server that sends the same
//! bytes and plain SQL that reads the same rows, plain inserts of the same rows, or a plain loop of the same calls to
//! ConnectWise's stand-in. Every commit is synced to the disk.
//!
//! `scripts/bench` runs it on SQLite and on a temporary PostgreSQL, and prints README's table.

#![allow(missing_docs, reason = "a program, not a library")]

mod baseline;
mod push;
mod service;

use std::error::Error;
use std::time::{Duration, Instant};

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::sample;
use reqwest::Method;
use serde_json::{Value, json};

use baseline::{http_rate, insert_rate, rate, sql_rate};
use service::Service;

/// A measurement that fails ends the program with its error.
type Measured<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that send requests at the same time.
const CONNECTIONS: usize = 16;
/// How long requests are sent for one measurement.
const MEASURED: Duration = Duration::from_secs(4);
const COMPANIES: usize = 10_000;

/// The results on one database: what was measured, and how it went.
#[derive(Default)]
struct Results(Vec<(String, String)>);

impl Results {
    fn add(&mut self, what: &str, result: String) {
        self.0.push((what.to_owned(), result));
    }

    /// Adds how many there were a second, and how many times as fast the baseline is.
    fn add_rate(&mut self, what: &str, unit: &str, rate: f64, baseline: f64) {
        self.add(what, format!("{rate:.0} {unit}; baseline {baseline:.0}, {:.1} times", baseline / rate));
    }
}

/// Measures a read. Its baseline is a bare server with its bytes, and then statements that read as many rows.
async fn reads(results: &mut Results, service: &Service, what: &str, path: &str, sql: &[String]) -> Measured {
    let bytes = service.send(&service.key, Method::GET, path, None).await?;
    let measured = rate(&service.http, &format!("{}{path}", service.base), &service.key).await?;
    let http = http_rate(&service.http, bytes).await?;
    let sql = sql_rate(&service.database, sql).await?;
    let baseline = 1.0 / (1.0 / http + 1.0 / sql);
    let result = format!(
        "{measured:.0} requests/s; baseline {baseline:.0} (HTTP {http:.0}, SQL {sql:.0}), {:.1} times",
        baseline / measured
    );
    results.add(what, result);
    Ok(())
}

/// The page's rows, their usage and their product, each read by its own index.
fn page_sql(product: Option<&str>) -> Vec<String> {
    let of_product = product.map(|id| format!("AND l.product_id = '{id}'")).unwrap_or_default();
    let lines = format!(
        "SELECT l.*, c.* FROM (SELECT id, tenant_id, name_key, name, external_id FROM companies \
         WHERE tenant_id = (SELECT id FROM tenants) ORDER BY tenant_id, name_key, id LIMIT 51) c \
         JOIN billing_lines l ON l.company_id = c.id {of_product} ORDER BY c.name_key, c.id, l.id LIMIT 51"
    );
    let totals = "SELECT t.* FROM (SELECT id FROM companies WHERE tenant_id = (SELECT id FROM tenants) \
                  ORDER BY tenant_id, name_key, id LIMIT 51) c JOIN usage_totals t ON t.company_id = c.id";
    vec![lines, totals.to_owned(), "SELECT * FROM products".to_owned()]
}

/// Usage records of all companies at one moment, in batches.
async fn usage(results: &mut Results, service: &Service, batch: usize, days_ago: i64) -> Measured {
    let at = Clock::system().now() - chrono::TimeDelta::days(days_ago);
    let record = |c: usize| {
        json!({"company_external_id": format!("C{c}"), "product_code": "P0", "amount": format!("{c}.5"),
            "measured_at": at})
    };
    let records: Vec<Value> = (1..=COMPANIES).map(record).collect();
    let batches: Vec<Value> = records.chunks(batch).map(|records| json!({"records": records})).collect();
    let begun = Instant::now();
    for batch in &batches {
        service.send(&service.key, Method::POST, "/usage", Some(batch)).await?;
    }
    let rate = COMPANIES as f64 / begun.elapsed().as_secs_f64();
    let baseline = insert_rate(&service.baseline, batch)?;
    results.add_rate(&format!("usage records in batches of {batch}"), "records/s", rate, baseline);
    Ok(())
}

async fn companies(results: &mut Results, service: &Service) -> Measured {
    let begun = Instant::now();
    service.companies(&service.key, COMPANIES).await?;
    let rate = COMPANIES as f64 / begun.elapsed().as_secs_f64();
    results.add("companies in one request, with a line each", format!("{rate:.0} companies/s"));
    Ok(())
}

async fn rules(results: &mut Results, service: &Service, product: &str) -> Measured {
    service.connect(&service.key).await?;
    let begun = Instant::now();
    service.call(&service.key, Method::POST, "/companies/auto-match", &json!({})).await?;
    results.add("matching 10,000 companies, with a refresh", format!("{} ms", begun.elapsed().as_millis()));
    for (target, expression) in
        [("agreement", "type/name = 'SP Backup'"), ("addition", "product/identifier = 'BKP-GB'")]
    {
        let begun = Instant::now();
        let rule = json!({"product_id": product, "target": target, "expression": expression});
        service.call(&service.key, Method::POST, "/matching-rules", &rule).await?;
        let what = match target {
            "agreement" => "an agreement rule over 10,000 companies saved, with 10,000 reads of additions",
            _ => "an addition rule over 10,000 companies saved",
        };
        results.add(what, format!("{} ms", begun.elapsed().as_millis()));
    }
    Ok(())
}

async fn measure(server: Option<&str>) -> Measured<Results> {
    let mut results = Results::default();
    let service = Service::start(server, sample::many(i64::try_from(COMPANIES)?, 1, 2)).await?;
    let product = service.product(&service.key, "P0").await?;
    companies(&mut results, &service).await?;
    usage(&mut results, &service, 100, 1).await?;
    usage(&mut results, &service, 10_000, 0).await?;
    let path = format!("/billing-lines?limit=50&product_id={product}");
    reads(&mut results, &service, "a page of 50 of 10,000 lines", &path, &page_sql(Some(&product))).await?;
    let sql = [format!("SELECT * FROM products WHERE id = '{product}'")];
    reads(&mut results, &service, "a product by id", &format!("/products/{product}"), &sql).await?;
    rules(&mut results, &service, &product).await?;
    for n in 1..10 {
        service.product(&service.key, &format!("P{n}")).await?;
    }
    reads(&mut results, &service, "a page of 50 of 100,000 lines", "/billing-lines?limit=50", &page_sql(None)).await?;
    push::many(&mut results, server).await?;
    push::few_beside_many(&mut results, server).await?;
    Ok(results)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Measured {
    // An error only means that it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sqlite = measure(None).await?;
    let postgres = match std::env::var("CWB_TEST_POSTGRES_URL") {
        Ok(server) => measure(Some(&server)).await?,
        Err(_) => Results::default(),
    };
    println!("| what | SQLite | PostgreSQL |\n| --- | --- | --- |");
    for (row, (what, result)) in sqlite.0.iter().enumerate() {
        let other = postgres.0.get(row).map_or("not measured: scripts/bench starts one", |(_, result)| result);
        println!("| {what} | {result} | {other} |");
    }
    std::process::exit(0);
}

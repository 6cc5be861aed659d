//! The cost of operations: statements and commits, each with a limit that is raised only for a reason. A read costs
//! what it shows and a write what it changes, however many other rows there are.

use std::cell::Cell;

use chrono::TimeDelta;
use connectwise_billing::app::Config;
use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::{Value, json};

use crate::push::enable;
use crate::support::{Backend, TestApp};

/// Statements, including the begin and end of transactions, and commits of transactions that may have written.
type Cost = (u64, u64);

async fn cost(app: &TestApp, work: impl AsyncFnOnce()) -> Cost {
    let before = app.worker.database_counts();
    work().await;
    let after = app.worker.database_counts();
    (after.0 - before.0, after.1 - before.1)
}

/// The cheaper of two runs: once a second, a request also looks up its key and tests PostgreSQL's connection.
async fn cheaper(app: &TestApp, work: impl AsyncFn()) -> Cost {
    let first = cost(app, async || work().await).await;
    first.min(cost(app, async || work().await).await)
}

/// PostgreSQL locks the tenant in each write transaction; SQLite does not.
fn limit(backend: Backend, sqlite: u64, postgres: u64) -> u64 {
    if backend == Backend::Sqlite { sqlite } else { postgres }
}

async fn companies(app: &TestApp, from: i64, to: i64) {
    for c in from..=to {
        app.company(&format!("C{c}"), &format!("Company {c:03}")).await;
    }
}

/// Adds one record for each of this many companies.
async fn measure(app: &TestApp, companies: i64, minutes: i64) {
    let record = |c: i64| {
        json!({"company_external_id": format!("C{c}"), "product_code": "P", "amount": c.to_string(),
            "measured_at": app.clock.now() - TimeDelta::minutes(minutes)})
    };
    let records: Vec<Value> = (1..=companies).map(record).collect();
    app.post("/usage", &json!({"records": records})).await.expect(200);
}

async fn a_page_costs_what_it_shows(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let product = app.product("P").await;
    companies(&app, 1, 5).await;
    measure(&app, 5, 0).await;
    let page = async || drop(app.get(&format!("/billing-lines?product_id={product}&limit=5")).await.expect(200));
    page().await;
    let first = cheaper(&app, page).await;
    // One of them finds the companies whose lines fill the page, ordered by name.
    assert!(first.0 <= 11 && first.1 == 0, "{first:?}");
    companies(&app, 6, 60).await;
    for minutes in 1..20 {
        measure(&app, 60, minutes).await;
    }
    assert_eq!(cheaper(&app, page).await, first, "with more lines and records beside it");
}

async fn a_page_costs_no_more_statements_for_more_products(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let measured = app.product("P").await;
    app.product("Q").await;
    companies(&app, 1, 5).await;
    measure(&app, 5, 0).await;
    let page = async || drop(app.get("/billing-lines?limit=50").await.expect(200));
    page().await;
    let first = cheaper(&app, page).await;
    assert!(first.0 <= 14 && first.1 == 0, "{first:?}");
    for code in ["R", "S", "T"] {
        app.product(code).await;
    }
    let sum = json!({"code": "SUM", "name": "SUM", "unit": "GB", "block_size": "1", "aggregation": "sum"});
    app.post("/products", &sum).await.expect(201);
    page().await;
    assert_eq!(cheaper(&app, page).await, first, "with more products");
    let lines = app.get("/billing-lines?limit=50").await.expect(200);
    let with_usage = lines["items"].as_array().unwrap().iter().filter(|line| !line["usage"]["amount"].is_null());
    assert!(with_usage.clone().all(|line| line["product_id"] == measured.as_str()));
    assert_eq!(with_usage.count(), 5);
}

async fn a_reconciliation_costs_no_more_statements_for_more_lines(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("P").await;
    companies(&app, 1, 5).await;
    measure(&app, 5, 0).await;
    let compare = async || drop(app.get("/reconciliation?limit=500").await.expect(200));
    compare().await;
    let first = cheaper(&app, compare).await;
    assert!(first.0 <= 18 && first.1 == 0, "{first:?}");
    companies(&app, 6, 60).await;
    measure(&app, 60, 1).await;
    assert_eq!(cheaper(&app, compare).await, first, "with more lines");
}

async fn one_row_costs_one_row(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let product = app.product("P").await;
    let get = async || drop(app.get(&format!("/products/{product}")).await.expect(200));
    get().await;
    assert_eq!(cheaper(&app, get).await, (1, 0));
}

async fn a_batch_of_usage_costs_what_it_brings(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("P").await;
    companies(&app, 1, 100).await;
    let minutes = Cell::new(0);
    let batch = async |records: i64| {
        minutes.set(minutes.get() + 1);
        measure(&app, records, minutes.get()).await;
    };
    let one = cheaper(&app, async || batch(1).await).await;
    let many = cheaper(&app, async || batch(100).await).await;
    assert!(many.0 <= limit(backend, 14, 15) && many.1 == 1, "{many:?}");
    assert!(many.0 <= one.0 + 2, "100 records cost {many:?}, one {one:?}");
    let again = cheaper(&app, async || batch(100).await).await;
    assert!(again.0 <= many.0 + 1, "with more records beside them {again:?}, before {many:?}");
}

/// Agreements with four additions each.
const AGREEMENTS: i64 = 100;

fn store() -> Store {
    let mut store = Store::default();
    for c in 1..=AGREEMENTS {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c:03}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup", (1, "SP Backup")));
        for n in 0..4 {
            store.put(Kind::Additions, sample::addition(c * 100 + n, c * 10, &format!("P{n}"), "Item", 1.0));
        }
    }
    store
}

async fn a_pushed_line_costs_what_it_writes(backend: Backend) {
    let fast = |config: &mut Config| config.connectwise_per_minute = 100_000.try_into().unwrap();
    let app = TestApp::start_with(backend, store(), fast).await;
    app.connect().await;
    companies(&app, 1, AGREEMENTS).await;
    for n in 0..4 {
        let product = app.product(&format!("P{n}")).await;
        app.rule(&product, "agreement", r#"name = "Backup""#).await;
        app.rule(&product, "addition", &format!("product/identifier = 'P{n}'")).await;
    }
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let record = |c: i64, n: i64| {
        json!({"company_external_id": format!("C{c}"), "product_code": format!("P{n}"), "amount": "250",
            "measured_at": app.clock.now()})
    };
    let records: Vec<Value> =
        (1..=AGREEMENTS).flat_map(|c| (0..4).map(move |n| (c, n))).map(|(c, n)| record(c, n)).collect();
    app.post("/usage", &json!({"records": records})).await.expect(200);
    enable(&app, true).await;
    app.post("/push-jobs", &json!({})).await.expect(202);
    let (statements, commits) = cost(&app, async || app.worker.run_until_idle().await.unwrap()).await;
    let written = app.sandbox.ledger().writes.len() as u64;
    assert_eq!(written, 400);
    assert!(statements <= written * limit(backend, 4, 5), "{statements} statements for {written} lines");
    assert!(commits * 5 <= written, "{commits} commits for {written} lines");
}

/// An idle process looks for work with one statement for all its workers.
async fn looking_for_work_is_one_read(backend: Backend) {
    let app = TestApp::connected(backend, store()).await;
    app.worker.run_until_idle().await.unwrap();
    let spent = cost(&app, async || app.worker.run_until_idle().await.unwrap()).await;
    assert!(spent.0 <= limit(backend, 1, 2) && spent.1 == 0, "{spent:?}");
}

on_both!(
    a_reconciliation_costs_no_more_statements_for_more_lines,
    a_page_costs_what_it_shows,
    a_page_costs_no_more_statements_for_more_products,
    one_row_costs_one_row,
    a_batch_of_usage_costs_what_it_brings,
    a_pushed_line_costs_what_it_writes,
    looking_for_work_is_one_read,
);

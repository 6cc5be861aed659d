//! How both databases find the rows of lists: in each of its orders, a list reads few more rows than it shows, among
//! 20,000 billing lines. [`lists`] names the exceptions.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::Sandbox;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{self, Service};
use crate::support::{Backend, Cluster, TestDatabase, execute, sandbox};

const COMPANIES: i64 = 5_000;
const PRODUCTS: [&str; 4] = ["A", "B", "C", "D"];
/// The most rows that one statement of a page may read. PostgreSQL may read so small a table of companies whole, but not
/// the 20,000 lines.
const MOST_ROWS: f64 = COMPANIES as f64 * 1.1;

/// 20,000 lines of 5,000 companies, of which half have an agreement; 10,000 records; and a push job with a push line for
/// each.
async fn fill(service: &Service, sandbox: &Sandbox) {
    service::connect(service, sandbox).await;
    for (n, code) in PRODUCTS.iter().enumerate() {
        let product = json!({"code": code, "name": format!("Product {code}"), "unit": "GB", "block_size": "1"});
        let product = service.ask(Method::POST, "/products", product).await;
        if n < 2 {
            let rule = json!({"product_id": product["id"], "target": "agreement", "expression": "name = 'Backup'"});
            service.ask(Method::POST, "/matching-rules", rule).await;
        }
    }
    let company = |c: i64| json!({"external_id": format!("C{c}"), "name": format!("Company {c:05}")});
    let companies: Vec<Value> = (1..=COMPANIES).map(company).collect();
    service.ask(Method::POST, "/companies/batch", json!({"companies": companies})).await;
    service.ask(Method::POST, "/companies/auto-match", json!({})).await;
    for code in &PRODUCTS[..2] {
        let record = |c: i64| {
            json!({"company_external_id": format!("C{c}"), "product_code": code, "amount": c.to_string(),
                "measured_at": Clock::system().now()})
        };
        let records: Vec<Value> = (1..=COMPANIES).map(record).collect();
        service.ask(Method::POST, "/usage", json!({"records": records})).await;
    }
    let job = service.ask(Method::POST, "/push-jobs", json!({"dry_run": true})).await;
    service::finished(service, job["id"].as_str().unwrap()).await;
    for (list, rows) in [("billing-lines", 4), ("push-lines", 4), ("usage", 2), ("companies", 1)] {
        let counted = service.ask(Method::GET, &format!("/{list}?total=true&limit=1"), json!({})).await;
        assert_eq!(counted["total"], rows * COMPANIES, "{list}");
    }
}

/// Every list of the document in each of its orders, and billing lines with filters that many lines match. A filter that
/// few match reads more lines than it shows, a search reads the names of all companies, and a reconciliation compares
/// all lines. A tenant has few products.
fn lists(ids: &Value) -> Vec<String> {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    let mut lists = Vec::new();
    let paths = document["paths"].as_object().unwrap().iter();
    for (path, operations) in
        paths.filter(|(path, _)| !path.ends_with("/reconciliation") && !path.ends_with("/products"))
    {
        let path = path.trim_start_matches("/api/v1").replace("{id}", ids["push_job"].as_str().unwrap());
        let parameters = operations["get"]["parameters"].as_array().into_iter().flatten();
        for sort in parameters.filter(|parameter| parameter["name"] == "sort") {
            let values = sort["schema"]["enum"].as_array().unwrap();
            lists.extend(values.iter().map(|value| format!("{path}?sort={}", value.as_str().unwrap())));
        }
    }
    let [product, company] = ["product", "company"].map(|name| ids[name].as_str().unwrap());
    let filters = [
        format!("product_id={product}"),
        format!("company_id={company}"),
        format!("product_id={product}&agreement_status=resolved"),
        format!("product_id={product}&push_enabled=false"),
        format!("product_id={product}&needs_attention=true"),
        "push_enabled=false".to_owned(),
    ];
    for filter in filters {
        let orders = ["company_name", "-company_external_id", "-created_at", "addition_status"];
        let listed = orders.map(|order| format!("/billing-lines?sort={order}&{filter}"));
        // For lists sorted by creation, SQLite prefers the index of the status, and then sorts the lines with that status.
        let is_known = |list: &String| list.contains("-created_at") && list.contains("agreement_status=");
        lists.extend(listed.into_iter().filter(|list| !is_known(list)));
    }
    lists
}

/// Asks for two pages of each list, and returns what was logged meanwhile, by the list.
async fn read(service: &Service, log: &Path) -> BTreeMap<String, String> {
    let get = async |path: &str| service.ask(Method::GET, path, json!({})).await;
    let line = get("/billing-lines?limit=1").await["items"][0].clone();
    let job = get("/push-jobs?limit=1").await["items"][0]["id"].clone();
    let mut logged = BTreeMap::new();
    for list in lists(&json!({"push_job": job, "product": line["product_id"], "company": line["company"]["id"]})) {
        let before = std::fs::metadata(log).unwrap().len() as usize;
        let page = get(&format!("{list}&limit=50")).await;
        if let Some(cursor) = page["next_cursor"].as_str() {
            get(&format!("{list}&limit=50&cursor={cursor}")).await;
        }
        let after = std::fs::read(log).unwrap();
        logged.insert(list, String::from_utf8_lossy(&after[before..]).into_owned());
    }
    logged
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// SQLite's plan of a statement with any values: it does not depend on them.
fn steps(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    if !sql.starts_with("SELECT") && !sql.starts_with("WITH") {
        return Vec::new();
    }
    let steps: Vec<Step> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(conn).unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}

/// Whether a step reads all rows of a table that grows with customers, usage or history.
fn reads_a_table(step: &str) -> bool {
    let tables = [
        "audit_log",
        "billing_lines",
        "companies",
        "cw_additions",
        "cw_agreements",
        "cw_companies",
        "line_changes",
        "push_jobs",
        "push_lines",
        "usage_records",
        "usage_totals",
        "webhook_deliveries",
    ];
    tables.iter().any(|table| step == format!("SCAN {table}"))
}

/// Whether a step sorts more rows than a page has: rows that were not found by their ids or companies.
fn sorts_many(step: &str, sql: &str) -> bool {
    // Sorting by the last term sorts only rows that are equal in the others.
    let is_found =
        ["id", "company_id", "job_id"].iter().any(|name| sql.contains(&format!("`{name}` IN (SELECT CAST(")));
    step.starts_with("USE TEMP B-TREE FOR") && !step.contains("LAST TERM") && !is_found
}

async fn sqlite_walks_an_index_to_each_page() {
    let (database, sandbox) = (TestDatabase::new(Backend::Sqlite), sandbox(service::store(COMPANIES)));
    let log = database.folder().join("log");
    let filter = "off,connectwise_billing::db=trace";
    let file = File::create(&log).unwrap();
    let service = Service::start_logging(&database, database.text(), None, filter, file);
    fill(&service, &sandbox).await;
    let logged = read(&service, &log).await;
    let whole = std::fs::read_to_string(&log).unwrap();
    assert!(!whole.contains("binds") && !whole.contains("Company 00001"), "values are not logged");
    let mut conn = SqliteConnection::establish(database.text().strip_prefix("sqlite:").unwrap()).unwrap();
    let mut bad = Vec::new();
    for (list, log) in logged {
        assert!(log.contains("SELECT"), "{list}: no statement was seen");
        for entry in log.lines() {
            let entry: Value = serde_json::from_str(entry).unwrap();
            let sql = entry["sql"].as_str().unwrap_or_else(|| panic!("{entry}"));
            for step in steps(&mut conn, sql) {
                if reads_a_table(&step) || sorts_many(&step, sql) {
                    bad.push(format!("{list}\n    {step}\n    {sql}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{} steps:\n{}", bad.len(), bad.join("\n"));
}

/// The rows that a plan read, as PostgreSQL counted them.
fn rows_read(plan: &Value) -> f64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let own = match plan["Relation Name"].is_string() {
        true => {
            let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            (number("Actual Rows") + removed) * number("Actual Loops")
        }
        false => 0.0,
    };
    own + plan["Plans"].as_array().into_iter().flatten().map(rows_read).sum::<f64>()
}

/// What auto_explain wrote.
fn plans(log: &str) -> Vec<Value> {
    let entries = log.split("  plan:\n").skip(1);
    let plans = entries.map(|entry| entry.lines().take_while(|line| line.starts_with('\t')).collect::<String>());
    plans.map(|plan| serde_json::from_str(&plan).unwrap()).collect()
}

async fn postgresql_reads_few_more_rows_than_a_page_shows() {
    let (cluster, sandbox) = (Cluster::start(), sandbox(service::store(COMPANIES)));
    let url = cluster.database("plans")(cluster.port());
    let database = TestDatabase::at(url.clone());
    let service = Service::start(&database, None);
    fill(&service, &sandbox).await;
    let key = service.key.clone();
    drop(service);
    execute(&url, "VACUUM ANALYZE");
    for setting in [
        "session_preload_libraries = auto_explain",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_format = json",
    ] {
        execute(&url, &format!("ALTER DATABASE plans SET {setting}"));
    }
    let service = Service::start(&database, Some(&key));
    let mut bad = Vec::new();
    for (list, log) in read(&service, &cluster.log()).await {
        let plans = plans(&log);
        assert!(!plans.is_empty(), "{list}: no plan was seen");
        for plan in plans {
            let rows = rows_read(&plan["Plan"]);
            if rows > MOST_ROWS {
                bad.push(format!("{list}\n    {rows} rows: {}", plan["Query Text"]));
            }
        }
    }
    assert!(bad.is_empty(), "{} statements:\n{}", bad.len(), bad.join("\n"));
}

mod sqlite {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_index_leads_to_each_page() {
        super::sqlite_walks_an_index_to_each_page().await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_more_rows_are_read_than_a_page_shows() {
        super::postgresql_reads_few_more_rows_than_a_page_shows().await;
    }
}

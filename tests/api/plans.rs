//! How both databases find rows: in each of its orders, a list reads few more rows than it shows, among 20,000 billing
//! lines; [`lists`] names the exceptions. A small change of a large tenant reads few more rows than it changes.

use std::collections::BTreeMap;
use std::fmt::Display;
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
/// The most rows that one statement of a change of ten rows may read. PostgreSQL may read all products, of all tenants.
const MOST_ROWS_OF_A_CHANGE: f64 = SMALL_TENANTS as f64 * 1.1;
/// The tables that grow with customers, usage or history.
const LARGE_TABLES: [&str; 12] = [
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
/// Indexes of the rows that wait or are being worked on, not of all.
const INDEXES_OF_FEW: [&str; 3] = ["push_jobs_open_of_tenant", "push_lines_leased", "usage_records_not_totalled"];
const SMALL_TENANTS: i64 = 200;
const OPERATOR: &str = "the-operators-own-key";
/// The most rows that one statement of a page may read. PostgreSQL may read so small a table of companies whole, but not
/// the 20,000 lines.
const MOST_ROWS: f64 = COMPANIES as f64 * 1.1;

/// 20,000 lines of 5,000 companies, of which half have an agreement, and a quarter an addition; 10,000 records; and a push
/// job with a push line for each.
async fn fill(service: &Service, sandbox: &Sandbox) {
    service::connect(service, sandbox).await;
    for (n, code) in PRODUCTS.iter().enumerate() {
        let product = json!({"code": code, "name": format!("Product {code}"), "unit": "GB", "block_size": "1"});
        let product = service.ask(Method::POST, "/products", product).await;
        if n < 2 {
            let rule = json!({"product_id": product["id"], "target": "agreement", "expression": "name = 'Backup'"});
            service.ask(Method::POST, "/matching-rules", rule).await;
        }
        if n == 1 {
            let rule = json!({"product_id": product["id"], "target": "addition", "expression": "product/identifier = 'BKP-GB'"});
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

/// Other tenants with a single line each. If PostgreSQL plans a statement for all tenants, its estimates are those of an
/// average tenant.
async fn add_small_tenants(service: &mut Service) {
    let key = service.key.clone();
    for n in 0..SMALL_TENANTS {
        service.key = OPERATOR.into();
        let tenant = service.ask(Method::POST, "/tenants", json!({"name": format!("Small {n}")})).await;
        service.key = tenant["key"].as_str().unwrap().to_owned();
        let product = json!({"code": "A", "name": "Product A", "unit": "GB", "block_size": "1"});
        service.ask(Method::POST, "/products", product).await;
        service.ask(Method::POST, "/companies", json!({"external_id": "C1", "name": "Company"})).await;
    }
    service.key = key;
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

/// Changes a few of the lines, companies and records, and pushes a few lines. Returns what was logged meanwhile, by the
/// change.
async fn change(service: &Service, log: &Path) -> BTreeMap<&'static str, String> {
    let page = service.ask(Method::GET, "/billing-lines?addition_status=resolved&limit=10", json!({})).await;
    let lines: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|line| &line["id"]).collect();
    let companies = page["items"].as_array().unwrap().iter().map(|line| &line["company"]);
    let records: Vec<Value> = companies
        .clone()
        .map(|company| {
            json!({"company_id": company["id"], "product_code": "B", "amount": "7",
                "measured_at": Clock::system().now()})
        })
        .collect();
    let renamed: Vec<Value> = companies
        .map(|company| json!({"external_id": company["external_id"], "name": format!("{} Ltd", company["name"])}))
        .collect();
    let mut logged = BTreeMap::new();
    let mut begin = log.metadata().unwrap().len() as usize;
    for (method, path, body) in [
        (Method::PATCH, "/billing-lines", json!({"ids": lines, "push_enabled": true})),
        (Method::POST, "/usage", json!({"records": records})),
        (Method::POST, "/companies/batch", json!({"companies": renamed})),
        (Method::POST, "/push-jobs", json!({"billing_line_ids": lines})),
    ] {
        let changed = service.ask(method, path, body).await;
        if path == "/push-jobs" {
            let job = service::finished(service, changed["id"].as_str().unwrap()).await;
            assert_eq!((&job["state"], &job["lines"]["done"]), (&json!("succeeded"), &json!(lines.len())), "{job}");
        }
        let all = std::fs::read(log).unwrap();
        logged.insert(path, String::from_utf8_lossy(&all[begin..]).into_owned());
        begin = all.len();
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
    if !["SELECT", "WITH", "UPDATE", "DELETE"].iter().any(|verb| sql.starts_with(verb)) {
        return Vec::new();
    }
    let steps: Vec<Step> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(conn).unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}

/// Whether a step reads all rows of a table that grows with customers, usage or history.
fn reads_a_table(step: &str) -> bool {
    LARGE_TABLES.iter().any(|table| step == format!("SCAN {table}"))
}

/// Whether a step sorts more rows than a page has: rows that were not found by their ids or companies.
fn sorts_many(step: &str, sql: &str) -> bool {
    // Sorting by the last term sorts only rows that are equal in the others.
    let is_found =
        ["id", "company_id", "job_id"].iter().any(|name| sql.contains(&format!("`{name}` IN (SELECT CAST(")));
    step.starts_with("USE TEMP B-TREE FOR") && !step.contains("LAST TERM") && !is_found
}

/// Whether a step reads all rows of a tenant in a table that grows with customers, usage or history.
fn reads_a_tenant(step: &str, sql: &str) -> bool {
    let of_large = LARGE_TABLES.iter().any(|table| step.starts_with(&format!("SEARCH {table} ")));
    // A page walks an index until its limit, and the end of an index has the newest id.
    let stops = sql.ends_with("LIMIT ?") || sql.starts_with("SELECT max(");
    let has_few = INDEXES_OF_FEW.iter().any(|index| step.contains(index));
    of_large && step.ends_with("(tenant_id=?)") && !stops && !has_few
}

/// The steps of the logged statements that are bad, by what was asked.
fn bad_steps<K: Display>(
    conn: &mut SqliteConnection,
    logged: BTreeMap<K, String>,
    is_bad: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let mut bad = Vec::new();
    for (asked, log) in logged {
        assert!(log.contains("SELECT"), "{asked}: no statement was seen");
        for entry in log.lines() {
            let entry: Value = serde_json::from_str(entry).unwrap();
            let sql = entry["sql"].as_str().unwrap_or_else(|| panic!("{entry}"));
            let steps = steps(conn, sql).into_iter().filter(|step| is_bad(step, sql));
            bad.extend(steps.map(|step| format!("{asked}\n    {step}\n    {sql}")));
        }
    }
    bad
}

async fn sqlite_finds_rows_by_an_index() {
    let (database, sandbox) = (TestDatabase::new(Backend::Sqlite), sandbox(service::store(COMPANIES)));
    let log = database.folder().join("log");
    let filter = "off,connectwise_billing::db=trace";
    let file = File::create(&log).unwrap();
    let mut service = Service::start_logging(&database, filter, file, &["--operator-key", OPERATOR]);
    fill(&service, &sandbox).await;
    add_small_tenants(&mut service).await;
    let logged = read(&service, &log).await;
    let whole = std::fs::read_to_string(&log).unwrap();
    assert!(!whole.contains("binds") && !whole.contains("Company 00001"), "values are not logged");
    let mut conn = SqliteConnection::establish(database.text().strip_prefix("sqlite:").unwrap()).unwrap();
    let reads_all = |step: &str, sql: &str| reads_a_table(step) || reads_a_tenant(step, sql);
    let mut bad = bad_steps(&mut conn, logged, |step, sql| reads_all(step, sql) || sorts_many(step, sql));
    bad.extend(bad_steps(&mut conn, change(&service, &log).await, reads_all));
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

/// The statements that read more than `most` rows, by what was asked.
fn that_read_more<K: Display>(logged: BTreeMap<K, String>, most: f64) -> Vec<String> {
    let mut bad = Vec::new();
    for (asked, log) in logged {
        let plans = plans(&log);
        assert!(!plans.is_empty(), "{asked}: no plan was seen");
        for plan in plans {
            let rows = rows_read(&plan["Plan"]);
            if rows > most {
                bad.push(format!("{asked}\n    {rows} rows: {}", plan["Query Text"]));
            }
        }
    }
    bad
}

async fn postgresql_reads_few_more_rows_than_it_shows_or_changes() {
    let (cluster, sandbox) = (Cluster::start(), sandbox(service::store(COMPANIES)));
    let url = cluster.database("plans")(cluster.port());
    let database = TestDatabase::at(url.clone());
    let mut service = Service::start_at(&database, &url, None, &["--operator-key", OPERATOR]);
    fill(&service, &sandbox).await;
    add_small_tenants(&mut service).await;
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
    let mut bad = Vec::new();
    // After some executions, PostgreSQL may plan a statement once for all values.
    for mode in ["force_custom_plan", "force_generic_plan"] {
        execute(&url, &format!("ALTER DATABASE plans SET plan_cache_mode = {mode}"));
        let service = Service::start(&database, Some(&key));
        bad.extend(that_read_more(read(&service, &cluster.log()).await, MOST_ROWS));
        bad.extend(that_read_more(change(&service, &cluster.log()).await, MOST_ROWS_OF_A_CHANGE));
    }
    assert!(bad.is_empty(), "{} statements:\n{}", bad.len(), bad.join("\n"));
}

mod sqlite {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_index_leads_to_each_page_and_change() {
        super::sqlite_finds_rows_by_an_index().await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_more_rows_are_read_than_are_shown_or_changed() {
        super::postgresql_reads_few_more_rows_than_it_shows_or_changes().await;
    }
}

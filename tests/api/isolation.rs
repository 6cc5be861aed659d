//! One tenant sends another's ids: every operation of the OpenAPI document, and every table.

use std::collections::BTreeMap;

use chrono::Datelike;
use connectwise_billing::sandbox::{Fault, Kind, Store, sample};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::schema::resolve;
use crate::support::{Backend, TestApp, dump, job_path, sandbox, status};

const OPERATOR: &str = "Bearer the-operators-own-key";

/// A tenant's ids, by the name that stands for them in a path, a query or a body.
pub type Names = BTreeMap<&'static str, String>;

/// The bodies of operations; `{company}` and the like stand for ids.
fn body(operation: &str) -> Option<Value> {
    let choice = json!({"expression": "name = 'x'"});
    let rule = json!({"product_id": "{product}", "target": "addition", "expression": "description = 'x'"});
    let product = json!({"code": "{code}", "name": "x", "unit": "GB", "block_size": "1"});
    Some(match operation {
        "choose_additions" => json!({"choices": [{"billing_line_id": "{line}", "addition_id": "{addition}"}]}),
        "choose_agreements" => json!({"choices": [{"billing_line_id": "{line}", "agreement_id": "{agreement}"}]}),
        "choose_addition" => json!({"addition_id": "{addition}"}),
        "choose_agreement" => json!({"agreement_id": "{agreement}"}),
        "create_api_key" => json!({"name": "x"}),
        "update_billing_lines" => json!({"ids": ["{line}"], "push_enabled": true}),
        "update_billing_line" => json!({"push_enabled": true}),
        "create_company" | "replace_company" => json!({"external_id": "{external_id}", "name": "x"}),
        "upsert_companies" => json!({"companies": [{"external_id": "{external_id}", "name": "x"}]}),
        "delete_companies" => json!({"external_ids": ["{external_id}"]}),
        "update_company" | "update_product" => json!({"name": "x"}),
        "create_webhook" => json!({"url": "http://127.0.0.1:9/other"}),
        "update_webhook" => json!({"description": "x"}),
        "rotate_webhook_secret" => json!({}),
        "auto_match_companies" | "refresh_connectwise" => json!({}),
        "match_company" => json!({"id": "{cw_company}"}),
        "create_matching_rule" | "preview_matching_rule" => rule,
        "replace_matching_rule" => choice,
        "create_product" | "replace_product" => product,
        "create_push_job" => json!({"product_id": "{product}", "company_ids": ["{company}"]}),
        "approve_push_lines" | "drop_push_lines" => json!({"push_line_ids": ["{push_line}"]}),
        "put_push_schedule" => json!({"enabled": false, "day_of_month": 2, "time": "03:00", "time_zone": "UTC"}),
        "add_usage" => json!({"records": [{"company_external_id": "{external_id}", "product_code": "{code}",
            "amount": "5", "measured_at": "2026-11-22T11:00:00Z"}]}),
        _ => return None,
    })
}

/// Whether an operation creates something with new ids.
fn makes(operation: &str) -> bool {
    ["create_", "put_", "upsert_"].iter().any(|word| operation.starts_with(word))
}

/// The tables that can be imported as CSV.
fn table(operation: &str) -> Option<&'static str> {
    match operation {
        "import_billing_lines" => Some("company_external_id,product_code,push_enabled\n{external_id},{code},true\n"),
        "import_company_matches" => Some("company_external_id,connectwise_company_id\n{external_id},{cw_company}\n"),
        _ => None,
    }
}

/// The name to use for `{id}` in a path.
fn path_id(path: &str) -> &'static str {
    [
        ("/connectwise/companies/", "cw_company"),
        ("/connectwise/agreements/", "agreement"),
        ("/companies/", "company"),
        ("/products/", "product"),
        ("/matching-rules/", "rule"),
        ("/api-keys/", "key"),
        ("/push-jobs/", "job"),
        ("-mappings/", "line"),
        ("/billing-lines/", "line"),
        ("/webhooks/", "webhook"),
        ("/webhook-deliveries/", "delivery"),
    ]
    .into_iter()
    .find_map(|(part, word)| path.contains(part).then_some(word))
    .unwrap_or_else(|| panic!("whose id is in {path}?"))
}

/// A tenant's value for a query parameter.
fn query_id(parameter: &str) -> Option<&'static str> {
    match parameter {
        "product_id" => Some("product"),
        "company_id" => Some("company"),
        "push_job_id" => Some("job"),
        "billing_line_id" => Some("line"),
        "webhook_id" => Some("webhook"),
        "external_id" => Some("external_id"),
        "code" => Some("code"),
        "identifier" => Some("identifier"),
        _ => None,
    }
}

/// Records whose ids appear in no other text.
pub fn rich_store() -> Store {
    let mut store = Store::default();
    store.put(Kind::Companies, sample::company(7_000_001, "RichWest", "Customer 000001"));
    store.put(Kind::Agreements, sample::agreement(7_000_002, 7_000_001, "Customer 0's agreement", (1, "SP Backup")));
    store.put(Kind::Additions, sample::addition(7_000_003, 7_000_002, "BKP-GB", "Storage", 1.0));
    store
}

/// A tenant with a row in every table.
pub async fn rich(app: &TestApp) -> Names {
    app.connect().await;
    let company = json!({"external_id": "RICH-1", "name": "Customer 000001"});
    let headers = [("idempotency-key", "rich"), ("content-type", "application/json")];
    let made = app.send(Method::POST, "/companies", &headers, Some(company.to_string().into_bytes())).await.expect(201);
    let company = made["id"].as_str().unwrap().to_owned();
    let product = app.product("RICH-PRODUCT").await;
    let rule = app.rule(&product, "agreement", "name like \"%\"").await;
    app.rule(&product, "addition", "description like \"%\"").await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    app.usage("RICH-1", "RICH-PRODUCT", "500").await;
    let line = app.line(&product, &company).await;
    let id = line["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/billing-lines/{id}"), &json!({"push_enabled": true})).await.expect(200);
    // Due within the day by which the clock is then moved, whatever day it is.
    let due = app.clock.now() + chrono::TimeDelta::hours(12);
    let (day, time) = (due.day(), due.format("%H:%M").to_string());
    app.put("/push-schedule", &json!({"enabled": true, "day_of_month": day, "time": time, "time_zone": "UTC"}))
        .await
        .expect(200);
    app.clock.advance(chrono::TimeDelta::days(1));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
    app.execute(
        "INSERT INTO push_invoice_runs (id, tenant_id, agreement_id, invoice_on, job_id, created_at) \
         SELECT 'run', tenant_id, 1, '2026-12-01', job_id, created_at FROM push_schedule_runs LIMIT 1",
    );
    app.worker.run_until_idle().await.unwrap();
    let pushed = app.get("/push-lines").await.expect(200)["items"][0].clone();
    assert_eq!(pushed["state"], "pushed", "{pushed}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let webhook = app.post("/webhooks", &json!({"url": "http://127.0.0.1:9/rich"})).await.expect(201);
    let webhook = text(&webhook["webhook"]["id"]);
    app.worker.hourly_tasks().await;
    let delivery = app.send(Method::POST, &format!("/webhooks/{webhook}/test"), &[], None).await.expect(202);
    a_failing_connection(app).await;
    Names::from([
        ("webhook", webhook),
        ("delivery", text(&delivery["id"])),
        ("company", company),
        ("product", product),
        ("rule", rule),
        ("line", id),
        ("job", text(&pushed["push_job"]["id"])),
        ("push_line", text(&pushed["id"])),
        ("key", text(&app.get("/api-keys").await["items"][0]["id"])),
        ("cw_company", "7000001".to_owned()),
        ("agreement", "7000002".to_owned()),
        ("addition", "7000003".to_owned()),
        ("identifier", "RichWest".to_owned()),
        ("external_id", "RICH-1".to_owned()),
        ("code", "RICH-PRODUCT".to_owned()),
    ])
}

/// Makes a push find that the connection fails. Afterwards ConnectWise responds again, and no job is open.
pub async fn a_failing_connection(app: &TestApp) {
    app.usage("RICH-1", "RICH-PRODUCT", "900").await;
    app.sandbox.fail(Fault::once(status(401)).times(100));
    let (job, _) = app.push(&json!({})).await;
    app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    app.sandbox.clear_faults();
}

/// The same names, with ids that do not exist.
fn nobody(names: &Names) -> Names {
    let unknown = |(word, name): (&&'static str, &String)| {
        let other = match name.parse::<i64>() {
            Ok(_) => "987654321".to_owned(),
            Err(_) if uuid::Uuid::parse_str(name).is_ok() => uuid::Uuid::now_v7().to_string(),
            Err(_) => format!("nobodys-{word}"),
        };
        (*word, other)
    };
    names.iter().map(unknown).collect()
}

struct Operation {
    id: String,
    method: Method,
    path: String,
    query: Vec<String>,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let parameters: Vec<&Value> = parameters.iter().map(|parameter| resolve(&document, parameter)).collect();
            let of = |place: &str| -> Vec<String> {
                let here = parameters.iter().filter(|parameter| parameter["in"] == place);
                here.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
            };
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
            assert_eq!(takes_json, body(&id).is_some() || id == "create_tenant" || id == "put_connection", "{id}");
            let takes_table = operation.pointer("/requestBody/content/text~1csv").is_some();
            assert_eq!(takes_table, table(&id).is_some() || id == "add_usage", "{id}");
            let Some(path) = path.strip_prefix("/api/v1") else { continue };
            let method = method.to_uppercase().parse().unwrap();
            found.push(Operation { id, method, path: path.to_owned(), query: of("query") });
        }
    }
    // Operations that create records for the other tenant come last: until then it has none.
    found.sort_by_key(|operation: &Operation| makes(&operation.id));
    found
}

/// Sends a request with a tenant's key and names in every parameter; returns the response without the names.
async fn ask(app: &TestApp, bearer: &str, operation: &Operation, names: &Names) -> (u16, String) {
    let with = |text: &str| {
        names.iter().fold(text.to_owned(), |text, (word, name)| text.replace(&format!("{{{word}}}"), name))
    };
    let mut path = operation.path.replace("{billing_line_id}", "{id}");
    if path.contains("{id}") {
        path = path.replace("{id}", &names[path_id(&path)]);
    }
    let query: Vec<String> = operation
        .query
        .iter()
        .filter_map(|name| query_id(name).map(|word| format!("{name}={}", names[word])))
        .collect();
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let json = body(&operation.id).map(|body| with(&body.to_string()));
    let (kind, bytes) = match (json, table(&operation.id)) {
        (Some(json), _) => ("application/json", Some(json.into_bytes())),
        (None, Some(table)) => ("text/csv", Some(with(table).into_bytes())),
        (None, None) => ("", None),
    };
    let headers = [("authorization", bearer), ("content-type", kind)];
    let reply = app.send(operation.method.clone(), &path, &headers, bytes).await;
    let text = names.values().fold(reply.text.clone(), |text, name| text.replace(name.as_str(), "<name>"));
    (reply.status, text)
}

async fn ids_of_another_tenant_look_unknown_in_every_operation(backend: Backend) {
    let app = TestApp::start(backend, rich_store()).await;
    let names = rich(&app).await;
    let before = dump(app.database_url());
    let tenant = before["tenants"][0]["id"].clone();
    for (table, rows) in &before {
        // Where one process has the database, it counts for itself.
        let unused = backend == Backend::Sqlite && table == "request_budgets";
        assert!(!rows.is_empty() || unused, "{table} has no row to keep");
        assert!(
            table == "tenants" || rows.iter().all(|row| row["tenant_id"] == tenant),
            "{table} does not say whose it is"
        );
    }
    let headers = [("authorization", OPERATOR), ("content-type", "application/json")];
    let other = app.send(Method::POST, "/tenants", &headers, Some(json!({"name": "Other"}).to_string().into())).await;
    let bearer = format!("Bearer {}", other.expect(201)["key"].as_str().unwrap());
    // A separate, empty ConnectWise.
    let empty = sandbox(Store::default());
    let mut connection = app.connection();
    connection["site"] = json!(empty.site());
    let as_other = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    app.send(Method::PUT, "/connection", &as_other, Some(connection.to_string().into())).await.expect(200);
    let unknown = nobody(&names);
    let mut found = 0;
    for operation in operations() {
        // The operator's operations, and those that would delete what the others need.
        if ["list_tenants", "create_tenant", "put_connection", "delete_connection"].contains(&operation.id.as_str()) {
            continue;
        }
        let (status, text) = ask(&app, &bearer, &operation, &names).await;
        let (same_status, same_text) = ask(&app, &bearer, &operation, &unknown).await;
        if operation.path.contains("{id}") || operation.path.contains("{billing_line_id}") {
            assert_eq!(status, 404, "{}: {text}", operation.id);
            found += 1;
        }
        assert_eq!(status, same_status, "{}: {text}\n{same_text}", operation.id);
        if !makes(&operation.id) {
            let cut = |text: &str| {
                text.split("\"resolved\"").next().unwrap().split("\"request_id\"").next().unwrap().to_owned()
            };
            assert_eq!(cut(&text), cut(&same_text), "{}", operation.id);
        }
        assert!(!text.contains("Customer 0") && !text.contains("Product RICH"), "{}: {text}", operation.id);
    }
    assert!(found >= 25, "{found} operations have an id in their path");
    let mut after = dump(app.database_url());
    for (table, rows) in &mut after {
        rows.retain(|row| row["tenant_id"] == tenant || table == "tenants" && row["id"] == tenant);
    }
    assert_eq!(after, before, "nothing of the first tenant's was touched");
}

on_both!(ids_of_another_tenant_look_unknown_in_every_operation);

//! Many companies in one request.

use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

fn companies(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|n| json!({"external_id": format!("C{n}"), "name": format!("Company {n}")})).collect()
}

fn counts(response: &Value) -> [u64; 5] {
    ["created", "updated", "unchanged", "deleted", "rejected"].map(|name| response[name].as_u64().unwrap())
}

async fn companies_are_created_renamed_and_left_alone(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for code in ["A", "B"] {
        app.product(code).await;
    }
    let created = app.post("/companies/batch", &json!({"companies": companies(0, 3)})).await.expect(200);
    assert_eq!(counts(&created), [3, 0, 0, 0, 0]);
    assert_eq!(app.all("/billing-lines").await.len(), 6, "each has a line for every product");
    let mut again = companies(1, 4);
    again[0]["name"] = json!("Renamed");
    let changed = app.post("/companies/batch", &json!({"companies": again})).await.expect(200);
    assert_eq!(counts(&changed), [1, 1, 1, 0, 0]);
    let outcomes: Vec<&Value> = changed["items"].as_array().unwrap().iter().map(|item| &item["outcome"]).collect();
    assert_eq!(outcomes, ["updated", "unchanged", "created"]);
    let renamed = app.get(&format!("/companies/{}", changed["items"][0]["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["version"]), (&json!("Renamed"), &json!(2)));
    assert_eq!(app.all("/companies?search=renamed").await.len(), 1, "the search finds the new name");
    let repeated = app.post("/companies/batch", &json!({"companies": again})).await.expect(200);
    assert_eq!(counts(&repeated), [0, 0, 3, 0, 0]);
}

async fn one_rejected_company_rejects_all_unless_each_is_asked_for(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let mut twice = companies(0, 2);
    twice.push(json!({"external_id": "C1", "name": "Another"}));
    let rejected = app.post("/companies/batch", &json!({"companies": twice})).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/companies/2/external_id");
    assert_eq!(rejected["errors"][0]["code"], "named_twice");
    assert!(app.all("/companies").await.is_empty());
    let each = app.post("/companies/batch", &json!({"mode": "each", "companies": twice})).await.expect(200);
    assert_eq!(counts(&each), [2, 0, 0, 0, 1]);
    assert_eq!((&each["items"][2]["outcome"], &each["items"][2]["id"]), (&json!("rejected"), &Value::Null));
    assert_eq!(each["items"][2]["error"]["field"], "/companies/2/external_id");
    let bad = json!({"companies": [{"external_id": "", "name": "x"}, {"external_id": "y", "name": ""}]});
    let bad = app.post("/companies/batch", &bad).await.expect(422);
    let mut fields: Vec<&Value> = bad["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    fields.dedup();
    assert_eq!(fields, ["/companies/0/external_id", "/companies/1/name"]);
}

async fn companies_are_deleted_with_their_lines(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("A").await;
    app.post("/companies/batch", &json!({"companies": companies(0, 5)})).await.expect(200);
    app.usage("C1", "A", "5").await;
    let body = json!({"external_ids": ["C1", "C9"]});
    let rejected = app.post("/companies/batch-delete", &body).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/external_ids/1");
    assert_eq!(app.all("/companies").await.len(), 5);
    let body = json!({"mode": "each", "external_ids": ["C1", "C9", "C2"]});
    let deleted = app.post("/companies/batch-delete", &body).await.expect(200);
    assert_eq!(counts(&deleted), [0, 0, 0, 2, 1]);
    assert_eq!(deleted["items"][1]["error"]["code"], "not_found");
    assert_eq!((app.all("/companies").await.len(), app.all("/billing-lines").await.len()), (3, 3));
    assert!(app.all("/usage").await.is_empty());
}

async fn a_batch_that_is_repeated_with_its_key_is_answered_from_memory(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let body = json!({"companies": companies(0, 2)}).to_string().into_bytes();
    let headers = [("content-type", "application/json"), ("idempotency-key", "monday")];
    let send = async || app.send(reqwest::Method::POST, "/companies/batch", &headers, Some(body.clone())).await;
    let first = send().await.expect(200);
    assert_eq!(send().await.expect(200), first, "created, not unchanged");
}

async fn ten_thousand_companies_fit_in_one_request(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("A").await;
    let before = app.worker.database_counts();
    let created = app.post("/companies/batch", &json!({"companies": companies(0, 10_000)})).await.expect(200);
    let after = app.worker.database_counts();
    assert_eq!(counts(&created), [10_000, 0, 0, 0, 0]);
    assert_eq!(after.1 - before.1, 1, "one commit");
    assert!(after.0 - before.0 < 60, "{} statements", after.0 - before.0);
    app.post("/companies/batch", &json!({"companies": companies(0, 10_001)})).await.expect(422);
}

on_both!(
    companies_are_created_renamed_and_left_alone,
    one_rejected_company_rejects_all_unless_each_is_asked_for,
    companies_are_deleted_with_their_lines,
    a_batch_that_is_repeated_with_its_key_is_answered_from_memory,
    ten_thousand_companies_fit_in_one_request,
);

//! The events of webhooks: ends of pushes, lines and mappings that need attention, silent meters, failing connections.

mod deliveries;
mod management;

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, Kind, Store, sample};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::push::ready;
use crate::support::receiver::{Received, Receiver};
use crate::support::{Backend, TestApp, dump, job_path, status};

async fn create(app: &TestApp, body: Value) -> (String, String) {
    let made = app.post("/webhooks", &body).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["webhook"]["id"]), text(&made["secret"]))
}

/// Sends everything that is due.
async fn deliver(app: &TestApp) {
    while app.worker.deliver().await.unwrap() {}
}

/// The types of events, in the order in which they were received.
fn types(received: &[Received]) -> Vec<String> {
    received.iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect()
}

/// The one event of a type.
fn event(received: &[Received], name: &str) -> Value {
    let mut found = received.iter().map(Received::json).filter(|event| event["type"] == name);
    let event = found.next().unwrap_or_else(|| panic!("{name} is missing in {:?}", types(received)));
    assert!(found.next().is_none(), "{name} came twice");
    event["data"].clone()
}

/// Panics if a body does not match the document's section `webhooks`.
fn hold(received: &[Received]) {
    let document: Value = serde_json::from_str(include_str!("../../../openapi/openapi.json")).unwrap();
    for one in received {
        let event = one.json();
        let name = event["type"].as_str().unwrap();
        let schema = &document["webhooks"][name]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let schema = json!({"$ref": schema["$ref"], "components": document["components"]});
        let validator: Validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {event}");
        let described = resolve(&document, &schema["$ref"]);
        let data = resolve(&document, &described["properties"]["data"]["$ref"]);
        let mut sent: Vec<&String> = event["data"].as_object().unwrap().keys().collect();
        let mut known: Vec<&String> = data["properties"].as_object().unwrap().keys().collect();
        sent.sort();
        known.sort();
        assert_eq!(sent, known, "{name}");
    }
}

fn resolve<'d>(document: &'d Value, reference: &Value) -> &'d Value {
    document.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap()
}

async fn the_end_of_a_push_is_reported_and_signed(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    let receiver = Receiver::start();
    let (id, secret) = create(&app, json!({"url": receiver.url("/hooks?x=1"), "description": "chat"})).await;
    assert!(secret.starts_with("whsec_"));
    let (job, _) = app.push(&json!({"product_id": product})).await;
    assert_eq!(receiver.count(), 0, "nothing is sent while the push writes");
    deliver(&app).await;
    let received = receiver.take();
    assert_eq!(types(&received), ["push_job.finished"]);
    hold(&received);
    let data = event(&received, "push_job.finished");
    assert_eq!(data["push_job_id"], job["id"]);
    assert_eq!((&data["state"], &data["lines"]), (&json!("succeeded"), &json!({"pushed": 2})));
    assert_eq!(data["product_id"], json!(product));
    let one = &received[0];
    assert_eq!((one.path.as_str(), one.header("content-type")), ("/hooks", "application/json"));
    assert_eq!(one.header("webhook-timestamp"), app.clock.now().timestamp().to_string());
    assert!(one.is_signed_with(&secret), "{one:?}");
    assert!(!one.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let delivery = app.all(&format!("/webhook-deliveries?webhook_id={id}")).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!((&delivery["response_status"], &delivery["next_attempt_at"]), (&json!(204), &Value::Null));
    assert_eq!(delivery["payload"], one.json());
    assert_eq!(delivery["message_id"], one.header("webhook-id"));
    deliver(&app).await;
    assert_eq!(receiver.count(), 0, "it is sent once");
    let stored = dump(app.database_url());
    assert!(!format!("{stored:?}").contains(&secret), "the secret is stored encrypted");
    assert!(!app.get("/webhooks").await.expect(200).to_string().contains("whsec_"));
}

async fn lines_that_need_attention_are_reported(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    let receiver = Receiver::start();
    create(&app, json!({"url": receiver.url("/"), "events": ["push_line.held", "push_line.failed"]})).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "5"})).await.expect(200);
    app.usage("C1", "STORAGE", "9000").await;
    app.sandbox.fail(Fault::once(status(400)).on("PATCH").at("additions/200"));
    let (job, lines) = app.push(&json!({})).await;
    deliver(&app).await;
    let received = receiver.take();
    hold(&received);
    assert_eq!(received.len(), 2, "{:?}", types(&received));
    let held = event(&received, "push_line.held");
    assert_eq!(held["push_job_id"], job["id"]);
    assert_eq!(held["lines"][0]["push_line_id"], lines[0]["id"]);
    assert_eq!((&held["lines"][0]["from"], &held["lines"][0]["to"]), (&json!("1"), &json!("90")));
    assert_eq!((&held["lines"][0]["state"], &held["lines"][0]["company_name"]), (&json!("held"), &json!("Company 1")));
    let failed = event(&received, "push_line.failed");
    assert_eq!(failed["lines"].as_array().unwrap().len(), 1);
    assert_eq!(failed["lines"][0]["push_line_id"], lines[1]["id"]);
    assert_eq!((&failed["lines"][0]["state"], &failed["lines"][0]["reason"]), (&json!("failed"), &json!("rejected")));
    assert!(failed["lines"][0]["detail"].is_string());
    app.push(&json!({"dry_run": true})).await;
    deliver(&app).await;
    assert_eq!(receiver.count(), 0, "a dry run sends no events");
}

async fn mappings_that_need_a_choice_are_reported_in_parts(backend: Backend) {
    let mut store = Store::default();
    for c in 1..=130 {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Agreements, sample::agreement(c * 10 + 1, c, "Other backup", (1, "SP Backup")));
    }
    let app = TestApp::connected(backend, store).await;
    let companies: Vec<Value> =
        (1..=130).map(|c| json!({"external_id": format!("C{c}"), "name": format!("Company {c}")})).collect();
    app.post("/companies/batch", &json!({"companies": companies})).await.expect(200);
    let product = app.product("STORAGE").await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let receiver = Receiver::start();
    create(&app, json!({"url": receiver.url("/"), "events": ["mapping.stale", "mapping.ambiguous"]})).await;
    let rule = app.rule(&product, "agreement", r#"name contains "Backup""#).await;
    deliver(&app).await;
    let received = receiver.take();
    hold(&received);
    assert_eq!(types(&received), ["mapping.ambiguous"; 2]);
    let lines: Vec<Value> =
        received.iter().flat_map(|one| one.json()["data"]["lines"].as_array().unwrap().clone()).collect();
    assert_eq!(lines.len(), 130, "at most 100 lines in an event");
    assert_eq!((&lines[0]["target"], &lines[0]["reason"]), (&json!("agreement"), &json!("several_matched")));
    app.put(&format!("/matching-rules/{rule}"), &json!({"expression": r#"name = "Backup""#})).await.expect(200);
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 0, "resolved lines need nobody");
    let cancelled = json!({"cancelledFlag": true}).as_object().cloned().unwrap();
    app.sandbox.change(|store| store.merge(Kind::Agreements, 10, cancelled));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    deliver(&app).await;
    let received = receiver.take();
    hold(&received);
    let stale = event(&received, "mapping.stale");
    assert_eq!(stale["lines"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&stale["lines"][0]["company_name"], &stale["lines"][0]["target"]),
        (&json!("Company 1"), &json!("agreement"))
    );
}

async fn a_failing_connection_is_reported_once(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    let receiver = Receiver::start();
    create(&app, json!({"url": receiver.url("/"), "events": ["connection.failing"]})).await;
    assert_eq!(app.get("/connection").await.expect(200)["failing_since"], Value::Null);
    app.sandbox.fail(Fault::once(status(401)).times(1000));
    let (job, _) = app.push(&json!({})).await;
    for _ in 0..3 {
        app.clock.advance(TimeDelta::minutes(6));
        app.worker.run_until_idle().await.unwrap();
    }
    deliver(&app).await;
    let received = receiver.take();
    hold(&received);
    let data = event(&received, "connection.failing");
    assert_eq!(data["push_job_id"], job["id"]);
    let connection = app.get("/connection").await.expect(200);
    assert!(connection["failing_since"].is_string(), "{connection}");
    assert_eq!(connection["last_failure"], data["cause"]);
    app.sandbox.clear_faults();
    app.clock.advance(TimeDelta::minutes(6));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.get(&job_path(&job)).await.expect(200)["state"], "succeeded");
    let connection = app.get("/connection").await.expect(200);
    assert_eq!((&connection["failing_since"], &connection["last_failure"]), (&Value::Null, &Value::Null));
    for answered in ["/connection/test", "/connectwise/refresh", "nothing"] {
        app.sandbox.fail(Fault::once(status(401)).times(1000));
        app.usage("C1", "STORAGE", "800").await;
        let (job, _) = app.push(&json!({})).await;
        deliver(&app).await;
        assert_eq!(types(&receiver.take()), ["connection.failing"], "another failure is told again");
        app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
        app.sandbox.clear_faults();
        app.clock.advance(TimeDelta::minutes(6));
        if answered != "nothing" {
            app.post(answered, &json!({})).await.expect(200);
            assert_eq!(app.get("/connection").await.expect(200)["failing_since"], Value::Null, "{answered}");
        }
    }
}

async fn a_meter_that_went_silent_is_reported_once(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    let sum = json!({"code": "RESTORES", "name": "Restores", "unit": "GB", "block_size": "1", "aggregation": "sum"});
    app.post("/products", &sum).await.expect(201);
    crate::push::enable(&app, true).await;
    app.usage("C2", "RESTORES", "5").await;
    let receiver = Receiver::start();
    create(&app, json!({"url": receiver.url("/"), "events": ["usage.missing"]})).await;
    let check = async || {
        app.worker.hourly_tasks().await;
        deliver(&app).await;
        receiver.take()
    };
    assert_eq!(check().await.len(), 0);
    // The gauge of the first company continues; that of the second ends 35 days after 22 November.
    for _ in 0..5 {
        app.clock.advance(TimeDelta::days(6));
        app.usage("C1", "STORAGE", "250").await;
        assert_eq!(types(&check().await), Vec::<String>::new(), "{}", app.clock.now());
    }
    app.clock.advance(TimeDelta::days(6));
    let received = check().await;
    hold(&received);
    let lines = event(&received, "usage.missing")["lines"].clone();
    assert_eq!(lines.as_array().unwrap().len(), 1, "{lines}");
    assert_eq!((&lines[0]["company_name"], &lines[0]["product_code"]), (&json!("Company 2"), &json!("STORAGE")));
    assert_eq!(lines[0]["last_measured_at"], "2026-11-22T12:00:00Z");
    assert_eq!(check().await.len(), 0, "once");
    // It is 28 December. The sum of December has no record, the sum of November had one. December's usage may arrive
    // until 4 January.
    app.clock.advance(TimeDelta::days(6));
    assert_eq!(check().await.len(), 0, "not yet");
    app.clock.advance(TimeDelta::days(1));
    let lines = event(&check().await, "usage.missing")["lines"].clone();
    let told: Vec<(&Value, &Value)> =
        lines.as_array().unwrap().iter().map(|line| (&line["company_name"], &line["product_code"])).collect();
    assert_eq!(told, [(&json!("Company 2"), &json!("RESTORES"))]);
    app.clock.advance(TimeDelta::days(6));
    assert_eq!(check().await.len(), 0, "once");
}

/// Every failed line is reported once, including lines that fail when the job is stored or that waited too long.
async fn every_failed_line_is_reported_once(backend: Backend) {
    let (app, product) = ready(backend, 30).await;
    let receiver = Receiver::start();
    create(&app, json!({"url": receiver.url("/"), "events": ["push_line.failed"]})).await;
    let lines = app.all("/billing-lines?limit=500").await;
    app.patch(&format!("/billing-lines/{}", lines[0]["id"].as_str().unwrap()), &json!({"block_size": "0.000001"}))
        .await
        .expect(200);
    app.usage("C1", "STORAGE", "99999999999").await;
    app.sandbox.fail(Fault::once(status(401)).times(10_000));
    let (job, _) = app.push(&json!({"product_id": product})).await;
    app.clock.advance(TimeDelta::days(8));
    app.worker.run_until_idle().await.unwrap();
    let (job, lines) = app.job_and_lines(&job).await;
    assert!(lines.iter().all(|line| line["state"] == "failed"), "{job}");
    deliver(&app).await;
    let received = receiver.take();
    hold(&received);
    let mut told: Vec<String> = Vec::new();
    for one in &received {
        let event = one.json();
        let lines = event["data"]["lines"].as_array().unwrap().clone();
        told.extend(lines.iter().map(|line| line["push_line_id"].as_str().unwrap().to_owned()));
    }
    told.sort();
    let mut failed: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    failed.sort_unstable();
    assert_eq!(told, failed);
}

on_both!(
    the_end_of_a_push_is_reported_and_signed,
    lines_that_need_attention_are_reported,
    mappings_that_need_a_choice_are_reported_in_parts,
    a_failing_connection_is_reported_once,
    a_meter_that_went_silent_is_reported_once,
    every_failed_line_is_reported_once,
);

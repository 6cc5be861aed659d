//! Webhooks: what is told, how it is signed, and what happens when an address does not respond.

use std::time::Duration;

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, Kind, Store, sample};
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

use crate::push::ready;
use crate::support::receiver::{Received, Receiver, Response};
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

/// Panics where a body is not as the document's section `webhooks` has it.
fn hold(received: &[Received]) {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
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

async fn the_end_of_a_push_is_told_and_signed(backend: Backend) {
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

async fn lines_that_need_a_person_are_told(backend: Backend) {
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
    assert_eq!((&held["lines"][0]["from_quantity"], &held["lines"][0]["to_quantity"]), (&json!("1"), &json!("90")));
    assert_eq!((&held["lines"][0]["state"], &held["lines"][0]["company_name"]), (&json!("held"), &json!("Company 1")));
    let failed = event(&received, "push_line.failed");
    assert_eq!(failed["lines"].as_array().unwrap().len(), 1);
    assert_eq!(failed["lines"][0]["push_line_id"], lines[1]["id"]);
    assert_eq!((&failed["lines"][0]["state"], &failed["lines"][0]["reason"]), (&json!("failed"), &json!("rejected")));
    assert!(failed["lines"][0]["detail"].is_string());
    app.push(&json!({"dry_run": true})).await;
    deliver(&app).await;
    assert_eq!(receiver.count(), 0, "a dry run tells nobody");
}

async fn mappings_that_need_a_choice_are_told_in_parts(backend: Backend) {
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

async fn a_failing_connection_is_told_once(backend: Backend) {
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

async fn a_meter_that_went_silent_is_told_once(backend: Backend) {
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
    // The gauge of the first company goes on; that of the second ends 35 days after 22 November.
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
    // It is 28 December. The sum of December has no record, that of November had one. The usage of December may arrive
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

async fn a_delivery_that_fails_is_sent_again_with_the_same_id(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, secret) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond([Response::status(500), Response { location: Some("/x"), ..Response::status(302) }]);
    app.push(&json!({})).await;
    deliver(&app).await;
    let first = receiver.take();
    let of_webhook = format!("/webhook-deliveries?webhook_id={id}");
    let delivery = app.all(&of_webhook).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("pending"), &json!(1)));
    assert_eq!(delivery["response_status"], 500);
    assert!(delivery["detail"].as_str().unwrap().contains("500"), "{delivery}");
    assert!(delivery["next_attempt_at"].is_string());
    let resend = async |delivery: &Value| {
        let path = format!("/webhook-deliveries/{}/resend", delivery["id"].as_str().unwrap());
        app.send(Method::POST, &path, &[], None).await
    };
    resend(&delivery).await.problem(409, "delivery_pending");
    deliver(&app).await;
    assert_eq!(receiver.count(), 0, "not before its time");
    app.clock.advance(TimeDelta::seconds(7));
    deliver(&app).await;
    let redirected = receiver.take();
    assert_eq!(redirected.len(), 1, "a redirect is not followed");
    let health = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert!(health["failing_since"].is_string() && health["paused_until"].is_string(), "{health}");
    app.clock.advance(TimeDelta::minutes(7));
    deliver(&app).await;
    let last = receiver.take();
    assert_eq!(last.len(), 1);
    for one in [&first[0], &redirected[0], &last[0]] {
        assert_eq!((one.header("webhook-id"), &one.body), (first[0].header("webhook-id"), &first[0].body));
        assert!(one.is_signed_with(&secret));
    }
    assert!(first[0].header("webhook-timestamp") < last[0].header("webhook-timestamp"));
    let health = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&health["failing_since"], &health["enabled"]), (&Value::Null, &json!(true)));
    let delivery = app.all(&of_webhook).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(3)));
    let again = resend(&delivery).await;
    assert!(again.header("location").ends_with(delivery["id"].as_str().unwrap()));
    assert_eq!(again.expect(202)["attempts"], 0);
    deliver(&app).await;
    assert_eq!(receiver.take()[0].header("webhook-id"), first[0].header("webhook-id"));
}

async fn an_address_may_ask_to_wait_or_be_gone(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    receiver.respond([Response { retry_after: Some("3600"), ..Response::status(429) }]);
    test().await.expect(202);
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 1);
    app.clock.advance(TimeDelta::minutes(59));
    test().await.expect(202);
    app.push(&json!({})).await;
    deliver(&app).await;
    // A test is sent at once: somebody corrects the address and wants to know.
    assert_eq!(types(&receiver.take()), ["webhook.test"]);
    app.clock.advance(TimeDelta::minutes(2));
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 2, "what waited is sent");
    receiver.respond([Response::status(410)]);
    test().await.expect(202);
    deliver(&app).await;
    let gone = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&gone["enabled"], &gone["disabled_reason"]), (&json!(false), &json!("gone")));
    let deliveries = app.all("/webhook-deliveries?state=cancelled").await;
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    test().await.problem(409, "webhook_disabled");
    let entry = app.all("/audit-log?action=webhook.updated").await.remove(0);
    assert_eq!((&entry["actor"], &entry["new"]["disabled_reason"]), (&json!("webhooks"), &json!("gone")));
    app.patch(&format!("/webhooks/{id}"), &json!({"enabled": true})).await.expect(200);
    test().await.expect(202);
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 2);
}

async fn an_address_that_fails_for_days_is_disabled(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond((0..100).map(|_| Response::status(503)));
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    test().await.expect(202);
    let mut hours = 0;
    while app.all("/webhook-deliveries?state=failed").await.is_empty() {
        deliver(&app).await;
        app.clock.advance(TimeDelta::hours(1));
        hours += 1;
        assert!(hours < 100);
    }
    // 75 hours, each wait up to a fifth shorter or longer.
    assert!((60..=100).contains(&hours), "tried for {hours} hours");
    assert_eq!(receiver.take().len(), 10);
    assert_eq!(app.get(&format!("/webhooks/{id}")).await.expect(200)["enabled"], true, "not for five days yet");
    let began = app.clock.now() - TimeDelta::hours(hours);
    let webhook = async || app.get(&format!("/webhooks/{id}")).await.expect(200);
    while webhook().await["enabled"] == true {
        assert!(app.clock.now() - began < TimeDelta::days(7));
        app.clock.advance(TimeDelta::days(1));
        test().await.expect(202);
        deliver(&app).await;
    }
    assert!(app.clock.now() - began >= TimeDelta::days(5));
    assert_eq!(webhook().await["disabled_reason"], "failing");
    app.push(&json!({})).await;
    let states = app.all("/webhook-deliveries?sort=created_at").await;
    let states: Vec<&str> = states.iter().map(|delivery| delivery["state"].as_str().unwrap()).collect();
    let (first, others) = states.split_first().unwrap();
    assert_eq!(*first, "failed");
    assert!(!others.is_empty() && others.iter().all(|state| *state == "cancelled"), "nothing is kept: {states:?}");
    app.clock.advance(TimeDelta::days(31));
    app.worker.hourly_tasks().await;
    assert_eq!(app.all("/webhook-deliveries").await.len(), 0, "ended deliveries are kept for 30 days");
}

/// Failures with a long time between them are several outages, and no reason to disable.
async fn a_failure_weeks_after_another_disables_nothing(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    receiver.respond((0..11).map(|_| Response::status(400)));
    test().await.expect(202);
    while app.all("/webhook-deliveries?state=failed").await.is_empty() {
        deliver(&app).await;
        app.clock.advance(TimeDelta::hours(1));
    }
    app.clock.advance(TimeDelta::days(30));
    app.push(&json!({})).await;
    deliver(&app).await;
    let webhook = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&webhook["enabled"], &webhook["failing_since"]), (&json!(true), &json!(app.clock.now())));
    app.clock.advance(TimeDelta::minutes(1));
    deliver(&app).await;
    assert_eq!(app.all("/webhook-deliveries?state=delivered").await.len(), 1);
}

/// A corrected address gets what waits at once, and one slow webhook does not hold up the others.
async fn a_corrected_address_gets_what_waits(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/wrong")})).await;
    receiver.respond([Response { retry_after: Some("86400"), ..Response::status(503) }]);
    for _ in 0..8 {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    }
    // It has a receiver of its own: whichever request comes first gets the failure.
    let second = Receiver::start();
    let (other, _) = create(&app, json!({"url": second.url("/other")})).await;
    app.send(Method::POST, &format!("/webhooks/{other}/test"), &[], None).await.expect(202);
    app.worker.deliver().await.unwrap();
    assert_eq!((receiver.count(), second.count()), (3, 1), "some of each webhook");
    deliver(&app).await;
    receiver.take();
    app.patch(&format!("/webhooks/{id}"), &json!({"url": receiver.url("/right")})).await.expect(200);
    deliver(&app).await;
    assert!(receiver.take().iter().any(|one| one.path == "/right"), "what had to wait for a day");
    assert_eq!(app.all("/webhook-deliveries?state=delivered").await.len(), 9);
    let entries = app.all("/audit-log?action=webhook.updated").await;
    assert_ne!(entries[0]["old"]["url_fingerprint"], entries[0]["new"]["url_fingerprint"]);
    assert!(!entries[0].to_string().contains("/right"), "the path may be a secret: {}", entries[0]);
}

/// Every line that fails is told, once: also those that fail when the job is stored, and those that waited for too long.
async fn every_failed_line_is_told_once(backend: Backend) {
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

async fn a_secret_is_rotated_without_a_gap(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, old) = create(&app, json!({"url": receiver.url("/")})).await;
    let rotated = app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 2})).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    let send = async || {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
        deliver(&app).await;
        receiver.take().remove(0)
    };
    let both = send().await;
    assert!(both.is_signed_with(new) && both.is_signed_with(&old));
    app.clock.advance(TimeDelta::hours(2));
    let one = send().await;
    assert!(one.is_signed_with(new) && !one.is_signed_with(&old));
    let at_once = app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 0})).await.expect(200);
    let one = send().await;
    assert!(one.is_signed_with(at_once["secret"].as_str().unwrap()) && !one.is_signed_with(new));
    app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 721})).await.problem(422, "validation");
}

/// A worker that dies while it sends: another sends the same again when the lease is over.
async fn a_delivery_of_a_dead_worker_is_sent_by_another(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond([Response { delay: Duration::from_secs(60), ..Response::status(204) }]);
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    tokio::select! {
        sent = app.worker.deliver() => panic!("the address does not respond: {sent:?}"),
        () = async { while receiver.count() == 0 { tokio::task::yield_now().await } } => {}
    }
    assert!(!app.second_worker.deliver().await.unwrap(), "the lease holds");
    app.clock.advance(TimeDelta::seconds(91));
    tokio::time::sleep(Duration::from_millis(1)).await;
    deliver(&app).await;
    let received = receiver.take();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    let delivery = app.all("/webhook-deliveries").await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
}

/// An address that hangs delays neither other tenants nor the pushes.
async fn a_slow_address_delays_its_tenant_alone(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let (slow, fast) = (Receiver::start(), Receiver::start());
    let (id, _) = create(&app, json!({"url": slow.url("/")})).await;
    slow.respond([Response { delay: Duration::from_secs(60), ..Response::status(204) }]);
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    let headers = [("authorization", "Bearer the-operators-own-key"), ("content-type", "application/json")];
    let other = app.send(Method::POST, "/tenants", &headers, Some(json!({"name": "Other"}).to_string().into())).await;
    let bearer = format!("Bearer {}", other.expect(201)["key"].as_str().unwrap());
    let as_other = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"url": fast.url("/")}).to_string();
    let made = app.send(Method::POST, "/webhooks", &as_other, Some(body.into())).await.expect(201);
    let test = format!("/webhooks/{}/test", made["webhook"]["id"].as_str().unwrap());
    let hangs = async {
        while slow.count() == 0 {
            tokio::task::yield_now().await;
        }
        app.send(Method::POST, &test, &as_other[..1], None).await.expect(202);
        while fast.count() == 0 {
            app.second_worker.deliver().await.unwrap();
        }
        app.push(&json!({})).await
    };
    tokio::select! {
        sent = app.worker.deliver() => panic!("the address does not respond: {sent:?}"),
        (job, _) = hangs => assert_eq!(job["state"], "succeeded"),
    }
}

async fn an_address_is_public_and_encrypted(backend: Backend) {
    let app = TestApp::start_with(backend, Store::default(), |config| config.allow_private_webhooks = false).await;
    for (url, why) in [
        ("http://example.com/", "https"),
        ("https://127.0.0.1/", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://a:b@example.com/", "user name"),
        ("https://example.com/#x", "fragment"),
        ("nonsense", "not an address"),
        ("https://example.com/a\tb", "not an address"),
    ] {
        let rejected = app.post("/webhooks", &json!({"url": url})).await.problem(422, "validation");
        assert_eq!(rejected["errors"][0]["field"], "/url");
        assert!(rejected["errors"][0]["message"].as_str().unwrap().contains(why), "{rejected}");
    }
    // A name that leads to a private address is rejected when it is resolved.
    let (id, _) = create(&app, json!({"url": "https://localhost:9/"})).await;
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    deliver(&app).await;
    let delivery = app.all("/webhook-deliveries").await.remove(0);
    assert!(delivery["detail"].as_str().unwrap().contains("no public address"), "{delivery}");
    assert_eq!(delivery["response_status"], Value::Null);
}

async fn webhooks_are_changed_listed_and_deleted(backend: Backend) {
    let app = TestApp::start(backend, Store::default()).await;
    let url = "https://example.com/a";
    let made = app.post("/webhooks", &json!({"url": url, "events": ["push_line.held"]})).await;
    let location = made.header("location").to_owned();
    let webhook = made.expect(201)["webhook"].clone();
    let path = location.strip_prefix("/api/v1").unwrap();
    let read = app.get(path).await;
    assert_eq!(read.version(), "1");
    assert_eq!(read.json, webhook);
    let change = json!({"description": "chat", "events": null});
    let changed = app.patch(path, &change).await.expect(200);
    assert_eq!((&changed["version"], &changed["events"]), (&json!(2), &Value::Null));
    assert_eq!(app.patch(path, &change).await.expect(200)["version"], 2, "nothing changed");
    let old = [("if-match", "\"1\""), ("content-type", "application/json")];
    app.send(Method::PATCH, path, &old, Some(b"{\"enabled\": false}".to_vec())).await.problem(412, "version_mismatch");
    let disabled = app.patch(path, &json!({"enabled": false})).await.expect(200);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("by_hand")));
    for (bad, field) in [
        (json!({"url": url, "events": []}), "/events"),
        (json!({"url": url, "events": ["nothing"]}), "/events/0"),
        (json!({"url": ""}), "/url"),
        (json!({"url": url, "description": " "}), "/description"),
    ] {
        let rejected = app.post("/webhooks", &bad).await.problem(422, "validation");
        assert_eq!(rejected["errors"][0]["field"], field, "{rejected}");
    }
    for number in 1..20 {
        create(&app, json!({"url": format!("{url}{number}")})).await;
    }
    app.post("/webhooks", &json!({"url": url})).await.problem(409, "too_many_webhooks");
    assert_eq!(app.get("/webhooks").await.expect(200)["items"].as_array().unwrap().len(), 20);
    app.delete(path).await.expect(204);
    app.get(path).await.problem(404, "not_found");
    let actions = app.all("/audit-log?sort=at&action=webhook.created,webhook.updated,webhook.deleted").await;
    let actions: Vec<&str> = actions.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "webhook.created").count(), 20);
    assert_eq!(actions.last(), Some(&"webhook.deleted"));
}

/// A test with an Idempotency-Key is sent once.
async fn a_test_that_is_repeated_is_sent_once(backend: Backend) {
    let app = TestApp::start(backend, Store::default()).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test =
        async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[("idempotency-key", "once")], None).await;
    let (first, second) = (test().await, test().await);
    assert_eq!((first.status, second.header("idempotent-replayed")), (202, "true"));
    assert_eq!(first.header("location"), second.header("location"));
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 1);
}

/// A library of Standard Webhooks accepts a delivery, and none that was changed.
async fn a_receiver_with_a_library_accepts_a_delivery(backend: Backend) {
    let app = TestApp::start_now(backend, Store::default()).await;
    let receiver = Receiver::start();
    let (id, secret) = create(&app, json!({"url": receiver.url("/")})).await;
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    deliver(&app).await;
    let mut received = receiver.take().remove(0);
    assert!(received.is_valid_now(&secret), "{received:?}");
    received.body.push(' ');
    assert!(!received.is_valid_now(&secret));
}

/// Several replicas send, and each delivery arrives once.
async fn replicas_share_deliveries(backend: Backend) {
    if backend == Backend::Sqlite {
        return;
    }
    let app = TestApp::start(backend, Store::default()).await;
    let replica = app.replica(|_| {}).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    for _ in 0..60 {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    }
    tokio::join!(deliver(&app), deliver(&replica));
    deliver(&app).await;
    let mut ids: Vec<String> = receiver.take().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
    assert_eq!(app.all("/webhook-deliveries?state=delivered&limit=100").await.len(), 60);
}

on_both!(
    the_end_of_a_push_is_told_and_signed,
    lines_that_need_a_person_are_told,
    mappings_that_need_a_choice_are_told_in_parts,
    a_failing_connection_is_told_once,
    a_meter_that_went_silent_is_told_once,
    a_delivery_that_fails_is_sent_again_with_the_same_id,
    an_address_may_ask_to_wait_or_be_gone,
    an_address_that_fails_for_days_is_disabled,
    a_failure_weeks_after_another_disables_nothing,
    a_corrected_address_gets_what_waits,
    every_failed_line_is_told_once,
    a_secret_is_rotated_without_a_gap,
    a_delivery_of_a_dead_worker_is_sent_by_another,
    a_slow_address_delays_its_tenant_alone,
    an_address_is_public_and_encrypted,
    webhooks_are_changed_listed_and_deleted,
    a_receiver_with_a_library_accepts_a_delivery,
    a_test_that_is_repeated_is_sent_once,
    replicas_share_deliveries,
);

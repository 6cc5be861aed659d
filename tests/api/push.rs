//! Pushing quantities: what is written, what is not and why, and recovery from faults.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, FaultKind, Kind, Store, sample};
use serde_json::{Value, json};

use crate::support::{Backend, TestApp, job_path, status};

fn store(companies: i64) -> Store {
    let mut store = Store::default();
    for c in 1..=companies {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c * 100, c * 10, "BKP-GB", "Storage", 1.0));
    }
    store
}

/// This many companies, each with 250 GB of storage: 3 blocks of 100 GB where ConnectWise has 1.
pub async fn ready(backend: Backend, companies: i64) -> (TestApp, String) {
    let app = TestApp::connected(backend, store(companies)).await;
    let product = prepare(&app, companies).await;
    app.sandbox.clear_ledger();
    (app, product)
}

/// The same for a tenant that is connected.
pub async fn prepare(app: &TestApp, companies: i64) -> String {
    for c in 1..=companies {
        app.company(&format!("C{c}"), &format!("Company {c}")).await;
    }
    let product = app.product("STORAGE").await;
    app.rule(&product, "agreement", r#"name = "Backup""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    app.post(&format!("/products/{product}/resolve"), &json!({})).await.expect(200);
    for c in 1..=companies {
        app.usage(&format!("C{c}"), "STORAGE", "250").await;
    }
    enable(app, true).await;
    product
}

pub async fn enable(app: &TestApp, enabled: bool) {
    let ids: Vec<Value> = app.all("/billing-lines?limit=500").await.iter().map(|line| line["id"].clone()).collect();
    app.patch("/billing-lines", &json!({"ids": ids, "push_enabled": enabled})).await.expect(200);
}

/// Disables a line, and gives the same addition to the line of another product, with these settings. Returns that
/// product.
pub async fn with_successor(app: &TestApp, first: &Value, settings: Value) -> String {
    let line = first["billing_line_id"].as_str().unwrap();
    app.patch(&format!("/billing-lines/{line}"), &json!({"push_enabled": false})).await.expect(200);
    let second = app.product("SECOND").await;
    app.rule(&second, "agreement", r#"name = "Backup""#).await;
    app.rule(&second, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.usage("C1", "SECOND", "250").await;
    let other = app.line(&second, first["company_id"].as_str().unwrap()).await["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/billing-lines/{other}"), &settings).await.expect(200);
    second
}

pub fn quantities(app: &TestApp, companies: i64) -> Vec<f64> {
    app.sandbox.read(|store| (1..=companies).map(|c| store.quantity(c * 100).unwrap()).collect())
}

pub fn states(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["state"].as_str().unwrap()).collect()
}

async fn quantities_are_written_once(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    let (job, lines) = app.push(&json!({"product_id": product})).await;
    assert_eq!((&job["state"], &job["requested_by"]), (&json!("succeeded"), &json!("first key")));
    assert_eq!(job["lines"]["pushed"], 3);
    assert_eq!(states(&lines), ["pushed"; 3]);
    assert_eq!((&lines[0]["from"], &lines[0]["to"], &lines[0]["usage"]), (&json!("1"), &json!("3"), &json!("250")));
    assert_eq!(quantities(&app, 3), [3.0; 3]);
    let patches: Vec<Value> =
        app.sandbox.ledger().requests.iter().filter(|r| r.method == "PATCH").map(|r| r.body.clone().unwrap()).collect();
    assert_eq!(patches[0], json!([{"op": "replace", "path": "quantity", "value": 3}]));
    let (again, lines) = app.push(&json!({})).await;
    assert_eq!((&again["state"], states(&lines)), (&json!("succeeded"), vec!["unchanged"; 3]));
    assert_eq!(app.sandbox.ledger().writes.len(), 3, "what is right costs no write");
    let line = app.all("/billing-lines").await[0].clone();
    assert_eq!((&line["last_push"]["state"], &line["last_push"]["quantity"]), (&json!("unchanged"), &json!("3")));
    assert_eq!(app.all("/push-jobs").await[0]["id"], again["id"], "newest first");
    assert_eq!(app.all("/push-jobs?billing_month=2026-11&state=succeeded").await.len(), 2);
}

async fn a_dry_run_shows_and_writes_nothing(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    let (job, lines) = app.push(&json!({"dry_run": true})).await;
    assert_eq!((&job["kind"], &job["state"]), (&json!("dry_run"), &json!("succeeded")));
    assert_eq!(states(&lines), ["would_push"; 2]);
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!("1"), &json!("3")));
    assert!(app.sandbox.ledger().writes.is_empty());
    assert!(app.sandbox.ledger().requests.iter().all(|request| request.method == "GET"));
    assert_eq!(app.all("/billing-lines").await[0]["last_push"], json!(null));
}

async fn a_line_without_anything_to_push_says_why(backend: Backend) {
    let (app, product) = ready(backend, 7).await;
    let lines = app.all("/billing-lines?sort=company_external_id").await;
    let id = |index: usize| lines[index]["id"].as_str().unwrap();
    let company = |index: usize| lines[index]["company"]["id"].as_str().unwrap();
    app.patch(&format!("/billing-lines/{}", id(0)), &json!({"push_enabled": false})).await.expect(200);
    app.delete(&format!("/companies/{}/connectwise-company", company(1))).await.expect(200);
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(31, 3, "Backup", (1, "SP Backup")));
        store.merge(Kind::Agreements, 40, json!({"cancelledFlag": true}).as_object().unwrap().clone());
        store.remove(Kind::Additions, 500);
        store.remove(Kind::Agreements, 60);
    });
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    app.company("none", "Zero usage").await;
    let body = json!({"records": [{"company_external_id": "C7", "product_code": "STORAGE", "amount": "0", "measured_at": app.clock.now()}]});
    app.post("/usage", &body).await.expect(200);
    let (job, found) = app.push(&json!({"product_id": product})).await;
    let reasons: Vec<(&str, &str)> =
        found.iter().map(|line| (line["state"].as_str().unwrap(), line["reason"].as_str().unwrap_or("-"))).collect();
    assert_eq!(
        reasons,
        [
            ("skipped", "disabled"),
            ("skipped", "company_not_set"),
            ("skipped", "ambiguous"),
            ("skipped", "stale"),
            ("skipped", "stale"),
            ("skipped", "stale"),
            ("pushed", "-"),
            ("skipped", "disabled"),
        ]
    );
    assert_eq!(job["state"], "succeeded");
    assert_eq!(app.sandbox.read(|store| store.quantity(700)), Some(0.0), "zero usage pushes zero");
}

async fn one_failure_stops_no_other_and_is_retried_alone(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    app.sandbox.change(|store| store.reject(200, "its period was invoiced"));
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!(
        (&job["state"], states(&lines)),
        (&json!("completed_with_failures"), vec!["pushed", "failed", "pushed"])
    );
    assert_eq!(lines[1]["reason"], "rejected");
    let detail = lines[1]["detail"].as_str().unwrap();
    assert!(detail.contains("addition object is invalid") && detail.contains("its period was invoiced"), "{detail}");
    app.sandbox.change(|store| *store = self::store(3));
    let id = job["id"].as_str().unwrap();
    let retry = app.post(&format!("/push-jobs/{id}/retry"), &json!({})).await.expect(202);
    assert_eq!((&retry["parent_job_id"], &retry["lines"]["total"]), (&job["id"], &json!(1)));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(quantities(&app, 3), [1.0, 3.0, 1.0]);
    let retried = app.get(&job_path(&retry)).await.expect(200);
    app.post(&format!("/push-jobs/{}/retry", retried["id"].as_str().unwrap()), &json!({}))
        .await
        .problem(409, "nothing_to_retry");
}

async fn faults_that_pass_are_waited_out(backend: Backend) {
    let faults = [
        status(500),
        FaultKind::StatusAfter { status: 500 },
        status(503),
        status(409),
        FaultKind::Throttle { retry_after: 0, html: false },
        FaultKind::Throttle { retry_after: 0, html: true },
        FaultKind::Html,
        FaultKind::Truncated,
        FaultKind::Drop,
        FaultKind::DropAfter,
        // Longer than the tests' timeout.
        FaultKind::Hang { ms: 2_500 },
        FaultKind::Slow { ms: 100 },
    ];
    for fault in faults {
        let (app, _) = ready(backend, 1).await;
        app.sandbox.fail(Fault::once(fault.clone()).on("PATCH"));
        let (job, lines) = app.push(&json!({})).await;
        assert_eq!((&job["state"], states(&lines)), (&json!("succeeded"), vec!["pushed"]), "{fault:?} {lines:?}");
        assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!("1"), &json!("3")), "{fault:?}");
        assert_eq!(quantities(&app, 1), [3.0], "{fault:?}");
    }
}

async fn success_that_changed_nothing_is_a_failure(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(FaultKind::FalseSuccess).on("PATCH").times(100));
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], &lines[0]["reason"]), (&json!("completed_with_failures"), &json!("not_applied")));
}

async fn an_outage_is_retried_and_a_lost_response_is_no_second_push(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    // Every write is applied and its response lost, for longer than one attempt lasts.
    app.sandbox.fail(Fault::once(FaultKind::StatusAfter { status: 500 }).on("PATCH").times(7));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let path = job_path(&job);
    app.worker.run_until_idle().await.unwrap();
    let waiting = app.get(&path).await.expect(200);
    assert_eq!((&waiting["state"], &waiting["lines"]["pending"]), (&json!("running"), &json!(1)), "{waiting}");
    app.clock.advance(TimeDelta::seconds(31));
    app.worker.run_until_idle().await.unwrap();
    let done = app.get(&path).await.expect(200);
    assert_eq!((&done["state"], &done["lines"]["pushed"]), (&json!("succeeded"), &json!(2)), "{done}");
    let lines = app.all(&format!("{path}/lines")).await;
    assert!(lines.iter().all(|line| line["from"] == "1" && line["to"] == "3"), "{lines:?}");
    let changes = app.sandbox.ledger().writes.iter().filter(|write| write.from != write.to).count();
    assert_eq!(changes, 2);
}

async fn a_job_is_cancelled_between_lines(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let path = job_path(&job);
    app.worker.step().await.unwrap();
    let cancelled = app.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!((&cancelled["lines"]["pushed"], &cancelled["lines"]["cancelled"]), (&json!(1), &json!(2)));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.sandbox.ledger().writes.len(), 1);
    app.post(&format!("{path}/cancel"), &json!({})).await.problem(409, "push_job_finished");
}

async fn only_what_is_asked_for_is_pushed(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    let company = app.all("/companies").await[1]["id"].clone();
    let (job, lines) = app.push(&json!({"company_ids": [company], "product_id": product})).await;
    assert_eq!((&job["lines"]["total"], lines.len()), (&json!(1), 1));
    assert_eq!(quantities(&app, 3), [1.0, 3.0, 1.0]);
    app.post("/push-jobs", &json!({"product_id": "nothing"})).await.problem(422, "validation");
    let problem = app.post("/push-jobs", &json!({"company_ids": ["nothing"]})).await.problem(422, "validation");
    assert_eq!(problem["errors"][0]["field"], "/company_ids/0");
    app.post("/push-jobs", &json!({"billing_month": "2026-13"})).await.problem(422, "validation");
    let (job, lines) = app.push(&json!({"billing_month": "2026-10"})).await;
    assert_eq!((&job["billing_months"], &lines[0]["reason"]), (&json!(["2026-10"]), &json!("no_usage")));
    let filtered = app.all(&format!("/push-jobs/{}/lines?state=skipped", job["id"].as_str().unwrap())).await;
    assert_eq!(filtered.len(), 3);
}

async fn a_job_under_an_idempotency_key_is_one_job(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let headers = [("idempotency-key", "month-end"), ("content-type", "application/json")];
    let send = || app.send(reqwest::Method::POST, "/push-jobs", &headers, Some(b"{}".to_vec()));
    let (first, second) = (send().await, send().await);
    assert_eq!(first.json["id"], second.json["id"]);
    assert_eq!(second.header("location"), format!("/api/v1/push-jobs/{}", first.json["id"].as_str().unwrap()));
    assert_eq!(app.all("/push-jobs").await.len(), 1);
}

async fn progress_is_streamed_to_its_end(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let path = format!("/push-jobs/{}/events", job["id"].as_str().unwrap());
    let (events, stepped) = tokio::join!(app.get(&path), app.worker.run_until_idle());
    stepped.unwrap();
    assert_eq!((events.status, events.header("content-type")), (200, "text/event-stream"));
    let end = events.text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(end.starts_with("event: end\nid: 3\ndata: {") && end.contains("\"succeeded\""), "{}", events.text);
    let again = app.get(&path).await;
    assert!(again.text.starts_with("event: end"), "a finished job ends its stream at once: {}", again.text);
}

async fn a_job_reports_its_speed(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let path = job_path(&job);
    assert_eq!(
        (&job["lines_per_minute"], &job["estimated_end_at"]),
        (&Value::Null, &Value::Null),
        "nothing is known yet"
    );
    app.worker.step().await.unwrap();
    app.clock.advance(TimeDelta::seconds(30));
    let begun = app.get(&path).await.expect(200);
    let end = app.clock.now() + TimeDelta::seconds(60);
    assert_eq!(begun["lines_per_minute"], 2, "one in half a minute: {begun}");
    assert_eq!(begun["estimated_end_at"], json!(end), "and two are left");
    app.worker.run_until_idle().await.unwrap();
    let ended = app.get(&path).await.expect(200);
    assert_eq!((&ended["lines_per_minute"], &ended["estimated_end_at"]), (&json!(6), &Value::Null), "{ended}");
}

async fn an_agreement_cancelled_since_is_not_pushed_to(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    app.sandbox
        .change(|store| store.merge(Kind::Agreements, 10, json!({"cancelledFlag": true}).as_object().unwrap().clone()));
    app.sandbox.change(|store| {
        store.merge(Kind::Additions, 200, json!({"cancelledDate": "2026-11-01T00:00:00Z"}).as_object().unwrap().clone())
    });
    app.clock.advance(TimeDelta::hours(1));
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(states(&lines), ["skipped", "skipped"]);
    assert!(lines.iter().all(|line| line["reason"] == "stale"), "{lines:?}");
    assert!(app.sandbox.ledger().writes.is_empty());
}

async fn fractions_are_written_exactly(backend: Backend) {
    let (app, product) = ready(backend, 1).await;
    app.patch(&format!("/products/{product}"), &json!({"rounding": "exact", "block_size": "0.3"})).await.expect(200);
    app.usage("C1", "STORAGE", "0.03").await;
    app.clock.advance(TimeDelta::seconds(1));
    app.usage("C1", "STORAGE", "0.0369").await;
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!((&lines[0]["to"], &lines[0]["state"]), (&json!("0.123"), &json!("pushed")), "{lines:?}");
    let patch = app.sandbox.ledger().requests.iter().find(|r| r.method == "PATCH").unwrap().body.clone().unwrap();
    assert_eq!(patch[0]["value"].to_string(), "0.123");
    app.patch(&format!("/products/{product}"), &json!({"block_size": "7"})).await.expect(200);
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], &lines[0]["reason"]), (&json!("completed_with_failures"), &json!("quantity")));
    assert!(lines[0]["detail"].as_str().unwrap().contains("no finite decimal"), "{lines:?}");
}

async fn an_older_job_never_undoes_a_newer_one(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(status(500)).on("PATCH").times(7));
    let older = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    app.clock.advance(TimeDelta::seconds(1));
    app.usage("C1", "STORAGE", "950").await;
    let (newer, lines) = app.push(&json!({})).await;
    assert_eq!((&newer["state"], &lines[0]["to"]), (&json!("succeeded"), &json!("10")));
    app.clock.advance(TimeDelta::seconds(60));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(quantities(&app, 1), [10.0], "the older quantity stays away");
    let lines = app.all(&format!("/push-jobs/{}/lines", older["id"].as_str().unwrap())).await;
    assert_eq!((&lines[0]["state"], &lines[0]["reason"]), (&json!("skipped"), &json!("superseded")));
    assert_eq!(app.all("/billing-lines").await[0]["last_push"]["push_job_id"], newer["id"]);
}

async fn one_addition_that_keeps_failing_stops_no_sibling(backend: Backend) {
    let app = TestApp::connected(backend, store(1)).await;
    app.sandbox.change(|store| store.put(Kind::Additions, sample::addition(101, 10, "BKP-ACCT", "Accounts", 1.0)));
    app.company("C1", "Company 1").await;
    for (code, identifier) in [("A-STORAGE", "BKP-GB"), ("B-ACCOUNTS", "BKP-ACCT")] {
        let product = app.product(code).await;
        app.rule(&product, "agreement", r#"name = "Backup""#).await;
        app.rule(&product, "addition", &format!("product/identifier = \"{identifier}\"")).await;
        app.usage("C1", code, "250").await;
    }
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    enable(&app, true).await;
    app.sandbox.fail(Fault::once(status(500)).at("additions/100").times(7));
    app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.sandbox.read(|store| (store.quantity(100), store.quantity(101))), (Some(1.0), Some(3.0)));
    app.clock.advance(TimeDelta::seconds(31));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.sandbox.read(|store| store.quantity(100)), Some(3.0));
}

async fn lines_that_share_an_addition_are_not_pushed(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let second = app.product("SECOND").await;
    app.rule(&second, "agreement", r#"name = "Backup""#).await;
    app.rule(&second, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.usage("C1", "SECOND", "900").await;
    enable(&app, true).await;
    let (_, lines) = app.push(&json!({"product_id": second})).await;
    assert_eq!(lines[0]["reason"], "addition_shared", "also when only one of them is asked for: {lines:?}");
    assert!(app.sandbox.ledger().writes.is_empty());
    let id = lines[0]["billing_line_id"].as_str().unwrap();
    app.patch(&format!("/billing-lines/{id}"), &json!({"push_enabled": false})).await.expect(200);
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(states(&lines).iter().filter(|state| **state == "pushed").count(), 1);
}

on_both!(
    an_older_job_never_undoes_a_newer_one,
    one_addition_that_keeps_failing_stops_no_sibling,
    lines_that_share_an_addition_are_not_pushed,
    quantities_are_written_once,
    a_dry_run_shows_and_writes_nothing,
    a_line_without_anything_to_push_says_why,
    one_failure_stops_no_other_and_is_retried_alone,
    faults_that_pass_are_waited_out,
    success_that_changed_nothing_is_a_failure,
    an_outage_is_retried_and_a_lost_response_is_no_second_push,
    a_job_is_cancelled_between_lines,
    only_what_is_asked_for_is_pushed,
    a_job_under_an_idempotency_key_is_one_job,
    a_job_reports_its_speed,
    progress_is_streamed_to_its_end,
    an_agreement_cancelled_since_is_not_pushed_to,
    fractions_are_written_exactly,
);

//! Usage that arrives after its month's quantity was computed: flagged, and shown as out of date.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::push::{enable, ready};
use crate::support::{Backend, TestApp};

/// How many records of a batch of one are late.
async fn late(app: &TestApp, company: &str, amount: &str) -> Value {
    app.clock.advance(TimeDelta::seconds(1));
    let record = json!({"company_external_id": company, "product_code": "STORAGE", "amount": amount, "measured_at": app.clock.now()});
    app.post("/usage", &json!({"records": [record]})).await.expect(200)["late"].clone()
}

/// In every state of the line: its quantity is stored and does not include the new usage.
async fn usage_is_late_from_the_moment_its_quantity_is_stored(backend: Backend) {
    let (app, product) = ready(backend, 6).await;
    assert_eq!(late(&app, "C1", "251").await, 0, "no push yet");
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    app.usage("C5", "STORAGE", "120").await;
    app.sandbox.change(|store| store.reject(500, "its period was invoiced"));
    app.post("/push-jobs", &json!({})).await.expect(202);
    assert_eq!(late(&app, "C1", "252").await, 1, "pending");
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(late(&app, "C2", "253").await, 1, "held");
    assert_eq!(late(&app, "C5", "121").await, 1, "failed");
    let job = app.all("/push-jobs").await[0].clone();
    app.post(&format!("/push-jobs/{}/cancel", job["id"].as_str().unwrap()), &json!({})).await.expect(200);
    assert_eq!(late(&app, "C3", "254").await, 1, "cancelled");
    // A line that is not to be pushed has no relevant quantity.
    enable(&app, false).await;
    app.company("C7", "Company 7").await;
    app.usage("C7", "STORAGE", "1").await;
    app.push(&json!({})).await;
    assert_eq!(late(&app, "C7", "2").await, 0, "disabled");
    assert_eq!(app.all("/usage?late=true").await.len(), 4);
}

async fn lines(app: &TestApp, query: &str) -> Vec<String> {
    let rows = app.all(&format!("/billing-lines?limit=2&{query}")).await;
    rows.iter().map(|line| line["company"]["external_id"].as_str().unwrap().to_owned()).collect()
}

async fn a_line_is_out_of_date_when_a_push_would_write_another_quantity(backend: Backend) {
    let (app, product) = ready(backend, 7).await;
    assert!(lines(&app, "out_of_date=true").await.is_empty(), "nothing was pushed yet");
    app.push(&json!({})).await;
    assert!(lines(&app, "out_of_date=true").await.is_empty());
    late(&app, "C2", "299").await; // still 3 blocks
    for company in ["C3", "C5", "C6"] {
        late(&app, company, "301").await;
    }
    assert_eq!(lines(&app, "out_of_date=true").await, ["C3", "C5", "C6"]);
    assert_eq!(lines(&app, "out_of_date=false").await, ["C1", "C2", "C4", "C7"]);
    assert_eq!(lines(&app, "out_of_date=true&sort=-company_external_id").await, ["C6", "C5", "C3"]);
    let all = app.all("/billing-lines?sort=company_external_id").await;
    assert_eq!(all.iter().filter(|line| line["out_of_date"] == true).count(), 3);
    // A line that would not be pushed is not out of date: a push would write nothing.
    app.patch(&format!("/billing-lines/{}", all[5]["id"].as_str().unwrap()), &json!({"push_enabled": false}))
        .await
        .expect(200);
    assert_eq!(lines(&app, "out_of_date=true").await, ["C3", "C5"]);
    let (job, pushed) = app.push(&json!({"out_of_date": true})).await;
    assert_eq!((&job["lines"]["total"], &job["lines"]["pushed"]), (&json!(2), &json!(2)), "{pushed:?}");
    assert!(lines(&app, "out_of_date=true").await.is_empty());
    // A new block size changes every quantity; the next month has no push to compare with.
    app.patch(&format!("/products/{product}"), &json!({"block_size": "50"})).await.expect(200);
    assert_eq!(lines(&app, "out_of_date=true").await.len(), 6);
    app.clock.advance(TimeDelta::days(10));
    assert!(lines(&app, "out_of_date=true").await.is_empty());
    assert_eq!(lines(&app, "out_of_date=true&billing_month=2026-11").await.len(), 6);
    let rejected = json!({"from_dry_run": job["id"], "out_of_date": true});
    app.post("/push-jobs", &rejected).await.problem(422, "validation");
}

/// A push that found no usage also counts as a push of the month; a push of a dry run does not count later usage.
async fn usage_that_a_push_did_not_count_is_late(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    app.company("C9", "Company 1").await;
    enable(&app, true).await;
    let (dry, lines) = app.push(&json!({"dry_run": true})).await;
    assert_eq!(lines.len(), 3);
    assert_eq!(late(&app, "C1", "251").await, 0, "no push yet");
    assert_eq!(late(&app, "C2", "252").await, 0);
    app.post("/push-jobs", &json!({"from_dry_run": dry["id"]})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.all("/usage?late=true").await.len(), 2, "the dry run did not know of them");
    assert_eq!(late(&app, "C9", "9").await, 0, "it was not in that push");
    app.push(&json!({"product_id": product})).await;
    app.company("C8", "Company 8").await;
    enable(&app, true).await;
    let (_, lines) = app.push(&json!({})).await;
    assert!(lines.iter().any(|line| line["company_name"] == "Company 8"), "{lines:?}");
    assert_eq!(late(&app, "C8", "8").await, 1, "a push has looked for it, and found none");
}

async fn a_line_that_is_not_pushed_for_its_addition_is_not_out_of_date(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.push(&json!({})).await;
    late(&app, "C1", "950").await;
    assert_eq!(lines(&app, "out_of_date=true").await, ["C1"]);
    let second = app.product("SECOND").await;
    app.rule(&second, "agreement", r#"name = "Backup""#).await;
    app.rule(&second, "addition", r#"product/identifier = "BKP-GB""#).await;
    enable(&app, true).await;
    assert!(lines(&app, "out_of_date=true").await.is_empty(), "two lines bill to its addition: neither is pushed");
}

/// The quantity is stored, usage arrives, and then the line is written: the record is flagged and the line out of date.
async fn usage_between_computation_and_write_is_flagged_late(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(FaultKind::Status { status: 500, code: None, message: None }).on("PATCH").times(7));
    app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(late(&app, "C1", "950").await, 1);
    app.clock.advance(TimeDelta::seconds(60));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.sandbox.read(|store| store.quantity(100)), Some(3.0), "as it was stored");
    assert_eq!(lines(&app, "out_of_date=true").await, ["C1"]);
}

on_both!(
    usage_is_late_from_the_moment_its_quantity_is_stored,
    a_line_is_out_of_date_when_a_push_would_write_another_quantity,
    usage_between_computation_and_write_is_flagged_late,
    usage_that_a_push_did_not_count_is_late,
    a_line_that_is_not_pushed_for_its_addition_is_not_out_of_date,
);

//! Adding usage.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

async fn set_up(backend: Backend) -> (TestApp, String, String) {
    let app = TestApp::start(backend, Default::default()).await;
    let company = app.company("C1", "One").await;
    let product = app.product("STORAGE").await;
    (app, company, product)
}

fn record(amount: &str, measured_at: &str) -> Value {
    json!({"company_external_id": "C1", "product_code": "STORAGE", "amount": amount, "measured_at": measured_at})
}

async fn the_same_record_is_taken_in_once_and_another_amount_corrects_it(backend: Backend) {
    let (app, company, product) = set_up(backend).await;
    let batch =
        json!({"records": [record("250.500", "2026-11-20T00:00:00Z"), record("300", "2026-11-21T02:00:00+02:00")]});
    assert_eq!(
        app.post("/usage", &batch).await.expect(200),
        json!({"records": 2, "added": 2, "duplicates": 0, "corrected": 0, "late": 0})
    );
    assert_eq!(app.post("/usage", &batch).await.expect(200)["duplicates"], 2);
    assert_eq!(app.line(&product, &company).await["usage"]["amount"], "300");
    assert_eq!(app.line(&product, &company).await["usage"]["quantity"], "3");
    let correction = json!({"records": [record("301", "2026-11-21T00:00:00Z")]});
    assert_eq!(app.post("/usage", &correction).await.expect(200)["corrected"], 1);
    assert_eq!(app.line(&product, &company).await["usage"]["quantity"], "4");
    let history = app.all("/usage?limit=2").await;
    assert_eq!(history.len(), 3, "the earlier record stays visible");
    assert_eq!(history[0]["amount"], "250.5");
    assert_eq!(history[1]["superseded_by"], history[2]["id"]);
    assert_eq!(app.all("/usage?current_only=true").await.len(), 2);
    assert_eq!(app.all("/usage?from=2026-11-20T12:00:00Z").await.len(), 2);
    assert_eq!(app.all("/usage?to=2026-11-20T12:00:00Z").await.len(), 1);
}

/// PostgreSQL rejects a NUL even in a comparison.
async fn an_id_with_a_nul_is_an_unknown_id(backend: Backend) {
    let (app, company, product) = set_up(backend).await;
    for (field, other) in
        [("company_id", json!({"product_id": product})), ("product_code", json!({"company_id": company}))]
    {
        let mut record = json!({"amount": "1", "measured_at": "2026-11-20T00:00:00Z", field: "a\u{0}b"});
        record.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let problem = app.post("/usage", &json!({"records": [record]})).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], format!("/records/0/{field}"), "{problem}");
    }
    app.connect().await;
    let problem = app.post("/push-jobs", &json!({"company_ids": ["a\u{0}b"]})).await.problem(422, "validation");
    assert_eq!(problem["errors"][0]["field"], "/company_ids/0", "{problem}");
}

/// The vendor's ids are compared with lists: whatever characters they contain, each is one value.
async fn vendors_ids_with_any_characters_are_found(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("STORAGE").await;
    let ids = ["a,b", "{}", "\"quoted\"", "back\\slash", "null", "NULL", "é 漢字 😀", "'; --", "[1]", "1e3", "007"];
    for (number, id) in ids.iter().enumerate() {
        app.company(id, &format!("Company {number}")).await;
    }
    let record = |id: &&str| json!({"company_external_id": id, "product_code": "STORAGE", "amount": "5", "measured_at": app.clock.now()});
    let batch = json!({"records": ids.iter().map(record).collect::<Vec<Value>>()});
    assert_eq!(app.post("/usage", &batch).await.expect(200)["added"], ids.len());
    assert_eq!(app.post("/usage", &batch).await.expect(200)["duplicates"], ids.len());
    let lines = app.all("/billing-lines?limit=5").await;
    assert_eq!(lines.len(), ids.len());
    assert!(lines.iter().all(|line| line["usage"]["amount"] == "5"), "{lines:?}");
    let unknown = json!({"records": [record(&"7")]});
    app.post("/usage", &unknown).await.problem(422, "validation");
}

async fn a_batch_is_all_or_nothing_and_every_bad_record_is_named(backend: Backend) {
    let (app, _, _) = set_up(backend).await;
    let future = app.clock.now() + TimeDelta::days(3);
    let batch = json!({"records": [
        record("1", "2026-11-01T00:00:00Z"),
        {"company_external_id": "C9", "product_code": "NOPE", "amount": "1", "measured_at": "2026-11-01T00:00:00Z"},
        record("1", &future.to_rfc3339()),
        record("2", "2026-11-01T00:00:00Z"),
        {"company_id": "x", "company_external_id": "C1", "product_code": "STORAGE", "amount": "1", "measured_at": "2026-11-02T00:00:00Z"},
    ]});
    let problem = app.post("/usage", &batch).await.problem(422, "validation");
    assert_eq!(problem["errors"][0]["field"], "/records/4/company_id", "{problem}");
    let mut batch = batch;
    batch["records"].as_array_mut().unwrap().pop();
    let problem = app.post("/usage", &batch).await.problem(422, "validation");
    let fields: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        ["/records/1/company_external_id", "/records/1/product_code", "/records/2/measured_at", "/records/3"]
    );
    for (amount, code) in [(json!(1.5), "wrong_type"), (json!("-1"), "bad_value"), (json!("1e3"), "bad_value")] {
        let mut bad = record("1", "2026-11-01T00:00:00Z");
        bad["amount"] = amount;
        let problem = app.post("/usage", &json!({"records": [bad]})).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], "/records/0/amount");
        assert_eq!(problem["errors"][0]["code"], code);
    }
    app.post("/usage", &json!({"records": []})).await.problem(422, "validation");
    assert_eq!(app.all("/usage").await.len(), 0);
}

/// Two meters measured at the same moment: the same one counts in whatever order they arrive or are corrected.
async fn a_correction_does_not_change_which_source_counts(backend: Backend) {
    let (app, company, product) = set_up(backend).await;
    let of = |source: &str, amount: &str| {
        let mut record = record(amount, "2026-11-20T00:00:00Z");
        record["source"] = json!(source);
        json!({"records": [record]})
    };
    for (source, amount) in [("b", "2000"), ("a", "1000"), ("a", "1001")] {
        app.post("/usage", &of(source, amount)).await.expect(200);
        assert_eq!(app.line(&product, &company).await["usage"]["amount"], "2000", "after {source}");
    }
    app.post("/usage", &of("b", "2002")).await.expect(200);
    assert_eq!(app.line(&product, &company).await["usage"]["amount"], "2002");
}

async fn ten_thousand_records_are_one_batch(backend: Backend) {
    let (app, company, product) = set_up(backend).await;
    app.patch(
        &format!("/products/{product}"),
        &json!({"aggregation": "sum", "billing_period": "current", "rounding": "exact", "block_size": "1"}),
    )
    .await
    .expect(200);
    let at = |n: i64| (app.clock.now() - TimeDelta::seconds(n)).to_rfc3339();
    let mut records: Vec<Value> = (0..10_000).map(|n| record("0.1", &at(n))).collect();
    assert_eq!(app.post("/usage", &json!({"records": records})).await.expect(200)["added"], 10_000);
    assert_eq!(app.line(&product, &company).await["usage"]["amount"], "1000", "exact: no float was near");
    records.push(record("1", &at(20_000)));
    app.post("/usage", &json!({"records": records})).await.problem(422, "validation");
}

async fn a_months_usage_is_that_months(backend: Backend) {
    let (app, company, product) = set_up(backend).await;
    let batch = json!({"records": [record("500", "2026-10-31T23:00:00Z"), record("100", "2026-11-01T01:00:00Z")]});
    app.post("/usage", &batch).await.expect(200);
    let month = |month: &'static str| {
        let path = format!("/billing-lines?product_id={product}&company_id={company}&billing_month={month}");
        let app = &app;
        async move { app.get(&path).await.expect(200)["items"][0]["usage"].clone() }
    };
    assert_eq!(month("2026-10").await["amount"], "500");
    assert_eq!(month("2026-11").await["amount"], "100");
    assert_eq!(month("2026-09").await["amount"], json!(null));
    // In New York both were measured in October. But this month keeps the bounds with which it began.
    let schedule = json!({"enabled": false, "day_of_month": 1, "time": "02:00", "time_zone": "America/New_York"});
    let saved = app.put("/push-schedule", &schedule).await.expect(200);
    assert_eq!(month("2026-11").await["amount"], "100");
    assert_eq!(
        (&saved["current_month"], &saved["next_month"]),
        (
            &json!({"billing_month": "2026-11", "starts_at": "2026-11-01T00:00:00Z", "ends_at": "2026-12-01T00:00:00Z", "time_zone": "UTC"}),
            &json!({"billing_month": "2026-12", "starts_at": "2026-12-01T00:00:00Z", "ends_at": "2027-01-01T05:00:00Z", "time_zone": "America/New_York"})
        )
    );
}

on_both!(
    an_id_with_a_nul_is_an_unknown_id,
    vendors_ids_with_any_characters_are_found,
    the_same_record_is_taken_in_once_and_another_amount_corrects_it,
    a_batch_is_all_or_nothing_and_every_bad_record_is_named,
    a_correction_does_not_change_which_source_counts,
    ten_thousand_records_are_one_batch,
    a_months_usage_is_that_months,
);

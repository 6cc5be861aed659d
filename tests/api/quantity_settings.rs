//! The settings that change a quantity: an adjustment of the usage, a minimum and an included quantity.

use serde_json::{Value, json};

use crate::push::{quantities, ready, states};
use crate::support::{Backend, TestApp};

async fn patch(app: &TestApp, line: &str, body: Value) -> Value {
    app.patch(&format!("/billing-lines/{line}"), &body).await.expect(200)
}

/// The line has 250 GB in blocks of 100.
async fn an_adjustment_counts_before_blocks_and_is_shown_wherever_the_number_is(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    let line = app.all("/billing-lines").await[0].clone();
    let id = line["id"].as_str().unwrap();
    assert_eq!((&line["adjustment"], &line["usage"]["adjusted_amount"]), (&Value::Null, &json!("250")));
    let body = json!({"adjustment": {"amount": "-60.5", "until": "2027-03-31", "reason": "Two kiosk users"}});
    let adjusted = patch(&app, id, body.clone()).await;
    let expected = json!({"amount": "-60.5", "from": "2026-11-01", "until": "2027-03-31", "reason": "Two kiosk users"});
    assert_eq!(adjusted["adjustment"], expected);
    let usage = &adjusted["usage"];
    assert_eq!(
        (&usage["amount"], &usage["adjustment"], &usage["adjusted_amount"], &usage["blocks"], &usage["quantity"]),
        (&json!("250"), &json!("-60.5"), &json!("189.5"), &json!("2"), &json!("2"))
    );
    let again = patch(&app, id, body).await;
    assert_eq!(again["version"], adjusted["version"], "the same adjustment changes nothing");
    // It applies from the month in which it was made until the month that it names.
    for (month, quantity) in [("2026-10", Value::Null), ("2027-03", json!("2")), ("2027-04", json!("3"))] {
        let usage = app.get(&format!("/billing-lines/{id}?billing_month={month}")).await.expect(200)["usage"].clone();
        assert_eq!(usage["quantity"], quantity, "{month}: {usage}");
    }
    let (_, lines) = app.push(&json!({"product_id": product})).await;
    assert_eq!((&lines[0]["to"], &lines[0]["usage"], &lines[0]["adjustment"]), (&json!("2"), &json!("250"), &expected));
    assert_eq!(lines[1]["adjustment"], Value::Null);
    assert_eq!(quantities(&app, 2), [2.0, 3.0]);
    let ledger = app.get("/export/push-lines").await.text;
    assert!(ledger.lines().nth(1).unwrap().contains(",100,-60.5,,,1,2,pushed"), "{ledger}");
    let table = app.get("/export/billing-lines").await.text;
    assert!(table.lines().nth(1).unwrap().contains(",-60.5,2026-11-01,2027-03-31,Two kiosk users,"), "{table}");
    let unchanged = app
        .send(reqwest::Method::POST, "/import/billing-lines", &[("content-type", "text/csv")], Some(table.into_bytes()))
        .await
        .expect(200);
    assert_eq!(unchanged["changed"], 0, "what is exported is imported: {unchanged}");
    // No more than the usage is subtracted, and the end of the adjustment is a change that a push would write.
    let all = patch(&app, id, json!({"adjustment": {"amount": "-999", "reason": "A free trial"}})).await;
    assert_eq!((&all["usage"]["adjusted_amount"], &all["usage"]["quantity"]), (&json!("0"), &json!("0")));
    assert_eq!(all["adjustment"]["from"], "2026-11-01", "it stays as it was");
    assert_eq!(all["adjustment"]["until"], "2027-03-31", "so does its end");
    let endless = json!({"adjustment": {"amount": "-999", "until": null, "reason": "A free trial"}});
    assert_eq!(patch(&app, id, endless).await["adjustment"]["until"], Value::Null);
    let never = json!({"adjustment": {"amount": "-1", "until": "2026-10-31", "reason": "Before it begins"}});
    let rejected = app.patch(&format!("/billing-lines/{id}"), &never).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/adjustment/until", "{rejected}");
    let none = patch(&app, id, json!({"adjustment": null})).await;
    assert_eq!((&none["adjustment"], &none["usage"]["quantity"]), (&Value::Null, &json!("3")));
    assert_eq!(none["out_of_date"], true);
    let explained = app.get(&format!("/billing-lines/{id}")).await.expect(200);
    let change = &explained["explanation"]["changes"][0];
    assert_eq!((&change["part"], &change["old"]["reason"]), (&json!("adjustment"), &json!("A free trial")));
    assert_eq!(change["new"], Value::Null);
    let audited = app.all("/audit-log?action=billing_line.updated&sort=-at").await;
    assert_eq!(audited[0]["old"]["adjustment"]["amount"], "-999", "{}", audited[0]);
}

async fn a_minimum_is_billed_of_lines_with_usage(backend: Backend) {
    let (app, product) = ready(backend, 4).await;
    app.company("C5", "Without usage").await;
    let path = format!("/products/{product}");
    let changed = app.patch(&path, &json!({"minimum_quantity": "5"})).await.expect(200);
    assert_eq!(changed["minimum_quantity"], "5");
    let lines = app.all("/billing-lines").await;
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    patch(&app, ids[1], json!({"minimum_quantity": "2.5"})).await;
    patch(&app, ids[2], json!({"minimum_quantity": "0"})).await;
    let many = json!({"ids": [ids[3]], "minimum_quantity": "12.5"});
    assert_eq!(app.patch("/billing-lines", &many).await.expect(200)["changed"], 1);
    let shown = |line: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let usage = &line["usage"];
        (
            text(&line["minimum_quantity"]),
            text(&line["minimum_quantity_override"]),
            text(&usage["blocks"]),
            text(&usage["quantity"]),
        )
    };
    let row = |a: &str, b: &str, c: &str, d: &str| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned());
    let lines = app.all("/billing-lines").await;
    assert_eq!(
        lines.iter().map(shown).collect::<Vec<_>>(),
        [
            row("5", "-", "3", "5"),
            row("2.5", "2.5", "3", "3"),
            row("0", "0", "3", "3"),
            row("12.5", "12.5", "3", "12.5"),
            row("5", "-", "-", "-"),
        ],
        "a silent meter is not billed the minimum"
    );
    let (_, pushed) = app.push(&json!({})).await;
    assert_eq!(states(&pushed), ["pushed", "pushed", "pushed", "pushed", "skipped"]);
    assert_eq!((&pushed[0]["minimum_quantity"], &pushed[0]["to"]), (&json!("5"), &json!("5")));
    assert_eq!(quantities(&app, 4), [5.0, 3.0, 3.0, 12.5]);
    let back = patch(&app, ids[3], json!({"minimum_quantity": null})).await;
    assert_eq!((&back["usage"]["quantity"], &back["minimum_quantity_override"]), (&json!("5"), &Value::Null));
    app.put(&path, &json!({"code": "STORAGE", "name": "Storage", "unit": "GB", "block_size": "100"})).await.expect(200);
    assert_eq!(app.get(&path).await.expect(200)["minimum_quantity"], Value::Null);
    let table = "company_external_id,product_code,minimum_quantity\r\nC1,STORAGE,7\r\nC2,STORAGE,\r\n";
    let done = app
        .send(reqwest::Method::POST, "/import/billing-lines", &[("content-type", "text/csv")], Some(table.into()))
        .await
        .expect(200);
    let change = &done["items"][0]["changes"][0];
    assert_eq!(
        (&done["changed"], &change["part"], &change["new"]),
        (&json!(2), &json!("minimum_quantity"), &json!("7"))
    );
}

async fn invalid_settings_are_rejected(backend: Backend) {
    let (app, product) = ready(backend, 1).await;
    let line = app.all("/billing-lines").await[0]["id"].as_str().unwrap().to_owned();
    let adjustment = |amount: &str, from: Value, until: Value, reason: &str| json!({"adjustment": {"amount": amount, "from": from, "until": until, "reason": reason}});
    for (body, pointer) in [
        (adjustment("0", Value::Null, Value::Null, "x"), "/adjustment/amount"),
        (adjustment("2 users", Value::Null, Value::Null, "x"), "/adjustment/amount"),
        (adjustment("-2", json!("2026-12-01"), json!("2026-11-30"), "x"), "/adjustment/until"),
        (adjustment("-2", json!("0001-01-01"), Value::Null, "x"), "/adjustment/from"),
        (adjustment("-2", Value::Null, json!("2027-02-30"), "x"), "/adjustment/until"),
        (adjustment("-2", Value::Null, Value::Null, ""), "/adjustment/reason"),
        (json!({"adjustment": {"amount": "-2"}}), "/adjustment/reason"),
        (json!({"minimum_quantity": "-1"}), "/minimum_quantity"),
        (json!({"minimum_quantity": "10000000000"}), "/minimum_quantity"),
        (json!({"minimum_quantity": 3}), "/minimum_quantity"),
    ] {
        let rejected = app.patch(&format!("/billing-lines/{line}"), &body).await.expect(422);
        assert_eq!(rejected["errors"][0]["field"], pointer, "{body}: {rejected}");
    }
    let rejected = app.patch(&format!("/products/{product}"), &json!({"when_invoiced": "never"})).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/when_invoiced");
    // The sum has too many digits for a decimal: that is a problem of this line only.
    let far = json!({"adjustment": {"amount": "0.0000000000000000000000000001", "reason": "Precision"}});
    let odd = patch(&app, &line, far).await;
    assert_eq!(odd["usage"]["quantity"], Value::Null);
    assert!(odd["usage"]["problem"].as_str().unwrap().contains("digits"), "{odd}");
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!((&lines[0]["state"], &lines[0]["reason"]), (&json!("failed"), &json!("quantity")));
}

on_both!(
    a_minimum_is_billed_of_lines_with_usage,
    an_adjustment_counts_before_blocks_and_is_shown_wherever_the_number_is,
    invalid_settings_are_rejected
);

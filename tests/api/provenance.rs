//! Pushes record themselves in a custom field of the additions that they write.

use connectwise_billing::sandbox::{Fault, Kind};
use serde_json::{Value, json};

use crate::invoices::merge;
use crate::push::{quantities, ready, states};
use crate::support::{Backend, TestApp, status};

fn custom_fields(app: &TestApp, addition: i64) -> Value {
    app.sandbox
        .read(|store| store.get(Kind::Additions, addition).unwrap().get("customFields").cloned())
        .unwrap_or_default()
}

fn fields(values: [Value; 2]) -> Value {
    let [vendor, billed] = values;
    json!([
        {"id": 1, "caption": "Vendor id", "type": "Text", "entryMethod": "EntryField", "numberOfDecimals": 0, "value": vendor},
        {"id": 2, "caption": "Billed by", "type": "Text", "entryMethod": "EntryField", "numberOfDecimals": 0, "value": billed},
    ])
}

async fn a_push_records_itself_on_each_addition_it_writes(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    for c in [1, 2] {
        merge(&app, Kind::Additions, c * 100, json!({"customFields": fields([json!("v-17"), Value::Null])}));
    }
    let mut connection = app.connection();
    connection["provenance_field"] = json!("billed by");
    assert_eq!(app.put("/connection", &connection).await.expect(200)["provenance_field"], "billed by");
    assert_eq!(app.get("/connection").await.expect(200)["provenance_field"], "billed by");
    let tested = app.post("/connection/test", &json!({})).await.expect(200);
    assert!(!tested["steps"][5]["detail"].as_str().unwrap().contains("billed by"), "{tested}");
    // ConnectWise rejects the field of one of them: its quantity is written anyway.
    app.sandbox.fail(Fault::once(status(400)).on("PATCH").at("additions/200"));
    app.sandbox.clear_ledger();
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((states(&lines), quantities(&app, 3)), (vec!["pushed"; 3], vec![3.0; 3]));
    let note = format!("push {} of 2026-11-22", job["id"].as_str().unwrap());
    assert_eq!(custom_fields(&app, 100), fields([json!("v-17"), json!(note)]));
    assert_eq!(custom_fields(&app, 200), fields([json!("v-17"), Value::Null]));
    assert_eq!(custom_fields(&app, 300), Value::Null, "it has no such field");
    let ledger = app.sandbox.ledger();
    let patches = ledger.requests.iter().filter(|entry| entry.method == "PATCH").count();
    assert_eq!(patches, 4, "one for each, and the one that was rejected");
    // Only written additions get the note, and without the field's name none do.
    let (_, again) = app.push(&json!({})).await;
    assert_eq!(
        (states(&again), custom_fields(&app, 100)),
        (vec!["unchanged"; 3], fields([json!("v-17"), json!(note)]))
    );
    app.put("/connection", &app.connection()).await.expect(200);
    app.usage("C1", "STORAGE", "900").await;
    app.push(&json!({})).await;
    assert_eq!(custom_fields(&app, 100), fields([json!("v-17"), json!(note)]));
    connection["provenance_field"] = json!("Nobody has this");
    app.put("/connection", &connection).await.expect(200);
    let tested = app.post("/connection/test", &json!({})).await.expect(200);
    assert!(tested["steps"][5]["detail"].as_str().unwrap().contains("no text field \"Nobody has this\""), "{tested}");
    connection["provenance_field"] = json!("");
    app.put("/connection", &connection).await.problem(422, "validation");
}

on_both!(a_push_records_itself_on_each_addition_it_writes);

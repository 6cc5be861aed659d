//! Usage sent as CSV or as JSON lines, by the same rules as in one JSON object.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Backend, Reply, TestApp};

async fn ready(backend: Backend) -> TestApp {
    let app = TestApp::start(backend, Default::default()).await;
    app.product("STORAGE").await;
    let companies: Vec<Value> =
        (1..=3).map(|n| json!({"external_id": format!("C{n}"), "name": format!("Company {n}")})).collect();
    app.post("/companies/batch", &json!({"companies": companies})).await.expect(200);
    app
}

async fn send(app: &TestApp, query: &str, kind: &str, body: &str) -> Reply {
    app.send(Method::POST, &format!("/usage{query}"), &[("content-type", kind)], Some(body.as_bytes().to_vec())).await
}

/// The field and the code of each error.
fn fields(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().unwrap().iter();
    errors.map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap())).collect()
}

async fn json_lines_are_records(backend: Backend) {
    let app = ready(backend).await;
    let line = |n: u32, amount: &str| {
        json!({"company_external_id": format!("C{n}"), "product_code": "STORAGE", "amount": amount,
            "measured_at": "2026-11-21T00:00:00Z"})
        .to_string()
    };
    let body = format!("{}\r\n\n{}\n", line(1, "1.5"), line(2, "2"));
    let added = send(&app, "", "application/x-ndjson", &body).await.expect(200);
    assert_eq!((&added["records"], &added["added"]), (&json!(2), &json!(2)));
    let again = format!("{}\n{}", line(1, "1.50"), line(2, "3"));
    let again = send(&app, "", "application/jsonl", &again).await.expect(200);
    assert_eq!((&again["duplicates"], &again["corrected"]), (&json!(1), &json!(1)));
    let bad = format!("{}\n{}\n{}", line(1, "x"), line(9, "1"), "{\"amount\": 1}");
    let bad = send(&app, "", "application/x-ndjson", &bad).await.expect(422);
    assert_eq!(fields(&bad), [("/1/amount", "bad_value"), ("/3/amount", "wrong_type"), ("/3/measured_at", "required")]);
    let unknown = send(&app, "", "application/x-ndjson", &format!("\n{}", line(9, "1"))).await.expect(422);
    assert_eq!(fields(&unknown), [("/2/company_external_id", "not_found")]);
    send(&app, "", "application/x-ndjson", "{\"amount\"").await.expect(400);
    send(&app, "", "application/x-ndjson", "\n\n").await.expect(422);
}

async fn a_vendors_table_goes_in_as_it_is(backend: Backend) {
    let app = ready(backend).await;
    let invoice = "\u{feff}Invoice;Customer No;Customer;Qty;Period end\r\n\
        4711;C1;\"Company; 1\";12.5;2026-11-21\r\n4711;C2;Company 2;7;2026-11-21\r\n";
    let query = "?delimiter=semicolon&company_column=customer%20no&amount_column=Qty&measured_at_column=Period%20end\
        &product_code=STORAGE&source=invoice-4711";
    let added = send(&app, query, "text/csv", invoice).await.expect(200);
    assert_eq!((&added["records"], &added["added"]), (&json!(2), &json!(2)));
    let stored = app.all("/usage").await;
    assert_eq!(
        (&stored[0]["amount"], &stored[0]["source"], &stored[0]["measured_at"]),
        (&json!("12.5"), &json!("invoice-4711"), &json!("2026-11-21T00:00:00Z"))
    );
    let again = send(&app, query, "text/csv", invoice).await.expect(200);
    assert_eq!(again["duplicates"], 2, "the same file changes nothing");
    let missing = send(&app, "?company_column=Kunde", "text/csv", "a,amount,measured_at\n1,2,3\n").await.expect(422);
    assert_eq!(fields(&missing), [("/1/Kunde", "missing_column"), ("/1/product_code", "missing_column")]);
    let table = "company_external_id,product_code,amount,measured_at\r\nC1,STORAGE,1,2026-11-21\r\n\
        C9,STORAGE,1,2026-11-21\r\n,STORAGE,1;5,yesterday\r\n";
    let bad = send(&app, "", "text/csv", table).await.expect(422);
    assert_eq!(
        fields(&bad),
        [("/4/company_external_id", "required"), ("/4/amount", "bad_value"), ("/4/measured_at", "bad_value")]
    );
    let unknown = table.replace(",STORAGE,1;5,yesterday\r\n", "");
    let unknown = send(&app, "", "text/csv", &unknown).await.expect(422);
    assert_eq!(fields(&unknown), [("/3/company_external_id", "not_found")]);
    // A quote that is not closed would swallow the rows after it.
    let head = "company_external_id,product_code,amount,measured_at,note\n";
    for (rows, line) in [
        ("C1,STORAGE,5,2026-11-21,\"12 inch\nC2,STORAGE,7,2026-11-21,x\n", "/2"),
        ("C1,STORAGE,5,2026-11-21,x\nC2,STORAGE,5,2026-11-21,\"12 inch\nC3,STORAGE,7,2026-11-21,\"14 inch\n", "/3"),
    ] {
        let rejected = send(&app, "", "text/csv", &format!("{head}{rows}")).await.expect(422);
        assert_eq!(fields(&rejected), [(line, "bad_csv")]);
    }
    let quoted = format!("{head}C1,STORAGE,5,2026-11-20,\"a \"\"b\"\",\nc\"\r\n\"C2\",STORAGE,7,2026-11-20,6\" disk");
    assert_eq!(send(&app, "", "text/csv", &quoted).await.expect(200)["added"], 2);
    send(&app, "?product_code=STORAGE&product_column=x", "text/csv", table).await.expect(422);
    send(&app, "?source=nightly", "application/x-ndjson", "{}").await.expect(422);
    for day in ["1999-12-31", "2200-01-01", "+262142-12-31", "-262143-01-01", "2026-02-30"] {
        let table = format!("company_external_id,product_code,amount,measured_at\nC1,STORAGE,1,{day}\n");
        let rejected = send(&app, "", "text/csv", &table).await.expect(422);
        assert_eq!(fields(&rejected), [("/2/measured_at", "bad_value")], "{day}");
    }
    let early = "company_external_id,product_code,amount,measured_at\nC1,STORAGE,1,2000-01-01\n";
    assert_eq!(fields(&send(&app, "", "text/csv", early).await.expect(422)), [("/2/measured_at", "out_of_range")]);
    let late = early.replace("2000-01-01", "2199-12-31");
    assert_eq!(fields(&send(&app, "", "text/csv", &late).await.expect(422)), [("/2/measured_at", "out_of_range")]);
    send(&app, "", "text/plain", table).await.expect(415);
    assert_eq!(app.all("/usage").await.len(), 4, "a batch with an error adds nothing");
}

/// The first of a month begins when the tenant's month does: otherwise it would be billed in the previous month.
async fn a_day_begins_in_the_tenants_time_zone(backend: Backend) {
    let app = ready(backend).await;
    let schedule = json!({"enabled": false, "day_of_month": 1, "time": "03:00", "time_zone": "America/New_York"});
    app.put("/push-schedule", &schedule).await.expect(200);
    // A new time zone applies from the next month on.
    app.clock.advance(chrono::TimeDelta::days(70));
    let first = (app.clock.now().date_naive().format("%Y-%m")).to_string() + "-01";
    let table = format!("company_external_id,product_code,amount,measured_at\nC1,STORAGE,5,{first}\n");
    send(&app, "", "text/csv", &table).await.expect(200);
    let stored = app.all("/usage").await;
    let at: chrono::DateTime<chrono::Utc> = stored[0]["measured_at"].as_str().unwrap().parse().unwrap();
    let month = app.get("/push-schedule").await.expect(200);
    let begins: chrono::DateTime<chrono::Utc> = month["current_month"]["starts_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(at, begins, "{month}");
}

/// A batch of the maximum size costs few statements, and so do corrections.
async fn corrections_cost_what_they_bring(backend: Backend) {
    let app = ready(backend).await;
    let table = |amount: u32| {
        let row = |n: u32| format!("C{},STORAGE,{amount},2026-11-21T{:02}:{:02}:00Z\n", n % 3 + 1, n / 180, n / 3 % 60);
        "company_external_id,product_code,amount,measured_at\n".to_owned() + &(0..2_000).map(row).collect::<String>()
    };
    let added = send(&app, "", "text/csv", &table(1)).await.expect(200);
    assert_eq!(added["added"], 2_000);
    let before = app.worker.database_counts();
    let corrected = send(&app, "", "text/csv", &table(2)).await.expect(200);
    let after = app.worker.database_counts();
    assert_eq!(corrected["corrected"], 2_000);
    assert!(after.0 - before.0 < 60, "{} statements", after.0 - before.0);
}

on_both!(
    json_lines_are_records,
    a_vendors_table_goes_in_as_it_is,
    a_day_begins_in_the_tenants_time_zone,
    corrections_cost_what_they_bring,
);

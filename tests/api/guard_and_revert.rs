//! Pushes without surprises: the guard, jobs from a dry run, reverts, history, late usage.

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Kind, Store, sample};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

/// Companies whose storage addition has the given quantity.
fn store(quantities: &[f64]) -> Store {
    let mut store = Store::default();
    for (c, quantity) in (1..).zip(quantities) {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c * 100, c * 10, "BKP-GB", "Storage", *quantity));
    }
    store
}

/// One enabled line for each company, with 1,000 GB in blocks of 100: 10 units.
async fn ready(backend: Backend, quantities: &[f64]) -> (TestApp, String, Vec<String>) {
    let app = TestApp::connected(backend, store(quantities)).await;
    let mut companies = Vec::new();
    for c in 1..=quantities.len() {
        companies.push(app.company(&format!("C{c}"), &format!("Company {c}")).await);
    }
    let product = app.product("STORAGE").await;
    app.rule(&product, "agreement", r#"name = "Backup""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    for c in 1..=quantities.len() {
        app.usage(&format!("C{c}"), "STORAGE", "1000").await;
    }
    let ids: Vec<Value> = app.all("/billing-lines").await.iter().map(|line| line["id"].clone()).collect();
    app.patch("/billing-lines", &json!({"ids": ids, "push_enabled": true})).await.expect(200);
    app.sandbox.clear_ledger();
    (app, product, companies)
}

fn has(app: &TestApp, addition: i64) -> f64 {
    app.sandbox.read(|store| store.quantity(addition).unwrap())
}

fn set(app: &TestApp, addition: i64, quantity: f64) {
    let members = json!({"quantity": quantity});
    app.sandbox.change(|store| store.merge(Kind::Additions, addition, members.as_object().unwrap().clone()));
}

fn outcomes(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line["state"].as_str().unwrap(), line["reason"].as_str().unwrap_or("-"))).collect()
}

async fn finished(app: &TestApp, job: &Value) -> (Value, Vec<Value>) {
    app.worker.run_until_idle().await.unwrap();
    let path = format!("/push-jobs/{}", job["id"].as_str().unwrap());
    (app.get(&path).await.expect(200), app.all(&format!("{path}/lines")).await)
}

async fn a_large_change_is_held_until_a_person_decides(backend: Backend) {
    let (app, product, _) = ready(backend, &[9.0, 5.0, 1.0, 0.0]).await;
    let limits = json!({"max_change_percent": "50", "max_change_units": "8"});
    let saved = app.patch(&format!("/products/{product}"), &limits).await.expect(200);
    assert_eq!((&saved["max_change_percent"], &saved["max_change_units"]), (&json!("50"), &json!("8")));
    let (dry, lines) = app.push(&json!({"dry_run": true})).await;
    assert_eq!(
        outcomes(&lines),
        [("would_push", "-"), ("would_push", "guard"), ("would_push", "guard"), ("would_push", "guard")],
        "{dry}"
    );
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!(outcomes(&lines), [("pushed", "-"), ("held", "guard"), ("held", "guard"), ("held", "guard")]);
    assert_eq!((&job["state"], &job["lines"]["held"]), (&json!("waiting_for_approval"), &json!(3)));
    assert_eq!((&job["finished_at"], &job["lines"]["done"]), (&Value::Null, &json!(1)), "it is not over");
    assert_eq!(lines[1]["finished_at"], Value::Null, "nor is the line");
    assert!(lines[1]["detail"].as_str().unwrap().contains("from 5 to 10 is larger than 50 %"), "{}", lines[1]);
    assert!(lines[2]["detail"].as_str().unwrap().contains("larger than 8 units"), "{}", lines[2]);
    assert_eq!(app.sandbox.ledger().writes.len(), 1);
    let path = format!("/push-jobs/{}", job["id"].as_str().unwrap());
    let (approve, drop) = (format!("{path}/lines/approve"), format!("{path}/lines/drop"));
    let chosen = json!({"push_line_ids": [lines[1]["id"], lines[2]["id"]]});
    // The change from 5 to 10 was approved. Meanwhile somebody changes the quantity.
    let reopened = app.post(&approve, &chosen).await.expect(200);
    assert_eq!((&reopened["state"], &reopened["lines"]["pending"]), (&json!("running"), &json!(2)));
    set(&app, 200, 4.0);
    let (job, lines) = finished(&app, &job).await;
    assert_eq!(outcomes(&lines), [("pushed", "-"), ("held", "guard"), ("pushed", "-"), ("held", "guard")]);
    assert_eq!((lines[2]["decided_by"].as_str(), &lines[1]["from"]), (Some("first key"), &json!("4")));
    assert_eq!((has(&app, 200), has(&app, 300)), (4.0, 10.0));
    assert_eq!((&job["state"], &job["lines"]["done"]), (&json!("waiting_for_approval"), &json!(2)));
    app.post(&approve, &json!({"push_line_ids": [lines[0]["id"]]})).await.problem(422, "validation");
    app.post(&approve, &json!({"push_line_ids": [lines[1]["id"]]})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let ended = app.post(&drop, &json!({})).await.expect(200);
    assert_eq!((&ended["state"], &ended["lines"]["held"]), (&json!("succeeded"), &json!(0)), "{ended}");
    assert_eq!((has(&app, 200), has(&app, 400)), (10.0, 0.0));
    let (_, lines) = finished(&app, &job).await;
    assert_eq!(outcomes(&lines)[3], ("skipped", "dropped"));
    assert!(app.all("/billing-lines?last_push_state=held").await.is_empty(), "nothing is left to decide");
    app.post(&drop, &json!({})).await.problem(409, "nothing_held");
    let cleared = app.patch(&format!("/products/{product}"), &json!({"max_change_percent": null})).await.expect(200);
    assert_eq!((&cleared["max_change_percent"], &cleared["max_change_units"]), (&Value::Null, &json!("8")));
}

async fn what_a_dry_run_showed_is_pushed_and_nothing_else(backend: Backend) {
    let (app, _, _) = ready(backend, &[1.0, 2.0, 10.0, 4.0]).await;
    let (dry, _) = app.push(&json!({"dry_run": true})).await;
    let id = dry["id"].as_str().unwrap();
    // After the dry run: new usage, and an edit in ConnectWise.
    app.usage("C1", "STORAGE", "5000").await;
    set(&app, 200, 3.0);
    let rejected = json!({"from_dry_run": id, "dry_run": true});
    app.post("/push-jobs", &rejected).await.problem(422, "validation");
    let job = app.post("/push-jobs", &json!({"from_dry_run": id})).await.expect(202);
    assert_eq!((&job["trigger"], &job["parent_job_id"]), (&json!("dry_run"), &dry["id"]));
    let (job, lines) = finished(&app, &job).await;
    assert_eq!(outcomes(&lines), [("pushed", "-"), ("failed", "changed_since"), ("pushed", "-")]);
    assert_eq!((has(&app, 100), has(&app, 200), has(&app, 400)), (10.0, 3.0, 10.0), "as shown, not as measured since");
    assert_eq!(app.sandbox.ledger().writes.len(), 2);
    assert!(lines[1]["detail"].as_str().unwrap().contains("now has 3 instead of the expected 2"), "{}", lines[1]);
    let retry = format!("/push-jobs/{}/retry", job["id"].as_str().unwrap());
    let rejected = app.post(&retry, &json!({})).await.problem(409, "nothing_to_retry");
    assert!(rejected["detail"].as_str().unwrap().contains("no longer has the quantity"), "{rejected}");
    let again = app.post("/push-jobs", &json!({"from_dry_run": id})).await.expect(202);
    let (_, lines) = finished(&app, &again).await;
    assert_eq!(outcomes(&lines), [("failed", "changed_since")], "what was written is that job's");
    let of_push = json!({"from_dry_run": job["id"]});
    app.post("/push-jobs", &of_push).await.problem(409, "not_a_dry_run");
    app.post("/push-jobs", &json!({"from_dry_run": "x"})).await.problem(422, "validation");
}

async fn a_revert_puts_back_what_is_still_ours(backend: Backend) {
    let (app, product, _) = ready(backend, &[1.0, 2.0, 10.0]).await;
    let (job, _) = app.push(&json!({})).await;
    assert_eq!((has(&app, 100), has(&app, 200)), (10.0, 10.0));
    let path = format!("/push-jobs/{}/revert", job["id"].as_str().unwrap());
    set(&app, 200, 11.0);
    // A guard, a disabled line or another mapping does not prevent a revert.
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "0"})).await.expect(200);
    let line = app.all("/billing-lines?sort=company_external_id").await[0]["id"].clone();
    app.patch(&format!("/billing-lines/{}", line.as_str().unwrap()), &json!({"push_enabled": false})).await.expect(200);
    let key = [("content-type", "application/json"), ("idempotency-key", "revert-1")];
    let revert = || app.send(reqwest::Method::POST, &path, &key, Some(b"{}".to_vec()));
    let reverting = revert().await.expect(202);
    assert_eq!((&reverting["trigger"], &reverting["lines"]["total"]), (&json!("revert"), &json!(2)));
    let (reverting, lines) = finished(&app, &reverting).await;
    assert_eq!(outcomes(&lines), [("pushed", "-"), ("failed", "changed_since")]);
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!("10"), &json!("1")));
    assert_eq!((has(&app, 100), has(&app, 200), has(&app, 300)), (1.0, 11.0, 10.0));
    assert_eq!(revert().await.expect(202)["id"], reverting["id"], "under its key it is done once");
    let (dry, _) = app.push(&json!({"dry_run": true})).await;
    let path = format!("/push-jobs/{}/revert", dry["id"].as_str().unwrap());
    app.post(&path, &json!({})).await.problem(409, "nothing_to_revert");
}

async fn a_retry_of_a_revert_still_puts_back(backend: Backend) {
    let (app, _, _) = ready(backend, &[1.0]).await;
    let (job, _) = app.push(&json!({})).await;
    app.sandbox.change(|store| store.reject(100, "its period was invoiced"));
    let path = |job: &Value, what: &str| format!("/push-jobs/{}/{what}", job["id"].as_str().unwrap());
    let reverting = app.post(&path(&job, "revert"), &json!({})).await.expect(202);
    let (reverting, lines) = finished(&app, &reverting).await;
    assert_eq!(outcomes(&lines), [("failed", "rejected")]);
    app.usage("C1", "STORAGE", "9000").await;
    app.sandbox.change(|store| {
        *store = self::store(&[10.0]);
    });
    let retry = app.post(&path(&reverting, "retry"), &json!({})).await.expect(202);
    assert_eq!(retry["trigger"], "revert");
    let (_, lines) = finished(&app, &retry).await;
    assert_eq!((outcomes(&lines), has(&app, 100)), (vec![("pushed", "-")], 1.0), "not today's usage");
    // A later month found the same quantity correct: it now belongs to that month.
    set(&app, 100, 80.0);
    let (older, _) = app.push(&json!({})).await;
    app.clock.advance(chrono::TimeDelta::days(10));
    let (newer, lines) = app.push(&json!({})).await;
    assert_eq!((&newer["lines"]["unchanged"], &lines[0]["billing_month"]), (&json!(1), &json!("2026-12")));
    let rejected = app.post(&path(&older, "revert"), &json!({})).await.problem(409, "nothing_to_revert");
    assert!(
        rejected["detail"].as_str().unwrap().contains(newer["id"].as_str().unwrap()),
        "it names the job: {rejected}"
    );
    // Another ConnectWise has other quantities under the same ids.
    app.delete("/connection").await.expect(204);
    app.clock.advance(chrono::TimeDelta::minutes(1));
    app.connect().await;
    app.post(&path(&job, "revert"), &json!({})).await.problem(409, "connection_changed");
}

async fn a_dry_run_of_a_null_quantity_overwrites_nothing(backend: Backend) {
    let (app, _, _) = ready(backend, &[1.0]).await;
    let quantity = |value: Value| {
        let members = json!({"quantity": value});
        app.sandbox.change(|store| store.merge(Kind::Additions, 100, members.as_object().unwrap().clone()));
    };
    quantity(Value::Null);
    let (dry, lines) = app.push(&json!({"dry_run": true})).await;
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&Value::Null, &json!("10")));
    quantity(json!(50.0));
    let job = app.post("/push-jobs", &json!({"from_dry_run": dry["id"]})).await.expect(202);
    let (_, lines) = finished(&app, &job).await;
    assert_eq!((outcomes(&lines), has(&app, 100)), (vec![("failed", "changed_since")], 50.0));
}

async fn history_is_found_across_jobs(backend: Backend) {
    let (app, product, companies) = ready(backend, &[1.0, 2.0]).await;
    let other = app.product("OTHER").await;
    let (first, _) = app.push(&json!({"product_id": product})).await;
    app.clock.advance(chrono::TimeDelta::hours(2));
    app.usage("C1", "STORAGE", "2000").await;
    let (second, _) = app.push(&json!({"company_ids": [companies[0]]})).await;
    let ids = |rows: &[Value]| -> Vec<String> { rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect() };
    let (one, two) = (first["id"].as_str().unwrap().to_owned(), second["id"].as_str().unwrap().to_owned());
    let app_ref = &app;
    let jobs = |query: String| async move { ids(&app_ref.all(&format!("/push-jobs?{query}")).await) };
    assert_eq!(jobs(format!("company_id={}", companies[0])).await, [two.clone(), one.clone()]);
    assert_eq!(jobs(format!("company_id={}", companies[1])).await.join(" "), one);
    assert_eq!(jobs(format!("product_id={other}")).await.join(" "), two, "a job for all products also has it");
    assert_eq!(jobs("from=2026-11-22T13:00:00Z".to_owned()).await.join(" "), two);
    assert_eq!(jobs("to=2026-11-22T13:00:00Z&trigger=manual".to_owned()).await.join(" "), one);
    let history = app.all(&format!("/push-lines?company_id={}&state=pushed&limit=1", companies[0])).await;
    let told: Vec<(&str, &str)> =
        history.iter().map(|l| (l["from"].as_str().unwrap(), l["to"].as_str().unwrap())).collect();
    assert_eq!(told, [("10", "20"), ("1", "10")], "newest first");
    assert_eq!((&history[0]["push_job"]["id"], &history[0]["billing_month"]), (&json!(two), &json!("2026-11")));
    let table = app.get(&format!("/export/push-lines?push_job_id={one}")).await;
    assert_eq!(table.status, 200);
    let rows: Vec<&str> = table.text.lines().collect();
    assert!(rows[0].starts_with("push_job_id,billing_month,month_closed,kind,"), "{}", rows[0]);
    assert!(rows[1].starts_with(&format!("{one},2026-11,false,push,manual,first key,")), "{}", rows[1]);
    let billed = ",Company 1,STORAGE,10,Backup,100,BKP-GB (Storage),1000,2026-11-22T12:00:00Z,1,100,,,,1,10,pushed,,,";
    assert!(rows[1].contains(billed), "{}", rows[1]);
    assert_eq!(rows.len(), 3);
    let lines = app.all(&format!("/push-jobs/{two}/lines?product_id={other}&reason=disabled")).await;
    assert_eq!(lines.len(), 1);
}

async fn usage_of_a_pushed_month_is_flagged(backend: Backend) {
    let (app, _, _) = ready(backend, &[1.0, 2.0]).await;
    assert!(app.all("/usage?late=true").await.is_empty());
    app.push(&json!({"dry_run": true})).await;
    let record = |company: &str, at: &str, amount: &str| json!({"records": [{"company_external_id": company, "product_code": "STORAGE", "amount": amount, "measured_at": at}]});
    let taken = app.post("/usage", &record("C1", "2026-11-20T00:00:00Z", "1")).await.expect(200);
    assert_eq!(taken["late"], 0, "a dry run pushes nothing");
    app.push(&json!({"product_id": app.all("/products").await[0]["id"]})).await;
    let taken = app.post("/usage", &record("C1", "2026-11-21T00:00:00Z", "7")).await.expect(200);
    assert_eq!((&taken["added"], &taken["late"]), (&json!(1), &json!(1)));
    let corrected = app.post("/usage", &record("C1", "2026-11-20T00:00:00Z", "2")).await.expect(200);
    assert_eq!((&corrected["corrected"], &corrected["late"]), (&json!(1), &json!(1)));
    let before = app.post("/usage", &record("C1", "2026-10-30T00:00:00Z", "2")).await.expect(200);
    assert_eq!(before["late"], 0, "that month was not pushed");
    let late = app.all("/usage?late=true").await;
    assert_eq!(late.iter().map(|r| r["amount"].as_str().unwrap()).collect::<Vec<_>>(), ["7", "2"]);
    assert_eq!(app.all("/usage?late=false").await.len(), 4);
}

/// A replica whose clock was ahead stored a job: a job stored after it is still the later one.
async fn a_fast_clock_does_not_block_later_pushes(backend: Backend) {
    let (app, ..) = ready(backend, &[1.0]).await;
    let (job, _) = app.push(&json!({})).await;
    assert_eq!(job["lines"]["pushed"], 1);
    let ahead = uuid::Timestamp::from_unix(uuid::NoContext, Clock::system().now().timestamp() as u64 + 3_600, 0);
    let moved = format!("UPDATE push_lines SET id = '{}'", uuid::Uuid::new_v7(ahead));
    match backend {
        Backend::Sqlite => {
            let path = app.database_url().strip_prefix("sqlite:").unwrap();
            SqliteConnection::establish(path).unwrap().batch_execute(&moved).unwrap();
        }
        Backend::Postgres => PgConnection::establish(app.database_url()).unwrap().batch_execute(&moved).unwrap(),
    }
    app.usage("C1", "STORAGE", "2000").await;
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["lines"]["pushed"], &lines[0]["to"]), (&json!(1), &json!("20")), "{lines:?}");
    assert_eq!(app.sandbox.read(|store| store.quantity(100)), Some(20.0));
}

on_both!(
    a_fast_clock_does_not_block_later_pushes,
    a_large_change_is_held_until_a_person_decides,
    what_a_dry_run_showed_is_pushed_and_nothing_else,
    a_revert_puts_back_what_is_still_ours,
    a_retry_of_a_revert_still_puts_back,
    a_dry_run_of_a_null_quantity_overwrites_nothing,
    history_is_found_across_jobs,
    usage_of_a_pushed_month_is_flagged,
);

//! The push schedule: stored, validated, and run once a month.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Kind, sample};
use reqwest::Method;
use serde_json::{Value, json};

use crate::invoices::merge;
use crate::push::ready;
use crate::support::{Backend, TestApp, execute};

async fn a_schedule_is_stored_and_returns_its_next_runs(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let before = app.get("/push-schedule").await;
    assert_eq!(before.version(), "0");
    assert_eq!(before.expect(200)["enabled"], false);
    let body = json!({"enabled": true, "day_of_month": 31, "time": "02:30", "time_zone": "Europe/Berlin"});
    let saved = app.put("/push-schedule", &body).await.expect(200);
    assert_eq!(
        saved["next_runs"],
        json!([
            "2026-11-30T01:30:00Z",
            "2026-12-31T01:30:00Z",
            "2027-01-31T01:30:00Z",
            "2027-02-28T01:30:00Z",
            "2027-03-31T00:30:00Z"
        ])
    );
    assert_eq!(app.get("/push-schedule").await.expect(200), saved);
    let headers = [("if-match", "\"0\""), ("content-type", "application/json")];
    let reply = app.send(Method::PUT, "/push-schedule", &headers, Some(serde_json::to_vec(&body).unwrap())).await;
    reply.problem(412, "version_mismatch");
}

async fn bad_schedules_are_rejected(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let good = json!({"enabled": true, "day_of_month": 1, "time": "02:00", "time_zone": "UTC"});
    for (field, value) in [
        ("day_of_month", json!(0)),
        ("day_of_month", json!(32)),
        ("day_of_month", json!(1.5)),
        ("day_of_month", json!("1")),
        ("time", json!("2:00")),
        ("time", json!("24:00")),
        ("time", json!("02:00:00")),
        ("time_zone", json!("Mars/Olympus")),
        ("time_zone", json!("")),
        ("enabled", json!("yes")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let problem = app.put("/push-schedule", &body).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], format!("/{field}"), "{problem}");
    }
    assert_eq!(app.get("/push-schedule").await.expect(200)["version"], 0, "nothing was saved");
}

fn schedule(day: u32, time: &str, zone: &str) -> Value {
    json!({"enabled": true, "day_of_month": day, "time": time, "time_zone": zone})
}

/// A tenant with one line that is pushed.
async fn scheduled(backend: Backend, body: &Value) -> TestApp {
    let app = TestApp::connected(backend, connectwise_billing::sandbox::sample::many(1, 1, 1)).await;
    app.company("C1", "Customer").await;
    app.product("P").await;
    app.put("/push-schedule", body).await.expect(200);
    app
}

/// The one month that a job bills.
fn month(job: &Value) -> &str {
    assert_eq!(job["billing_months"].as_array().unwrap().len(), 1, "{job}");
    job["billing_months"][0].as_str().unwrap()
}

async fn jobs(app: &TestApp) -> Vec<Value> {
    app.all("/push-jobs?sort=created_at&limit=500").await
}

async fn it_pushes_once_a_month_for_years_in_many_zones(backend: Backend) {
    let zones = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"];
    for (zone, day) in zones.into_iter().zip([31, 1, 29, 15, 30, 31]) {
        let app = scheduled(backend, &schedule(day, "02:30", zone)).await;
        // 36 months in steps of 17 hours, with an occasional step back.
        for step in 0..1_546 {
            app.clock.advance(TimeDelta::hours(if step % 50 == 49 { -30 } else { 17 }));
            app.worker.fire_schedules().await.unwrap();
        }
        let found = jobs(&app).await;
        let months: Vec<&str> = found.iter().map(month).collect();
        let mut distinct = months.clone();
        distinct.dedup();
        assert_eq!(months, distinct, "{zone}");
        let elapsed = (app.clock.now() - crate::support::start_of_test()).num_days();
        let expected = usize::try_from(elapsed / 30).unwrap();
        assert!(months.len() + 2 >= expected && months.len() <= expected + 1, "{zone}: {} of {expected}", months.len());
        assert!(found.iter().all(|job| job["trigger"] == "schedule" && job["requested_by"] == "schedule"));
    }
}

async fn it_never_pushes_retroactively_and_makes_up_for_an_outage_once(backend: Backend) {
    // It is noon on the 22nd: the 20th has passed, and so has this morning.
    let app = scheduled(backend, &schedule(20, "02:00", "UTC")).await;
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    app.put("/push-schedule", &schedule(22, "11:59", "UTC")).await.expect(200);
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    app.put("/push-schedule", &schedule(22, "12:01", "UTC")).await.expect(200);
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "once");
    app.put("/push-schedule", &schedule(25, "12:00", "UTC")).await.expect(200);
    app.clock.advance(TimeDelta::days(4));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "another day of a month that was pushed");
    // After an outage of five days over the due day, the run is made up. After ten days, it is too late.
    app.clock.advance(TimeDelta::days(34));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
    app.clock.advance(TimeDelta::days(36));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    let found = jobs(&app).await;
    let months: Vec<&str> = found.iter().map(month).collect();
    assert_eq!(months, ["2026-11", "2026-12"]);
    app.put("/push-schedule", &json!({"enabled": false, "day_of_month": 1, "time": "00:00", "time_zone": "UTC"}))
        .await
        .expect(200);
    app.clock.advance(TimeDelta::days(20));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "disabled");
}

async fn a_tenant_that_cannot_push_holds_up_no_other_and_is_tried_again(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.put("/push-schedule", &schedule(23, "00:00", "UTC")).await.expect(200);
    app.clock.advance(TimeDelta::days(1));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "not connected");
    app.connect().await;
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
}

/// A damaged schedule must not look like one that was never set: a month would be silently left out.
async fn a_schedule_that_cannot_be_read_is_an_error_until_it_is_set_again(backend: Backend) {
    let app = scheduled(backend, &schedule(25, "00:00", "UTC")).await;
    let damage = "UPDATE push_schedules SET time_zone = 'Mars/Olympus'";
    assert_eq!(execute(app.database_url(), damage), 1);
    assert_eq!(app.get("/push-schedule").await.status, 500);
    assert_eq!(app.put("/push-schedule", &schedule(25, "00:00", "UTC")).await.expect(200)["version"], 2);
    app.clock.advance(TimeDelta::days(4));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
}

async fn a_billing_time_zone_that_cannot_be_read_is_an_error(backend: Backend) {
    let app = scheduled(backend, &schedule(25, "00:00", "UTC")).await;
    assert_eq!(execute(app.database_url(), "UPDATE billing_time_zones SET time_zone = 'Mars/Olympus'"), 1);
    app.clock.advance(TimeDelta::days(4));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    assert_eq!(app.post("/push-jobs", &json!({})).await.status, 500, "no month has wrong bounds unseen");
}

async fn a_schedule_is_shown_before_it_is_saved(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let new = json!({"enabled": true, "day_of_month": 31, "time": "02:30", "time_zone": "America/New_York"});
    let before = app.get("/push-schedule").await.expect(200);
    let shown = app.put("/push-schedule?dry_run=true", &new).await.expect(200);
    assert_eq!(app.get("/push-schedule").await.expect(200), before, "nothing is saved");
    let saved = app.put("/push-schedule", &new).await.expect(200);
    assert_eq!(shown, saved, "what is shown is what is saved");
    app.put(
        "/push-schedule?dry_run=true",
        &json!({"enabled": true, "day_of_month": 32, "time": "2", "time_zone": "x"}),
    )
    .await
    .problem(422, "validation");
    assert_eq!(app.all("/audit-log?action=push_schedule.set").await.len(), 1);
}

/// Agreements are pushed three days before their own invoice, children with their parent, once for each invoice;
/// agreements without a date on the day of the month.
async fn agreements_are_pushed_before_their_own_invoices(backend: Backend) {
    let (app, _) = ready(backend, 8).await;
    let merge = |kind, id, members: Value| merge(&app, kind, id, members);
    // It is noon on 22 November. 1 and 2 are invoiced on 1 December, 3 on the 15th, 4 with its parent on the 5th; 5 has
    // no known date, 6 was due before the schedule was set, the invoice of 7 is overdue, and 8 is cancelled.
    for (agreement, date) in [
        (10, "2026-12-01"),
        (20, "2026-12-01"),
        (30, "2026-12-15"),
        (40, "2027-06-01"),
        (60, "2026-11-24"),
        (70, "2026-08-01"),
        (80, "2026-12-01"),
    ] {
        merge(Kind::Agreements, agreement, json!({"nextInvoiceDate": date}));
    }
    merge(Kind::Agreements, 50, json!({"nextInvoiceDate": null}));
    merge(Kind::Agreements, 80, json!({"cancelledFlag": true}));
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(900, 4, "Everything", (3, "Managed Services")));
    });
    merge(Kind::Agreements, 900, json!({"nextInvoiceDate": "2026-12-05"}));
    merge(Kind::Agreements, 40, json!({"parentAgreement": {"id": 900}}));
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let mut body = schedule(28, "02:00", "UTC");
    body["days_before_invoice"] = json!(3);
    let saved = app.put("/push-schedule", &body).await.expect(200);
    assert_eq!(saved["days_before_invoice"], 3);
    assert_eq!(
        saved["next_invoice_runs"],
        json!([
            {"at": "2026-11-28T02:00:00Z", "invoice_on": "2026-12-01", "agreements": 2},
            {"at": "2026-12-02T02:00:00Z", "invoice_on": "2026-12-05", "agreements": 1},
            {"at": "2026-12-12T02:00:00Z", "invoice_on": "2026-12-15", "agreements": 1},
        ])
    );
    let again = app.put("/push-schedule", &body).await.expect(200);
    assert_eq!(again["version"], saved["version"]);
    // SQLite has one process.
    let replica = if backend == Backend::Postgres { Some(app.replica(|_| {}).await) } else { None };
    let mut runs = Vec::new();
    for hours in 0..24 * 24 {
        app.clock.advance(TimeDelta::hours(1));
        for app in std::iter::once(&app).chain(&replica) {
            while app.worker.fire_schedules().await.unwrap() > 0 {
                app.worker.run_until_idle().await.unwrap();
                let newest = app.get("/push-jobs?limit=1").await.expect(200)["items"][0].clone();
                let (_, lines) = app.job_and_lines(&newest).await;
                let companies: Vec<&str> = lines.iter().map(|line| line["company_name"].as_str().unwrap()).collect();
                let at = app.clock.now().format("%d %H").to_string();
                let month = lines[0]["billing_month"].as_str().unwrap();
                runs.push(format!("{at}: {} of {month}", companies.join(", ")));
            }
        }
        if hours == 24 * 8 {
            // Nobody pushed by hand, and the dates are read once a day.
            let read = |app: &TestApp| app.sandbox.ledger().requests.len();
            let before = read(&app);
            app.worker.hourly_tasks().await;
            assert!(read(&app) > before);
        }
    }
    assert_eq!(
        runs,
        [
            // The day of the month is checked first.
            "28 02: Company 5, Company 7, Company 8 of 2026-11",
            "28 02: Company 1, Company 2 of 2026-11",
            "02 02: Company 4 of 2026-12",
            "12 02: Company 3 of 2026-12",
        ]
    );
    // The invoice was made, and the next one, a month later, is a different invoice.
    merge(Kind::Agreements, 10, json!({"nextInvoiceDate": "2027-01-01"}));
    app.clock.advance(TimeDelta::days(1));
    app.worker.hourly_tasks().await;
    let next = app.get("/push-schedule").await.expect(200);
    assert_eq!(next["next_invoice_runs"][0]["invoice_on"], "2027-01-01", "{next}");
    for (days, code) in [(json!(28), "out_of_range"), (json!(-1), "out_of_range"), (json!("3"), "wrong_type")] {
        body["days_before_invoice"] = days;
        let problem = app.put("/push-schedule", &body).await.problem(422, "validation");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("/days_before_invoice"), &json!(code))
        );
    }
}

on_both!(
    agreements_are_pushed_before_their_own_invoices,
    a_schedule_is_shown_before_it_is_saved,
    a_schedule_that_cannot_be_read_is_an_error_until_it_is_set_again,
    a_billing_time_zone_that_cannot_be_read_is_an_error,
    a_schedule_is_stored_and_returns_its_next_runs,
    bad_schedules_are_rejected,
    it_pushes_once_a_month_for_years_in_many_zones,
    it_never_pushes_retroactively_and_makes_up_for_an_outage_once,
    a_tenant_that_cannot_push_holds_up_no_other_and_is_tried_again,
);

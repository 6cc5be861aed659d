//! Which month a push bills: each aggregation and billing period, on critical days, months and time zones, through
//! scheduled pushes that write.

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

const KINDS: [(&str, &str); 6] = [
    ("last", "current"),
    ("last", "previous"),
    ("max", "current"),
    ("max", "previous"),
    ("sum", "current"),
    ("sum", "previous"),
];

fn code(kind: usize) -> String {
    format!("{}-{}", KINDS[kind].0, KINDS[kind].1).to_uppercase()
}

fn addition(kind: usize) -> i64 {
    100 + i64::try_from(kind).unwrap()
}

/// One company with an addition for each of the six kinds of product, all lines enabled, in blocks of 1.
async fn six_products(backend: Backend, start: &str) -> TestApp {
    let mut store = Store::default();
    store.put(Kind::Companies, sample::company(1, "C1", "Company 1"));
    store.put(Kind::Agreements, sample::agreement(10, 1, "Backup", (1, "SP Backup")));
    for kind in 0..KINDS.len() {
        store.put(Kind::Additions, sample::addition(addition(kind), 10, &code(kind), "Usage", 0.5));
    }
    let app = TestApp::connected(backend, store).await;
    set_clock(&app, start.parse().unwrap());
    app.company("C1", "Company 1").await;
    for (kind, (aggregation, period)) in KINDS.iter().enumerate() {
        let product = json!({"code": code(kind), "name": code(kind), "unit": "GB", "block_size": "1",
            "aggregation": aggregation, "billing_period": period});
        let product = app.post("/products", &product).await.expect(201)["id"].as_str().unwrap().to_owned();
        app.rule(&product, "agreement", r#"name = "Backup""#).await;
        app.rule(&product, "addition", &format!("product/identifier = \"{}\"", code(kind))).await;
    }
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let ids: Vec<Value> = app.all("/billing-lines").await.iter().map(|line| line["id"].clone()).collect();
    app.patch("/billing-lines", &json!({"ids": ids, "push_enabled": true})).await.expect(200);
    app
}

fn set_clock(app: &TestApp, to: DateTime<Utc>) {
    app.clock.advance(to - app.clock.now());
}

/// The records of each product, all alike.
type Record = (DateTime<Utc>, i64);

/// Records at irregular intervals, with different amounts, between two times.
fn records(from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Record> {
    let at = |n: i64| from + TimeDelta::minutes(n * 407);
    (0..).map(at).take_while(|at| *at <= until).map(|at| (at, at.timestamp() / 60 % 997 + 1)).collect()
}

async fn take_in(app: &TestApp, records: &[Record]) {
    let of = |kind: usize| {
        records.iter().map(move |(at, amount)| {
            json!({"company_external_id": "C1", "product_code": code(kind), "amount": amount.to_string(), "measured_at": at})
        })
    };
    let all: Vec<Value> = (0..KINDS.len()).flat_map(of).collect();
    for batch in all.chunks(5_000) {
        app.post("/usage", &json!({"records": batch})).await.expect(200);
    }
}

/// The quantity of a month, computed in the simplest way: by the local date of each record.
fn expected(kind: usize, records: &[Record], zone: Tz, run: (i32, u32), now: DateTime<Utc>) -> Option<i64> {
    let (aggregation, period) = KINDS[kind];
    let (year, month) = match (period, run) {
        ("current", run) => run,
        (_, (year, 1)) => (year - 1, 12),
        (_, (year, month)) => (year, month - 1),
    };
    let month_of = |at: DateTime<Utc>| {
        let local = at.with_timezone(&zone);
        (local.year(), local.month())
    };
    let own = records.iter().filter(|(at, _)| month_of(*at) == (year, month)).map(|(_, amount)| *amount);
    match aggregation {
        "sum" => own.reduce(|a, b| a + b),
        "max" => own.max(),
        _ => {
            let seen = records.iter().filter(|(at, _)| *at <= now && month_of(*at) <= (year, month));
            seen.max_by_key(|(at, _)| *at).map(|(_, amount)| *amount)
        }
    }
}

/// Six months of scheduled pushes on one day of the month, at 01:30, in a time zone.
async fn every_month_bills_what_it_should(backend: Backend, zone: Tz, day: u32) {
    let app = six_products(backend, "2026-10-14T12:00:00Z").await;
    let schedule = json!({"enabled": true, "day_of_month": day, "time": "01:30", "time_zone": zone.name()});
    let saved = app.put("/push-schedule", &schedule).await.expect(200);
    assert_eq!(saved["current_month"]["time_zone"], zone.name(), "nothing was measured yet");
    let begun = Utc.with_ymd_and_hms(2026, 8, 20, 5, 0, 0).unwrap();
    let (mut known, mut taken_until) = (Vec::new(), begun);
    // In a month without records nothing is written, and ConnectWise keeps its quantity.
    let mut wanted = [0.5; KINDS.len()];
    for _ in 0..6 {
        let saved = app.get("/push-schedule").await.expect(200);
        let due: DateTime<Utc> = saved["next_runs"][0].as_str().unwrap().parse().unwrap();
        set_clock(&app, due - TimeDelta::minutes(1));
        assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "{zone} {day}: not before {due}");
        set_clock(&app, due);
        let new: Vec<Record> = records(begun, due).into_iter().filter(|(at, _)| *at > taken_until).collect();
        take_in(&app, &new).await;
        known.extend(new);
        taken_until = due;
        assert_eq!(app.worker.fire_schedules().await.unwrap(), 1, "{zone} {day}: at {due}");
        app.worker.run_until_idle().await.unwrap();
        let local = due.with_timezone(&zone);
        let job = app.get("/push-jobs?limit=1").await.expect(200)["items"][0].clone();
        assert_eq!((&job["state"], &job["trigger"]), (&json!("succeeded"), &json!("schedule")), "{job}");
        for (kind, wanted) in wanted.iter_mut().enumerate() {
            let billed = expected(kind, &known, zone, (local.year(), local.month()), due);
            *wanted = billed.map_or(*wanted, |amount| amount as f64);
            let has = app.sandbox.read(|store| store.quantity(addition(kind)));
            assert_eq!(has, Some(*wanted), "{zone}, day {day}, {}, at {due}", code(kind));
        }
    }
}

/// Early and late days of the month, and short months; in UTC, and east and west of it with their clock changes. On 1
/// November 2026, 01:30 occurs twice in New York.
async fn each_product_bills_its_period(backend: Backend) {
    for zone in [Tz::UTC, chrono_tz::America::New_York, chrono_tz::Europe::Berlin, chrono_tz::Pacific::Auckland] {
        for day in [1, 15, 31] {
            every_month_bills_what_it_should(backend, zone, day).await;
        }
    }
}

/// A month keeps its bounds when the time zone changes, so each record is billed once.
async fn a_new_time_zone_neither_skips_nor_doubles_a_month(backend: Backend) {
    let app = six_products(backend, "2026-10-14T12:00:00Z").await;
    let schedule = |zone: &str| json!({"enabled": true, "day_of_month": 1, "time": "00:00", "time_zone": zone});
    app.put("/push-schedule", &schedule("UTC")).await.expect(200);
    let begun = Utc.with_ymd_and_hms(2026, 10, 1, 0, 0, 0).unwrap();
    let hours = |n: i64| begun + TimeDelta::hours(n);
    let (mut taken, mut billed, mut months) = (0, 0_i64, Vec::new());
    // The zone moves east, where the day begins 14 hours earlier, and then west, where it begins 25 hours later.
    let moves =
        [("2026-11-20", "Pacific/Kiritimati"), ("2026-12-31", "Pacific/Pago_Pago"), ("2027-02-28", "Asia/Tokyo")];
    let mut moves = moves.iter();
    let mut next = moves.next();
    while months.len() < 6 {
        let now = app.clock.now();
        if let Some((on, zone)) = next.filter(|(on, _)| now.format("%F").to_string().as_str() >= *on) {
            let saved = app.put("/push-schedule", &schedule(zone)).await.expect(200);
            assert_ne!(saved["current_month"]["time_zone"], *zone, "{on}: not in the month at hand");
            assert_eq!(saved["current_month"]["ends_at"], saved["next_month"]["starts_at"]);
            next = moves.next();
        }
        let due: DateTime<Utc> =
            app.get("/push-schedule").await.expect(200)["next_runs"][0].as_str().unwrap().parse().unwrap();
        let stop = next.map_or(due, |(on, _)| due.min(format!("{on}T12:00:00Z").parse().unwrap()).max(now));
        set_clock(&app, stop);
        let new: Vec<Record> = (taken..).map(|n| (hours(n), 1)).take_while(|(at, _)| *at <= stop).collect();
        taken += new.len() as i64;
        take_in(&app, &new).await;
        if app.worker.fire_schedules().await.unwrap() == 1 {
            app.worker.run_until_idle().await.unwrap();
            let id = app.get("/push-jobs?limit=1").await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
            let lines = app.all(&format!("/push-jobs/{id}/lines")).await;
            let line = lines.iter().find(|line| line["product_code"] == "SUM-PREVIOUS").unwrap();
            assert_eq!((&line["state"], &line["month_closed"]), (&json!("pushed"), &json!(true)), "{line}");
            assert_eq!(line["usage_records"].to_string(), line["usage"].as_str().unwrap());
            billed += line["usage"].as_str().unwrap().parse::<i64>().unwrap();
            months.push(line["billing_month"].as_str().unwrap().to_owned());
            // One record an hour, each 1: the sum so far is the number of hours until the month's end.
            let end: DateTime<Utc> = app.get("/push-schedule").await.expect(200)["current_month"]["starts_at"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(billed, (end - begun).num_hours(), "{months:?}");
        }
    }
    assert_eq!(months, ["2026-10", "2026-11", "2026-12", "2027-01", "2027-02", "2027-03"]);
}

/// After an outage, the run starts days later, in another month, and bills the month that was due.
async fn a_late_run_bills_the_month_that_was_due(backend: Backend) {
    let app = six_products(backend, "2026-10-14T12:00:00Z").await;
    let schedule = json!({"enabled": true, "day_of_month": 31, "time": "02:00", "time_zone": "UTC"});
    app.put("/push-schedule", &schedule).await.expect(200);
    let at = |day: &str| -> DateTime<Utc> { format!("{day}T12:00:00Z").parse().unwrap() };
    set_clock(&app, at("2026-11-03"));
    take_in(&app, &[(at("2026-09-30"), 9), (at("2026-10-30"), 10), (at("2026-11-02"), 11)]).await;
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
    app.worker.run_until_idle().await.unwrap();
    let has: Vec<f64> =
        (0..KINDS.len()).map(|kind| app.sandbox.read(|store| store.quantity(addition(kind)).unwrap())).collect();
    assert_eq!(has, [10.0, 9.0, 10.0, 9.0, 10.0, 9.0]);
    let job = app.get("/push-jobs?limit=1").await.expect(200)["items"][0].clone();
    assert_eq!(job["billing_months"], json!(["2026-09", "2026-10"]));
    assert_eq!(app.all("/push-jobs?billing_month=2026-09").await.len(), 1);
    assert_eq!(app.all("/push-lines?billing_month=2026-10").await.len(), 3);
}

async fn push_now_bills_what_the_schedule_would_unless_a_month_is_named(backend: Backend) {
    let app = six_products(backend, "2026-11-20T12:00:00Z").await;
    let at = |day: &str| -> DateTime<Utc> { format!("{day}T12:00:00Z").parse().unwrap() };
    take_in(&app, &[(at("2026-09-30"), 9), (at("2026-10-30"), 10), (at("2026-11-02"), 11)]).await;
    let (_, lines) = app.push(&json!({"dry_run": true})).await;
    let told = |lines: &[Value]| -> Vec<String> {
        let told = |line: &Value| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            let through = text("usage_through");
            format!(
                "{} {} {} {} {}",
                text("product_code"),
                text("billing_month"),
                line["month_closed"],
                text("to"),
                &through[..10]
            )
        };
        lines.iter().map(told).collect()
    };
    let shown = told(&lines);
    assert_eq!(
        shown,
        [
            "LAST-CURRENT 2026-11 false 11 2026-11-02",
            "LAST-PREVIOUS 2026-10 true 10 2026-10-30",
            "MAX-CURRENT 2026-11 false 11 2026-11-02",
            "MAX-PREVIOUS 2026-10 true 10 2026-10-30",
            "SUM-CURRENT 2026-11 false 11 2026-11-02",
            "SUM-PREVIOUS 2026-10 true 10 2026-10-30",
        ]
    );
    // The billing page, the exported lines and the push agree.
    for line in app.all("/billing-lines?sort=created_at").await {
        let usage = &line["usage"];
        let product = app.get(&format!("/products/{}", line["product_id"].as_str().unwrap())).await.expect(200);
        let told = format!(
            "{} {} {} {} {}",
            product["code"].as_str().unwrap(),
            usage["billing_month"].as_str().unwrap(),
            usage["month_closed"],
            usage["quantity"].as_str().unwrap(),
            &usage["usage_through"].as_str().unwrap()[..10]
        );
        assert!(shown.contains(&told), "{told}");
        assert_eq!(usage["usage_records"], 1);
    }
    let table = app.get("/export/billing-lines").await.text;
    let header = ",billing_month,month_closed,usage,usage_through,usage_records,overage,quantity,problem,out_of_date,\
                  billed_quantity,amount,currency,invoice_warnings";
    assert!(table.lines().next().unwrap().ends_with(header), "{table}");
    assert!(table.contains(",2026-10,true,10,2026-10-30T12:00:00Z,1,,10,,false,10,95,USD,"), "{table}");
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((told(&lines), job["billing_months"].clone()), (shown, json!(["2026-10", "2026-11"])));
    let (job, lines) = app.push(&json!({"billing_month": "2026-09"})).await;
    assert_eq!(job["billing_months"], json!(["2026-09"]));
    assert!(lines.iter().all(|line| line["to"] == "9" && line["month_closed"] == true), "{lines:?}");
    let table = app.get(&format!("/export/push-lines?push_job_id={}", job["id"].as_str().unwrap())).await.text;
    assert!(table.contains(",9,2026-09-30T12:00:00Z,1,1,"), "{table}");
}

async fn a_month_that_has_not_begun_is_not_billed(backend: Backend) {
    let app = six_products(backend, "2026-11-20T12:00:00Z").await;
    take_in(&app, &[(app.clock.now(), 5)]).await;
    for month in ["2026-12", "2199-12"] {
        let problem = app.post("/push-jobs", &json!({"billing_month": month})).await.problem(422, "validation");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("/billing_month"), &json!("out_of_range"))
        );
    }
    app.push(&json!({"billing_month": "2026-11"})).await;
}

async fn a_gauge_counts_until_it_is_too_old(backend: Backend) {
    let app = six_products(backend, "2026-10-31T12:00:00Z").await;
    let product = app.get("/products?code=LAST-CURRENT").await.expect(200)["items"][0].clone();
    assert_eq!((&product["billing_period"], &product["max_usage_age_days"]), (&json!("current"), &json!(35)));
    take_in(&app, &[(app.clock.now(), 7)]).await;
    let body = json!({"product_id": product["id"]});
    app.clock.advance(TimeDelta::days(35));
    let (_, lines) = app.push(&body).await;
    assert_eq!(
        (&lines[0]["state"], &lines[0]["to"], &lines[0]["billing_month"]),
        (&json!("pushed"), &json!("7"), &json!("2026-12"))
    );
    app.clock.advance(TimeDelta::seconds(1));
    let (_, lines) = app.push(&body).await;
    assert_eq!((&lines[0]["state"], &lines[0]["reason"]), (&json!("skipped"), &json!("usage_too_old")), "{lines:?}");
    assert!(lines[0]["detail"].as_str().unwrap().contains("2026-10-31T12:00:00Z"), "{}", lines[0]);
    let line = app.get(&format!("/billing-lines?product_id={}", product["id"].as_str().unwrap())).await.expect(200);
    let usage = &line["items"][0]["usage"];
    assert_eq!((&usage["amount"], &usage["usage_records"]), (&Value::Null, &json!(0)));
    assert!(usage["problem"].as_str().unwrap().contains("2026-10-31T12:00:00Z"), "{usage}");
    let path = format!("/products/{}", product["id"].as_str().unwrap());
    for bad in [json!(0), json!(367), json!("35"), Value::Null] {
        app.patch(&path, &json!({"max_usage_age_days": bad})).await.problem(422, "validation");
    }
    let saved = app.patch(&path, &json!({"max_usage_age_days": 36})).await.expect(200);
    assert_eq!(saved["max_usage_age_days"], 36);
    let (_, lines) = app.push(&body).await;
    assert_eq!(lines[0]["state"], "unchanged");
}

async fn a_products_period_is_its_aggregations_until_it_is_set(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let id = app.product("P").await;
    let path = format!("/products/{id}");
    assert_eq!(app.get(&path).await.expect(200)["billing_period"], "current");
    for (change, period) in [
        (json!({"aggregation": "sum"}), "previous"),
        (json!({"billing_period": "current"}), "current"),
        (json!({"aggregation": "max"}), "current"),
        (json!({"billing_period": null}), "previous"),
    ] {
        assert_eq!(app.patch(&path, &change).await.expect(200)["billing_period"], period, "{change}");
    }
    app.patch(&path, &json!({"billing_period": "next"})).await.problem(422, "validation");
    let whole = json!({"code": "P", "name": "P", "unit": "GB", "block_size": "1", "aggregation": "max",
        "billing_period": "current", "max_usage_age_days": 90});
    let replaced = app.put(&path, &whole).await.expect(200);
    assert_eq!((&replaced["billing_period"], &replaced["max_usage_age_days"]), (&json!("current"), &json!(90)));
}

async fn saving_the_same_schedule_changes_nothing(backend: Backend) {
    let app = six_products(backend, "2026-11-20T12:00:00Z").await;
    take_in(&app, &[(app.clock.now(), 5)]).await;
    let schedule = json!({"enabled": true, "day_of_month": 21, "time": "02:00", "time_zone": "UTC"});
    let saved = app.put("/push-schedule", &schedule).await.expect(200);
    // The run is due, and the scheduler has not checked yet.
    app.clock.advance(TimeDelta::days(1));
    let again = app.put("/push-schedule", &schedule).await.expect(200);
    assert_eq!(again["version"], saved["version"]);
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1, "the month is not lost");
}

/// A new time zone does not move a run that is due, and a month runs only once, even if the day is changed.
async fn next_runs_match_the_actual_runs(backend: Backend) {
    let app = six_products(backend, "2026-11-20T12:00:00Z").await;
    take_in(&app, &[(app.clock.now(), 5)]).await;
    let schedule =
        |day: u32, zone: &str| json!({"enabled": true, "day_of_month": day, "time": "02:00", "time_zone": zone});
    app.put("/push-schedule", &schedule(21, "UTC")).await.expect(200);
    app.clock.advance(TimeDelta::days(1));
    app.put("/push-schedule", &schedule(21, "Europe/Berlin")).await.expect(200);
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 1, "it was due in this month, which is UTC's");
    let saved = app.put("/push-schedule", &schedule(28, "Europe/Berlin")).await.expect(200);
    assert_eq!(saved["next_runs"][0], "2026-12-28T01:00:00Z", "November had its run");
    app.clock.advance(TimeDelta::days(8));
    assert_eq!(app.worker.fire_schedules().await.unwrap(), 0);
    for bad in [" 2:00", "02: 0", "2:000"] {
        let mut body = schedule(1, "UTC");
        body["time"] = json!(bad);
        app.put("/push-schedule", &body).await.problem(422, "validation");
    }
}

on_both!(
    each_product_bills_its_period,
    a_new_time_zone_neither_skips_nor_doubles_a_month,
    a_late_run_bills_the_month_that_was_due,
    push_now_bills_what_the_schedule_would_unless_a_month_is_named,
    a_month_that_has_not_begun_is_not_billed,
    a_gauge_counts_until_it_is_too_old,
    next_runs_match_the_actual_runs,
    a_products_period_is_its_aggregations_until_it_is_set,
    saving_the_same_schedule_changes_nothing,
);

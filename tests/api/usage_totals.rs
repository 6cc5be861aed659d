//! The totals of usage records: kept up to date, completed for records of earlier versions, and verified.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::process::program;
use crate::support::{Backend, TestApp, execute, seed};

/// A product for each aggregation, without ConnectWise. A gauge carries over from before the month for 35 days.
async fn products(app: &TestApp) {
    app.company("C1", "Company 1").await;
    app.company("C2", "Company 2").await;
    for aggregation in ["last", "max", "sum"] {
        let body = json!({
            "code": aggregation, "name": aggregation, "unit": "GB", "block_size": "1", "rounding": "exact",
            "aggregation": aggregation, "billing_period": "current",
        });
        app.post("/products", &body).await.expect(201);
    }
}

/// Adds one amount for each product, so many hours from now.
async fn measure(app: &TestApp, company: &str, hours: i64, source: &str, amount: &str) {
    let record = |product: &str| {
        json!({"company_external_id": company, "product_code": product, "amount": amount, "source": source,
            "measured_at": app.clock.now() + TimeDelta::hours(hours)})
    };
    let records: Vec<Value> = ["last", "max", "sum"].map(record).into();
    app.post("/usage", &json!({"records": records})).await.expect(200);
}

/// The total of each product for a company: by `last`, `max` and `sum`.
async fn counted(app: &TestApp, company: &str) -> [Value; 3] {
    usage(app, company, "").await
}

/// The same for a month.
async fn usage(app: &TestApp, company: &str, query: &str) -> [Value; 3] {
    let products = app.all("/products").await;
    let lines = app.all(&format!("/billing-lines?limit=500{query}")).await;
    ["last", "max", "sum"].map(|code| {
        let product = products.iter().find(|product| product["code"] == code).unwrap();
        let of = |line: &&Value| line["product_id"] == product["id"] && line["company"]["external_id"] == company;
        lines.iter().find(of).unwrap()["usage"]["amount"].clone()
    })
}

/// Runs `verify`; returns whether everything was right, and the output.
fn verify(app: &TestApp) -> (bool, String) {
    let output = program().args(["verify", "--database-url", app.database_url()]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn totals_follow_the_records(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    measure(&app, "C1", -5, "b", "4").await;
    measure(&app, "C1", -3, "b", "7.5").await;
    measure(&app, "C1", -3, "a", "1").await;
    measure(&app, "C1", -4, "b", "0.25").await;
    measure(&app, "C2", -40 * 24, "b", "3").await;
    assert_eq!(counted(&app, "C1").await, ["7.5", "7.5", "12.75"]);
    assert_eq!(counted(&app, "C2").await, [json!(null), json!(null), json!(null)], "the month before, and too old");
    measure(&app, "C1", -3, "b", "7.5").await;
    assert_eq!(counted(&app, "C1").await, ["7.5", "7.5", "12.75"], "the same again");
    measure(&app, "C1", -3, "b", "2").await;
    assert_eq!(counted(&app, "C1").await, ["2", "4", "7.25"], "the largest amount was reduced");
    measure(&app, "C1", -4, "b", "9").await;
    assert_eq!(counted(&app, "C1").await, ["2", "9", "16"]);
    measure(&app, "C2", -30 * 24, "b", "5").await;
    assert_eq!(counted(&app, "C2").await, [json!("5"), json!(null), json!(null)], "a gauge carries over");
    let (right, said) = verify(&app);
    assert!(right && said.contains("6 totals of usage records compared, 0 differ"), "{said}");
}

/// The records of a company and product: when each was measured, in hours from now, and its amount.
type Records = BTreeMap<i64, i64>;

/// The amount that counts now, by the definition of each aggregation. The month began 516 hours ago. A record with a
/// time in the future does not count as the newest before that time.
fn amount_now(aggregation: &str, records: &Records) -> Option<i64> {
    let in_month = || records.range(-516..).map(|(_, amount)| *amount);
    match aggregation {
        "last" => records.range(..0).next_back().map(|(_, amount)| *amount),
        "max" => in_month().max(),
        _ => in_month().reduce(|sum, amount| sum + amount),
    }
}

/// Many products and companies on one page, whose newest records are of different months and partly in the future.
async fn each_line_of_a_page_has_its_own_usage(backend: Backend) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let app = TestApp::start(backend, Default::default()).await;
    let aggregations = ["last", "last", "last", "last", "max", "sum"];
    for (number, aggregation) in aggregations.iter().enumerate() {
        let body = json!({
            "code": format!("P{number}"), "name": "P", "unit": "GB", "block_size": "1", "aggregation": aggregation,
            "billing_period": "current", "max_usage_age_days": 366,
        });
        app.post("/products", &body).await.expect(201);
    }
    let (mut records, mut bodies) = (BTreeMap::<(usize, usize), Records>::new(), Vec::new());
    for company in 0..12 {
        app.company(&format!("C{company}"), &format!("Company {company}")).await;
        for product in 0..aggregations.len() {
            for _ in 0..random.usize(0..4) {
                // Up to about four months ago, or within the next day.
                let (hours, amount) = (random.i64(-2_900..24), random.i64(1..1_000));
                let known = records.entry((company, product)).or_default();
                if hours == 0 || known.contains_key(&hours) {
                    continue;
                }
                known.insert(hours, amount);
                bodies.push(json!({
                    "company_external_id": format!("C{company}"), "product_code": format!("P{product}"),
                    "amount": amount.to_string(), "measured_at": app.clock.now() + TimeDelta::hours(hours)
                }));
            }
        }
    }
    app.post("/usage", &json!({"records": bodies})).await.expect(200);
    let lines = app.all("/billing-lines?limit=500").await;
    assert_eq!(lines.len(), 12 * aggregations.len());
    for line in lines {
        let number = |name: &Value| name.as_str().unwrap()[1..].parse::<usize>().unwrap();
        let key = (number(&line["company"]["external_id"]), number(&line["product_code"]));
        let expected = records.get(&key).and_then(|records| amount_now(aggregations[key.1], records));
        let amount = line["usage"]["amount"].as_str().map(|amount| amount.parse::<i64>().unwrap());
        assert_eq!(amount, expected, "seed {seed}: company and product {key:?}, records {:?}", records.get(&key));
        let alone = app.get(&format!("/billing-lines/{}", line["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(alone["usage"], line["usage"], "seed {seed}: {key:?} alone");
    }
}

/// A gauge is read now: a record measured in the future does not count yet.
async fn a_record_with_a_time_in_the_future_waits(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    measure(&app, "C1", -1, "b", "4").await;
    measure(&app, "C1", 2, "b", "6").await;
    assert_eq!(counted(&app, "C1").await, ["4", "6", "10"]);
    app.clock.advance(TimeDelta::hours(3));
    assert_eq!(counted(&app, "C1").await, ["6", "6", "10"]);
    measure(&app, "C2", 2, "b", "6").await;
    assert_eq!(counted(&app, "C2").await, [json!(null), json!("6"), json!("6")]);
}

/// An earlier version has no totals: its records count at once, and are added to the totals in the background.
async fn records_of_an_earlier_version_count(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    measure(&app, "C1", -3, "b", "4").await;
    measure(&app, "C1", -2, "b", "6").await;
    measure(&app, "C2", -800, "b", "5").await;
    let before = (counted(&app, "C1").await, counted(&app, "C2").await);
    let forget = "UPDATE usage_records SET totalled_at = NULL";
    assert_eq!(execute(app.database_url(), forget), 9);
    assert_eq!(execute(app.database_url(), "DELETE FROM usage_totals"), 6);
    assert_eq!((counted(&app, "C1").await, counted(&app, "C2").await), before);
    measure(&app, "C1", -2, "b", "1").await;
    assert_eq!(counted(&app, "C1").await, ["1", "4", "5"], "a correction of such a record");
    measure(&app, "C1", -1, "b", "2").await;
    assert_eq!(counted(&app, "C1").await, ["2", "4", "7"]);
    app.worker.hourly_tasks().await;
    assert_eq!(counted(&app, "C1").await, ["2", "4", "7"]);
    let (right, said) = verify(&app);
    assert!(right && said.contains("6 totals"), "{said}");
}

/// A new time zone applies from the next month on, which begins as planned: no record changes its month.
async fn totals_follow_a_new_time_zone(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    // 30 November, 12:00.
    app.clock.advance(TimeDelta::days(8));
    measure(&app, "C1", -1, "b", "4").await;
    measure(&app, "C1", 14, "b", "6").await;
    assert_eq!(counted(&app, "C1").await, ["4", "4", "4"]);
    let zone = |zone: &str| json!({"enabled": false, "day_of_month": 1, "time": "02:00", "time_zone": zone});
    app.put("/push-schedule", &zone("Pacific/Kiritimati")).await.expect(200);
    for _ in 0..2 {
        assert_eq!(counted(&app, "C1").await, ["4", "4", "4"]);
        assert_eq!(usage(&app, "C1", "&billing_month=2026-12").await, [json!("4"), json!("6"), json!("6")]);
        let (right, said) = verify(&app);
        assert!(right, "{said}");
        app.worker.hourly_tasks().await;
    }
}

async fn verify_tells_what_is_wrong(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    measure(&app, "C1", -3, "b", "4").await;
    assert_eq!(execute(app.database_url(), "UPDATE usage_totals SET sum_amount = '7' WHERE max_amount = '4'"), 3);
    let (right, said) = verify(&app);
    assert!(!right && said.contains("product sum, company") && said.contains("3 differ"), "{said}");
}

/// Earlier versions accepted records of any time.
async fn records_from_before_the_first_month_break_nothing(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    measure(&app, "C1", -3, "b", "4").await;
    let early = "UPDATE usage_records SET totalled_at = NULL, measured_at = '1970-01-01 00:00:00'";
    assert_eq!(execute(app.database_url(), early), 3);
    assert_eq!(execute(app.database_url(), "DELETE FROM usage_totals"), 3);
    for _ in 0..2 {
        assert_eq!(counted(&app, "C1").await, [json!(null), json!(null), json!(null)]);
        app.worker.hourly_tasks().await;
    }
    let (right, said) = verify(&app);
    assert!(right && said.contains("3 totals"), "{said}");
}

/// More months lose their largest amount than one pass adds up.
async fn many_corrections_are_right_at_once(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    products(&app).await;
    let hours = |from: i64, amount: &str| -> Vec<Value> {
        (0..130)
            .map(|company| {
                json!({"company_external_id": format!("M{company}"), "product_code": "max", "amount": amount,
                    "measured_at": app.clock.now() - TimeDelta::hours(from)})
            })
            .collect()
    };
    for company in 0..130 {
        app.company(&format!("M{company}"), "Many").await;
    }
    app.post("/usage", &json!({"records": hours(1, "5")})).await.expect(200);
    app.post("/usage", &json!({"records": hours(2, "9")})).await.expect(200);
    app.post("/usage", &json!({"records": hours(2, "3")})).await.expect(200);
    for _ in 0..2 {
        for company in ["M0", "M64", "M129"] {
            assert_eq!(counted(&app, company).await[1], "5", "{company}");
        }
        let (right, said) = verify(&app);
        assert!(right, "{said}");
        app.worker.hourly_tasks().await;
    }
    assert!(verify(&app).1.contains("130 totals"));
}

on_both!(
    each_line_of_a_page_has_its_own_usage,
    records_from_before_the_first_month_break_nothing,
    many_corrections_are_right_at_once,
    totals_follow_the_records,
    a_record_with_a_time_in_the_future_waits,
    records_of_an_earlier_version_count,
    totals_follow_a_new_time_zone,
    verify_tells_what_is_wrong,
);

//! The differences before each scheduled push are stored.

use chrono::TimeDelta;
use connectwise_billing::sandbox::Kind;
use serde_json::{Value, json};

use super::refresh;
use crate::invoices::merge;
use crate::push::ready;
use crate::support::Backend;

async fn each_scheduled_push_keeps_what_was_found_before_it(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    merge(&app, Kind::Agreements, 20, json!({"currency": {"id": 2, "currencyCode": "EUR"}}));
    refresh(&app).await;
    assert_eq!(app.get("/reconciliation/history").await.expect(200)["items"], json!([]));
    let schedule = json!({"enabled": true, "day_of_month": 25, "time": "02:00", "time_zone": "UTC"});
    app.put("/push-schedule", &schedule).await.expect(200);
    // November unchanged, December with a tenth more in USD and twice as much in EUR, and January the same as December.
    for (days, [first, second]) in [(4, ["950", "250"]), (30, ["1050", "480"]), (31, ["1150", "490"])] {
        app.clock.advance(TimeDelta::days(days));
        app.usage("C1", "STORAGE", first).await;
        app.usage("C2", "STORAGE", second).await;
        assert_eq!(app.worker.fire_schedules().await.unwrap(), 1);
        app.worker.run_until_idle().await.unwrap();
        assert_eq!(app.worker.fire_schedules().await.unwrap(), 0, "once a month");
    }
    let found = app.get("/reconciliation/history").await.expect(200);
    let months: Vec<String> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|month| month["totals"].as_array().unwrap().iter().map(move |totals| (month, totals)))
        .map(|(month, totals)| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let members =
                ["currency", "amount", "connectwise_amount", "amount_difference", "amount_before", "change_percent"];
            let totals_text: Vec<String> = members.iter().map(|member| text(&totals[*member])).collect();
            format!("{} {} {}", text(&month["billing_month"]), totals_text.join(" "), totals["changed_notably"])
        })
        .collect();
    assert_eq!(
        months,
        [
            "2027-01 EUR 47.5 47.5 0 47.5 0 false",
            "2027-01 USD 114 104.5 9.5 104.5 9.1 false",
            "2026-12 EUR 47.5 28.5 19 28.5 66.7 true",
            "2026-12 USD 104.5 95 9.5 95 10 false",
            "2026-11 EUR 28.5 9.5 19 - - false",
            "2026-11 USD 95 9.5 85.5 - - false",
        ]
    );
    let december = &found["items"][1];
    assert_eq!((&december["changed_notably"], &december["quantity"]), (&json!(true), &json!("16")));
    assert_eq!((&december["connectwise_quantity"], &december["quantity_difference"]), (&json!("13"), &json!("3")));
    assert_eq!((&december["items"], &december["to_review"]), (&json!(2), &json!(2)));
    let job = app.get(&format!("/push-jobs/{}", december["push_job_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(job["trigger"], "schedule");
    let path = format!("/reconciliation/history?product_id={product}&from=2026-12&to=2026-12");
    let one = app.get(&path).await.expect(200);
    assert_eq!(one["items"], json!([december]), "the month before counts, although it is not shown");
    app.get("/reconciliation/history?from=2026-12&to=2026-11").await.problem(422, "validation");
    // The history outlives its product.
    app.delete(&format!("/products/{product}")).await.expect(204);
    assert_eq!(app.get("/reconciliation/history").await.expect(200)["items"].as_array().unwrap().len(), 3);
}

on_both!(each_scheduled_push_keeps_what_was_found_before_it,);

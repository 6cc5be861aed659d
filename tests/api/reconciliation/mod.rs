//! Compares what is billed with what was used, in units and in money.

mod history;
mod money;
mod statement;

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Kind, sample};
use serde_json::{Value, json};

use crate::invoices::merge;
use crate::push::{enable, ready};
use crate::support::{Backend, TestApp};

/// Reads everything from ConnectWise again, including the additions of ConnectWise companies to which no company is matched.
async fn refresh(app: &TestApp) {
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
}

async fn reconciliation(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/reconciliation{query}")).await.expect(200)
}

/// The members of each item, by company.
fn rows(found: &Value, members: &[&str]) -> Vec<String> {
    let text = |item: &Value, member: &str| match &item[member] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let row = |item: &Value| members.iter().map(|member| text(item, member)).collect::<Vec<_>>().join(" ");
    found["items"].as_array().unwrap().iter().map(row).collect()
}

const UNITS: [&str; 5] = ["company_name", "kind", "quantity", "connectwise_quantity", "quantity_difference"];

const MONEY: [&str; 4] = ["amount", "connectwise_amount", "amount_difference", "currency"];

/// Each line has 250 GB, which are 3 blocks at 9.50 USD; ConnectWise has 1.
async fn every_cause_of_a_difference_is_reported_in_units_and_money(backend: Backend) {
    let (app, product) = ready(backend, 8).await;
    app.company("C9", "Company 9").await;
    app.usage("C9", "STORAGE", "1").await;
    let lines = app.all("/billing-lines?limit=500").await;
    let id = |place: usize| lines[place]["id"].as_str().unwrap().to_owned();
    let push = json!({"billing_line_ids": [id(0), id(1), id(2)]});
    app.push(&push).await;
    // 1 agrees. 2 has new usage. 3 was edited by hand. 4 was not pushed. 5 is disabled. 6 is cancelled. 7 is ambiguous.
    app.usage("C2", "STORAGE", "400").await;
    merge(&app, Kind::Additions, 300, json!({"quantity": 7}));
    app.patch(&format!("/billing-lines/{}", id(4)), &json!({"push_enabled": false})).await.expect(200);
    merge(&app, Kind::Additions, 600, json!({"cancelledDate": "2026-11-01T00:00:00Z"}));
    app.sandbox.change(|store| {
        store.put(Kind::Additions, sample::addition(701, 70, "BKP-GB", "Archive", 4.0));
        // A ConnectWise company to which no company is matched.
        store.put(Kind::Companies, sample::company(20, "Other", "Zebra Ltd"));
        store.put(Kind::Agreements, sample::agreement(200, 20, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(2000, 200, "BKP-GB", "Storage", 5.0));
        store.put(Kind::Additions, sample::addition(2001, 200, "BKP-GB", "Nothing", 0.0));
        store.put(Kind::Additions, sample::addition(2002, 200, "OTHER", "Something else", 5.0));
    });
    // 8 is billed in another currency, and 9 is not matched.
    merge(&app, Kind::Agreements, 80, json!({"currency": {"id": 2, "currencyCode": "EUR"}}));
    refresh(&app).await;
    let found = reconciliation(&app, "").await;
    assert_eq!(
        rows(&found, &UNITS),
        [
            "Company 2 out_of_date 4 3 1",
            "Company 3 changed_in_connectwise 3 7 -4",
            "Company 4 not_pushed 3 1 2",
            "Company 5 disabled 3 1 2",
            "Company 6 stale 3 - 3",
            "Company 7 ambiguous 3 - 3",
            "Company 8 not_pushed 3 1 2",
            "Company 9 company_not_set 1 - 1",
            "Zebra Ltd no_line - 5 -5",
        ]
        .map(str::to_owned)
    );
    assert_eq!(
        rows(&found, &MONEY),
        [
            "38 28.5 9.5 USD",
            "28.5 66.5 -38 USD",
            "28.5 9.5 19 USD",
            "28.5 9.5 19 USD",
            "28.5 0 28.5 USD",
            "- - - USD",
            "28.5 9.5 19 EUR",
            "- - - -",
            "0 47.5 -47.5 USD",
        ]
        .map(str::to_owned)
    );
    assert_eq!(found["items"][1]["pushed_quantity"], "3");
    assert!(found["items"][1]["explanation"].as_str().unwrap().contains("somebody changed it there"), "{found}");
    assert_eq!(found["unread_agreements"], 0);
    // Currencies are never added up, and lines that agree are part of the totals.
    let totals = &found["totals"];
    let sums = json!({"currency": "USD", "amount": "180.5", "connectwise_amount": "190", "amount_difference": "-9.5", "not_invoiced_amount": "0"});
    assert_eq!(totals.as_array().unwrap().len(), 2, "{totals}");
    assert_eq!(totals[1], sums);
    assert_eq!((&totals[0]["currency"], &totals[0]["amount_difference"]), (&json!("EUR"), &json!("19")));
    let kinds: Vec<(&str, i64, i64)> = found["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| {
            let number = |member: &str| kind[member].as_i64().unwrap();
            (kind["kind"].as_str().unwrap(), number("items"), number("without_amount"))
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("company_not_set", 1, 1),
            ("ambiguous", 1, 1),
            ("stale", 1, 0),
            ("disabled", 1, 0),
            ("not_pushed", 2, 0),
            ("out_of_date", 1, 0),
            ("changed_in_connectwise", 1, 0),
            ("no_line", 1, 0),
            ("agrees", 1, 0),
        ]
    );
    let totals = &found["products"][0];
    assert_eq!(
        (&totals["product_id"], &totals["items"], &totals["to_review"]),
        (&json!(product), &json!(10), &json!(9))
    );
    assert_eq!((&totals["quantity"], &totals["quantity_difference"]), (&json!("26"), &json!("5")));
    // Filters, order, pages and the table.
    let one = reconciliation(&app, "?kind=no_line,agrees&sort=-amount_difference&limit=2&total=true").await;
    assert_eq!(rows(&one, &["kind", "amount_difference"]), ["no_line -47.5", "agrees 0"].map(str::to_owned));
    assert_eq!((&one["total"], &one["totals"]), (&json!(2), &found["totals"]), "the totals are of everything");
    let all = app.all("/reconciliation?kind=no_line,agrees&sort=-amount_difference&limit=1").await;
    let seen: Vec<&str> = all.iter().map(|item| item["amount_difference"].as_str().unwrap()).collect();
    assert_eq!(seen, ["-47.5", "0"]);
    let table = app.get("/export/reconciliation?kind=changed_in_connectwise,company_not_set").await.text;
    let table: Vec<&str> = table.lines().collect();
    assert!(table[0].starts_with("kind,billing_month,product_code,"), "{}", table[0]);
    assert_eq!(
        table[1],
        "changed_in_connectwise,2026-11,STORAGE,C3,Company 3,3,Company 3,30,Backup,300,BKP-GB (Storage),250,3,7,3,-4,USD,9.5,28.5,66.5,-38,false,"
    );
    assert_eq!(table[2], "company_not_set,2026-11,STORAGE,C9,Company 9,,,,,,,1,1,,,1,,,,,,false,");
    assert_eq!(table.len(), 3);
    app.get("/reconciliation?product_id=nobody").await.problem(422, "validation");
}

/// A push leaves no difference, and late usage of a past month is compared with the push of that month.
async fn no_difference_after_a_push_and_past_months_are_compared_with_their_push(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    let before = reconciliation(&app, "").await;
    assert_eq!(before["totals"][0]["amount_difference"], "57");
    app.push(&json!({})).await;
    let after = reconciliation(&app, "").await;
    assert_eq!((&after["items"], &after["totals"][0]["amount_difference"]), (&json!([]), &json!("0")));
    assert_eq!(after["totals"][0]["connectwise_amount"], "85.5");
    assert_eq!(rows(&reconciliation(&app, "?kind=agrees").await, &["kind"]).len(), 3);
    // December is pushed, and then a record of November arrives late.
    app.clock.advance(TimeDelta::days(15));
    for c in 1..=3 {
        app.usage(&format!("C{c}"), "STORAGE", "800").await;
    }
    app.push(&json!({})).await;
    let late = json!({"records": [{"company_external_id": "C2", "product_code": "STORAGE", "amount": "350", "measured_at": "2026-11-30T00:00:00Z"}]});
    app.post("/usage", &late).await.expect(200);
    let november = reconciliation(&app, "?billing_month=2026-11").await;
    assert_eq!(rows(&november, &UNITS), ["Company 2 past_differs 4 3 1"]);
    assert_eq!(november["totals"][0]["connectwise_amount"], "85.5", "it is what November's push wrote");
    assert_eq!(reconciliation(&app, "").await["items"], json!([]));
    // A month that was never pushed is unknown.
    let october = json!({"records": [{"company_external_id": "C1", "product_code": "STORAGE", "amount": "350", "measured_at": "2026-10-31T00:00:00Z"}]});
    app.post("/usage", &october).await.expect(200);
    assert_eq!(rows(&reconciliation(&app, "?billing_month=2026-10").await, &UNITS), ["Company 1 past_unknown 4 - -"]);
}

async fn silent_meters_and_warnings_are_listed_with_what_they_affect(backend: Backend) {
    let (app, _) = ready(backend, 5).await;
    merge(&app, Kind::Additions, 100, json!({"billCustomer": "DoNotBill"}));
    merge(&app, Kind::Additions, 200, json!({"lessIncluded": 2}));
    merge(&app, Kind::Agreements, 30, json!({"nextInvoiceDate": "2027-01-01"}));
    merge(&app, Kind::Additions, 300, json!({"lessIncluded": 1}));
    merge(&app, Kind::Additions, 400, json!({"unitPrice": null}));
    app.push(&json!({})).await;
    refresh(&app).await;
    let found = reconciliation(&app, "").await;
    // 3 was invoiced with ConnectWise's quantity, so no unit is affected, whatever else needs attention.
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut impacts = Vec::new();
    for item in found["items"].as_array().unwrap() {
        for warning in item["warnings"].as_array().unwrap() {
            let impact = [&item["company_name"], &warning["code"], &warning["quantity"], &warning["amount"]].map(text);
            impacts.push(format!("{} {}", impact.join(" "), item["not_invoiced"]));
        }
    }
    assert_eq!(
        impacts,
        [
            "Company 1 do_not_bill 3 28.5 true",
            "Company 2 less_included 2 19 false",
            "Company 3 less_included 1 9.5 false",
        ]
    );
    let usd = &found["totals"][0];
    assert_eq!(
        (&usd["amount"], &usd["not_invoiced_amount"], &usd["amount_difference"]),
        (&json!("57"), &json!("0"), &json!("0"))
    );
    let warned = &found["warnings"];
    assert_eq!(warned[0]["code"], "do_not_bill");
    assert_eq!(warned[0]["amounts"], json!([{"currency": "USD", "amount": "28.5"}]));
    assert_eq!(reconciliation(&app, "?warning=less_included").await["items"].as_array().unwrap().len(), 2);
    // More usage arrives after the invoice: only the difference is affected.
    app.usage("C3", "STORAGE", "450").await;
    let late = reconciliation(&app, "?warning=already_invoiced").await;
    let warning = &late["items"][0]["warnings"][1];
    assert_eq!((&warning["quantity"], &warning["amount"]), (&json!("2"), &json!("19")), "{late}");
    // The meters stop, but ConnectWise still bills.
    app.clock.advance(TimeDelta::days(40));
    let silent = reconciliation(&app, "?kind=silent_meter").await;
    assert_eq!(
        rows(
            &silent,
            &["company_name", "quantity", "connectwise_quantity", "quantity_difference", "connectwise_amount"]
        ),
        ["1 - 3 - 0", "2 - 3 - 9.5", "3 - 3 - 19", "4 - 3 - -", "5 - 3 - 28.5"].map(|row| format!("Company {row}"))
    );
    assert!(silent["items"][0]["problem"].as_str().unwrap().contains("35 days"), "{silent}");
    enable(&app, false).await;
    assert_eq!(reconciliation(&app, "?kind=silent_meter").await["items"].as_array().unwrap().len(), 5);
}

/// Two companies are matched to one, two products share an addition, and two months are pushed in the wrong order.
async fn each_addition_is_counted_once_and_no_person_is_blamed_for_a_push(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    let branch = app.company("C1b", "Company 1, branch").await;
    app.put(&format!("/companies/{branch}/connectwise-company"), &json!({"id": "1", "shared": true})).await.expect(200);
    app.usage("C1b", "STORAGE", "400").await;
    merge(&app, Kind::Additions, 100, json!({"quantity": 7}));
    refresh(&app).await;
    // The branch is not enabled: nobody bills its usage.
    let found = reconciliation(&app, "").await;
    let of_one =
        |found: &Value| rows(found, &UNITS).into_iter().filter(|row| row.starts_with("Company 1")).collect::<Vec<_>>();
    assert_eq!(of_one(&found), ["Company 1 not_pushed 3 7 -4", "Company 1, branch disabled 4 0 4"]);
    assert_eq!(found["totals"][0]["connectwise_amount"], "85.5", "7, 1 and 1 at 9.50");
    // Once it is enabled, neither is pushed, and the addition has what both need together.
    enable(&app, true).await;
    let found = reconciliation(&app, "").await;
    let both = ["Company 1 addition_shared 3 3 0", "Company 1, branch addition_shared 4 4 0"];
    assert_eq!(of_one(&found), both);
    assert_eq!(found["totals"][0]["connectwise_amount"], "85.5");
    let statement = app.get(&format!("/companies/{branch}/statement")).await.expect(200);
    assert_eq!(statement["totals"], json!([]), "its share of the addition is unknown: {statement}");
    // November is pushed, and then October.
    let october = json!({"records": [{"company_external_id": "C2", "product_code": "STORAGE", "amount": "950", "measured_at": "2026-10-31T00:00:00Z"}]});
    app.post("/usage", &october).await.expect(200);
    app.push(&json!({})).await;
    app.push(&json!({"billing_month": "2026-10"})).await;
    let november = reconciliation(&app, "?kind=out_of_date,changed_in_connectwise").await;
    assert_eq!(rows(&november, &UNITS), ["Company 2 out_of_date 3 10 -7"]);
}

on_both!(
    each_addition_is_counted_once_and_no_person_is_blamed_for_a_push,
    every_cause_of_a_difference_is_reported_in_units_and_money,
    no_difference_after_a_push_and_past_months_are_compared_with_their_push,
    silent_meters_and_warnings_are_listed_with_what_they_affect,
);

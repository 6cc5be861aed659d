//! An included quantity, and the overage product that bills the units above it.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, Kind, sample};
use serde_json::{Value, json};

use crate::invoices::merge;
use crate::push::{enable, quantities, ready, states};
use crate::support::{Backend, TestApp, job_path, status};

/// Adds an overage product for another product, with an addition on each agreement, and enables its lines.
pub async fn with_overage(app: &TestApp, of: &str, companies: i64) -> String {
    app.sandbox.change(|store| {
        for c in 1..=companies {
            store.put(Kind::Additions, sample::addition(c * 100 + 1, c * 10, "BKP-OVER", "Storage overage", 0.0));
        }
    });
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let body =
        json!({"code": "OVERAGE", "name": "Storage overage", "unit": "block", "block_size": "1", "overage_of": of});
    let product = app.post("/products", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    app.rule(&product, "agreement", r#"name = "Backup""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-OVER""#).await;
    enable(app, true).await;
    product
}

fn overage_quantities(app: &TestApp, companies: i64) -> Vec<f64> {
    app.sandbox.read(|store| (1..=companies).map(|c| store.quantity(c * 100 + 1).unwrap()).collect())
}

async fn lines_of(app: &TestApp, product: &str) -> Vec<Value> {
    app.all(&format!("/billing-lines?product_id={product}")).await
}

/// Three companies with 250 GB in blocks of 100, which make 3 units.
async fn units_above_the_included_quantity_are_billed_by_the_overage_product(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    let overage = with_overage(&app, &product, 3).await;
    let path = format!("/products/{product}");
    let changed = app.patch(&path, &json!({"included_quantity": "2"})).await.expect(200);
    assert_eq!((&changed["included_quantity"], &changed["overage_of"]), (&json!("2"), &Value::Null));
    assert_eq!(app.get(&format!("/products/{overage}")).await.expect(200)["overage_of"], *product);
    let lines = lines_of(&app, &product).await;
    let (second, third) = (lines[1]["id"].as_str().unwrap(), lines[2]["id"].as_str().unwrap());
    // One line has its own included quantity, and a minimum applies before it.
    let own = json!({"included_quantity": "0.5"});
    let line = app.patch(&format!("/billing-lines/{second}"), &own).await.expect(200);
    assert_eq!(
        (&line["included_quantity"], &line["included_quantity_override"], &line["usage"]["overage"]),
        (&json!("0.5"), &json!("0.5"), &json!("2.5"))
    );
    app.patch(&format!("/billing-lines/{third}"), &json!({"minimum_quantity": "7"})).await.expect(200);
    let shown = |lines: Vec<Value>| -> Vec<String> {
        let usage =
            |line: &Value| format!("{} {}", line["usage"]["amount"], line["usage"]["quantity"]).replace('"', "");
        lines.iter().map(usage).collect()
    };
    assert_eq!(shown(lines_of(&app, &product).await), ["250 2", "250 0.5", "250 2"]);
    assert_eq!(shown(lines_of(&app, &overage).await), ["1 1", "2.5 3", "5 5"]);
    let (job, pushed) = app.push(&json!({})).await;
    assert_eq!((&job["lines"]["pushed"], states(&pushed).len()), (&json!(6), 6));
    assert_eq!((quantities(&app, 3), overage_quantities(&app, 3)), (vec![2.0, 0.5, 2.0], vec![1.0, 3.0, 5.0]));
    let of_second: Vec<&Value> = pushed.iter().filter(|line| line["company_name"] == "Company 2").collect();
    let ledger = |line: &Value| format!("{} {} {}", line["usage"], line["included_quantity"], line["to"]);
    assert_eq!(of_second.into_iter().map(ledger).collect::<Vec<_>>(), [r#""250" "0.5" "0.5""#, r#""2.5" "0.5" "3""#]);
    // The statement explains how the two lines are related.
    let company = lines[1]["company"]["id"].as_str().unwrap();
    let statement = app.get(&format!("/companies/{company}/statement")).await.expect(200);
    let steps = |code: &str| {
        let products = statement["products"].as_array().unwrap();
        products.iter().find(|one| one["product_code"] == code).unwrap()["steps"].clone()
    };
    assert_eq!(steps("STORAGE")[2], "0.5 are included, so the quantity is 0.5, and the overage 2.5.");
    assert_eq!(steps("OVERAGE")[0], "Above the 0.5 included with Product STORAGE: 2.5.");
    let found = app.get("/reconciliation").await.expect(200);
    assert_eq!(found["items"], json!([]), "nothing differs: {found}");
    // Without an included quantity, everything is billed on the base line, and nothing twice.
    app.patch(&path, &json!({"included_quantity": null})).await.expect(200);
    app.patch(&format!("/billing-lines/{second}"), &json!({"included_quantity": null})).await.expect(200);
    assert!(app.all("/billing-lines").await.iter().all(|line| line["out_of_date"] == true));
    app.push(&json!({})).await;
    assert_eq!((quantities(&app, 3), overage_quantities(&app, 3)), (vec![3.0, 3.0, 7.0], vec![0.0; 3]));
}

/// Usage that gives no quantity gives no overage either.
async fn overage_is_unknown_without_a_quantity(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    let overage = with_overage(&app, &product, 2).await;
    app.patch(&format!("/products/{product}"), &json!({"included_quantity": "1"})).await.expect(200);
    app.patch(&format!("/products/{product}"), &json!({"rounding": "exact", "block_size": "3"})).await.expect(200);
    let line = lines_of(&app, &overage).await[0].clone();
    assert_eq!(line["usage"]["quantity"], Value::Null);
    assert!(line["usage"]["problem"].as_str().unwrap().starts_with("250 / 3 has no finite decimal value"), "{line}");
    app.patch(&format!("/products/{product}"), &json!({"rounding": "ceil"})).await.expect(200);
    app.company("C3", "Company 3").await;
    let silent = lines_of(&app, &overage).await[2].clone();
    assert_eq!((&silent["usage"]["amount"], &silent["usage"]["problem"]), (&Value::Null, &Value::Null));
    app.clock.advance(TimeDelta::days(40));
    let (_, pushed) = app.push(&json!({"product_id": overage})).await;
    assert_eq!((states(&pushed)[0], &pushed[0]["reason"]), ("skipped", &json!("usage_too_old")), "{}", pushed[0]);
    let base = app.push(&json!({"product_id": product})).await.1;
    assert_eq!(base[0]["detail"], pushed[0]["detail"]);
}

async fn overage_that_nobody_would_bill_is_rejected(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    let path = format!("/products/{product}");
    let included = json!({"included_quantity": "2"});
    let line = lines_of(&app, &product).await[0]["id"].as_str().unwrap().to_owned();
    let line = format!("/billing-lines/{line}");
    app.patch(&path, &included).await.problem(409, "overage_not_billed");
    app.patch(&line, &included).await.problem(409, "overage_not_billed");
    let many = json!({"ids": [line.rsplit('/').next().unwrap()], "included_quantity": "2"});
    let rejected = app.patch("/billing-lines", &many).await.expect(422);
    assert_eq!(rejected["errors"][0]["code"], "overage_not_billed", "{rejected}");
    let table = "company_external_id,product_code,included_quantity\r\nC1,STORAGE,2\r\n";
    let csv = [("content-type", "text/csv")];
    let import =
        |table: &str| app.send(reqwest::Method::POST, "/import/billing-lines", &csv, Some(table.to_owned().into()));
    let rejected = import(table).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/2/included_quantity", "{rejected}");

    let overage = with_overage(&app, &product, 2).await;
    assert_eq!(import(table).await.expect(200)["items"][0]["changes"][0]["part"], "included_quantity");
    let exported = app.get("/export/billing-lines").await.text;
    assert_eq!(import(&exported).await.expect(200)["changed"], 0, "{exported}");
    // Neither product can be deleted while the other needs it.
    let other = format!("/products/{overage}");
    app.delete(&other).await.problem(409, "overage_not_billed");
    app.delete(&path).await.problem(409, "overage_not_billed");
    app.patch(&line, &json!({"included_quantity": null})).await.expect(200);
    app.patch(&path, &included).await.expect(200);
    app.delete(&other).await.problem(409, "overage_not_billed");
    // An overage product has no overage, a product has only one overage product, and its base product never changes.
    app.patch(&other, &included).await.problem(409, "overage_not_billed");
    let new = |of: &str| json!({"code": "MORE", "name": "More", "unit": "GB", "block_size": "1", "overage_of": of});
    for of in [&product, &overage, &"nobody".to_owned()] {
        let rejected = app.post("/products", &new(of)).await.expect(422);
        assert_eq!(rejected["errors"][0]["field"], "/overage_of", "{rejected}");
    }
    let mut body = json!({"code": "OVERAGE", "name": "Above", "unit": "GB", "block_size": "1"});
    let rejected = app.put(&other, &body).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/overage_of", "{rejected}");
    body["overage_of"] = json!(product);
    assert_eq!(app.put(&other, &body).await.expect(200)["name"], "Above");
    // It has no usage of its own.
    let usage = json!({"records": [{"company_external_id": "C1", "product_code": "OVERAGE", "amount": "1", "measured_at": "2026-11-22T00:00:00Z"}]});
    let rejected = app.post("/usage", &usage).await.expect(422);
    assert_eq!(rejected["errors"][0]["field"], "/records/0/product_code", "{rejected}");
    // ConnectWise must not keep its quantity while the base product bills those units.
    app.push(&json!({})).await;
    app.patch(&path, &json!({"included_quantity": null})).await.expect(200);
    app.delete(&other).await.problem(409, "overage_not_billed");
    app.push(&json!({})).await;
    assert_eq!(overage_quantities(&app, 2), [0.0; 2]);
    app.delete(&other).await.expect(204);
    app.delete(&path).await.expect(204);
}

/// The units above the included quantity are 1 of 3.
async fn with_included(backend: Backend, companies: i64) -> (TestApp, String, String) {
    let (app, product) = ready(backend, companies).await;
    let overage = with_overage(&app, &product, companies).await;
    app.patch(&format!("/products/{product}"), &json!({"included_quantity": "2"})).await.expect(200);
    (app, product, overage)
}

/// The state and the reason of each line, the lines of overage last.
fn results(lines: &[Value]) -> Vec<String> {
    let mut found: Vec<(bool, String)> = lines
        .iter()
        .map(|line| {
            let text = |member: &str| line[member].as_str().unwrap_or("-").to_owned();
            (line["product_code"] == "OVERAGE", format!("{} {}", text("state"), text("reason")))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

async fn a_line_is_not_capped_if_its_overage_would_be_unbilled(backend: Backend) {
    let (app, product, overage) = with_included(backend, 1).await;
    let line = lines_of(&app, &overage).await[0]["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/billing-lines/{line}"), &json!({"push_enabled": false})).await.expect(200);
    let (_, shown) = app.push(&json!({"dry_run": true})).await;
    assert_eq!(results(&shown), ["would_push overage_not_billed", "skipped disabled"]);
    let (job, held) = app.push(&json!({})).await;
    assert_eq!(results(&held), ["held overage_not_billed", "skipped disabled"]);
    let detail = "1 above the included quantity would not be billed: enable and resolve the line of OVERAGE";
    assert_eq!(held[0]["detail"], detail, "{}", held[0]);
    assert_eq!(quantities(&app, 1), [1.0], "nothing was written");
    // A person may want to bill only the included quantity.
    app.post(&format!("{}/lines/approve", job_path(&job)), &json!({})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (_, approved) = app.job_and_lines(&job).await;
    assert_eq!(
        (results(&approved), quantities(&app, 1)),
        (vec!["pushed -".into(), "skipped disabled".into()], vec![2.0])
    );
    assert_eq!(
        results(&app.push(&json!({})).await.1),
        ["unchanged -", "skipped disabled"],
        "what is there needs no approval"
    );
    // Without units above it, the included quantity limits nothing.
    app.patch(&format!("/products/{product}"), &json!({"included_quantity": "3"})).await.expect(200);
    assert_eq!(results(&app.push(&json!({})).await.1), ["pushed -", "skipped disabled"]);
}

async fn overage_is_not_written_while_the_base_line_still_bills_it(backend: Backend) {
    let (app, product, overage) = with_included(backend, 2).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "0.5"})).await.expect(200);
    app.sandbox.change(|store| store.reject(200, "its period was invoiced"));
    let (job, lines) = app.push(&json!({})).await;
    let expected = ["held base_not_pushed", "held base_not_pushed", "held guard", "held guard"];
    let mut found = results(&lines);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!((quantities(&app, 2), overage_quantities(&app, 2)), (vec![1.0; 2], vec![0.0; 2]));
    let of = |code: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["product_code"] == code).map(|line| line["id"].clone()).collect()
    };
    app.post(&format!("{}/lines/approve", job_path(&job)), &json!({"push_line_ids": of("STORAGE")})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    let mut found = results(&lines);
    found.sort();
    assert_eq!(found, ["failed rejected", "held base_not_pushed", "held base_not_pushed", "pushed -"]);
    // The base line failed: its overage is not pushed alone either, unless somebody decides so.
    let alone = app.push(&json!({"product_id": overage})).await;
    assert_eq!(results(&alone.1), ["held base_not_pushed", "pushed -"]);
    app.post(&format!("{}/lines/drop", job_path(&job)), &json!({})).await.expect(200);
    // The overage is also not pushed if the base line keeps its quantity because its invoice has been made.
    app.patch(&format!("/products/{product}"), &json!({"when_invoiced": "skip", "included_quantity": "1"}))
        .await
        .expect(200);
    merge(&app, Kind::Agreements, 10, json!({"nextInvoiceDate": "2027-01-01"}));
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let (_, lines) = app.push(&json!({})).await;
    let of_first = lines.iter().filter(|line| line["company_name"] == "Company 1").cloned().collect::<Vec<_>>();
    assert_eq!(results(&of_first), ["skipped already_invoiced", "held base_not_pushed"]);
}

/// The agreement cannot be read for a while: the overage on another agreement waits.
async fn overage_waits_for_the_base_line(backend: Backend) {
    let (app, _, overage) = with_included(backend, 1).await;
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(9, 1, "Overage", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(901, 9, "BKP-OVER", "Storage overage", 0.0));
    });
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let rules = app.all(&format!("/matching-rules?product_id={overage}&target=agreement")).await;
    let rule = format!("/matching-rules/{}", rules[0]["id"].as_str().unwrap());
    app.put(&rule, &json!({"expression": r#"name = "Overage""#})).await.expect(200);
    app.sandbox.fail(Fault::once(status(500)).on("GET").at("agreements/10/additions").times(50));
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!(results(&lines), ["pending -", "pending -"]);
    app.sandbox.clear_faults();
    app.clock.advance(TimeDelta::minutes(2));
    app.worker.run_until_idle().await.unwrap();
    app.clock.advance(TimeDelta::minutes(2));
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!(results(&lines), ["pushed -", "pushed -"]);
}

async fn a_pair_is_reverted_together_or_not_at_all(backend: Backend) {
    let (app, product, overage) = with_included(backend, 1).await;
    let (first, _) = app.push(&json!({})).await;
    let line = lines_of(&app, &overage).await[0]["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/billing-lines/{line}"), &json!({"minimum_quantity": "4"})).await.expect(200);
    let (later, _) = app.push(&json!({"product_id": overage})).await;
    let rejected = app.post(&format!("{}/revert", job_path(&first)), &json!({})).await;
    let problem = rejected.problem(409, "nothing_to_revert");
    assert!(problem["detail"].as_str().unwrap().contains(later["id"].as_str().unwrap()), "{problem}");
    assert_eq!((quantities(&app, 1), overage_quantities(&app, 1)), (vec![2.0], vec![4.0]));
    // The same for a push of a dry run.
    let (dry_run, _) = app.push(&json!({"dry_run": true, "billing_month": "2026-11"})).await;
    assert_eq!(dry_run["lines"]["unchanged"], 2);
    app.patch(&format!("/products/{product}"), &json!({"included_quantity": "1"})).await.expect(200);
    let (dry_run, _) = app.push(&json!({"dry_run": true})).await;
    app.patch(&format!("/products/{product}"), &json!({"included_quantity": "3"})).await.expect(200);
    app.push(&json!({"product_id": product})).await;
    app.post("/push-jobs", &json!({"from_dry_run": dry_run["id"]})).await.problem(409, "nothing_to_push");
}

/// Both bill the same month, and usage for a month whose overage was pushed is late.
async fn overage_bills_the_same_month_as_the_base_line(backend: Backend) {
    let (app, product, overage) = with_included(backend, 1).await;
    let path = format!("/products/{overage}");
    app.patch(&format!("/products/{product}"), &json!({"aggregation": "max"})).await.expect(200);
    let followed = app.patch(&path, &json!({"billing_period": "current", "name": "Above"})).await.expect(200);
    assert_eq!(
        (&followed["aggregation"], &followed["billing_period"], &followed["name"]),
        (&json!("max"), &json!("previous"), &json!("Above"))
    );
    let usage = |day: &str, amount: &str| json!({"records": [{"company_external_id": "C1", "product_code": "STORAGE", "amount": amount, "measured_at": format!("{day}T00:00:00Z")}]});
    app.post("/usage", &usage("2026-10-03", "500")).await.expect(200);
    let months =
        |lines: Vec<Value>| -> Vec<Value> { lines.iter().map(|line| line["usage"]["billing_month"].clone()).collect() };
    assert_eq!(months(app.all("/billing-lines").await), ["2026-10", "2026-10"]);
    app.push(&json!({"product_id": overage})).await;
    let late = app.post("/usage", &usage("2026-10-04", "600")).await.expect(200);
    assert_eq!(late["late"], 1, "{late}");
    let (dry_run, _) = app.push(&json!({"dry_run": true, "product_id": overage})).await;
    app.clock.advance(TimeDelta::minutes(1));
    app.post("/usage", &usage("2026-10-05", "700")).await.expect(200);
    app.execute("UPDATE usage_records SET late = FALSE");
    app.post("/push-jobs", &json!({"from_dry_run": dry_run["id"]})).await.expect(202);
    assert_eq!(app.all("/usage?late=true").await.len(), 1, "the newest record is not in the dry run");
}

/// An earlier version, running beside this one, does not know that the two products are related.
async fn a_deleted_base_product_does_not_block_others(backend: Backend) {
    let (app, product, overage) = with_included(backend, 1).await;
    app.execute(&format!("DELETE FROM products WHERE id = '{product}'"));
    let lines = app.all("/billing-lines").await;
    let problem = lines[0]["usage"]["problem"].as_str().unwrap();
    assert!(problem.starts_with("the base product was deleted"), "{problem}");
    app.get("/reconciliation").await.expect(200);
    assert_eq!(results(&app.push(&json!({})).await.1), ["failed quantity"]);
    app.delete(&format!("/products/{overage}")).await.expect(204);
}

on_both!(
    a_line_is_not_capped_if_its_overage_would_be_unbilled,
    overage_is_not_written_while_the_base_line_still_bills_it,
    overage_waits_for_the_base_line,
    a_pair_is_reverted_together_or_not_at_all,
    overage_bills_the_same_month_as_the_base_line,
    a_deleted_base_product_does_not_block_others,
    overage_is_unknown_without_a_quantity,
    overage_that_nobody_would_bill_is_rejected,
    units_above_the_included_quantity_are_billed_by_the_overage_product
);

//! What ConnectWise's invoice does with a quantity: the units billed, the amount, and the warnings.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Kind, sample};
use serde_json::{Value, json};

use crate::push::ready;
use crate::support::{Backend, TestApp, seed};

/// Changes a record in ConnectWise.
pub fn merge(app: &TestApp, kind: Kind, id: i64, members: Value) {
    app.sandbox.change(|store| store.merge(kind, id, members.as_object().cloned().unwrap()));
}

async fn refresh(app: &TestApp) {
    app.clock.advance(TimeDelta::minutes(20));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
}

/// The invoices of the lines, by company.
async fn invoices(app: &TestApp) -> Vec<Value> {
    app.all("/billing-lines?limit=3").await.into_iter().map(|line| line["invoice"].clone()).collect()
}

fn codes(invoice: &Value) -> Vec<&str> {
    invoice["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Each of the lines has 250 GB, which are 3 blocks at 9.50 USD.
async fn a_line_tells_what_is_billed_and_for_how_much(backend: Backend) {
    let (app, _) = ready(backend, 5).await;
    merge(&app, Kind::Additions, 200, json!({"lessIncluded": 0.5, "unitPrice": 3.333}));
    merge(&app, Kind::Additions, 300, json!({"billCustomer": "DoNotBill"}));
    merge(&app, Kind::Additions, 400, json!({"billCustomer": "NoCharge", "lessIncluded": 7}));
    merge(&app, Kind::Additions, 500, json!({"unitPrice": null, "billCustomer": null, "lessIncluded": null}));
    merge(&app, Kind::Agreements, 50, json!({"currency": null, "nextInvoiceDate": "soon"}));
    app.company("C6", "Not Set").await;
    refresh(&app).await;
    let found = invoices(&app).await;
    let parts = |invoice: &Value| {
        let text = |member: &str| invoice[member].as_str().unwrap_or("-").to_owned();
        (text("billed_quantity"), text("amount"), text("currency"), text("unit_price"), codes(invoice).join(" "))
    };
    let expected = [
        ("3", "28.5", "USD", "9.5", ""),
        ("2.5", "8.3325", "USD", "3.333", "less_included"),
        ("0", "0", "USD", "9.5", "do_not_bill"),
        ("0", "0", "USD", "9.5", "no_charge less_included"),
        ("3", "-", "-", "-", ""),
    ];
    for (invoice, (quantity, amount, currency, price, warnings)) in found.iter().zip(expected) {
        let wanted = (quantity.into(), amount.into(), currency.into(), price.into(), warnings.into());
        assert_eq!(parts(invoice), wanted, "{invoice}");
    }
    assert_eq!(found[5], Value::Null, "it bills to no addition");
    let explanation = found[2]["warnings"][0]["explanation"].as_str().unwrap();
    assert!(explanation.contains("Do Not Bill") && explanation.contains("Set Bill Customer"), "{explanation}");
    let table = app.get("/export/billing-lines").await.text;
    let row = table.lines().find(|row| row.starts_with("C2,")).unwrap();
    assert!(row.ends_with(",2.5,8.3325,USD,less_included"), "{row}");
    let unchanged = app
        .send(reqwest::Method::POST, "/import/billing-lines", &[("content-type", "text/csv")], Some(table.into_bytes()))
        .await
        .expect(200);
    assert_eq!(unchanged["changed"], 0, "what is exported is imported: {unchanged}");
}

async fn reasons_a_quantity_is_not_invoiced_are_reported(backend: Backend) {
    let (app, _) = ready(backend, 7).await;
    // It is 22 November 2026.
    merge(&app, Kind::Agreements, 10, json!({"nextInvoiceDate": "2026-12-01T00:00:00Z"}));
    merge(&app, Kind::Agreements, 20, json!({"nextInvoiceDate": "2027-01-01"}));
    merge(&app, Kind::Agreements, 30, json!({"billingCycle": {"id": 9, "name": "None"}}));
    merge(&app, Kind::Agreements, 40, json!({"prorateFlag": false}));
    merge(&app, Kind::Additions, 400, json!({"effectiveDate": "2026-11-10T00:00:00Z"}));
    merge(&app, Kind::Additions, 500, json!({"effectiveDate": "2026-12-01T00:00:00Z", "unitPrice": 0}));
    merge(
        &app,
        Kind::Agreements,
        60,
        json!({"nextInvoiceDate": "2026-12-01", "noEndingDateFlag": false, "endDate": "2026-11-30"}),
    );
    // A child is invoiced with its parent.
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(999, 7, "Everything", (3, "Managed Services")));
        // Another company with the same name as the first.
        store.put(Kind::Companies, sample::company(99, "Twin", "COMPANY 1"));
    });
    merge(&app, Kind::Agreements, 999, json!({"nextInvoiceDate": "2027-02-01"}));
    merge(
        &app,
        Kind::Agreements,
        70,
        json!({"nextInvoiceDate": "2026-12-01", "parentAgreement": {"id": 999, "name": "Everything"}}),
    );
    refresh(&app).await;
    let found = invoices(&app).await;
    let told: Vec<Vec<&str>> = found.iter().map(codes).collect();
    assert_eq!(
        told,
        [
            vec!["twin_company"],
            vec!["already_invoiced"],
            vec!["never_invoiced"],
            vec!["prorate_off"],
            vec!["effective_later", "price_zero"],
            vec!["ends_before_invoice"],
            vec!["already_invoiced"],
        ]
    );
    assert_eq!(
        (&found[0]["next_invoice_on"], &found[6]["next_invoice_on"]),
        (&json!("2026-12-01"), &json!("2027-02-01"))
    );
    // December's quantity is in time for January's invoice.
    let later = app.all("/billing-lines?billing_month=2026-12").await;
    assert_eq!(codes(&later[1]["invoice"]), Vec::<&str>::new());
}

/// Gives each company random terms, a price and usage: what is included, what is not billed, what begins or ends, which
/// agreement is the parent, and which invoice already exists. The first company is plain and the second is not billed,
/// so each case occurs.
pub async fn with_random_terms(app: &TestApp, random: &mut fastrand::Rng, companies: i64) {
    merge(app, Kind::Additions, 200, json!({"billCustomer": "DoNotBill"}));
    for c in 3..=companies {
        let one_of = |random: &mut fastrand::Rng, values: &[Value]| values[random.usize(..values.len())].clone();
        let day = |text: &str| json!(format!("{text}T00:00:00Z"));
        let mut agreement = json!({
            "billingCycle": one_of(random, &[json!({"id": 1, "name": "Monthly"}), json!({"id": 2, "name": "None"}), Value::Null]),
            "nextInvoiceDate": one_of(random, &[json!("2026-12-01"), json!("2026-11-25"), json!("2027-01-01"), Value::Null]),
            "noEndingDateFlag": random.bool(),
            "endDate": one_of(random, &[day("2026-11-23"), day("2027-06-30"), Value::Null]),
            "currency": one_of(random, &[json!({"id": 1, "currencyCode": "USD"}), json!({"id": 2, "currencyCode": "EUR"})]),
        });
        if random.u8(..4) == 0 {
            let parent =
                json!({"nextInvoiceDate": agreement["nextInvoiceDate"], "billingCycle": agreement["billingCycle"]});
            app.sandbox.change(|store| {
                store.put(Kind::Agreements, sample::agreement(9_000 + c, c, "Everything", (3, "Managed Services")));
            });
            merge(app, Kind::Agreements, 9_000 + c, parent);
            agreement["parentAgreement"] = json!({"id": 9_000 + c, "name": "Everything"});
            agreement["nextInvoiceDate"] = json!("2026-12-01");
        }
        merge(app, Kind::Agreements, c * 10, agreement);
        let price = f64::from(random.u32(0..10_000)) / 100.0;
        let addition = json!({
            "lessIncluded": one_of(random, &[json!(0), json!(0.5), json!(2), json!(7), Value::Null]),
            "billCustomer": one_of(random, &[json!("Billable"), json!("Billable"), json!("DoNotBill"), json!("NoCharge")]),
            "effectiveDate": one_of(random, &[day("2026-01-01"), day("2026-11-10"), day("2026-12-15")]),
            "unitPrice": price,
        });
        merge(app, Kind::Additions, c * 100, addition);
        app.usage(&format!("C{c}"), "STORAGE", &random.u32(1..2_000).to_string()).await;
    }
}

/// After a push, the amounts of the lines equal the charges of an invoice run, whatever the terms.
async fn amounts_are_what_an_invoice_run_charges(backend: Backend) {
    const COMPANIES: i64 = 20;
    let seed = seed();
    let (app, _) = ready(backend, COMPANIES).await;
    with_random_terms(&app, &mut fastrand::Rng::with_seed(seed), COMPANIES).await;
    refresh(&app).await;
    app.push(&json!({})).await;
    let lines = app.all("/billing-lines?limit=500").await;
    assert!(lines.iter().all(|line| ["pushed", "unchanged"].contains(&line["last_push"]["state"].as_str().unwrap())));
    let charges = app.sandbox.change(|store| store.invoice("2026-12-01".parse().unwrap()));
    let never = ["do_not_bill", "never_invoiced", "already_invoiced", "effective_later", "ends_before_invoice"];
    let (mut compared, mut kept) = (0, 0);
    for line in &lines {
        let (invoice, addition) = (&line["invoice"], line["addition"]["id"].as_str().unwrap());
        let charge = charges.iter().find(|charge| charge.addition_id.to_string() == addition);
        if codes(invoice).iter().any(|code| never.contains(code)) {
            // An agreement with a warning may still be charged, if it ends on a day on which it is still invoiced.
            let is_certain = codes(invoice).iter().any(|code| *code != "ends_before_invoice" && never.contains(code));
            assert!(charge.is_none() || !is_certain, "seed {seed}: {invoice} was charged: {charge:?}");
            kept += 1;
            continue;
        }
        let charge = charge.unwrap_or_else(|| panic!("seed {seed}: {invoice} of {line} was not charged"));
        assert_eq!(invoice["amount"], charge.amount.to_string(), "seed {seed}: {line}");
        assert_eq!(invoice["billed_quantity"], charge.quantity.normalize().to_string(), "seed {seed}: {line}");
        assert_eq!(invoice["currency"], charge.currency, "seed {seed}");
        compared += 1;
    }
    assert!(compared > 0 && kept > 0, "seed {seed}: {compared} lines were charged, {kept} were not");
}

/// It is 22 November 2026: the invoice for November is December's.
async fn a_product_can_hold_or_skip_what_was_invoiced(backend: Backend) {
    let (app, product) = ready(backend, 4).await;
    let path = format!("/products/{product}");
    assert_eq!(app.get(&path).await.expect(200)["when_invoiced"], "warn");
    let outcomes = |lines: &[Value]| -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        lines.iter().map(|line| format!("{} {}", text(&line["state"]), text(&line["reason"]))).collect()
    };
    // The invoices are made after the lists were read. The third agreement is the child of an invoiced agreement, the
    // fourth the child of one that was not invoiced.
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(901, 3, "Everything", (3, "Managed Services")));
        store.put(Kind::Agreements, sample::agreement(902, 4, "Everything", (3, "Managed Services")));
    });
    merge(&app, Kind::Agreements, 10, json!({"nextInvoiceDate": "2026-12-01"}));
    merge(&app, Kind::Agreements, 20, json!({"nextInvoiceDate": "2027-01-01"}));
    merge(&app, Kind::Agreements, 30, json!({"nextInvoiceDate": "2026-12-01", "parentAgreement": {"id": 901}}));
    merge(&app, Kind::Agreements, 901, json!({"nextInvoiceDate": "2027-01-01"}));
    merge(&app, Kind::Agreements, 40, json!({"nextInvoiceDate": "2027-01-01", "parentAgreement": {"id": 902}}));
    merge(&app, Kind::Agreements, 902, json!({"nextInvoiceDate": "2026-12-01"}));
    app.patch(&path, &json!({"when_invoiced": "hold"})).await.expect(200);
    let (_, lines) = app.push(&json!({"dry_run": true})).await;
    let expected = ["would_push -", "would_push already_invoiced", "would_push already_invoiced", "would_push -"];
    assert_eq!(outcomes(&lines), expected);
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!(outcomes(&lines), ["pushed -", "held already_invoiced", "held already_invoiced", "pushed -"]);
    assert_eq!(job["state"], "waiting_for_approval");
    let detail = lines[1]["detail"].as_str().unwrap();
    assert_eq!(detail, "the agreement's next invoice is on 2027-01-01, after the invoice for 2026-11");
    assert!(lines[1]["explanation"].as_str().unwrap().contains("Undo that invoice"), "{}", lines[1]);
    let approve = format!("/push-jobs/{}/lines/approve", job["id"].as_str().unwrap());
    app.post(&approve, &json!({"push_line_ids": [lines[1]["id"]]})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!(outcomes(&lines)[1..3], ["pushed -", "held already_invoiced"], "a person decides");
    // A skipped line keeps its quantity.
    app.patch(&path, &json!({"when_invoiced": "skip"})).await.expect(200);
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(outcomes(&lines), ["unchanged -", "unchanged -", "skipped already_invoiced", "unchanged -"]);
    // Approving a large change does not approve a change after the invoice, which is made meanwhile.
    app.patch(&path, &json!({"when_invoiced": "hold", "max_change_units": "1"})).await.expect(200);
    app.usage("C1", "STORAGE", "950").await;
    app.usage("C2", "STORAGE", "950").await;
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!(outcomes(&lines), ["held guard", "held already_invoiced", "held already_invoiced", "unchanged -"]);
    let detail = lines[1]["detail"].as_str().unwrap();
    assert!(detail.contains("next invoice") && detail.contains("larger than 1 units"), "{detail}");
    merge(&app, Kind::Agreements, 10, json!({"nextInvoiceDate": "2027-01-01"}));
    let approve = format!("/push-jobs/{}/lines/approve", job["id"].as_str().unwrap());
    app.post(&approve, &json!({"push_line_ids": [lines[0]["id"], lines[1]["id"]]})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!(outcomes(&lines)[..2], ["held already_invoiced", "pushed -"]);
    app.post(&approve, &json!({"push_line_ids": [lines[0]["id"]]})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!(outcomes(&lines)[0], "pushed -", "now that it was shown");
    app.patch(&path, &json!({"when_invoiced": "warn", "max_change_units": null})).await.expect(200);
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(outcomes(&lines)[2], "pushed -");
}

/// If a site has the agreement recap, it shows more than the next date alone, for example for quarterly agreements.
async fn the_agreement_recap_tells_the_last_invoice(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    let quarterly = json!({"billingCycle": {"id": 3, "name": "Quarterly"}, "nextInvoiceDate": "2027-02-01"});
    merge(&app, Kind::Agreements, 10, quarterly);
    merge(&app, Kind::Agreements, 20, json!({"nextInvoiceDate": null}));
    merge(&app, Kind::Recaps, 10, json!({"lastInvoiceDate": "2026-12-01T00:00:00Z", "unbilledPeriods": 0}));
    merge(&app, Kind::Recaps, 20, json!({"nextInvoiceDate": "2026-12-15T00:00:00Z", "unbilledPeriods": 2}));
    merge(&app, Kind::Recaps, 30, json!({"lastInvoiceDate": "once upon a time", "unbilledPeriods": "many"}));
    refresh(&app).await;
    assert!(invoices(&app).await.iter().all(|invoice| invoice["last_invoice_on"].is_null()), "nobody looked for it");
    let shown = |invoice: &Value| {
        let text = |member: &str| invoice[member].to_string().replace('"', "");
        [text("last_invoice_on"), text("unbilled_periods"), text("next_invoice_on"), codes(invoice).join(" ")].join(" ")
    };
    for (recap, told) in [
        (Some("agreementRecap"), "finance/agreementRecap"),
        (Some("agreementrecaps"), "finance/agreementrecaps"),
        (Some("agreementrecap/"), "finance/agreementrecap/"),
    ] {
        app.sandbox.tune(|behavior| behavior.recap = recap.map(str::to_owned));
        let tested = app.post("/connection/test", &json!({})).await.expect(200);
        let step = tested["steps"][6].clone();
        assert_eq!((&tested["passed"], &step["step"]), (&json!(true), &json!("invoices")), "{tested}");
        assert!(step["detail"].as_str().unwrap().ends_with(told), "{step}");
        refresh(&app).await;
        let found: Vec<String> = invoices(&app).await.iter().map(shown).collect();
        let expected = ["2026-12-01 0 2027-02-01 already_invoiced", "null 2 2026-12-15 ", "null null null "];
        assert_eq!(found, expected, "{recap:?}");
    }
    // `when_invoiced` uses it as well: that invoice can no longer include the quantity.
    app.patch(&format!("/products/{product}"), &json!({"when_invoiced": "skip"})).await.expect(200);
    let (_, pushed) = app.push(&json!({})).await;
    assert_eq!((&pushed[0]["state"], &pushed[0]["reason"]), (&json!("skipped"), &json!("already_invoiced")));
    assert_eq!(pushed[0]["detail"], "the agreement was invoiced on 2026-12-01, after 2026-11");
    assert_eq!(pushed[1]["state"], "pushed");
    // A site without the recap is read as before, as is a site that no longer has it.
    app.sandbox.tune(|behavior| behavior.recap = None);
    refresh(&app).await;
    assert_eq!(invoices(&app).await[0]["last_invoice_on"], "2026-12-01", "what was known stays");
    let tested = app.post("/connection/test", &json!({})).await.expect(200);
    assert_eq!(tested["passed"], true, "{tested}");
    assert!(tested["steps"][6]["detail"].as_str().unwrap().contains("does not report past invoices"), "{tested}");
    app.sandbox.clear_ledger();
    refresh(&app).await;
    let asked = app.sandbox.ledger().requests.into_iter().any(|entry| entry.path.to_lowercase().contains("recap"));
    assert!(!asked, "nothing is asked for that is not there");
}

on_both!(
    the_agreement_recap_tells_the_last_invoice,
    a_product_can_hold_or_skip_what_was_invoiced,
    amounts_are_what_an_invoice_run_charges,
    a_line_tells_what_is_billed_and_for_how_much,
    reasons_a_quantity_is_not_invoiced_are_reported
);

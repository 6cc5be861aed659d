//! Compares the money of the reconciliation with an invoice run.

use std::collections::BTreeMap;

use connectwise_billing::domain::reconciliation::ReconciliationKind;
use connectwise_billing::sandbox::Kind;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{reconciliation, refresh};
use crate::invoices::{merge, with_random_terms};
use crate::overage::with_overage;
use crate::push::ready;
use crate::support::{Backend, seed};

/// A sum for each currency, without those that are 0.
type Sums = BTreeMap<String, Decimal>;

fn sums<'v>(amounts: impl Iterator<Item = (&'v str, Decimal)>) -> Sums {
    let mut sums = Sums::new();
    for (currency, amount) in amounts {
        *sums.entry(currency.to_owned()).or_default() += amount;
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

/// Whatever the terms, adjustments, minimums and manual edits: after a push no difference is left, and the money of the
/// reconciliation equals the charges of an invoice run. If somebody then edits ConnectWise, the difference is what the
/// run charges too little or too much.
async fn reconciled_amounts_equal_an_invoice_run(backend: Backend) {
    const COMPANIES: i64 = 20;
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (app, product) = ready(backend, COMPANIES).await;
    with_random_terms(&app, &mut random, COMPANIES).await;
    if random.bool() {
        let minimum = json!({"minimum_quantity": random.u32(0..8).to_string()});
        app.patch(&format!("/products/{product}"), &minimum).await.expect(200);
    }
    let has_overage = random.bool();
    if has_overage {
        with_overage(&app, &product, COMPANIES).await;
        let included = json!({"included_quantity": format!("{}.5", random.u32(0..10))});
        app.patch(&format!("/products/{product}"), &included).await.expect(200);
    }
    for line in app.all("/billing-lines?limit=500").await {
        let mut body = json!({});
        if random.u8(..3) == 0 {
            let amount = format!("-{}.5", random.u32(0..900));
            body["adjustment"] = json!({"amount": amount, "reason": "Agreed"});
        }
        if random.u8(..3) == 0 {
            body["minimum_quantity"] = json!(format!("{}.25", random.u32(0..30)));
        }
        if has_overage && line["product_id"] == product && random.u8(..3) == 0 {
            body["included_quantity"] = json!(format!("{}.75", random.u32(0..15)));
        }
        app.patch(&format!("/billing-lines/{}", line["id"].as_str().unwrap()), &body).await.expect(200);
    }
    for c in 1..=COMPANIES {
        for addition in [c * 100, c * 100 + 1].into_iter().take(1 + usize::from(has_overage)) {
            if random.u8(..3) == 0 {
                merge(&app, Kind::Additions, addition, json!({"quantity": random.u32(0..40)}));
            }
        }
    }
    refresh(&app).await;
    app.push(&json!({})).await;
    let every_kind: Vec<&str> = ReconciliationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let all = format!("/reconciliation?limit=7&kind={}", every_kind.join(","));
    let items = app.all(&all).await;
    assert_eq!(items.len(), if has_overage { 40 } else { 20 }, "seed {seed}");
    for item in &items {
        assert_eq!(
            (&item["kind"], &item["quantity_difference"]),
            (&json!("agrees"), &json!("0")),
            "seed {seed}: {item}"
        );
    }
    let totals = reconciliation(&app, "").await["totals"].clone();
    let of_totals = |totals: &Value, amount: fn(&Value) -> Decimal| {
        sums(totals.as_array().unwrap().iter().map(|one| (one["currency"].as_str().unwrap(), amount(one))))
    };
    assert_eq!(of_totals(&totals, |one| decimal(&one["amount_difference"])), Sums::new(), "seed {seed}");
    let to_charge = of_totals(&totals, |one| decimal(&one["amount"]) - decimal(&one["not_invoiced_amount"]));
    // Somebody edits half of the additions. They are read again before the invoices are made.
    for c in 1..=COMPANIES {
        if random.bool() {
            merge(&app, Kind::Additions, c * 100, json!({"quantity": random.u32(0..40)}));
        }
    }
    refresh(&app).await;
    let items = app.all(&all).await;
    let charges = app.sandbox.change(|store| store.invoice("2026-12-01".parse().unwrap()));
    let charged = sums(charges.iter().map(|charge| (charge.currency.as_str(), charge.amount)));
    // Charges that were invoiced before are not made again.
    let lines = app.all("/billing-lines?limit=500").await;
    let was_invoiced = |item: &Value| {
        let line = lines.iter().find(|line| line["id"] == item["billing_line_id"]).unwrap();
        line["invoice"]["next_invoice_on"] == "2027-01-01"
    };
    let taken = || items.iter().filter(|item| item["not_invoiced"] == false && !was_invoiced(item));
    let of_items =
        |member: &str| sums(taken().map(|item| (item["currency"].as_str().unwrap(), decimal(&item[member]))));
    assert_eq!(of_items("connectwise_amount"), charged, "seed {seed}");
    let expected = of_items("amount");
    let before = sums(
        items
            .iter()
            .filter(|item| was_invoiced(item) && item["not_invoiced"] == false)
            .map(|item| (item["currency"].as_str().unwrap(), decimal(&item["amount"]))),
    );
    let all = sums(expected.iter().chain(&before).map(|(currency, amount)| (currency.as_str(), *amount)));
    assert!(
        all.iter().all(|(currency, amount)| to_charge.get(currency).is_some_and(|all| all >= amount)),
        "seed {seed}"
    );
    let mut back = charged;
    for (currency, difference) in of_items("amount_difference") {
        *back.entry(currency).or_default() += difference;
    }
    back.retain(|_, sum| !sum.is_zero());
    assert_eq!(back, expected, "seed {seed}: what was charged and the difference make what should be charged");
}

on_both!(reconciled_amounts_equal_an_invoice_run,);

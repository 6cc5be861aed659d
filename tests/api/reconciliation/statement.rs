//! A company's statement: why it is billed this amount, and when.

use connectwise_billing::sandbox::Kind;
use serde_json::json;

use super::refresh;
use crate::invoices::merge;
use crate::push::ready;
use crate::support::Backend;

async fn a_statement_says_why_and_when(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    merge(&app, Kind::Additions, 100, json!({"lessIncluded": 1}));
    refresh(&app).await;
    app.usage("C1", "STORAGE", "1234.5").await;
    let line = app.all("/billing-lines").await[0].clone();
    let adjustment = json!({"amount": "-200", "reason": "A <b>trial</b> & more", "until": "2026-12-31"});
    let path = format!("/billing-lines/{}", line["id"].as_str().unwrap());
    app.patch(&path, &json!({"adjustment": adjustment, "minimum_quantity": "12"})).await.expect(200);
    app.push(&json!({})).await;
    let company = line["company"]["id"].as_str().unwrap();
    let statement = app.get(&format!("/companies/{company}/statement")).await.expect(200);
    let product = &statement["products"][0];
    assert_eq!(
        product["steps"],
        json!([
            "Measured at 2026-11-22 12:20 UTC: 1234.5 GB.",
            "Adjusted by -200 GB (A <b>trial</b> & more): 1034.5 GB.",
            "In blocks of 100 GB, rounded up: 11.",
            "The agreed minimum is 12: 12.",
            "The agreement includes 1: 11 are charged.",
            "At 9.5 USD each: 104.5 USD.",
        ])
    );
    assert_eq!((&product["quantity"], &product["billed_quantity"]), (&json!("12"), &json!("11")));
    assert_eq!(statement["totals"], json!([{"currency": "USD", "amount": "104.5"}]));
    assert_eq!(product["records"].as_array().unwrap().len(), 2);
    assert_eq!((&product["records"][0]["amount"], &product["records_in_month"]), (&json!("1234.5"), &json!(2)));
    let push = &product["pushes"][0];
    assert_eq!((&push["from"], &push["to"], &push["state"]), (&json!("1"), &json!("12"), &json!("pushed")));
    let table = app.get(&format!("/companies/{company}/statement?format=csv")).await;
    let row = table.text.lines().nth(1).unwrap();
    assert!(
        row.starts_with(
            "C1,Company 1,2026-11,STORAGE,Product STORAGE,1234.5,GB,2,-200,100,11,12,,12,12,1,11,9.5,104.5,USD,"
        ),
        "{row}"
    );
    let page = app.get(&format!("/companies/{company}/statement?format=html")).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(page.text.contains("A &lt;b&gt;trial&lt;/b&gt; &amp; more") && !page.text.contains("<b>"), "{}", page.text);
    assert!(page.text.contains("104.5 USD, without taxes"), "{}", page.text);
    // Later changes do not explain an earlier push.
    app.patch(&path, &json!({"block_size": "1"})).await.expect(200);
    let same = app.get(&format!("/companies/{company}/statement")).await.expect(200)["products"][0].clone();
    assert_eq!((&same["steps"], &same["quantity"]), (&product["steps"], &json!("12")));
    assert_eq!(same["kind"], "out_of_date");
    app.patch(&path, &json!({"push_enabled": false})).await.expect(200);
    let other = app.all("/billing-lines").await[1].clone();
    let other = format!("/companies/{}/statement", other["company"]["id"].as_str().unwrap());
    let billed = app.get(&other).await.expect(200);
    let steps = json!([
        "Measured at 2026-11-22 12:00 UTC: 250 GB.",
        "In blocks of 100 GB, rounded up: 3.",
        "At 9.5 USD each: 28.5 USD.",
    ]);
    assert_eq!((&billed["products"][0]["steps"], &billed["totals"][0]["amount"]), (&steps, &json!("28.5")));
    merge(&app, Kind::Additions, 200, json!({"quantity": 5, "billCustomer": "DoNotBill"}));
    refresh(&app).await;
    let changed = app.get(&other).await.expect(200);
    assert_eq!(changed["products"][0]["steps"][2], "The quantity on the agreement is 5.", "{changed}");
    assert_eq!(changed["products"][0]["steps"][3], "It is not billed under the agreement.", "{changed}");
    assert_eq!((&changed["products"][0]["kind"], &changed["totals"]), (&json!("changed_in_connectwise"), &json!([])));
    // A month without usage, and a company that does not exist.
    let nothing = app.get(&format!("/companies/{company}/statement?billing_month=2026-01")).await.expect(200);
    assert_eq!((&nothing["products"], &nothing["totals"]), (&json!([]), &json!([])));
    app.get("/companies/nobody/statement").await.problem(404, "not_found");
    app.get(&format!("/companies/{company}/statement?format=pdf")).await.problem(400, "malformed");
}

on_both!(a_statement_says_why_and_when,);

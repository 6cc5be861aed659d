//! Manual choices for many lines, the explanation of a line, import and export.

use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::{Value, json};

use crate::support::{Backend, Reply, TestApp};

/// Three companies with two backup agreements each; all have storage additions.
fn store() -> Store {
    let mut store = Store::default();
    for c in 1..=3 {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        for (agreement, name) in [(c * 10, "Backup West"), (c * 10 + 1, "Backup East")] {
            store.put(Kind::Agreements, sample::agreement(agreement, c, name, (1, "SP Backup")));
            store.put(Kind::Additions, sample::addition(agreement * 10, agreement, "BKP-GB", "Storage", 1.0));
            store.put(Kind::Additions, sample::addition(agreement * 10 + 1, agreement, "BKP-ACCT", "Account", 1.0));
        }
    }
    store.put(Kind::Companies, sample::company(4, "C4", "Company 4"));
    store
}

struct Ready {
    app: TestApp,
    product: String,
    companies: Vec<String>,
    lines: Vec<String>,
}

async fn ready(backend: Backend) -> Ready {
    let app = TestApp::connected(backend, store()).await;
    let mut companies = Vec::new();
    for c in 1..=3 {
        companies.push(app.company(&format!("c{c}"), &format!("Company {c}")).await);
    }
    let product = app.product("STORAGE").await;
    app.rule(&product, "agreement", r#"type/name like "SP%" and name contains "Backup""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let mut lines = Vec::new();
    for company in &companies {
        lines.push(app.line(&product, company).await["id"].as_str().unwrap().to_owned());
    }
    Ready { app, product, companies, lines }
}

async fn import(app: &TestApp, path: &str, table: &str) -> Reply {
    app.send(reqwest::Method::POST, path, &[("content-type", "text/csv")], Some(table.as_bytes().to_vec())).await
}

fn mapping<'a>(line: &'a Value, target: &str) -> (&'a str, &'a str, &'a str) {
    let part = &line[target];
    let text = |name: &str| part[name].as_str().unwrap_or("-");
    (text("status"), text("source"), text("id"))
}

async fn many_lines_are_chosen_in_one_call(backend: Backend) {
    let Ready { app, product, companies, lines } = ready(backend).await;
    let choice = |line: &str, agreement: Option<&str>| json!({"billing_line_id": line, "agreement_id": agreement});
    let two_good_one_bad =
        json!([choice(&lines[0], Some("10")), choice(&lines[1], Some("10")), choice(&lines[2], Some("31")),]);
    let rejected =
        app.patch("/agreement-mappings", &json!({"choices": two_good_one_bad})).await.problem(422, "validation");
    assert_eq!(rejected["errors"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&rejected["errors"][0]["field"], &rejected["errors"][0]["code"]),
        (&json!("/choices/1/agreement_id"), &json!("not_a_choice"))
    );
    assert_eq!(mapping(&app.line(&product, &companies[0]).await, "agreement").0, "ambiguous", "all or nothing");
    let done =
        app.patch("/agreement-mappings", &json!({"mode": "each", "choices": two_good_one_bad})).await.expect(200);
    assert_eq!((&done["changed"], &done["rejected"]), (&json!(2), &json!(1)), "{done}");
    assert_eq!(done["items"][1]["error"]["code"], "not_a_choice");
    assert_eq!(done["items"][2]["error"], Value::Null);
    assert_eq!(done["resolved"]["additions"]["resolved"], 2, "additions were read and followed: {done}");
    assert_eq!(mapping(&app.line(&product, &companies[2]).await, "addition"), ("resolved", "rule", "310"));
    let version = app.line(&product, &companies[0]).await["version"].as_i64().unwrap();
    let stale = json!([{"billing_line_id": lines[0], "agreement_id": null, "version": version - 1}]);
    let rejected = app.patch("/agreement-mappings", &json!({"choices": stale})).await.problem(422, "validation");
    assert_eq!(rejected["errors"][0]["code"], "version_mismatch");
    let additions = json!([
        {"billing_line_id": lines[0], "addition_id": "101", "version": version},
        {"billing_line_id": lines[2], "addition_id": "311"},
    ]);
    let done = app.patch("/addition-mappings", &json!({"choices": additions})).await.expect(200);
    assert_eq!(done["changed"], 2);
    let again = app.patch("/addition-mappings", &json!({"choices": additions})).await.problem(422, "validation");
    assert_eq!(again["errors"][0]["code"], "version_mismatch");
    let back = json!([choice(&lines[0], None), choice(&lines[2], None)]);
    let done = app.patch("/agreement-mappings", &json!({"choices": back})).await.expect(200);
    assert_eq!(done["changed"], 2);
    assert_eq!(mapping(&app.line(&product, &companies[0]).await, "agreement").0, "ambiguous", "back to the rule");
    let twice = json!([choice(&lines[0], Some("10")), choice(&lines[0], Some("11")), choice("nothing", Some("10"))]);
    let rejected = app.patch("/agreement-mappings", &json!({"choices": twice})).await.problem(422, "validation");
    assert_eq!(
        (&rejected["errors"][0]["code"], &rejected["errors"][1]["code"]),
        (&json!("named_twice"), &json!("not_found"))
    );
    app.patch("/agreement-mappings", &json!({"choices": [{"billing_line_id": "x"}]})).await.problem(422, "validation");
}

async fn the_explanation_lists_changes(backend: Backend) {
    let Ready { app, product, lines, .. } = ready(backend).await;
    let path = format!("/billing-lines/{}", lines[0]);
    let told = app.get(&path).await.expect(200);
    let story = &told["explanation"]["agreement"];
    assert_eq!(story["rule"]["expression"], r#"type/name like "SP%" and name contains "Backup""#);
    let verdicts = |part: &Value| -> Vec<(String, String)> {
        let one = |c: &Value| (c["id"].as_str().unwrap().to_owned(), c["verdict"].as_str().unwrap().to_owned());
        part["candidates"].as_array().unwrap().iter().map(one).collect()
    };
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(id, verdict)| ((*id).to_owned(), (*verdict).to_owned())).collect()
    };
    assert_eq!(verdicts(story), pairs(&[("10", "one_of_several"), ("11", "one_of_several")]));
    assert_eq!(
        story["candidates"][0]["comparisons"][0],
        json!({"comparison": r#"type/name like "SP%""#, "holds": true})
    );
    assert_eq!(story["candidates"][1]["attributes"][0], json!({"attribute": "name", "value": "Backup East"}));
    app.put(&format!("/agreement-mappings/{}", lines[0]), &json!({"agreement_id": "11"})).await.expect(200);
    app.patch(&path, &json!({"block_size": "50", "push_enabled": true})).await.expect(200);
    let told = app.get(&path).await.expect(200);
    assert_eq!(verdicts(&told["explanation"]["agreement"]), pairs(&[("10", "overruled"), ("11", "chosen")]));
    assert_eq!(verdicts(&told["explanation"]["addition"]), pairs(&[("110", "chosen"), ("111", "not_matched")]));
    let parts: Vec<&str> =
        told["explanation"]["changes"].as_array().unwrap().iter().map(|c| c["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["block_size", "push_enabled", "addition", "agreement", "agreement"]);
    let chosen = &told["explanation"]["changes"][3];
    assert_eq!((&chosen["by"], &chosen["old"]["status"]), (&json!("first key"), &json!("ambiguous")));
    assert_eq!((&chosen["new"]["source"], &chosen["new"]["name"]), (&json!("manual"), &json!("Backup East")));
    app.sandbox.change(|store| {
        let cancelled = json!({"cancelledFlag": true});
        store.merge(Kind::Agreements, 11, cancelled.as_object().unwrap().clone());
    });
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let told = app.get(&path).await.expect(200);
    assert_eq!(verdicts(&told["explanation"]["agreement"]), pairs(&[("10", "overruled"), ("11", "not_live")]));
    assert_eq!(told["explanation"]["agreement"]["candidates"][1]["not_live"], "cancelled");
    assert_eq!(told["explanation"]["changes"][0]["new"]["reason"], "agreement_stale");
    app.delete(&format!("/products/{product}")).await.expect(204);
    app.get(&path).await.problem(404, "not_found");
}

async fn importing_an_unchanged_export_changes_nothing(backend: Backend) {
    let Ready { app, product, companies, lines } = ready(backend).await;
    app.put(&format!("/agreement-mappings/{}", lines[0]), &json!({"agreement_id": "11"})).await.expect(200);
    app.put(&format!("/addition-mappings/{}", lines[0]), &json!({"addition_id": "111"})).await.expect(200);
    app.patch(&format!("/billing-lines/{}", lines[1]), &json!({"block_size": "0.5", "push_enabled": true}))
        .await
        .expect(200);
    app.patch(&format!("/companies/{}", companies[1]), &json!({"name": "=Comma, \"quoted\" Ünïcode"}))
        .await
        .expect(200);
    // A choice that has become stale is also kept as it is.
    app.put(&format!("/agreement-mappings/{}", lines[2]), &json!({"agreement_id": "31"})).await.expect(200);
    app.sandbox.change(|store| store.remove(Kind::Agreements, 31));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    let before = (app.all("/billing-lines").await, app.all("/companies").await);
    for what in ["company-matches", "billing-lines"] {
        let table = app.get(&format!("/export/{what}")).await;
        assert_eq!(table.status, 200, "{}", table.text);
        assert!(table.header("content-type").starts_with("text/csv"), "{:?}", table.headers);
        for query in ["?dry_run=true", "", "?mode=each"] {
            let report = import(&app, &format!("/import/{what}{query}"), &table.text).await.expect(200);
            assert_eq!((&report["rows"], &report["unchanged"]), (&json!(3), &json!(3)), "{what}{query}: {report}");
        }
        let marked = format!("\u{feff}{}", table.text);
        assert_eq!(import(&app, &format!("/import/{what}"), &marked).await.expect(200)["unchanged"], 3, "with a mark");
    }
    assert_eq!((app.all("/billing-lines").await, app.all("/companies").await), before);
    let one = app.get(&format!("/export/billing-lines?product_id={product}")).await;
    assert!(one.text.contains("c1,Company 1,STORAGE,false,,,,,,,,11,111,Backup East,resolved,"), "{}", one.text);
    assert!(one.text.contains("\"'=Comma, \"\"quoted\"\" Ünïcode\""), "no spreadsheet runs it: {}", one.text);
}

async fn a_table_sets_lines_and_reports_every_row(backend: Backend) {
    let Ready { app, product, companies, .. } = ready(backend).await;
    let table = "company_external_id,product_code,push_enabled,block_size,manual_agreement_id,manual_addition_id\n\
        c1,STORAGE,true,50,10,101\n\
        c2,STORAGE,yes,,21,\n\
        c3,STORAGE,,,10,\n\
        c9,STORAGE,true,,,\n\
        c3,STORAGE,maybe,,,\n";
    let dry = import(&app, "/import/billing-lines?dry_run=true", table).await.expect(200);
    assert_eq!((&dry["changed"], &dry["unchanged"], &dry["rejected"]), (&json!(2), &json!(0), &json!(3)), "{dry}");
    let first = &dry["items"][0];
    assert_eq!((&first["line"], &first["outcome"]), (&json!(2), &json!("changed")));
    assert_eq!(first["changes"][1], json!({"part": "block_size", "old": null, "new": "50"}));
    assert_eq!(first["changes"][3], json!({"part": "addition", "old": null, "new": "101"}));
    assert_eq!(dry["items"][2]["error"]["field"], "/4/manual_agreement_id");
    assert_eq!(dry["items"][3]["error"]["field"], "/5/company_external_id");
    assert_eq!(dry["items"][4]["error"]["field"], "/6/push_enabled");
    let line = app.line(&product, &companies[0]).await;
    assert_eq!((&line["push_enabled"], mapping(&line, "agreement").0), (&json!(false), "ambiguous"), "nothing is done");
    let rejected = import(&app, "/import/billing-lines", table).await.problem(422, "validation");
    assert_eq!(rejected["errors"].as_array().unwrap().len(), 3, "{rejected}");
    assert_eq!(app.line(&product, &companies[0]).await["push_enabled"], false, "all or nothing");
    let done = import(&app, "/import/billing-lines?mode=each", table).await.expect(200);
    assert_eq!((&done["changed"], &done["rejected"]), (&json!(2), &json!(3)), "{done}");
    let line = app.line(&product, &companies[0]).await;
    assert_eq!((&line["push_enabled"], &line["block_size"]), (&json!(true), &json!("50")));
    assert_eq!(mapping(&line, "addition"), ("resolved", "manual", "101"));
    let line = app.line(&product, &companies[1]).await;
    assert_eq!(mapping(&line, "addition"), ("resolved", "rule", "210"), "its addition was read and found");
    let back = "company_external_id,product_code,manual_agreement_id\nc1,STORAGE,\n";
    assert_eq!(import(&app, "/import/billing-lines", back).await.expect(200)["changed"], 1);
    let line = app.line(&product, &companies[0]).await;
    assert_eq!(mapping(&line, "agreement").0, "ambiguous", "a blank gives it back to the rule");
    assert_eq!(line["block_size"], "50", "a column that is not there changes nothing");
}

async fn a_table_matches_companies(backend: Backend) {
    let Ready { app, product, companies, .. } = ready(backend).await;
    let swap = "external_id,connectwise_identifier\nc1,c2\nc2,C1\n";
    let done = import(&app, "/import/company-matches", swap).await.expect(200);
    assert_eq!(done["changed"], 2, "two may swap: {done}");
    assert_eq!(app.get(&format!("/companies/{}", companies[0])).await["connectwise_company_id"], "2");
    let claimed = "external_id,connectwise_company_id,shared\nc1,3,\nc2,,\n";
    let rejected = import(&app, "/import/company-matches", claimed).await.problem(422, "validation");
    assert_eq!(rejected["errors"][0]["code"], "connectwise_company_taken");
    assert_eq!(rejected["errors"].as_array().unwrap().len(), 1);
    let meant = "external_id,connectwise_company_id,shared\nc1,3,true\nc2,,\n";
    let done = import(&app, "/import/company-matches", meant).await.expect(200);
    assert_eq!(done["changed"], 2);
    assert_eq!(app.line(&product, &companies[1]).await["agreement"]["reason"], "company_not_set");
    // An edit of a match's identifier alone is a contradiction, not "unchanged".
    let edited = "external_id,connectwise_company_id,connectwise_identifier\nc1,3,C4\n";
    let rejected = import(&app, "/import/company-matches", edited).await.problem(422, "validation");
    assert_eq!(rejected["errors"][0]["code"], "contradiction");
    let each = "external_id,connectwise_company_id,connectwise_identifier\n\
        c1,4,C1\nc2,99,\nc3,,nobody\nc9,1,\nc3,x,\nc2,4,\n";
    let report = import(&app, "/import/company-matches?mode=each&dry_run=true", each).await.expect(200);
    let codes: Vec<&str> =
        report["items"].as_array().unwrap().iter().map(|i| i["error"]["code"].as_str().unwrap_or("-")).collect();
    assert_eq!(codes, ["contradiction", "not_found", "not_found", "not_found", "bad_value", "named_twice"], "{report}");
}

/// No exported cell is a formula, ids included, and the table can still be imported unchanged.
async fn ids_like_formulas_survive_a_spreadsheet(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    for id in ["=HYPERLINK(1)", "+49 30", "'=x", "@a", "-1", "'plain'"] {
        app.company(id, &format!("Company {id}")).await;
    }
    let product = json!({"code": "=P", "name": "Formula", "unit": "GB", "block_size": "1"});
    app.post("/products", &product).await.expect(201);
    for (export, to) in
        [("/export/company-matches", "/import/company-matches"), ("/export/billing-lines", "/import/billing-lines")]
    {
        let table = app.get(export).await.text;
        for cell in table.lines().flat_map(|line| line.split(',')) {
            assert!(!cell.trim_start_matches('"').starts_with(['=', '+', '-', '@']), "{cell} in\n{table}");
        }
        let report = import(&app, to, &table).await.expect(200);
        assert_eq!((&report["rows"], &report["changed"]), (&json!(6), &json!(0)), "{report}");
    }
}

async fn an_invalid_table_is_rejected_with_its_position(backend: Backend) {
    let Ready { app, .. } = ready(backend).await;
    let path = "/import/billing-lines";
    for (table, field, code) in [
        ("", "/1/company_external_id", "missing_column"),
        ("company_external_id;product_code\nc1;STORAGE\n", "/1/company_external_id;product_code", "unknown_column"),
        ("company_external_id,product_code,push\n", "/1/push", "unknown_column"),
        ("company_external_id,product_code,product_code\n", "/1/product_code", "column_twice"),
        ("company_external_id,product_code\nc1,STORAGE,true\n", "/2", "bad_csv"),
        ("company_external_id,product_code,block_size\nc1,STORAGE,-1\n", "/2/block_size", "bad_value"),
        ("company_external_id,product_code\n,STORAGE\n", "/2/company_external_id", "required"),
    ] {
        let rejected = import(&app, path, table).await.problem(422, "validation");
        let first = &rejected["errors"][0];
        assert_eq!((&first["field"], &first["code"]), (&json!(field), &json!(code)), "{table}: {rejected}");
    }
    let latin1 = b"company_external_id,product_code\nc1,ST\xd6RAGE\n".to_vec();
    let rejected = app.send(reqwest::Method::POST, path, &[("content-type", "text/csv")], Some(latin1)).await;
    assert!(rejected.problem(422, "validation")["errors"][0]["message"].as_str().unwrap().contains("UTF-8"));
    app.post(path, &json!({})).await.problem(415, "unsupported_media_type");
    import(&app, "/import/company-matches", "external_id\nc1\n").await.problem(422, "validation");
}

on_both!(
    many_lines_are_chosen_in_one_call,
    the_explanation_lists_changes,
    importing_an_unchanged_export_changes_nothing,
    a_table_sets_lines_and_reports_every_row,
    a_table_matches_companies,
    ids_like_formulas_survive_a_spreadsheet,
    an_invalid_table_is_rejected_with_its_position,
);

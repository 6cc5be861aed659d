//! Matching rules: saved, rejected, previewed; resolving, ambiguity, manual choices, staleness.

use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::{Map, Value, json};

use crate::support::{Backend, TestApp};

fn store() -> Store {
    let mut store = Store::default();
    for c in 1..=4 {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup 2026", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c * 100, c * 10, "BKP-GB", "Storage", 1.0));
        store.put(Kind::Additions, sample::addition(c * 100 + 1, c * 10, "BKP-ACCT", "Account", 1.0));
    }
    // Company 2 has a second backup agreement, company 3 a second storage addition, company 4 nothing live.
    store.put(Kind::Agreements, sample::agreement(21, 2, "Backup East", (1, "SP Backup")));
    store.put(Kind::Additions, sample::addition(210, 21, "BKP-GB", "Storage East", 1.0));
    store.put(Kind::Additions, sample::addition(302, 30, "BKP-GB", "Archive", 1.0));
    store.merge(Kind::Agreements, 40, members(json!({"cancelledFlag": true})));
    store
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Four matched companies; one product with its rules; resolved.
async fn resolved(backend: Backend) -> (TestApp, String, Vec<String>) {
    let app = TestApp::connected(backend, store()).await;
    let mut companies = Vec::new();
    for c in 1..=4 {
        companies.push(app.company(&format!("c{c}"), &format!("Company {c}")).await);
    }
    let product = app.product("STORAGE").await;
    app.rule(&product, "agreement", r#"type/name like "SP%""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-GB""#).await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let done = app.post(&format!("/products/{product}/resolve"), &json!({})).await.expect(200);
    assert_eq!(done["agreements"], json!({"resolved": 2, "unresolved": 1, "ambiguous": 1, "stale": 0}), "{done}");
    assert_eq!(done["additions"], json!({"resolved": 1, "unresolved": 2, "ambiguous": 1, "stale": 0}), "{done}");
    (app, product, companies)
}

async fn each_line_reports_its_status_and_reason(backend: Backend) {
    let (app, product, companies) = resolved(backend).await;
    let line = app.line(&product, &companies[0]).await;
    assert_eq!((&line["agreement"]["status"], &line["agreement"]["source"]), (&json!("resolved"), &json!("rule")));
    assert_eq!(line["agreement"]["name"], "Backup 2026");
    assert_eq!(line["addition"]["id"], "100");
    assert_eq!(line["connectwise_quantity"], "1");
    let line = app.line(&product, &companies[1]).await;
    assert_eq!(line["agreement"]["status"], "ambiguous");
    assert_eq!(
        line["agreement"]["candidates"],
        json!([{"id": "20", "name": "Backup 2026"}, {"id": "21", "name": "Backup East"}])
    );
    assert!(line["agreement"]["explanation"].as_str().unwrap().contains("several"));
    assert_eq!(line["addition"]["reason"], "agreement_not_resolved");
    let line = app.line(&product, &companies[2]).await;
    assert_eq!(line["addition"]["candidates"].as_array().unwrap().len(), 2);
    let line = app.line(&product, &companies[3]).await;
    assert_eq!(line["agreement"]["reason"], "no_live_agreement");
    let ambiguous = app.all(&format!("/agreement-mappings?product_id={product}&status=ambiguous")).await;
    assert_eq!(ambiguous.len(), 1);
    assert_eq!(app.all("/addition-mappings?status=resolved&source=rule").await.len(), 1);
    let again = app.post(&format!("/products/{product}/resolve"), &json!({})).await.expect(200);
    assert_eq!(again["changed"], 0, "resolving twice changes nothing");
}

async fn a_bad_expression_is_rejected_and_nothing_is_saved(backend: Backend) {
    let (app, product, _) = resolved(backend).await;
    let rule = app.all("/matching-rules?target=agreement").await[0].clone();
    let path = format!("/matching-rules/{}", rule["id"].as_str().unwrap());
    for (expression, code, offset, length) in [
        ("name like \"SP\"", "like_without_percent", 10, 4),
        ("nmae = \"x\"", "unknown_attribute", 0, 4),
        ("description = \"x\"", "wrong_target", 0, 11),
        ("name == \"x\"", "unexpected", 5, 2),
        ("(name = \"x\"", "unexpected", 0, 1),
        ("", "unexpected", 0, 0),
    ] {
        let problem = app.put(&path, &json!({"expression": expression})).await.problem(422, "rule");
        let error = &problem["errors"][0];
        assert_eq!(error["field"], "/expression");
        assert_eq!(
            (&error["code"], &error["offset"], &error["length"]),
            (&json!(code), &json!(offset), &json!(length)),
            "{problem}"
        );
    }
    let large = "(".repeat(1_000_000);
    app.put(&path, &json!({"expression": large})).await.problem(422, "rule");
    assert_eq!(app.get(&path).await.expect(200), rule);
    let second = json!({"product_id": product, "target": "agreement", "expression": "name = 'x'"});
    app.post("/matching-rules", &second).await.problem(409, "rule_exists");
}

async fn saving_a_rule_resolves_what_it_touches(backend: Backend) {
    let (app, product, companies) = resolved(backend).await;
    let rule = app.all("/matching-rules?target=agreement").await[0]["id"].as_str().unwrap().to_owned();
    let saved =
        app.put(&format!("/matching-rules/{rule}"), &json!({"expression": "NAME   like '%east%'"})).await.expect(200);
    assert_eq!(saved["rule"]["expression"], r#"name like "%east%""#, "in canonical spelling");
    let line = app.line(&product, &companies[1]).await;
    assert_eq!(
        (&line["agreement"]["id"], &line["addition"]["id"]),
        (&json!("21"), &json!("210")),
        "additions were read for it"
    );
    assert_eq!(app.line(&product, &companies[0]).await["agreement"]["reason"], "none_matched");
    app.delete(&format!("/matching-rules/{rule}")).await.expect(200);
    assert_eq!(app.line(&product, &companies[1]).await["agreement"]["reason"], "no_rule");
}

async fn a_preview_shows_and_saves_nothing(backend: Backend) {
    let (app, product, _) = resolved(backend).await;
    let before = app.all("/billing-lines").await;
    let body =
        json!({"product_id": product, "target": "agreement", "expression": "name contains \"East\"", "limit": 1});
    let preview = app.post("/matching-rules/preview", &body).await.expect(200);
    assert_eq!(preview["agreements"], json!({"resolved": 1, "unresolved": 3, "ambiguous": 0, "stale": 0}));
    assert_eq!(preview["changed"], 3);
    assert_eq!(preview["items"].as_array().unwrap().len(), 1);
    let mut next = body.clone();
    next["cursor"] = preview["next_cursor"].clone();
    next["changed_only"] = json!(true);
    assert_eq!(app.post("/matching-rules/preview", &next).await.expect(200)["items"][0]["agreement_then"]["id"], "21");
    assert_eq!(app.all("/billing-lines").await, before);
    // Both rules together; a line whose reason alone would change does not count as changed.
    let body = json!({"product_id": product, "target": "addition", "expression": "description = 'Archive'",
        "other_expression": "name = 'Backup 2026'", "changed_only": true});
    let preview = app.post("/matching-rules/preview", &body).await.expect(200);
    assert_eq!((&preview["additions"]["resolved"], &preview["changed"]), (&json!(1), &json!(3)), "{preview}");
    let of =
        |name: &str| preview["items"].as_array().unwrap().iter().find(|line| line["company_name"] == name).unwrap();
    let (second, third) = (of("Company 2"), of("Company 3"));
    assert_eq!(
        (&second["agreement_now"]["name"], &second["agreement_then"]["name"], &third["addition_then"]["name"]),
        (&json!(null), &json!("Backup 2026"), &json!("BKP-GB (Archive)")),
        "{preview}"
    );
    assert!(second["agreement_now"]["explanation"].as_str().unwrap().len() > 20, "{second}");
    let mut bad = body.clone();
    bad["other_expression"] = json!("nmae = 'x'");
    let problem = app.post("/matching-rules/preview", &bad).await.problem(422, "rule");
    assert_eq!(
        (&problem["errors"][0]["field"], &problem["errors"][0]["offset_utf16"]),
        (&json!("/other_expression"), &json!(0))
    );
    bad["other_expression"] = json!("name = '🦀🦀' nonsense");
    let error = app.post("/matching-rules/preview", &bad).await.problem(422, "rule")["errors"][0].clone();
    assert_eq!((&error["offset"], &error["offset_utf16"]), (&json!(12), &json!(14)), "JavaScript counts a crab as two");
    // A new product has no rule yet, and its lines say so.
    let other = app.product("OTHER").await;
    let line = app.get(&format!("/billing-lines?product_id={other}&limit=1")).await;
    assert_eq!(line["items"][0]["agreement"]["reason"], "no_rule", "{}", line.text);
    let body =
        json!({"product_id": other, "target": "addition", "expression": "name = 'x'".replace("name", "description")});
    let saved = app.post("/matching-rules", &body).await.expect(201);
    assert_eq!(saved["resolved"]["changed"], 0, "{saved}");
    let bad = json!({"product_id": product, "target": "addition", "expression": "name = \"x\""});
    app.post("/matching-rules/preview", &bad).await.problem(422, "rule");
}

async fn a_choice_by_hand_wins_until_taken_back(backend: Backend) {
    let (app, product, companies) = resolved(backend).await;
    let line = app.line(&product, &companies[1]).await["id"].as_str().unwrap().to_owned();
    let (agreement, addition) = (format!("/agreement-mappings/{line}"), format!("/addition-mappings/{line}"));
    app.put(&addition, &json!({"addition_id": "210"})).await.problem(409, "agreement_not_resolved");
    app.put(&agreement, &json!({"agreement_id": "10"})).await.problem(409, "not_a_choice");
    app.put(&agreement, &json!({"agreement_id": "999"})).await.problem(409, "not_a_choice");
    let chosen = app.put(&agreement, &json!({"agreement_id": "21"})).await.expect(200);
    assert_eq!(
        (&chosen["mapping"]["source"], &chosen["mapping"]["changed_by"]),
        (&json!("manual"), &json!("first key"))
    );
    assert_eq!(app.get(&addition).await["mapping"]["id"], "210", "the addition follows by its rule");
    app.post(&format!("/products/{product}/resolve"), &json!({})).await.expect(200);
    assert_eq!(app.get(&agreement).await["mapping"]["id"], "21", "it survives resolving");
    app.put(&addition, &json!({"addition_id": "100"})).await.problem(409, "not_a_choice");
    let chosen = app.put(&agreement, &json!({"agreement_id": "20"})).await.expect(200);
    assert_eq!(chosen["mapping"]["id"], "20");
    let undone = &chosen["resolved"]["changes"][0]["addition"];
    assert_eq!((&undone["before"]["id"], &undone["after"]["reason"]), (&json!("210"), &json!(null)), "{chosen}");
    assert_eq!(app.get(&addition).await["mapping"]["id"], "200", "the addition of the other agreement is undone");
    app.put(&addition, &json!({"addition_id": "201"})).await.expect(200);
    assert_eq!(app.get(&addition).await["mapping"]["source"], "manual");
    assert_eq!(app.delete(&addition).await.expect(200)["mapping"]["id"], "200", "back to the rule at once");
    assert_eq!(app.delete(&agreement).await.expect(200)["mapping"]["status"], "ambiguous");
    let dead = app.line(&product, &companies[3]).await["id"].as_str().unwrap().to_owned();
    let rejected =
        app.put(&format!("/agreement-mappings/{dead}"), &json!({"agreement_id": "40"})).await.problem(409, "not_live");
    assert!(rejected["detail"].as_str().unwrap().contains("/connectwise/companies/4/agreements"), "{rejected}");
}

async fn what_is_cancelled_or_deleted_becomes_stale(backend: Backend) {
    let (app, product, companies) = resolved(backend).await;
    app.sandbox.change(|store| {
        store.merge(Kind::Agreements, 10, members(json!({"dateCancelled": "2026-11-01T00:00:00Z"})));
        store.merge(Kind::Additions, 300, members(json!({"cancelledDate": "2026-11-01T00:00:00Z"})));
    });
    let report = app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!(report["resolved"]["agreements"]["stale"], 1, "{report}");
    let line = app.line(&product, &companies[0]).await;
    assert_eq!((&line["agreement"]["status"], &line["agreement"]["reason"]), (&json!("stale"), &json!("cancelled")));
    assert_eq!(
        (&line["addition"]["status"], &line["addition"]["reason"]),
        (&json!("stale"), &json!("agreement_stale"))
    );
    assert_eq!(line["agreement"]["id"], "10", "what it was stays visible");
    let line = app.line(&product, &companies[2]).await;
    assert_eq!(line["addition"]["id"], "302", "of two additions one is left");
    app.sandbox.change(|store| store.remove(Kind::Agreements, 30));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!(app.line(&product, &companies[2]).await["agreement"]["reason"], "deleted");
    app.sandbox.change(|store| store.merge(Kind::Agreements, 10, members(json!({"dateCancelled": null}))));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!(app.line(&product, &companies[0]).await["addition"]["status"], "resolved", "alive again");
}

async fn another_match_undoes_choices_by_hand(backend: Backend) {
    let (app, product, companies) = resolved(backend).await;
    let line = app.line(&product, &companies[1]).await["id"].as_str().unwrap().to_owned();
    app.put(&format!("/agreement-mappings/{line}"), &json!({"agreement_id": "21"})).await.expect(200);
    app.delete(&format!("/companies/{}/connectwise-company", companies[0])).await.expect(200);
    let path = format!("/companies/{}/connectwise-company", companies[1]);
    let matched = app.put(&path, &json!({"id": "1"})).await.expect(200);
    assert_eq!(matched["resolved"]["changes"][0]["agreement"]["before"]["id"], "21");
    let line = app.line(&product, &companies[1]).await;
    assert_eq!((&line["agreement"]["id"], &line["agreement"]["source"]), (&json!("10"), &json!("rule")));
}

on_both!(
    another_match_undoes_choices_by_hand,
    each_line_reports_its_status_and_reason,
    a_bad_expression_is_rejected_and_nothing_is_saved,
    saving_a_rule_resolves_what_it_touches,
    a_preview_shows_and_saves_nothing,
    a_choice_by_hand_wins_until_taken_back,
    what_is_cancelled_or_deleted_becomes_stale,
);

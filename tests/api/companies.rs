//! Matching companies to ConnectWise companies.

use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::json;

use crate::support::{Backend, TestApp};

fn store() -> Store {
    let mut store = Store::default();
    store.put(Kind::Companies, sample::company(1, "HarborDental", "Harbor Dental Group"));
    store.put(Kind::Companies, sample::company(2, "Muller", "Müller  GmbH"));
    store.put(Kind::Companies, sample::company(3, "TwinA", "Twin"));
    store.put(Kind::Companies, sample::company(4, "TwinB", "Twin"));
    store.put(Kind::Companies, sample::company(5, "Gone", "Deleted Co"));
    store.merge(Kind::Companies, 5, json!({"deletedFlag": true}).as_object().unwrap().clone());
    store.put(Kind::Agreements, sample::agreement(10, 1, "Backup", (1, "SP Backup")));
    store.put(Kind::Additions, sample::addition(100, 10, "BKP-GB", "Storage", 1.0));
    store
}

async fn auto_match_applies_only_what_is_unique(backend: Backend) {
    let app = TestApp::connected(backend, store()).await;
    for (id, name) in
        [("harbordental", "x"), ("v2", "MULLER gmbh"), ("v3", "Twin"), ("v4", "Deleted Co"), ("v5", "Nobody")]
    {
        app.company(id, name).await;
    }
    let proposed = app.post("/companies/auto-match", &json!({"dry_run": true})).await.expect(200);
    assert_eq!(proposed["applied"], 0);
    assert_eq!(app.all("/companies?matched=true").await.len(), 0, "a dry run matches nothing");
    let matched = app.post("/companies/auto-match", &json!({})).await.expect(200);
    assert_eq!(matched["applied"], 2);
    let outcome = |id: &str| {
        let found = matched["proposals"].as_array().unwrap().iter().find(|p| p["external_id"] == id).unwrap();
        (found["outcome"].clone(), found["match_criterion"].clone(), found["candidates"].as_array().unwrap().len())
    };
    assert_eq!(outcome("harbordental"), (json!("proposed"), json!("identifier"), 1));
    assert_eq!(outcome("v2"), (json!("proposed"), json!("name"), 1));
    assert_eq!(outcome("v3"), (json!("ambiguous"), json!("name"), 2));
    assert_eq!(outcome("v4"), (json!("none"), json!(null), 0), "deleted companies are not offered");
    let found = app.all("/companies?matched=true&sort=external_id").await;
    assert_eq!(found[0]["connectwise_company_id"], "1");
    assert_eq!((&found[0]["match_source"], &found[0]["matched_by"]), (&json!("auto"), &json!("first key")));
}

async fn a_company_is_matched_by_hand_and_set_to_not_set(backend: Backend) {
    let app = TestApp::connected(backend, store()).await;
    let (one, two) = (app.company("a", "A").await, app.company("b", "B").await);
    let product = app.product("STORAGE").await;
    app.rule(&product, "agreement", r#"type/name = "SP Backup""#).await;
    app.rule(&product, "addition", r#"product/identifier = "BKP-GB""#).await;
    assert_eq!(app.get("/connectwise/companies").await.expect(200)["items"].as_array().unwrap().len(), 4);
    assert_eq!(app.all("/connectwise/companies?search=dental").await[0]["identifier"], "HarborDental");

    let path = format!("/companies/{one}/connectwise-company");
    let matched = app.put(&path, &json!({"id": "1"})).await.expect(200);
    assert_eq!(matched["company"]["match_source"], "manual");
    assert_eq!(matched["resolved"]["changes"][0]["addition"]["after"]["id"], "100", "{matched}");
    let line = app.line(&product, &one).await;
    assert_eq!((&line["agreement"]["id"], &line["addition"]["id"]), (&json!("10"), &json!("100")));
    assert_eq!(line["company"]["connectwise_company"]["identifier"], "HarborDental");

    let other = format!("/companies/{two}/connectwise-company");
    app.put(&other, &json!({"identifier": "harborDENTAL"})).await.problem(409, "connectwise_company_taken");
    app.put(&other, &json!({"identifier": "harbordental", "shared": true})).await.expect(200);
    app.put(&other, &json!({"id": "5"})).await.problem(422, "validation");
    app.put(&other, &json!({"id": "999"})).await.problem(422, "validation");
    app.put(&other, &json!({"identifier": "it's \"both\""})).await.problem(422, "validation");
    for bad in [json!({}), json!({"id": "1", "identifier": "x"}), json!({"id": "abc"}), json!({"id": 1})] {
        app.put(&other, &bad).await.problem(422, "validation");
    }

    let cleared = app.delete(&path).await.expect(200);
    assert_eq!(cleared["company"]["connectwise_company_id"], json!(null));
    assert_eq!(
        cleared["resolved"]["changes"][0]["agreement"]["before"]["id"], "10",
        "the answer lists what was undone"
    );
    let line = app.line(&product, &one).await;
    assert_eq!(line["agreement"]["reason"], "company_not_set");
    assert_eq!(line["addition"]["id"], json!(null));
}

async fn a_company_newer_than_the_choices_is_found_by_identifier(backend: Backend) {
    let app = TestApp::connected(backend, store()).await;
    let company = app.company("n", "New").await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    app.sandbox.change(|store| {
        store.put(Kind::Companies, sample::company(9, "BrandNew", "Brand New"));
        store.put(Kind::Agreements, sample::agreement(90, 9, "Backup", (1, "SP Backup")));
    });
    let path = format!("/companies/{company}/connectwise-company");
    let matched = app.put(&path, &json!({"identifier": "brandnew"})).await.expect(200);
    assert_eq!(matched["company"]["connectwise_company_id"], "9");
    let agreements = app.all("/connectwise/companies/9/agreements").await;
    assert_eq!((&agreements[0]["id"], &agreements[0]["live"]), (&json!("90"), &json!(true)));
}

on_both!(
    auto_match_applies_only_what_is_unique,
    a_company_is_matched_by_hand_and_set_to_not_set,
    a_company_newer_than_the_choices_is_found_by_identifier,
);

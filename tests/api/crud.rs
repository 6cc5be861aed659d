//! Adding, reading, changing and deleting; versions; idempotency; pages.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");

fn bytes(value: &Value) -> Option<Vec<u8>> {
    Some(serde_json::to_vec(value).unwrap())
}

async fn companies_and_products_are_created_changed_and_deleted(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let body = json!({"external_id": "C1", "name": "Harbor Dental"});
    let made = app.post("/companies", &body).await;
    let path = made.header("location").trim_start_matches("/api/v1").to_owned();
    let made = made.expect(201);
    assert_eq!(app.get(&path).await.expect(200), made);
    assert_eq!(app.patch(&path, &json!({"name": "New"})).await.expect(200)["name"], "New");
    let put = app.put(&path, &json!({"external_id": "C2", "name": "Newer"})).await.expect(200);
    assert_eq!((&put["external_id"], &put["version"]), (&json!("C2"), &json!(3)));
    assert_eq!(put["created_at"], made["created_at"]);

    let product = app.product("STORAGE").await;
    let company = made["id"].as_str().unwrap();
    let line = app.line(&product, company).await;
    assert_eq!(line["push_enabled"], false);
    assert_eq!(line["agreement"]["reason"], "company_not_set");
    assert_eq!(line["block_size"], "100");
    let patched = app.patch(&format!("/products/{product}"), &json!({"block_size": "0.50", "rounding": "exact"})).await;
    assert_eq!(patched.expect(200)["block_size"], "0.5");
    let path = format!("/products/{product}");
    let body = json!({"code": "S2", "name": "Other", "unit": "TB", "block_size": "7"});
    let replaced = app.put(&path, &body).await.expect(200);
    assert_eq!((&replaced["rounding"], &replaced["aggregation"]), (&json!("ceil"), &json!("last")));

    assert_eq!(app.delete(&path).await.status, 204);
    app.get(&path).await.problem(404, "not_found");
    assert_eq!(app.get("/billing-lines").await["items"], json!([]), "lines go with their product");
    assert_eq!(app.delete(&format!("/companies/{company}")).await.status, 204);
    app.delete(&format!("/companies/{company}")).await.problem(404, "not_found");
}

async fn changes_need_the_current_version(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let id = app.company("C1", "One").await;
    let path = format!("/companies/{id}");
    assert_eq!(app.get(&path).await.version(), "1");
    let change = |tag: &'static str| {
        let (app, path) = (&app, path.clone());
        async move {
            let headers = [("if-match", tag), JSON];
            app.send(Method::PATCH, &path, &headers, bytes(&json!({"name": tag}))).await
        }
    };
    assert_eq!(change("\"1\"").await.header("etag"), "\"2\"");
    let stale = change("\"1\"").await.problem(412, "version_mismatch");
    assert!(stale["detail"].as_str().unwrap().contains('2'), "{stale}");
    assert_eq!(change("\"7\", \"2\"").await.status, 200);
    assert_eq!(change("*").await.status, 200);
    let reply = app.send(Method::DELETE, &path, &[("if-match", "\"1\"")], None).await;
    reply.problem(412, "version_mismatch");
    assert_eq!(app.get(&path).await["name"], "*");
}

async fn a_repeated_request_is_done_once(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let headers = [("idempotency-key", "k-1"), JSON];
    let body = json!({"external_id": "C1", "name": "One"});
    let first = app.send(Method::POST, "/companies", &headers, bytes(&body)).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    let again = app.send(Method::POST, "/companies", &headers, bytes(&body)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.json, first.json);
    let other = json!({"external_id": "C2", "name": "Two"});
    app.send(Method::POST, "/companies", &headers, bytes(&other)).await.problem(422, "idempotency_key_reused");
    let product = json!({"code": "P", "name": "P", "unit": "GB", "block_size": "1"});
    app.send(Method::POST, "/products", &headers, bytes(&product)).await.problem(422, "idempotency_key_reused");
    // A failed request is not stored: once corrected, it can be sent again with its key.
    let headers = [("idempotency-key", "k-2"), JSON];
    app.send(Method::POST, "/companies", &headers, bytes(&json!({"external_id": "C1", "name": "x"})))
        .await
        .problem(409, "external_id_taken");
    app.send(Method::POST, "/companies", &headers, bytes(&other)).await.expect(201);
    assert_eq!(app.all("/companies").await.len(), 2);
}

async fn lists_are_paged_filtered_and_sorted(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let product = app.product("P").await;
    // Names that sort differently by case, many of them equal.
    let names = ["beta", "Alpha", "alpha", "Émile", "zeta", "Zeta", "alpha", "100% real", "a_b"];
    for (index, name) in names.iter().enumerate() {
        app.company(&format!("E{index}"), name).await;
    }
    let all = app.all("/companies?limit=500").await;
    for limit in [1, 2, 3, 9] {
        for sort in ["name", "-name", "external_id", "-external_id", "created_at", "-created_at"] {
            let paged = app.all(&format!("/companies?limit={limit}&sort={sort}")).await;
            let whole = app.all(&format!("/companies?limit=500&sort={sort}")).await;
            assert_eq!(paged, whole, "limit {limit} sort {sort}");
            assert_eq!(paged.len(), names.len());
        }
    }
    let names_of =
        |rows: &[Value]| rows.iter().map(|row| row["name"].as_str().unwrap().to_lowercase()).collect::<Vec<_>>();
    let mut sorted = names_of(&all);
    sorted.sort();
    assert_eq!(names_of(&all), sorted, "by name, ignoring case");
    for (search, found) in [("ALPHA", 3), ("%25", 1), ("_", 1), ("\u{e9}", 1), ("nothing", 0)] {
        assert_eq!(app.all(&format!("/companies?search={search}")).await.len(), found, "{search}");
    }
    assert_eq!(app.all("/companies?external_id=E3").await[0]["name"], "Émile");
    assert_eq!(app.all("/companies?matched=true").await.len(), 0);
    let lines = app.all(&format!("/billing-lines?product_id={product}&limit=2")).await;
    assert_eq!(
        lines.iter().map(|l| l["company"]["name"].clone()).collect::<Vec<_>>(),
        all.iter().map(|c| c["name"].clone()).collect::<Vec<_>>()
    );
    for sort in ["agreement_status", "-addition_status", "company_external_id", "-created_at"] {
        assert_eq!(app.all(&format!("/billing-lines?limit=4&sort={sort}")).await.len(), names.len(), "{sort}");
    }
    let cursor = app.get("/companies?limit=1").await["next_cursor"].as_str().unwrap().to_owned();
    app.get(&format!("/companies?sort=-name&cursor={cursor}")).await.problem(422, "validation");
}

async fn many_lines_change_at_once_or_not_at_all(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let product = app.product("P").await;
    for index in 0..3 {
        app.company(&format!("C{index}"), &format!("Company {index}")).await;
    }
    let path = format!("/billing-lines?product_id={product}");
    let ids: Vec<Value> = app.all(&path).await.iter().map(|line| line["id"].clone()).collect();
    let done = app.patch("/billing-lines", &json!({"ids": ids, "push_enabled": true, "block_size": "50"})).await;
    let done = done.expect(200);
    assert_eq!((&done["lines"], &done["changed"]), (&json!(3), &json!(3)));
    assert!(app.all(&format!("{path}&push_enabled=true")).await.iter().all(|l| l["block_size"] == "50"));
    let mut with_unknown = ids.clone();
    with_unknown.push(json!("nothing"));
    let reply = app.patch("/billing-lines", &json!({"ids": with_unknown, "push_enabled": false})).await;
    assert_eq!(reply.problem(422, "validation")["errors"][0]["field"], "/ids/3");
    assert_eq!(app.all(&format!("{path}&push_enabled=true")).await.len(), 3);
    let line = format!("/billing-lines/{}", ids[0].as_str().unwrap());
    let back = app.patch(&line, &json!({"block_size": null})).await.expect(200);
    assert_eq!((&back["block_size"], &back["block_size_override"]), (&json!("100"), &Value::Null));
    assert_eq!(app.patch(&line, &json!({})).await.expect(200)["version"], back["version"], "nothing changed");
}

on_both!(
    companies_and_products_are_created_changed_and_deleted,
    changes_need_the_current_version,
    a_repeated_request_is_done_once,
    lists_are_paged_filtered_and_sorted,
    many_lines_change_at_once_or_not_at_all,
);

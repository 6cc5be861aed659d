//! Keys: every call needs one, and it decides the tenant.

use reqwest::Method;
use serde_json::json;

use crate::support::{Backend, TestApp};

const OPERATOR: &str = "Bearer the-operators-own-key";

async fn without_a_known_key_nothing_answers(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let unknown = format!("Bearer cwb_{}", "A".repeat(43));
    let almost = format!("Bearer {}x", &app.key[..app.key.len() - 1]);
    for header in ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic Zm9vOmJhcg==", unknown.as_str(), almost.as_str()]
    {
        for path in ["/companies", "/push-jobs/some-id", "/tenants", "/no-such-path"] {
            let reply = app.send(Method::GET, path, &[("authorization", header)], None).await;
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            reply.problem(401, "unauthorized");
        }
    }
    let encoded = app.send(Method::GET, "/v/%61pi/v1/companies", &[("authorization", "")], None).await;
    assert!(matches!(encoded.status, 401 | 404), "{}", encoded.text);
    let lower = format!("bearer {}", app.key);
    app.send(Method::GET, "/companies", &[("authorization", &lower)], None).await.expect(200);
}

async fn keys_are_made_listed_and_revoked(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let made = app.post("/api-keys", &json!({"name": "dashboard"})).await.expect(201);
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("cwb_") && key.len() == 47);
    let header = format!("Bearer {key}");
    app.send(Method::GET, "/companies", &[("authorization", &header)], None).await.expect(200);
    let listed = app.get("/api-keys").await;
    assert!(!listed.text.contains(&key), "a key is shown once");
    assert_eq!(listed.expect(200)["items"].as_array().unwrap().len(), 2);
    let id = made["api_key"]["id"].as_str().unwrap();
    assert_eq!(app.delete(&format!("/api-keys/{id}")).await.status, 204);
    app.send(Method::GET, "/companies", &[("authorization", &header)], None).await.problem(401, "unauthorized");
    app.delete("/api-keys/nothing").await.problem(404, "not_found");
}

async fn the_operator_manages_tenants_and_sees_nothing_inside(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.get("/tenants").await.problem(403, "forbidden");
    app.send(Method::GET, "/companies", &[("authorization", OPERATOR)], None).await.problem(403, "forbidden");
    let tenants = app.send(Method::GET, "/tenants", &[("authorization", OPERATOR)], None).await.expect(200);
    assert_eq!(tenants["items"].as_array().unwrap().len(), 1);
}

async fn another_tenants_ids_are_not_found(backend: Backend) {
    let app = TestApp::connected(backend, connectwise_billing::sandbox::sample::many(3, 1, 1)).await;
    let company = app.company("C1", "Customer 000001").await;
    let product = app.product("STORAGE").await;
    let rule = app.rule(&product, "agreement", "name contains \"x\"").await;
    let line = app.line(&product, &company).await["id"].as_str().unwrap().to_owned();
    app.usage("C1", "STORAGE", "5").await;
    let (job, _) = app.push(&json!({})).await;
    let job = job["id"].as_str().unwrap();
    let key_id = app.get("/api-keys").await["items"][0]["id"].as_str().unwrap().to_owned();

    let body = Some(serde_json::to_vec(&json!({"name": "Other MSP"})).unwrap());
    let headers = [("authorization", OPERATOR), ("content-type", "application/json")];
    let other = app.send(Method::POST, "/tenants", &headers, body).await.expect(201);
    let bearer = format!("Bearer {}", other["key"].as_str().unwrap());
    let as_other = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let (name, choice) = (json!({"name": "x"}), json!({"expression": "name = 'x'"}));
    for (method, path, body) in [
        ("GET", format!("/companies/{company}"), None),
        ("PUT", format!("/companies/{company}"), Some(json!({"external_id": "x", "name": "x"}))),
        ("PATCH", format!("/companies/{company}"), Some(name.clone())),
        ("DELETE", format!("/companies/{company}"), None),
        ("DELETE", format!("/companies/{company}/connectwise-company"), None),
        ("GET", format!("/products/{product}"), None),
        ("PATCH", format!("/products/{product}"), Some(name.clone())),
        ("DELETE", format!("/products/{product}"), None),
        ("POST", format!("/products/{product}/resolve"), None),
        ("GET", format!("/matching-rules/{rule}"), None),
        ("PUT", format!("/matching-rules/{rule}"), Some(choice.clone())),
        ("DELETE", format!("/matching-rules/{rule}"), None),
        (
            "POST",
            "/matching-rules".into(),
            Some(json!({"product_id": product, "target": "addition", "expression": "description = 'x'"})),
        ),
        (
            "POST",
            "/matching-rules/preview".into(),
            Some(json!({"product_id": product, "target": "addition", "expression": "description = 'x'"})),
        ),
        ("GET", format!("/billing-lines/{line}"), None),
        ("PATCH", format!("/billing-lines/{line}"), Some(json!({"push_enabled": true}))),
        ("GET", format!("/agreement-mappings/{line}"), None),
        ("PUT", format!("/agreement-mappings/{line}"), Some(json!({"agreement_id": "1"}))),
        ("DELETE", format!("/agreement-mappings/{line}"), None),
        ("GET", format!("/addition-mappings/{line}"), None),
        ("PUT", format!("/addition-mappings/{line}"), Some(json!({"addition_id": "1"}))),
        ("DELETE", format!("/addition-mappings/{line}"), None),
        ("GET", format!("/push-jobs/{job}"), None),
        ("GET", format!("/push-jobs/{job}/lines"), None),
        ("GET", format!("/push-jobs/{job}/events"), None),
        ("POST", format!("/push-jobs/{job}/cancel"), None),
        ("POST", format!("/push-jobs/{job}/retry"), None),
        ("DELETE", format!("/api-keys/{key_id}"), None),
        ("GET", "/connection".into(), None),
    ] {
        let body = body.map(|body| serde_json::to_vec(&body).unwrap());
        let reply = app.send(method.parse().unwrap(), &path, &as_other, body).await;
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text);
    }
    for path in ["/companies", "/products", "/matching-rules", "/billing-lines", "/usage", "/push-jobs"] {
        let list = app.send(Method::GET, path, &as_other, None).await.expect(200);
        assert_eq!(list["items"], json!([]), "{path}");
    }
    let patch = json!({"ids": [line], "push_enabled": true});
    let reply = app.send(Method::PATCH, "/billing-lines", &as_other, Some(serde_json::to_vec(&patch).unwrap())).await;
    reply.problem(422, "validation");
}

on_both!(
    without_a_known_key_nothing_answers,
    keys_are_made_listed_and_revoked,
    the_operator_manages_tenants_and_sees_nothing_inside,
    another_tenants_ids_are_not_found,
);

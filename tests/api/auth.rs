//! API keys: every call needs one, and the key determines the tenant.

use reqwest::Method;
use serde_json::json;

use crate::support::{Backend, TestApp};

const OPERATOR: &str = "Bearer the-operators-own-key";

async fn requests_without_a_valid_key_are_rejected(backend: Backend) {
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

on_both!(
    requests_without_a_valid_key_are_rejected,
    keys_are_made_listed_and_revoked,
    the_operator_manages_tenants_and_sees_nothing_inside,
);

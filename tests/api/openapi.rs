//! The OpenAPI document: committed, complete and correct.

use serde_json::Value;

use crate::support::{Backend, TestApp};

pub fn document() -> Value {
    serde_json::from_str(&connectwise_billing::app::openapi_document()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    operations
}

#[test]
fn the_committed_document_is_fresh() {
    let committed = include_str!("../../openapi/openapi.json");
    assert!(
        committed == connectwise_billing::app::openapi_document(),
        "openapi/openapi.json is out of date: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let mut ids = std::collections::HashSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{at} has no summary");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{at}: its id is taken");
        assert!(operation["tags"][0].is_string(), "{at} has no tag");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at} never succeeds");
        if path.starts_with("/api/v1") {
            for status in ["400", "401", "500", "503"] {
                let response = document.pointer(&responses[status]["$ref"].as_str().unwrap()[1..]).unwrap();
                let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{at} {status}");
            }
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(responses.contains_key("422"), "{at} takes a body and never rejects it");
            if let Some(table) = body["content"].get("text/csv") {
                assert!(table["example"].is_string(), "{at} has no example a person can send");
                continue;
            }
            let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = &document.pointer(&reference[1..]).unwrap();
            assert!(schema["example"].is_object(), "{at} has no example a person can send");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
                }
                members.values().for_each(|value| check(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| check(document, value)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

#[test]
fn every_link_leads_to_an_operation_and_its_parameter() {
    let document = document();
    let operations = operations(&document);
    let mut links = 0;
    for (_, path, operation) in &operations {
        for response in operation["responses"].as_object().unwrap().values() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let to = operations.iter().find(|(.., other)| other["operationId"] == link["operationId"]);
                let (.., to) = to.unwrap_or_else(|| panic!("{path}: {name} leads nowhere"));
                for parameter in link["parameters"].as_object().unwrap().keys() {
                    let has = to["parameters"].as_array().unwrap().iter().any(|known| {
                        let known = known["$ref"].as_str().map_or(known, |at| document.pointer(&at[1..]).unwrap());
                        known["name"] == *parameter
                    });
                    assert!(has, "{path}: {name} has no parameter {parameter}");
                }
                links += 1;
            }
        }
    }
    assert!(links >= 20, "{links}");
}

#[test]
fn every_path_of_the_specification_is_there() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in [
        ("/connection", "get put delete"),
        ("/connection/test", "post"),
        ("/connectwise/companies", "get"),
        ("/connectwise/companies/{id}/agreements", "get"),
        ("/connectwise/agreements/{id}/additions", "get"),
        ("/connectwise/refresh", "post"),
        ("/companies", "get post"),
        ("/companies/{id}", "get put patch delete"),
        ("/companies/{id}/connectwise-company", "put delete"),
        ("/companies/auto-match", "post"),
        ("/products", "get post"),
        ("/products/{id}", "get put patch delete"),
        ("/products/{id}/resolve", "post"),
        ("/matching-rules", "get post"),
        ("/matching-rules/{id}", "get put delete"),
        ("/matching-rules/preview", "post"),
        ("/billing-lines", "get patch"),
        ("/billing-lines/{id}", "get patch"),
        ("/agreement-mappings", "get"),
        ("/agreement-mappings/{billing_line_id}", "get put delete"),
        ("/addition-mappings", "get"),
        ("/addition-mappings/{billing_line_id}", "get put delete"),
        ("/usage", "get post"),
        ("/push-jobs", "get post"),
        ("/push-jobs/{id}", "get"),
        ("/push-jobs/{id}/lines", "get"),
        ("/push-jobs/{id}/events", "get"),
        ("/push-jobs/{id}/cancel", "post"),
        ("/push-jobs/{id}/retry", "post"),
        ("/push-schedule", "get put"),
        ("/api-keys", "get post"),
        ("/tenants", "get post"),
    ] {
        let item = paths.get(&format!("/api/v1{path}")).unwrap_or_else(|| panic!("{path} is missing"));
        for method in methods.split(' ') {
            assert!(item.get(method).is_some(), "{method} {path} is missing");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_and_its_page_are_served() {
    let app = TestApp::start(Backend::Sqlite, Default::default()).await;
    assert_eq!(app.outside("/openapi.json").await.expect(200), document());
    let page = app.outside("/swagger-ui/").await;
    assert!(page.status == 200 && page.text.contains("swagger-ui"), "{}", page.text);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    let script = app.outside("/swagger-ui/swagger-initializer.js").await;
    assert!(script.text.contains("/openapi.json"), "{}", script.text);
    assert!(app.outside("/swagger-ui/swagger-ui-bundle.js").await.text.len() > 100_000, "the assets are in the binary");
    let reply = app.outside("/swagger-ui").await;
    assert_eq!((reply.status, reply.header("location")), (307, "/swagger-ui/"));
    app.outside("/healthz").await.expect(200);
    app.outside("/readyz").await.expect(200);
    assert_eq!(app.outside("/metrics").await.status, 200);
}

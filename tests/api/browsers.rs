//! What browsers and caches rely on: other origins, `HEAD`, `OPTIONS`, and content that has not changed.

use connectwise_billing::app::Config;
use connectwise_billing::sandbox::Store;
use reqwest::Method;
use serde_json::json;

use crate::support::{Backend, TestApp};

const ORIGIN: &str = "https://billing.example.com";

async fn ready(backend: Backend) -> TestApp {
    let app = TestApp::start_with(backend, Default::default(), |config: &mut Config| {
        config.cors_origins = vec![ORIGIN.to_owned()];
    });
    app.await
}

fn preflight<'h>(origin: &'h str, headers: &'h str) -> Vec<(&'h str, &'h str)> {
    vec![
        ("authorization", ""),
        ("origin", origin),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", headers),
    ]
}

async fn a_page_of_an_allowed_origin_may_call(backend: Backend) {
    let app = ready(backend).await;
    let asked = "authorization,content-type,if-match,idempotency-key";
    let reply = app.send(Method::OPTIONS, "/companies/x", &preflight(ORIGIN, asked), None).await;
    assert_eq!(reply.status, 200, "no key is needed: {}", reply.text);
    assert_eq!(reply.header("access-control-allow-origin"), ORIGIN);
    assert!(reply.header("access-control-allow-methods").contains("PATCH"));
    let reply = app.send(Method::GET, "/companies", &[("origin", ORIGIN)], None).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ORIGIN));
    let exposed = reply.header("access-control-expose-headers").to_lowercase();
    for header in ["etag", "location", "retry-after", "x-request-id", "idempotent-replayed"] {
        assert!(exposed.contains(header), "{header}: {exposed}");
    }
    // Errors are readable as well.
    let reply = app.send(Method::GET, "/companies/x", &[("origin", ORIGIN)], None).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (404, ORIGIN));
    let reply = app.send(Method::GET, "/companies", &[("authorization", ""), ("origin", ORIGIN)], None).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, ORIGIN));
}

async fn a_page_of_another_origin_may_not(backend: Backend) {
    let (app, closed) = (ready(backend).await, TestApp::start(backend, Default::default()).await);
    for origin in
        ["https://evil.example.com", "http://billing.example.com", "https://billing.example.com.evil.com", "null"]
    {
        for app in [&app, &closed] {
            for (method, headers) in
                [(Method::OPTIONS, preflight(origin, "authorization")), (Method::GET, vec![("origin", origin)])]
            {
                let reply = app.send(method, "/companies", &headers, None).await;
                assert_eq!(reply.header("access-control-allow-origin"), "", "{origin}");
            }
        }
    }
    let reply = closed.send(Method::OPTIONS, "/companies", &preflight(ORIGIN, "authorization"), None).await;
    assert_eq!(reply.header("access-control-allow-origin"), "", "none is allowed by default");
}

async fn head_is_get_without_a_body(backend: Backend) {
    let app = ready(backend).await;
    let id = app.company("C1", "One").await;
    for path in
        ["/companies".to_owned(), format!("/companies/{id}"), "/companies/unknown".to_owned(), "/v/healthz".to_owned()]
    {
        let get = app.send(Method::GET, &path, &[], None).await;
        let head = app.send(Method::HEAD, &path, &[], None).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        for header in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(header), get.header(header), "{header} of {path}");
        }
    }
    let reply = app.send(Method::HEAD, "/companies/auto-match", &[], None).await;
    assert_eq!(reply.status, 405);
}

async fn options_names_the_methods(backend: Backend) {
    let app = ready(backend).await;
    let bare = [("authorization", "")];
    let reply = app.send(Method::OPTIONS, "/companies/x", &bare, None).await;
    assert_eq!((reply.status, reply.header("allow")), (204, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"));
    let reply = app.send(Method::OPTIONS, "/companies/batch", &bare, None).await;
    assert_eq!(reply.header("allow"), "OPTIONS, POST");
    app.send(Method::OPTIONS, "/nothing", &bare, None).await.problem(404, "not_found");
}

async fn a_list_that_has_not_changed_is_not_sent_again(backend: Backend) {
    let app = ready(backend).await;
    app.company("C1", "One").await;
    let first = app.get("/companies").await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let with = async |tag: &str| app.send(Method::GET, "/companies", &[("if-none-match", tag)], None).await;
    let unchanged = with(&format!("\"other\", {tag}")).await;
    assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", tag.as_str()));
    app.company("C2", "Two").await;
    let changed = with(&tag).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), tag);
    let other = app.send(Method::GET, "/companies?limit=1", &[("if-none-match", &tag)], None).await;
    assert_eq!(other.status, 200, "another page");
    let made = app.post("/api-keys", &json!({"name": "x"})).await;
    assert_eq!(made.header("cache-control"), "no-store");
}

/// A line's usage changes without its version: the version must not hide it.
/// A resource with a version is also not sent again while its content is the same, and its tag works in `If-Match`.
async fn a_versioned_resource_that_has_not_changed_is_not_sent_again(backend: Backend) {
    let app = ready(backend).await;
    let id = app.company("C1", "One").await;
    let path = format!("/companies/{id}");
    let tag = app.get(&path).await.header("etag").to_owned();
    assert!(tag.starts_with("\"1."), "{tag}");
    let unchanged = app.send(Method::GET, &path, &[("if-none-match", &tag)], None).await;
    assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", tag.as_str()));
    let with = |tag: &str| [("if-match", tag.to_owned()), ("content-type", "application/json".to_owned())];
    let change = async |tag: &str, name: &str| {
        let headers = with(tag);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.send(Method::PATCH, &path, &headers, Some(json!({"name": name}).to_string().into())).await
    };
    change(&tag, "Uno").await.expect(200);
    change(&tag, "Due").await.problem(412, "version_mismatch");
    change("\"2\"", "Due").await.expect(200);
    let changed = app.send(Method::GET, &path, &[("if-none-match", &tag)], None).await;
    assert_eq!(changed.status, 200);
}

async fn a_response_is_compressed(backend: Backend) {
    let app = ready(backend).await;
    for number in 0..20 {
        app.company(&format!("C{number}"), "A company with a name").await;
    }
    for encoding in ["gzip", "br"] {
        let reply = app.send(Method::GET, "/companies", &[("accept-encoding", encoding)], None).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, encoding));
    }
}

/// If the operator requires it, a change must name the version it is meant for.
async fn a_change_without_a_version_can_be_rejected(backend: Backend) {
    let app = TestApp::start_with(backend, Store::default(), |config| config.require_versions = true).await;
    let id = app.company("C1", "One").await;
    let product = app.product("P").await;
    let line = app.line(&product, &id).await;
    let line_id = line["id"].as_str().unwrap();
    let path = format!("/companies/{id}");
    app.patch(&path, &json!({"name": "Uno"})).await.problem(428, "version_required");
    app.delete(&path).await.problem(428, "version_required");
    let any = [("if-match", "*"), ("content-type", "application/json")];
    app.send(Method::PATCH, &path, &any, Some(b"{\"name\": \"Uno\"}".to_vec())).await.expect(200);
    let enable = json!({"ids": [line_id], "push_enabled": true});
    app.patch("/billing-lines", &enable).await.problem(428, "version_required");
    let choice = json!({"choices": [{"billing_line_id": line_id, "agreement_id": null}]});
    app.patch("/agreement-mappings", &choice).await.problem(428, "version_required");
    let with = |version: i64| json!({"ids": [line_id], "versions": {line_id: version}, "push_enabled": true});
    let rejected = app.patch("/billing-lines", &with(99)).await.problem(422, "validation");
    assert_eq!(
        (&rejected["errors"][0]["field"], &rejected["errors"][0]["code"]),
        (&json!("/ids/0"), &json!("version_mismatch"))
    );
    let version = line["version"].as_i64().unwrap();
    assert_eq!(app.patch("/billing-lines", &with(version)).await.expect(200)["changed"], 1);
}

async fn a_line_is_sent_again_though_its_version_is_the_same(backend: Backend) {
    let app = ready(backend).await;
    let (company, product) = (app.company("C1", "One").await, app.product("P").await);
    let line = app.line(&product, &company).await["id"].as_str().unwrap().to_owned();
    let path = format!("/billing-lines/{line}");
    let before = app.get(&path).await;
    app.usage("C1", "P", "250").await;
    let after = app.send(Method::GET, &path, &[("if-none-match", before.header("etag"))], None).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), before.header("etag"));
    assert_eq!(after.version(), before.version());
    assert_ne!(after.text, before.text);
}

on_both!(
    a_page_of_an_allowed_origin_may_call,
    a_page_of_another_origin_may_not,
    head_is_get_without_a_body,
    options_names_the_methods,
    a_list_that_has_not_changed_is_not_sent_again,
    a_line_is_sent_again_though_its_version_is_the_same,
    a_versioned_resource_that_has_not_changed_is_not_sent_again,
    a_response_is_compressed,
    a_change_without_a_version_can_be_rejected,
);

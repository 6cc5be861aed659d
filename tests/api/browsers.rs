//! What browsers and caches rely on: other origins, `HEAD`, `OPTIONS`, and content that has not changed.

use connectwise_billing::app::Config;
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
    // An error is readable, too.
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
async fn a_line_is_sent_again_though_its_version_is_the_same(backend: Backend) {
    let app = ready(backend).await;
    let (company, product) = (app.company("C1", "One").await, app.product("P").await);
    let line = app.line(&product, &company).await["id"].as_str().unwrap().to_owned();
    let path = format!("/billing-lines/{line}");
    let before = app.get(&path).await;
    app.usage("C1", "P", "250").await;
    let after = app.send(Method::GET, &path, &[("if-none-match", before.header("etag"))], None).await;
    assert_eq!((after.status, after.header("etag")), (200, before.header("etag")));
    assert_ne!(after.text, before.text);
}

on_both!(
    a_page_of_an_allowed_origin_may_call,
    a_page_of_another_origin_may_not,
    head_is_get_without_a_body,
    options_names_the_methods,
    a_list_that_has_not_changed_is_not_sent_again,
    a_line_is_sent_again_though_its_version_is_the_same,
);

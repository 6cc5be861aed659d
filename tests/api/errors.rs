//! Bad requests of every kind: problem+json that says what is wrong and where, and nothing half-saved.

use connectwise_billing::sandbox::Store;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Backend, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn paths_and_methods(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for path in ["/nothing", "/companies/a/b/c", "//companies"] {
        let reply = app.get(path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    app.outside("/nothing").await.problem(404, "not_found");
    for (method, path, allow) in [
        ("DELETE", "/companies", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/companies/some-id/connectwise-company/", ""),
        ("GET", "/companies/auto-match", "OPTIONS, POST"),
        ("POST", "/companies/some-id", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("GET", "/matching-rules/preview", "OPTIONS, POST"),
        ("POST", "/push-schedule", "GET, HEAD, OPTIONS, PUT"),
    ] {
        let reply = app.send(method.parse().unwrap(), path, &[], None).await;
        if allow.is_empty() {
            assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text);
            continue;
        }
        assert_eq!(reply.status, 405, "{method} {path}: {}", reply.text);
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
        reply.problem(405, "method_not_allowed");
    }
    let reply = app.send(Method::POST, "/v/healthz", &[], None).await;
    assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS");
    reply.problem(405, "method_not_allowed");
}

async fn bad_json_says_where(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for (body, detail) in [
        ("{\"external_id\": \"x\",\n \"name\": }", "line 2, column 10"),
        ("", "line 1, column 0"),
        ("{\"external_id\": \"x\", \"name\": \"y\"} trailing", "after the JSON"),
        ("{\"external_id\": \"x\", \"name\": \"\\ud800\"}", "line 1"),
    ] {
        let reply = app.send(Method::POST, "/companies", &[JSON], Some(body.into())).await;
        let problem = reply.problem(400, "malformed");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
    let invalid_utf8 = b"{\"external_id\": \"x\", \"name\": \"\xff\"}".to_vec();
    app.send(Method::POST, "/companies", &[JSON], Some(invalid_utf8)).await.problem(400, "malformed");
    let deep = format!("{{\"name\": {}", "[".repeat(100_000));
    app.send(Method::POST, "/companies", &[JSON], Some(deep.into())).await.problem(422, "validation");
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let reply = app.send(Method::POST, "/companies", &[("content-type", kind)], Some(b"{}".to_vec())).await;
        reply.problem(415, "unsupported_media_type");
    }
    assert_eq!(app.get("/companies").await["items"], json!([]));
}

async fn bad_fields_are_named(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for (body, field, code) in [
        (json!({"external_id": "x", "name": "y", "nmae": 1}), "/nmae", "unknown_field"),
        (json!({"external_id": "x"}), "/name", "required"),
        (json!({"external_id": 5, "name": "y"}), "/external_id", "wrong_type"),
        (json!({"external_id": "x", "name": null}), "/name", "wrong_type"),
        (json!([]), "", "wrong_type"),
        (json!(["x", "y"]), "", "wrong_type"),
        (json!("x"), "", "wrong_type"),
        (json!({"external_id": "", "name": "y"}), "/external_id", "length"),
        (json!({"external_id": "x", "name": "y".repeat(201)}), "/name", "length"),
        (json!({"external_id": "x", "name": " \t "}), "/name", "plain_text"),
        (json!({"external_id": "x", "name": "a\u{0}b"}), "/name", "plain_text"),
    ] {
        let problem = app.post("/companies", &body).await.problem(422, "validation");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!(field), &json!(code)),
            "{problem}"
        );
    }
    let product = json!({"code": "S", "name": "S", "unit": "GB", "block_size": "100"});
    for (field, value, code) in [
        ("block_size", json!("0"), "bad_value"),
        ("block_size", json!("-1"), "bad_value"),
        ("block_size", json!("1e3"), "bad_value"),
        ("block_size", json!(100), "wrong_type"),
        ("block_size", json!("99999999999999999999999999999"), "bad_value"),
        ("rounding", json!("up"), "bad_value"),
        ("rounding", json!(5), "wrong_type"),
    ] {
        let mut body = product.clone();
        body[field] = value;
        let problem = app.post("/products", &body).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], format!("/{field}"), "{problem}");
        assert_eq!(problem["errors"][0]["code"], code, "{problem}");
    }
    assert_eq!(app.get("/products").await["items"], json!([]));
    let name = "Ünïcode 🦀 \u{202e}right-to-left";
    app.post("/companies", &json!({"external_id": "u", "name": name})).await.expect(201);
    assert_eq!(app.get("/companies?search=%C3%9CN%C3%8FCODE").await["items"][0]["name"], name);
}

async fn every_bad_field_is_named_at_once(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let body = json!({"code": 5, "name": "", "unit": "GB", "block_size": "x", "rounding": "up", "max_usage_age_days": -1,
        "colour": 1, "a/b~c": 2});
    let problem = app.post("/products", &body).await.problem(422, "validation");
    let found: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| (&e["field"], &e["code"])).collect();
    let expected = [
        ("/a~1b~0c", "unknown_field"),
        ("/block_size", "bad_value"),
        ("/code", "wrong_type"),
        ("/colour", "unknown_field"),
        ("/max_usage_age_days", "out_of_range"),
        ("/name", "length"),
        ("/rounding", "bad_value"),
    ];
    assert_eq!(json!(found), json!(expected), "{problem:#}");
    // Callers read these: no terms of the parser, of Rust or of JSON Schema.
    for error in problem["errors"].as_array().unwrap() {
        let message = error["message"].as_str().unwrap();
        assert!(
            !["line 1", "variant", "invalid type", "struct", "u32", "i64"].iter().any(|word| message.contains(word)),
            "{message}"
        );
    }
    // For a large body only the first error is listed, still with the right code.
    let companies: Vec<_> = (0..2_000).map(|n| json!({"external_id": format!("C{n}"), "name": "a company"})).collect();
    let problem = app.post("/companies/batch", &json!({"mode": 5, "companies": companies})).await;
    let problem = problem.problem(422, "validation");
    assert_eq!(
        (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
        (&json!("/mode"), &json!("wrong_type"))
    );
    // Errors that only the server can find are listed with the others.
    let schedule = json!({"enabled": true, "day_of_month": 40, "time": "02:00", "time_zone": "Mars/Olympus"});
    let problem = app.put("/push-schedule", &schedule).await.problem(422, "validation");
    assert!(problem["errors"].as_array().unwrap().len() >= 2, "{problem:#}");
    let problem = app.get("/companies?limit=x&matched=perhaps&colour=1&limit=2").await.problem(400, "malformed");
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["matched", "colour", "limit"], "{problem:#}");
}

async fn unknown_parameters_and_bodies_are_rejected(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    let product = app.product("P").await;
    let resolve = format!("/products/{product}/resolve");
    let problem = app.post(&format!("{resolve}?dry_run=true"), &json!({})).await.problem(400, "malformed");
    assert_eq!(problem["errors"][0]["field"], "dry_run");
    for (method, path) in [
        (Method::POST, resolve.as_str()),
        (Method::POST, "/push-jobs/some-id/revert"),
        (Method::POST, "/push-jobs/some-id/retry"),
        (Method::POST, "/connection/test"),
        (Method::DELETE, "/agreement-mappings/some-id"),
    ] {
        let body = b"{\"dry_run\": true}".to_vec();
        let problem = app.send(method, path, &[JSON], Some(body)).await.problem(400, "malformed");
        assert!(problem["detail"].as_str().unwrap().contains("accepts no body"), "{path}: {problem}");
    }
    for path in ["/connection?x=1", "/api-keys?limit=5", "/push-schedule?x"] {
        let problem = app.get(path).await.problem(400, "malformed");
        assert_eq!(problem["errors"][0]["code"], "unknown_parameter", "{path}");
    }
    for body in ["{}", "null", " ", ""] {
        app.send(Method::POST, &resolve, &[JSON], Some(body.into())).await.expect(200);
    }
    for body in ["[1]", "true", "{} x"] {
        app.send(Method::POST, &resolve, &[JSON], Some(body.into())).await.problem(400, "malformed");
    }
    // The router decodes %2D and would find the operation; the document has no such path.
    app.post("/push%2Djobs/x/revert?dry_run=true", &json!({})).await.problem(404, "not_found");
    app.send(Method::POST, &resolve, &[], None).await.expect(200);
    let many: Vec<String> = (0..9_000).map(|name| format!("{name}=1")).collect();
    let began = std::time::Instant::now();
    let problem = app.get(&format!("/audit-log?{}", many.join("&"))).await.problem(400, "malformed");
    assert!(problem["detail"].as_str().unwrap().contains("at most 50"), "{problem}");
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
}

async fn an_unknown_record_in_a_body_is_an_invalid_field(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    let company = app.company("C1", "One").await;
    let rule = json!({"product_id": "none", "target": "agreement", "expression": "name = 'x'"});
    for (path, body, field) in [
        ("/push-jobs", json!({"product_id": "none"}), "/product_id"),
        ("/push-jobs", json!({"company_ids": [company, "none"]}), "/company_ids/1"),
        ("/push-jobs", json!({"from_dry_run": "none"}), "/from_dry_run"),
        ("/matching-rules", rule.clone(), "/product_id"),
        ("/matching-rules/preview", rule, "/product_id"),
    ] {
        let problem = app.post(path, &body).await.problem(422, "validation");
        let error = &problem["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!("not_found")), "{path}: {problem}");
    }
    let path = format!("/companies/{company}/connectwise-company");
    for (body, field) in [(json!({"id": "987654321"}), "/id"), (json!({"identifier": "Nobody"}), "/identifier")] {
        let problem = app.put(&path, &body).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    app.company("C2", "Two").await;
    let taken = app.put(&format!("/companies/{company}"), &json!({"external_id": "C2", "name": "x"})).await;
    assert_eq!(taken.problem(409, "external_id_taken")["errors"][0]["field"], "/external_id");
    let stale = app
        .send(
            Method::PUT,
            &format!("/companies/{company}"),
            &[JSON, ("if-match", "\"9\"")],
            Some(b"{\"external_id\": \"C1\", \"name\": \"x\"}".to_vec()),
        )
        .await;
    assert_eq!(stale.header("etag"), "\"1\"");
    stale.problem(412, "version_mismatch");
}

async fn every_problem_has_a_page(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let document = app.outside("/openapi.json").await.json;
    let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap().clone();
    assert!(codes.len() > 50);
    let list = app.outside("/problems").await;
    for code in codes {
        let path = format!("/problems/{}", code.as_str().unwrap());
        assert!(list.text.contains(&format!("\"{path}\"")), "{path} is not listed");
        let page = app.outside(&path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let advice = page.text.split("<h2>What to do</h2><p>").nth(1).unwrap().split("</p>").next().unwrap();
        assert!(advice.len() > 10, "{path}: {}", page.text);
    }
    app.outside("/problems/no_such_code").await.problem(404, "not_found");
}

async fn a_missing_body_is_rejected_and_null_clears_nothing(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    for path in ["/push-jobs", "/companies/auto-match", "/connectwise/refresh"] {
        app.send(Method::POST, path, &[], None).await.problem(415, "unsupported_media_type");
        app.send(Method::POST, path, &[JSON], None).await.problem(400, "malformed");
    }
    assert_eq!(app.get("/push-jobs").await["items"], json!([]));
    let (company, product) = (app.company("C1", "One").await, app.product("P").await);
    let line = app.line(&product, &company).await["id"].as_str().unwrap().to_owned();
    for (path, field) in [
        (format!("/companies/{company}"), "name"),
        (format!("/products/{product}"), "block_size"),
        (format!("/products/{product}"), "rounding"),
        (format!("/billing-lines/{line}"), "push_enabled"),
    ] {
        let version = app.get(&path).await["version"].clone();
        let problem = app.patch(&path, &json!({field: null})).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], format!("/{field}"), "{problem}");
        assert_eq!(app.patch(&path, &json!({})).await.expect(200)["version"], version, "nothing changed");
    }
}

async fn bad_parameters_are_named(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for (query, kind, status) in [
        ("limit=0", "validation", 422),
        ("limit=501", "validation", 422),
        ("limit=x", "malformed", 400),
        ("sort=nonsense", "validation", 422),
        ("cursor=nonsense", "validation", 422),
        ("nonsense=1", "malformed", 400),
        ("matched=maybe", "malformed", 400),
    ] {
        app.get(&format!("/companies?{query}")).await.problem(status, kind);
    }
    let problem = app.get("/usage?from=yesterday").await.problem(400, "malformed");
    assert_eq!(problem["errors"][0]["field"], "from", "{problem}");
    app.get("/billing-lines?agreement_status=fine").await.problem(400, "malformed");
    app.get("/billing-lines?billing_month=2026-13").await.problem(400, "malformed");
    for tag in ["3", "\"3", "nonsense"] {
        let headers = [("if-match", tag), JSON];
        let reply = app.send(Method::PATCH, "/companies/x", &headers, Some(b"{}".to_vec())).await;
        reply.problem(400, "malformed");
    }
    let headers = [("idempotency-key", "with space"), JSON];
    let body = Some(br#"{"external_id":"x","name":"y"}"#.to_vec());
    app.send(Method::POST, "/companies", &headers, body).await.problem(422, "validation");
}

async fn large_bodies_are_rejected(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let body = json!({"external_id": "x", "name": "y".repeat(2 * 1024 * 1024)});
    app.post("/companies", &body).await.problem(413, "too_large");
    assert_eq!(app.get("/companies").await["items"], json!([]));
}

async fn ids_and_collisions(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for path in ["/companies/nothing", "/matching-rules/x", "/billing-lines/x", "/push-jobs/x"] {
        let reply = app.get(path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        reply.problem(404, "not_found");
    }
    assert_eq!(app.get("/products/%00").await.status, 404);
    app.get("/companies?search=%00").await.problem(400, "malformed");
    app.post("/push-jobs", &json!({"product_id": "a\u{0}b"})).await.problem(409, "not_connected");
    let rule = json!({"product_id": "a\u{0}b", "target": "agreement", "expression": "name = 'x'"});
    let reply = app.post("/matching-rules", &rule).await;
    assert!(matches!(reply.status, 404 | 422), "{}", reply.text);
    app.company("C1", "One").await;
    let again = json!({"external_id": "C1", "name": "Other"});
    app.post("/companies", &again).await.problem(409, "external_id_taken");
    app.product("P").await;
    let again = json!({"code": "P", "name": "x", "unit": "GB", "block_size": "1"});
    app.post("/products", &again).await.problem(409, "code_taken");
    // Codes that differ in letter case alone would be confused; a product may change the case of its own code.
    let other_case = json!({"code": "p", "name": "x", "unit": "GB", "block_size": "1"});
    app.post("/products", &other_case).await.problem(409, "code_taken");
    let own = app.all("/products").await[0]["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/products/{own}"), &json!({"code": "p"})).await.expect(200);
    app.post("/connection/test", &json!({})).await.problem(409, "not_connected");
    app.post("/push-jobs", &json!({})).await.problem(409, "not_connected");
}

async fn request_ids_are_returned(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let reply = app.send(Method::GET, "/companies", &[("x-request-id", "my-id-1")], None).await;
    assert_eq!(reply.header("x-request-id"), "my-id-1");
    let bad = "x".repeat(300);
    let reply = app.send(Method::GET, "/companies", &[("x-request-id", &bad)], None).await;
    assert_eq!(reply.header("x-request-id").len(), 36);
}

/// Sends a million random bytes as the body of every operation, and random texts in every path and query: each is
/// rejected, and nothing fails.
async fn random_bytes_are_rejected_everywhere(backend: Backend) {
    let app = TestApp::connected(backend, Store::default()).await;
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    let mut random = fastrand::Rng::with_seed(20_261_129);
    let mut sent = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let noise: String = std::iter::repeat_with(|| format!("%{:02X}", random.u8(..))).take(90).collect();
            let address = path.replace("{id}", &noise).replace("{billing_line_id}", &noise);
            let kinds = operation["requestBody"]["content"].as_object();
            let kinds: Vec<&str> = kinds.into_iter().flatten().map(|(kind, _)| kind.as_str()).collect();
            for kind in kinds.iter().chain(&["application/json", ""]) {
                let mut bytes = vec![0; 1_000_000];
                random.fill(&mut bytes);
                // Half of the bodies begin like JSON.
                if random.bool() {
                    bytes[..2].copy_from_slice(b"{\"");
                }
                let headers = [("content-type", *kind)];
                let reply = app.send(method.clone(), &address, &headers, Some(bytes)).await;
                assert!(reply.status < 500, "{method} {path} {kind}: {} {}", reply.status, reply.text);
                let reply = app.send(method.clone(), &format!("{address}?{noise}={noise}"), &[], None).await;
                assert!(reply.status < 500, "{method} {path}: {} {}", reply.status, reply.text);
                sent += 2;
            }
        }
    }
    assert!(sent > 300, "{sent} requests");
    assert_eq!(app.outside("/readyz").await.status, 200);
}

on_both!(
    random_bytes_are_rejected_everywhere,
    a_missing_body_is_rejected_and_null_clears_nothing,
    paths_and_methods,
    bad_json_says_where,
    bad_fields_are_named,
    every_bad_field_is_named_at_once,
    every_problem_has_a_page,
    unknown_parameters_and_bodies_are_rejected,
    an_unknown_record_in_a_body_is_an_invalid_field,
    bad_parameters_are_named,
    large_bodies_are_rejected,
    ids_and_collisions,
    request_ids_are_returned,
);

//! Connecting to ConnectWise: the connection, its test, refreshing, and the client's limits.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, FaultKind, Kind, sample};
use serde_json::{Value, json};

use crate::support::{Backend, TestApp, status};

async fn secrets_go_in_and_never_come_out(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.get("/connection").await.problem(404, "not_found");
    let mut body = app.connection();
    body["public_key"] = json!("PUBLICSECRET");
    body["private_key"] = json!("PRIVATESECRET");
    let saved = app.put("/connection", &body).await;
    let read = app.get("/connection").await;
    for reply in [&saved, &read] {
        assert!(!reply.text.contains("SECRET") && !reply.text.contains("key\""), "{}", reply.text);
    }
    assert_eq!(read.version(), "1");
    // Keys may be omitted if they would go to the same address, and must be entered again for another.
    let mut kept = body.clone();
    kept.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_key"));
    kept["client_id"] = json!("another-client");
    app.put("/connection", &kept).await.expect(200);
    for (field, value) in [("site", json!("http://127.0.0.1:1")), ("company_id", json!("other"))] {
        let mut moved = kept.clone();
        moved[field] = value;
        let problem = app.put("/connection", &moved).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], "/private_key");
    }
    let mut half = body.clone();
    half.as_object_mut().unwrap().remove("private_key");
    app.put("/connection", &half).await.problem(422, "validation");
    for site in ["", "ftp://x", "https://me:pw@x.com", "not a host"] {
        let mut bad = body.clone();
        bad["site"] = json!(site);
        let problem = app.put("/connection", &bad).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], "/site", "{problem}");
    }
    assert_eq!(app.delete("/connection").await.status, 204);
    app.get("/connection").await.problem(404, "not_found");
}

async fn private_sites_are_rejected_unless_allowed(backend: Backend) {
    let app = TestApp::start_with(backend, Default::default(), |config| config.allow_private_connectwise = false).await;
    app.put("/connection", &app.connection()).await.problem(422, "validation");
    for site in ["127.0.0.1", "169.254.169.254", "[::1]", "localhost"] {
        let mut body = app.connection();
        body["site"] = json!(format!("https://{site}"));
        app.put("/connection", &body).await.expect(200);
        let reply = app.post("/connection/test", &json!({})).await;
        assert!(reply.text.contains("private, loopback or link-local"), "{site}: {}", reply.text);
    }
}

async fn a_connection_is_tried_step_by_step(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2, 1, 1)).await;
    assert_eq!(app.post("/connection/test", &json!({})).await.expect(200)["passed"], true);
    let fails = |body: Value, step: &'static str, says: &'static str| {
        let app = &app;
        async move {
            app.put("/connection", &body).await.expect(200);
            let found = app.post("/connection/test", &json!({})).await.expect(200);
            let failed = found["steps"].as_array().unwrap().iter().find(|s| s["passed"] == false).unwrap().clone();
            assert_eq!(failed["step"], step, "{found}");
            assert!(failed["detail"].as_str().unwrap().contains(says), "{found}");
        }
    };
    let with = |field: &str, value: &str| {
        let mut body = app.connection();
        body[field] = json!(value);
        body
    };
    fails(with("site", "http://127.0.0.1:1"), "reach", "refused").await;
    fails(with("company_id", "SANDBOX"), "company", "letter case").await;
    fails(with("private_key", "wrong"), "keys", "private key").await;
    fails(with("client_id", "wrong"), "keys", "client id").await;
    for (right, step, says) in [
        ("companies", "companies", "Company Maintenance"),
        ("agreements", "agreements", "Agreements: Inquire"),
        ("additions", "additions", "Agreements: Inquire"),
    ] {
        app.sandbox.tune(|behavior| behavior.deny = vec![right.to_owned()]);
        fails(app.connection(), step, says).await;
    }
}

async fn a_refresh_asks_for_pages_only_and_marks_what_vanished(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2_500, 1, 1)).await;
    let report = app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!((&report["companies"], &report["agreements"]), (&json!(2_500), &json!(2_500)));
    let ledger = app.sandbox.ledger();
    assert_eq!(ledger.requests.len(), 6, "three pages each");
    assert_eq!(ledger.violations, Vec::<String>::new());
    app.sandbox.change(|store| store.remove(Kind::Companies, 7));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!(app.all("/connectwise/companies?identifier=c7").await.len(), 0, "gone is no choice");
    assert_eq!(app.all("/connectwise/companies?limit=500").await.len(), 2_499);
    for sort in ["name", "-identifier"] {
        assert_eq!(app.all(&format!("/connectwise/companies?limit=499&sort={sort}")).await.len(), 2_499);
    }
    // A response that lacks most of the known records is not trusted.
    app.sandbox.change(|store| *store = sample::many(5, 1, 1));
    app.post("/connectwise/refresh", &json!({})).await.problem(409, "refresh_would_drop");
    assert_eq!(app.all("/connectwise/companies?limit=500").await.len(), 2_499);
    app.post("/connectwise/refresh", &json!({"force": true})).await.expect(200);
    assert_eq!(app.all("/connectwise/companies").await.len(), 5);
}

async fn odd_connectwise_responses_break_nothing(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2, 1, 1)).await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    for (fault, kind) in [
        (status(401), "connectwise_keys"),
        (status(403), "connectwise_permission"),
        (status(418), "connectwise_rejected"),
        (status(409), "connectwise_conflict"),
        (status(500), "connectwise_unavailable"),
        (status(503), "connectwise_unavailable"),
        (FaultKind::Html, "connectwise_invalid_response"),
        (FaultKind::Truncated, "connectwise_invalid_response"),
        (FaultKind::WrongType, "connectwise_invalid_response"),
        (FaultKind::Drop, "connectwise_unavailable"),
        (FaultKind::Redirect { to: "http://evil.example/".to_owned() }, "connectwise_address"),
    ] {
        app.sandbox.fail(Fault::once(fault.clone()).at("finance/agreements").times(100));
        let reply = app.post("/connectwise/refresh", &json!({})).await;
        assert!(matches!(reply.status, 502 | 503), "{fault:?}: {}", reply.text);
        assert_eq!(reply["code"], kind, "{fault:?}: {}", reply.text);
        app.sandbox.clear_faults();
        app.clock.advance(TimeDelta::minutes(1));
        assert_eq!(app.all("/connectwise/companies").await.len(), 2, "{fault:?}");
        app.post("/connectwise/refresh", &json!({})).await.expect(200);
    }
}

async fn a_retry_after_is_reported_to_the_caller(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
    app.sandbox.fail(Fault::once(FaultKind::Throttle { retry_after: 30, html: true }).at("company/companies"));
    let reply = app.post("/connectwise/refresh", &json!({})).await;
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    reply.problem(503, "connectwise_throttled");
    let asked = app.sandbox.ledger().requests.len();
    app.post("/connectwise/refresh", &json!({})).await.problem(503, "connectwise_throttled");
    assert_eq!(app.sandbox.ledger().requests.len(), asked, "the whole connection waits, not just the call");
}

async fn a_connectwise_that_keeps_failing_is_left_alone(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
    app.sandbox.fail(Fault::once(status(503)).times(1_000));
    for _ in 0..3 {
        let _ = app.post("/connectwise/refresh", &json!({})).await;
    }
    let asked = app.sandbox.ledger().requests.len();
    let reply = app.post("/connectwise/refresh", &json!({})).await;
    assert!(reply.header("retry-after").parse::<u64>().unwrap() <= 30);
    reply.problem(503, "connectwise_unavailable");
    assert_eq!(app.sandbox.ledger().requests.len(), asked, "nothing is asked while it rests");
    assert!(app.get("/connection").await.expect(200)["circuit_open_until"].is_string());
    app.sandbox.clear_faults();
    app.clock.advance(TimeDelta::seconds(31));
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    assert_eq!(app.get("/connection").await.expect(200)["circuit_open_until"], json!(null));
}

async fn a_moved_codebase_is_found_again(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    app.sandbox.tune(|behavior| behavior.codebase = "v2026_1".to_owned());
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
}

async fn another_company_id_needs_a_clean_start(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2, 1, 1)).await;
    let company = app.company("C1", "x").await;
    app.product("P").await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let mut other = app.connection();
    other["company_id"] = json!("other");
    app.put("/connection", &other).await.problem(409, "other_connectwise");
    assert_eq!(app.delete("/connection").await.status, 204);
    assert_eq!(app.get(&format!("/companies/{company}")).await.expect(200)["connectwise_company_id"], json!(null));
    app.put("/connection", &other).await.expect(200);
}

async fn lists_are_whole_however_they_are_paged(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1_200, 1, 1)).await;
    type Change = fn(&mut connectwise_billing::sandbox::Behavior);
    let ways: [Change; 4] = [
        |behavior| behavior.forward_only = false,
        |behavior| behavior.page_cap = 70,
        |behavior| (behavior.forward_only, behavior.page_cap) = (false, 300),
        |behavior| behavior.link_host = Some("evil.example".to_owned()),
    ];
    for change in ways {
        app.sandbox.tune(change);
        let report = app.post("/connectwise/refresh", &json!({})).await.expect(200);
        assert_eq!((&report["companies"], &report["agreements"]), (&json!(1_200), &json!(1_200)));
        assert_eq!(app.all("/connectwise/companies?limit=500").await.len(), 1_200);
    }
}

async fn requests_keep_to_their_budget(backend: Backend) {
    let settings = |config: &mut connectwise_billing::app::Config| {
        config.connectwise_parallel = 3;
        config.connectwise_per_minute = 600.try_into().unwrap();
    };
    let app = TestApp::start_with(backend, sample::many(60, 1, 1), settings).await;
    app.connect().await;
    for c in 1..=60 {
        app.company(&format!("C{c}"), &format!("Company {c}")).await;
    }
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    let product = app.product("P").await;
    app.sandbox.tune(|behavior| behavior.latency_ms = 5);
    let started = std::time::Instant::now();
    app.rule(&product, "agreement", r#"type/name = "SP Backup""#).await;
    let (asked, taken) = (app.sandbox.ledger().requests.len(), started.elapsed());
    assert!(asked >= 60 && app.sandbox.ledger().most_parallel <= 3, "{}", app.sandbox.ledger().most_parallel);
    // 30 at once, then 9.5 a second: the remaining 32 take more than three seconds.
    assert!(taken.as_secs_f64() > 2.5, "{asked} requests in {taken:?}");
}

async fn never_two_refreshes_at_once(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2, 1, 1)).await;
    app.sandbox.tune(|behavior| behavior.latency_ms = 300);
    let refresh = || async { app.post("/connectwise/refresh", &json!({})).await };
    let (first, second) = tokio::join!(refresh(), refresh());
    let (done, rejected) = if first.status == 200 { (first, second) } else { (second, first) };
    done.expect(200);
    rejected.problem(409, "refresh_running");
    app.sandbox.tune(|behavior| behavior.latency_ms = 0);
    refresh().await.expect(200);
}

async fn an_agreement_deleted_meanwhile_is_gone(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(2, 1, 1)).await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    app.sandbox.change(|store| store.remove(Kind::Agreements, 1));
    assert_eq!(app.all("/connectwise/agreements/1/additions").await, Vec::<Value>::new());
    let agreements = app.all("/connectwise/companies/1/agreements").await;
    assert_eq!((&agreements[0]["live"], &agreements[0]["reason"]), (&json!(false), &json!("deleted")));
}

on_both!(
    lists_are_whole_however_they_are_paged,
    requests_keep_to_their_budget,
    never_two_refreshes_at_once,
    an_agreement_deleted_meanwhile_is_gone,
    secrets_go_in_and_never_come_out,
    private_sites_are_rejected_unless_allowed,
    a_connection_is_tried_step_by_step,
    a_refresh_asks_for_pages_only_and_marks_what_vanished,
    odd_connectwise_responses_break_nothing,
    a_retry_after_is_reported_to_the_caller,
    a_connectwise_that_keeps_failing_is_left_alone,
    a_moved_codebase_is_found_again,
    another_company_id_needs_a_clean_start,
);

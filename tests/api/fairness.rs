//! Tenants side by side: none waits for another tenant or its ConnectWise.

use connectwise_billing::sandbox::{Fault, FaultKind};
use reqwest::Method;
use serde_json::json;

use crate::push::{prepare, ready, states};
use crate::support::{Backend, job_path};

/// A small tenant's push does not wait for a large tenant's earlier push.
async fn tenants_take_turns(backend: Backend) {
    let (mut app, _) = ready(backend, 12).await;
    app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.step().await.unwrap();
    let operator = [("authorization", "Bearer the-operators-own-key"), ("content-type", "application/json")];
    let tenant =
        app.send(Method::POST, "/tenants", &operator, Some(br#"{"name": "Small"}"#.to_vec())).await.expect(201);
    let large = std::mem::replace(&mut app.key, tenant["key"].as_str().unwrap().to_owned());
    app.connect().await;
    prepare(&app, 2).await;
    let small = app.post("/push-jobs", &json!({})).await.expect(202);
    for _ in 0..4 {
        app.worker.step().await.unwrap();
    }
    assert_eq!(
        app.get(&job_path(&small)).await.expect(200)["lines"]["done"],
        2,
        "every second turn is the small one's"
    );
    app.key = large;
    // Three turns, each for a quarter of the remaining agreements: 3 of 12, 3 of 9, 2 of 6.
    assert_eq!(app.all("/push-jobs").await[0]["lines"]["done"], 8);
}

/// A ConnectWise that asks to wait occupies no worker, and its lines do not count as failures.
async fn lines_wait_as_long_as_connectwise_asks(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    app.sandbox.fail(Fault::once(FaultKind::Throttle { retry_after: 300, html: false }).on("GET").at("additions"));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let begun = std::time::Instant::now();
    app.worker.run_until_idle().await.unwrap();
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    let (job, lines) = app.job_and_lines(&job).await;
    assert_eq!(states(&lines), ["pending"; 3]);
    assert!(lines[0]["not_before"].as_str().unwrap() > "2026-11-22T12:04", "{}", lines[0]);
    assert!(lines[1]["not_before"].is_null(), "it was not tried: {}", lines[1]);
    assert!(job["detail"].as_str().unwrap().contains("no request may be sent"), "{job}");
    assert_eq!(app.sandbox.ledger().requests.iter().filter(|one| one.path.contains("additions")).count(), 1);
}

on_both!(tenants_take_turns, lines_wait_as_long_as_connectwise_asks);

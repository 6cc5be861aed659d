//! How events are delivered: again after a failure, later if the receiver asks for it, never twice at once.

use std::time::Duration;

use chrono::TimeDelta;
use connectwise_billing::sandbox::Store;
use reqwest::Method;
use serde_json::{Value, json};

use super::{create, deliver, types};
use crate::push::ready;
use crate::support::receiver::{Receiver, Response};
use crate::support::{Backend, TestApp};

async fn a_delivery_that_fails_is_sent_again_with_the_same_id(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, secret) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond([Response::status(500), Response { location: Some("/x"), ..Response::status(302) }]);
    app.push(&json!({})).await;
    deliver(&app).await;
    let first = receiver.take();
    let of_webhook = format!("/webhook-deliveries?webhook_id={id}");
    let delivery = app.all(&of_webhook).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("pending"), &json!(1)));
    assert_eq!(delivery["response_status"], 500);
    assert!(delivery["detail"].as_str().unwrap().contains("500"), "{delivery}");
    assert!(delivery["next_attempt_at"].is_string());
    let resend = async |delivery: &Value| {
        let path = format!("/webhook-deliveries/{}/resend", delivery["id"].as_str().unwrap());
        app.send(Method::POST, &path, &[], None).await
    };
    resend(&delivery).await.problem(409, "delivery_pending");
    deliver(&app).await;
    assert_eq!(receiver.count(), 0, "not before its time");
    app.clock.advance(TimeDelta::seconds(7));
    deliver(&app).await;
    let redirected = receiver.take();
    assert_eq!(redirected.len(), 1, "a redirect is not followed");
    let health = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert!(health["failing_since"].is_string() && health["paused_until"].is_string(), "{health}");
    app.clock.advance(TimeDelta::minutes(7));
    deliver(&app).await;
    let last = receiver.take();
    assert_eq!(last.len(), 1);
    for one in [&first[0], &redirected[0], &last[0]] {
        assert_eq!((one.header("webhook-id"), &one.body), (first[0].header("webhook-id"), &first[0].body));
        assert!(one.is_signed_with(&secret));
    }
    assert!(first[0].header("webhook-timestamp") < last[0].header("webhook-timestamp"));
    let health = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&health["failing_since"], &health["enabled"]), (&Value::Null, &json!(true)));
    let delivery = app.all(&of_webhook).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(3)));
    let again = resend(&delivery).await;
    assert!(again.header("location").ends_with(delivery["id"].as_str().unwrap()));
    assert_eq!(again.expect(202)["attempts"], 0);
    deliver(&app).await;
    assert_eq!(receiver.take()[0].header("webhook-id"), first[0].header("webhook-id"));
}

async fn an_address_may_ask_to_wait_or_be_gone(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    receiver.respond([Response { retry_after: Some("3600"), ..Response::status(429) }]);
    test().await.expect(202);
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 1);
    app.clock.advance(TimeDelta::minutes(59));
    test().await.expect(202);
    app.push(&json!({})).await;
    deliver(&app).await;
    // A test is sent at once: somebody has corrected the address and waits for the result.
    assert_eq!(types(&receiver.take()), ["webhook.test"]);
    app.clock.advance(TimeDelta::minutes(2));
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 2, "what waited is sent");
    receiver.respond([Response::status(410)]);
    test().await.expect(202);
    deliver(&app).await;
    let gone = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&gone["enabled"], &gone["disabled_reason"]), (&json!(false), &json!("gone")));
    let deliveries = app.all("/webhook-deliveries?state=cancelled").await;
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    test().await.problem(409, "webhook_disabled");
    let entry = app.all("/audit-log?action=webhook.updated").await.remove(0);
    assert_eq!((&entry["actor"], &entry["new"]["disabled_reason"]), (&json!("webhooks"), &json!("gone")));
    app.patch(&format!("/webhooks/{id}"), &json!({"enabled": true})).await.expect(200);
    test().await.expect(202);
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 2);
}

async fn an_address_that_fails_for_days_is_disabled(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond((0..100).map(|_| Response::status(503)));
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    test().await.expect(202);
    let mut hours = 0;
    while app.all("/webhook-deliveries?state=failed").await.is_empty() {
        deliver(&app).await;
        app.clock.advance(TimeDelta::hours(1));
        hours += 1;
        assert!(hours < 100);
    }
    // 75 hours, where each wait is up to a fifth shorter or longer.
    assert!((60..=100).contains(&hours), "tried for {hours} hours");
    assert_eq!(receiver.take().len(), 10);
    assert_eq!(app.get(&format!("/webhooks/{id}")).await.expect(200)["enabled"], true, "not for five days yet");
    let began = app.clock.now() - TimeDelta::hours(hours);
    let webhook = async || app.get(&format!("/webhooks/{id}")).await.expect(200);
    while webhook().await["enabled"] == true {
        assert!(app.clock.now() - began < TimeDelta::days(7));
        app.clock.advance(TimeDelta::days(1));
        test().await.expect(202);
        deliver(&app).await;
    }
    assert!(app.clock.now() - began >= TimeDelta::days(5));
    assert_eq!(webhook().await["disabled_reason"], "failing");
    app.push(&json!({})).await;
    let states = app.all("/webhook-deliveries?sort=created_at").await;
    let states: Vec<&str> = states.iter().map(|delivery| delivery["state"].as_str().unwrap()).collect();
    let (first, others) = states.split_first().unwrap();
    assert_eq!(*first, "failed");
    assert!(!others.is_empty() && others.iter().all(|state| *state == "cancelled"), "nothing is kept: {states:?}");
    app.clock.advance(TimeDelta::days(31));
    app.worker.hourly_tasks().await;
    assert_eq!(app.all("/webhook-deliveries").await.len(), 0, "ended deliveries are kept for 30 days");
}

/// Failures far apart are separate outages, and no reason to disable the webhook.
async fn a_failure_weeks_after_another_disables_nothing(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test = async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await;
    receiver.respond((0..11).map(|_| Response::status(400)));
    test().await.expect(202);
    while app.all("/webhook-deliveries?state=failed").await.is_empty() {
        deliver(&app).await;
        app.clock.advance(TimeDelta::hours(1));
    }
    app.clock.advance(TimeDelta::days(30));
    app.push(&json!({})).await;
    deliver(&app).await;
    let webhook = app.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!((&webhook["enabled"], &webhook["failing_since"]), (&json!(true), &json!(app.clock.now())));
    app.clock.advance(TimeDelta::minutes(1));
    deliver(&app).await;
    assert_eq!(app.all("/webhook-deliveries?state=delivered").await.len(), 1);
}

/// A corrected address gets waiting deliveries at once, and one slow webhook does not delay the others.
async fn waiting_deliveries_go_to_the_corrected_address(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/wrong")})).await;
    receiver.respond([Response { retry_after: Some("86400"), ..Response::status(503) }]);
    for _ in 0..8 {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    }
    // It has its own receiver: whichever request arrives first gets the failure.
    let second = Receiver::start();
    let (other, _) = create(&app, json!({"url": second.url("/other")})).await;
    app.send(Method::POST, &format!("/webhooks/{other}/test"), &[], None).await.expect(202);
    app.worker.deliver().await.unwrap();
    assert_eq!((receiver.count(), second.count()), (3, 1), "some of each webhook");
    deliver(&app).await;
    receiver.take();
    app.patch(&format!("/webhooks/{id}"), &json!({"url": receiver.url("/right")})).await.expect(200);
    deliver(&app).await;
    assert!(receiver.take().iter().any(|one| one.path == "/right"), "what had to wait for a day");
    assert_eq!(app.all("/webhook-deliveries?state=delivered").await.len(), 9);
    let entries = app.all("/audit-log?action=webhook.updated").await;
    assert_ne!(entries[0]["old"]["url_fingerprint"], entries[0]["new"]["url_fingerprint"]);
    assert!(!entries[0].to_string().contains("/right"), "the path may be a secret: {}", entries[0]);
}

/// A worker dies while it sends: another sends the same delivery when the lease has expired.
async fn a_delivery_of_a_dead_worker_is_sent_by_another(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    receiver.respond([Response { delay: Duration::from_secs(60), ..Response::status(204) }]);
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    tokio::select! {
        sent = app.worker.deliver() => panic!("the address does not respond: {sent:?}"),
        () = async { while receiver.count() == 0 { tokio::task::yield_now().await } } => {}
    }
    assert!(!app.second_worker.deliver().await.unwrap(), "the lease holds");
    app.clock.advance(TimeDelta::seconds(91));
    tokio::time::sleep(Duration::from_millis(1)).await;
    deliver(&app).await;
    let received = receiver.take();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    let delivery = app.all("/webhook-deliveries").await.remove(0);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
}

/// An address that hangs delays neither other tenants nor the pushes.
async fn a_slow_address_delays_its_tenant_alone(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let (slow, fast) = (Receiver::start(), Receiver::start());
    let (id, _) = create(&app, json!({"url": slow.url("/")})).await;
    slow.respond([Response { delay: Duration::from_secs(60), ..Response::status(204) }]);
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    let headers = [("authorization", "Bearer the-operators-own-key"), ("content-type", "application/json")];
    let other = app.send(Method::POST, "/tenants", &headers, Some(json!({"name": "Other"}).to_string().into())).await;
    let bearer = format!("Bearer {}", other.expect(201)["key"].as_str().unwrap());
    let as_other = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"url": fast.url("/")}).to_string();
    let made = app.send(Method::POST, "/webhooks", &as_other, Some(body.into())).await.expect(201);
    let test = format!("/webhooks/{}/test", made["webhook"]["id"].as_str().unwrap());
    let hangs = async {
        while slow.count() == 0 {
            tokio::task::yield_now().await;
        }
        app.send(Method::POST, &test, &as_other[..1], None).await.expect(202);
        while fast.count() == 0 {
            app.second_worker.deliver().await.unwrap();
        }
        app.push(&json!({})).await
    };
    tokio::select! {
        sent = app.worker.deliver() => panic!("the address does not respond: {sent:?}"),
        (job, _) = hangs => assert_eq!(job["state"], "succeeded"),
    }
}

/// Several replicas send, and each delivery arrives once.
async fn replicas_share_deliveries(backend: Backend) {
    if backend == Backend::Sqlite {
        return;
    }
    let app = TestApp::start(backend, Store::default()).await;
    let replica = app.replica(|_| {}).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    for _ in 0..60 {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    }
    tokio::join!(deliver(&app), deliver(&replica));
    deliver(&app).await;
    let mut ids: Vec<String> = receiver.take().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
    assert_eq!(app.all("/webhook-deliveries?state=delivered&limit=100").await.len(), 60);
}

on_both!(
    a_delivery_that_fails_is_sent_again_with_the_same_id,
    an_address_may_ask_to_wait_or_be_gone,
    an_address_that_fails_for_days_is_disabled,
    a_failure_weeks_after_another_disables_nothing,
    waiting_deliveries_go_to_the_corrected_address,
    a_delivery_of_a_dead_worker_is_sent_by_another,
    a_slow_address_delays_its_tenant_alone,
    replicas_share_deliveries,
);

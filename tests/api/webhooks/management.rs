//! How webhooks are managed: created, changed, tested, signed, deleted.

use chrono::TimeDelta;
use connectwise_billing::sandbox::Store;
use reqwest::Method;
use serde_json::{Value, json};

use super::{create, deliver};
use crate::push::ready;
use crate::support::receiver::Receiver;
use crate::support::{Backend, TestApp};

async fn a_secret_is_rotated_without_a_gap(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let receiver = Receiver::start();
    let (id, old) = create(&app, json!({"url": receiver.url("/")})).await;
    let rotated = app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 2})).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    let send = async || {
        app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
        deliver(&app).await;
        receiver.take().remove(0)
    };
    let both = send().await;
    assert!(both.is_signed_with(new) && both.is_signed_with(&old));
    app.clock.advance(TimeDelta::hours(2));
    let one = send().await;
    assert!(one.is_signed_with(new) && !one.is_signed_with(&old));
    let at_once = app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 0})).await.expect(200);
    let one = send().await;
    assert!(one.is_signed_with(at_once["secret"].as_str().unwrap()) && !one.is_signed_with(new));
    app.post(&format!("/webhooks/{id}/rotate-secret"), &json!({"overlap_hours": 721})).await.problem(422, "validation");
}

async fn an_address_is_public_and_encrypted(backend: Backend) {
    let app = TestApp::start_with(backend, Store::default(), |config| config.allow_private_webhooks = false).await;
    for (url, why) in [
        ("http://example.com/", "https"),
        ("https://127.0.0.1/", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://a:b@example.com/", "user name"),
        ("https://example.com/#x", "fragment"),
        ("nonsense", "not an address"),
        ("https://example.com/a\tb", "not an address"),
    ] {
        let rejected = app.post("/webhooks", &json!({"url": url})).await.problem(422, "validation");
        assert_eq!(rejected["errors"][0]["field"], "/url");
        assert!(rejected["errors"][0]["message"].as_str().unwrap().contains(why), "{rejected}");
    }
    // A name that leads to a private address is rejected when it is resolved.
    let (id, _) = create(&app, json!({"url": "https://localhost:9/"})).await;
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    deliver(&app).await;
    let delivery = app.all("/webhook-deliveries").await.remove(0);
    assert!(delivery["detail"].as_str().unwrap().contains("no public address"), "{delivery}");
    assert_eq!(delivery["response_status"], Value::Null);
}

async fn webhooks_are_changed_listed_and_deleted(backend: Backend) {
    let app = TestApp::start(backend, Store::default()).await;
    let url = "https://example.com/a";
    let made = app.post("/webhooks", &json!({"url": url, "events": ["push_line.held"]})).await;
    let location = made.header("location").to_owned();
    let webhook = made.expect(201)["webhook"].clone();
    let path = location.strip_prefix("/api/v1").unwrap();
    let read = app.get(path).await;
    assert_eq!(read.version(), "1");
    assert_eq!(read.json, webhook);
    let change = json!({"description": "chat", "events": null});
    let changed = app.patch(path, &change).await.expect(200);
    assert_eq!((&changed["version"], &changed["events"]), (&json!(2), &Value::Null));
    assert_eq!(app.patch(path, &change).await.expect(200)["version"], 2, "nothing changed");
    let old = [("if-match", "\"1\""), ("content-type", "application/json")];
    app.send(Method::PATCH, path, &old, Some(b"{\"enabled\": false}".to_vec())).await.problem(412, "version_mismatch");
    let disabled = app.patch(path, &json!({"enabled": false})).await.expect(200);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("by_hand")));
    for (bad, field) in [
        (json!({"url": url, "events": []}), "/events"),
        (json!({"url": url, "events": ["nothing"]}), "/events/0"),
        (json!({"url": ""}), "/url"),
        (json!({"url": url, "description": " "}), "/description"),
    ] {
        let rejected = app.post("/webhooks", &bad).await.problem(422, "validation");
        assert_eq!(rejected["errors"][0]["field"], field, "{rejected}");
    }
    for number in 1..20 {
        create(&app, json!({"url": format!("{url}{number}")})).await;
    }
    app.post("/webhooks", &json!({"url": url})).await.problem(409, "too_many_webhooks");
    assert_eq!(app.get("/webhooks").await.expect(200)["items"].as_array().unwrap().len(), 20);
    app.delete(path).await.expect(204);
    app.get(path).await.problem(404, "not_found");
    let actions = app.all("/audit-log?sort=at&action=webhook.created,webhook.updated,webhook.deleted").await;
    let actions: Vec<&str> = actions.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "webhook.created").count(), 20);
    assert_eq!(actions.last(), Some(&"webhook.deleted"));
}

/// A test with an Idempotency-Key is sent once.
async fn a_test_that_is_repeated_is_sent_once(backend: Backend) {
    let app = TestApp::start(backend, Store::default()).await;
    let receiver = Receiver::start();
    let (id, _) = create(&app, json!({"url": receiver.url("/")})).await;
    let test =
        async || app.send(Method::POST, &format!("/webhooks/{id}/test"), &[("idempotency-key", "once")], None).await;
    let (first, second) = (test().await, test().await);
    assert_eq!((first.status, second.header("idempotent-replayed")), (202, "true"));
    assert_eq!(first.header("location"), second.header("location"));
    deliver(&app).await;
    assert_eq!(receiver.take().len(), 1);
}

/// A Standard Webhooks library accepts a delivery, but not a changed one.
async fn a_receiver_with_a_library_accepts_a_delivery(backend: Backend) {
    let app = TestApp::start_now(backend, Store::default()).await;
    let receiver = Receiver::start();
    let (id, secret) = create(&app, json!({"url": receiver.url("/")})).await;
    app.send(Method::POST, &format!("/webhooks/{id}/test"), &[], None).await.expect(202);
    deliver(&app).await;
    let mut received = receiver.take().remove(0);
    assert!(received.is_valid_now(&secret), "{received:?}");
    received.body.push(' ');
    assert!(!received.is_valid_now(&secret));
}

on_both!(
    a_secret_is_rotated_without_a_gap,
    an_address_is_public_and_encrypted,
    webhooks_are_changed_listed_and_deleted,
    a_receiver_with_a_library_accepts_a_delivery,
    a_test_that_is_repeated_is_sent_once,
);

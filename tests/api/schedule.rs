//! The push schedule: stored and validated.

use reqwest::Method;
use serde_json::json;

use crate::support::{Backend, TestApp};

async fn it_is_stored_and_tells_its_next_runs(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let before = app.get("/push-schedule").await;
    assert_eq!(before.header("etag"), "\"0\"");
    assert_eq!(before.expect(200)["enabled"], false);
    let body = json!({"enabled": true, "day_of_month": 31, "time": "02:30", "time_zone": "Europe/Berlin"});
    let saved = app.put("/push-schedule", &body).await.expect(200);
    assert_eq!(
        saved["next_runs"],
        json!([
            "2026-11-30T01:30:00Z",
            "2026-12-31T01:30:00Z",
            "2027-01-31T01:30:00Z",
            "2027-02-28T01:30:00Z",
            "2027-03-31T00:30:00Z"
        ])
    );
    assert_eq!(app.get("/push-schedule").await.expect(200), saved);
    let headers = [("if-match", "\"0\""), ("content-type", "application/json")];
    let reply = app.send(Method::PUT, "/push-schedule", &headers, Some(serde_json::to_vec(&body).unwrap())).await;
    reply.problem(412, "version_mismatch");
}

async fn bad_schedules_are_refused(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let good = json!({"enabled": true, "day_of_month": 1, "time": "02:00", "time_zone": "UTC"});
    for (field, value) in [
        ("day_of_month", json!(0)),
        ("day_of_month", json!(32)),
        ("day_of_month", json!(1.5)),
        ("day_of_month", json!("1")),
        ("time", json!("2:00")),
        ("time", json!("24:00")),
        ("time", json!("02:00:00")),
        ("time_zone", json!("Mars/Olympus")),
        ("time_zone", json!("")),
        ("enabled", json!("yes")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let problem = app.put("/push-schedule", &body).await.problem(422, "validation");
        assert_eq!(problem["errors"][0]["field"], format!("/{field}"), "{problem}");
    }
    assert_eq!(app.get("/push-schedule").await.expect(200)["version"], 0, "nothing was saved");
}

on_both!(it_is_stored_and_tells_its_next_runs, bad_schedules_are_refused);

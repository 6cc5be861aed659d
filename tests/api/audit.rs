//! The audit log: who changed what, written with the change, read by its tenant alone.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::push::ready;
use crate::support::{Backend, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The entries, oldest first, as action, subject, old and new.
async fn entries(app: &TestApp, filter: &str) -> Vec<(String, Value, Value, Value)> {
    let rows = app.all(&format!("/audit-log?sort=at&limit=3{filter}")).await;
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| (text(row, "action"), row["subject_name"].clone(), row["old"].clone(), row["new"].clone()))
        .collect()
}

async fn actions(app: &TestApp, filter: &str) -> Vec<String> {
    entries(app, filter).await.into_iter().map(|(action, ..)| action).collect()
}

async fn every_change_is_recorded_with_what_was_before(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    let product = app.product("P").await;
    let company = app.company("C1", "One").await;
    app.patch(&format!("/products/{product}"), &json!({"block_size": "50", "name": "Product P"})).await.expect(200);
    app.patch(&format!("/products/{product}"), &json!({"block_size": "50"})).await.expect(200);
    app.patch(&format!("/companies/{company}"), &json!({"name": "Uno"})).await.expect(200);
    app.rule(&product, "agreement", "name = 'x'").await;
    let rule = app.all("/matching-rules").await[0]["id"].as_str().unwrap().to_owned();
    app.put(&format!("/matching-rules/{rule}"), &json!({"expression": "name = 'y'"})).await.expect(200);
    app.delete(&format!("/matching-rules/{rule}")).await.expect(200);
    let line = app.line(&product, &company).await["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/billing-lines/{line}"), &json!({"push_enabled": true, "block_size": "5"})).await.expect(200);
    let schedule = json!({"enabled": true, "day_of_month": 5, "time": "02:00", "time_zone": "UTC"});
    app.put("/push-schedule", &schedule).await.expect(200);
    app.put("/push-schedule", &schedule).await.expect(200);
    let batch = json!({"companies": [{"external_id": "C1", "name": "Uno"}, {"external_id": "C2", "name": "Two"}]});
    app.post("/companies/batch", &batch).await.expect(200);
    app.post("/companies/batch-delete", &json!({"external_ids": ["C2"]})).await.expect(200);
    app.delete(&format!("/companies/{company}")).await.expect(204);
    app.delete(&format!("/products/{product}")).await.expect(204);
    app.delete("/connection").await.expect(204);
    let found = entries(&app, "").await;
    let names: Vec<&str> = found.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(
        names,
        [
            "api_key.created",
            "connection.set",
            "product.created",
            "company.created",
            "product.updated",
            "company.updated",
            "matching_rule.created",
            "matching_rule.updated",
            "matching_rule.deleted",
            "billing_line.updated",
            "push_schedule.set",
            "companies.created",
            "companies.deleted",
            "company.deleted",
            "product.deleted",
            "connection.deleted",
        ],
        "what changes nothing is not recorded"
    );
    let of = |action: &str| found.iter().find(|entry| entry.0 == action).unwrap();
    let (_, subject, old, new) = of("product.updated");
    assert_eq!((subject, old, new), (&json!("Product P"), &json!({"block_size": "100"}), &json!({"block_size": "50"})));
    let (_, subject, old, new) = of("company.updated");
    assert_eq!((subject, old, new), (&json!("Uno"), &json!({"name": "One"}), &json!({"name": "Uno"})));
    let (_, _, old, new) = of("billing_line.updated");
    assert_eq!(old, &json!({"push_enabled": false, "block_size": null}));
    assert_eq!(new, &json!({"push_enabled": true, "block_size": "5"}));
    assert_eq!(of("companies.created").3, json!({"created": 1}));
    assert_eq!(of("companies.deleted").2, json!({"deleted": 1, "external_ids": ["C2"]}));
    assert_eq!(of("matching_rule.updated").3, json!({"expression": "name = \"y\""}));
    let connection = &of("connection.set").3;
    assert_eq!(connection["keys"], "set");
    let all = app.get("/audit-log").await.text;
    assert!(!all.contains("sandboxprivatekey") && !all.contains("sandboxpublickey"), "{all}");
}

async fn pushes_and_decisions_are_recorded(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    let (job, _) = app.push(&json!({"product_id": product})).await;
    let id = job["id"].as_str().unwrap();
    let held = app.all(&format!("/push-jobs/{id}/lines?state=held")).await;
    app.post(&format!("/push-jobs/{id}/lines/drop"), &json!({"push_line_ids": [held[0]["id"]]})).await.expect(200);
    app.post(&format!("/push-jobs/{id}/lines/approve"), &json!({})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let revert = app.post(&format!("/push-jobs/{id}/revert"), &json!({})).await.expect(202);
    app.post(&format!("/push-jobs/{}/cancel", revert["id"].as_str().unwrap()), &json!({})).await.expect(200);
    let of_job = entries(&app, &format!("&subject_id={id}")).await;
    let names: Vec<&str> = of_job.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(names, ["push_job.created", "push_lines.dropped", "push_lines.approved"]);
    assert_eq!((&of_job[0].3["lines"], &of_job[0].3["trigger"]), (&json!(3), &json!("manual")));
    assert_eq!((&of_job[1].3["lines"], &of_job[2].3["lines"]), (&json!(1), &json!(2)));
    let pushes = actions(&app, "&action=push_job.created,push_job.cancelled").await;
    assert_eq!(pushes, ["push_job.created", "push_job.created", "push_job.cancelled"]);
    let matched = entries(&app, "&action=company.matched").await;
    assert_eq!(matched.len(), 3, "auto-match records each company");
    assert_eq!(matched[0].3["match_source"], "auto");
}

async fn an_entry_says_who_and_by_which_request(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let before = app.clock.now();
    let headers = [JSON, ("x-request-id", "mine-1"), ("idempotency-key", "once")];
    let body = json!({"external_id": "C1", "name": "One"}).to_string().into_bytes();
    for replayed in ["", "true"] {
        let reply = app.send(Method::POST, "/companies", &headers, Some(body.clone())).await;
        assert_eq!((reply.status, reply.header("idempotent-replayed")), (201, replayed));
    }
    // A request that fails changes nothing, and nothing is recorded.
    app.post("/companies", &json!({"external_id": "C1", "name": "x"})).await.problem(409, "external_id_taken");
    let found = app.all("/audit-log?request_id=mine-1").await;
    assert_eq!(found.len(), 1, "{found:?}");
    let keys = app.all("/api-keys").await;
    assert_eq!((&found[0]["actor"], &found[0]["api_key_id"]), (&json!("first key"), &keys[0]["id"]));
    app.clock.advance(TimeDelta::hours(1));
    app.post("/api-keys", &json!({"name": "second"})).await.expect(201);
    let at = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let later = at(before + TimeDelta::minutes(30));
    assert_eq!(actions(&app, &format!("&from={later}")).await, ["api_key.created"]);
    assert_eq!(actions(&app, &format!("&to={later}&actor=first%20key")).await, ["company.created"]);
    assert_eq!(actions(&app, "&actor=nobody").await, [""; 0]);
    app.get("/audit-log?action=product.odd").await.problem(400, "malformed");
    assert_eq!(app.get("/audit-log?total=true&limit=1").await["total"], 3, "with the first key");
    // More than one part of the table, which is written in parts.
    let many: Vec<Value> = (0..1_100).map(|n| json!({"external_id": format!("M{n}"), "name": "x"})).collect();
    app.post("/companies/batch", &json!({"companies": many})).await.expect(200);
    let renamed: Vec<Value> = (0..1_100).map(|n| json!({"external_id": format!("M{n}"), "name": "y"})).collect();
    app.post("/companies/batch", &json!({"companies": renamed})).await.expect(200);
    let table = app.get("/export/audit-log?action=company.updated").await;
    assert_eq!((table.text.lines().count(), table.text.matches("request_id").count()), (1_101, 1));
    let table = app.get("/export/audit-log?action=company.created").await;
    let lines: Vec<&str> = table.text.lines().collect();
    assert_eq!(lines[0], "at,actor,acting_user,api_key_id,request_id,action,subject_id,subject_name,old,new");
    assert!(lines.len() == 2 && lines[1].contains(",first key,") && lines[1].contains(",mine-1,company.created,"));
}

async fn a_rejected_key_is_recorded_once_a_minute(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let second = app.post("/api-keys", &json!({"name": "second"})).await.expect(201);
    let (id, key) = (second["api_key"]["id"].as_str().unwrap(), second["key"].as_str().unwrap());
    app.delete(&format!("/api-keys/{id}")).await.expect(204);
    app.delete(&format!("/api-keys/{id}")).await.expect(204);
    let with = |key: &str| format!("Bearer {key}");
    for _ in 0..5 {
        app.send(Method::GET, "/companies", &[("authorization", &with(key))], None).await.problem(401, "unauthorized");
    }
    let wrong = with(&format!("{}{}", &app.key[..12], "A".repeat(31)));
    for _ in 0..5 {
        app.send(Method::GET, "/companies", &[("authorization", &wrong)], None).await.problem(401, "unauthorized");
    }
    app.send(Method::GET, "/companies", &[("authorization", "Bearer cwb_unknown")], None).await.expect(401);
    let found = entries(&app, "&action=api_key.revoked,api_key.rejected").await;
    let told: Vec<_> =
        found.iter().map(|(action, name, _, new)| (action.as_str(), name.clone(), new.clone())).collect();
    assert_eq!(
        told,
        [
            ("api_key.revoked", json!("second"), json!(null)),
            ("api_key.rejected", json!("second"), json!({"reason": "revoked"})),
            ("api_key.rejected", json!("first key"), json!({"reason": "wrong"})),
        ]
    );
    app.clock.advance(TimeDelta::minutes(2));
    app.send(Method::GET, "/companies", &[("authorization", &with(key))], None).await.expect(401);
    assert_eq!(actions(&app, "&action=api_key.rejected").await.len(), 3);
}

async fn the_log_is_only_added_to(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.company("C1", "One").await;
    let emptied = match backend {
        Backend::Sqlite => "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log",
        Backend::Postgres => "TRUNCATE audit_log",
    };
    for change in ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", emptied] {
        let rejected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| app.execute(change)));
        assert!(rejected.is_err(), "{change} was carried out");
    }
    assert_eq!(actions(&app, "").await, ["api_key.created", "company.created"]);
}

/// Indirect deletions are recorded: matches with a connection, choices with a match, rules with a product.
async fn indirect_deletions_are_recorded(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    let lines = app.all("/billing-lines").await;
    let (line, company) = (lines[0]["id"].as_str().unwrap(), lines[0]["company"]["id"].as_str().unwrap());
    app.put(&format!("/agreement-mappings/{line}"), &json!({"agreement_id": "10"})).await.expect(200);
    app.delete(&format!("/companies/{company}/connectwise-company")).await.expect(200);
    let of_line = entries(&app, &format!("&subject_id={line}")).await;
    let cleared = of_line.last().unwrap();
    assert_eq!(cleared.2["agreement"]["id"], "10", "the choice that was cleared: {of_line:?}");
    assert_eq!(cleared.3["agreement"]["status"], "unresolved");
    let body = json!({"billing_line_ids": [lines[1]["id"]]});
    app.push(&body).await;
    let started = entries(&app, "&action=push_job.created").await;
    assert_eq!(started[0].3["billing_line_ids"], body["billing_line_ids"], "{started:?}");
    app.put("/connection", &app.connection()).await.expect(200);
    let before = actions(&app, "").await.len();
    app.delete("/connection").await.expect(204);
    let found = entries(&app, "").await.split_off(before);
    assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("company.matched", "connection.deleted"), "{found:?}");
    assert_eq!(found[0].2["connectwise_company_id"], "2", "the match that was removed");
    app.delete(&format!("/products/{product}")).await.expect(204);
    let deleted = entries(&app, "&action=product.deleted").await;
    assert_eq!(deleted[0].2["matching_rules"].as_array().unwrap().len(), 2, "{deleted:?}");
    for name in ["schedule", " Unknown"] {
        app.post("/api-keys", &json!({"name": name})).await.problem(422, "validation");
    }
}

/// A frontend with one key names the person for whom it acts.
async fn the_person_behind_a_key_is_recorded(backend: Backend) {
    let (app, product) = ready(backend, 1).await;
    let anna = [JSON, ("x-acting-user", "Änna <anna@example.com>")];
    let line = app.all("/billing-lines").await[0]["id"].as_str().unwrap().to_owned();
    let change = json!({"block_size": "5"}).to_string().into_bytes();
    app.send(Method::PATCH, &format!("/billing-lines/{line}"), &anna, Some(change)).await.expect(200);
    let push = json!({"product_id": product}).to_string().into_bytes();
    let job = app.send(Method::POST, "/push-jobs", &anna, Some(push)).await.expect(202);
    assert_eq!(job["requested_by"], "Änna <anna@example.com> (first key)");
    let of_anna = app.all("/audit-log?sort=at&acting_user=%C3%84nna%20%3Canna%40example.com%3E").await;
    let actions: Vec<&str> = of_anna.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["billing_line.updated", "push_job.created"]);
    assert_eq!(
        (&of_anna[0]["actor"], &of_anna[0]["acting_user"]),
        (&json!("first key"), &json!("Änna <anna@example.com>"))
    );
    let table = app.get("/export/audit-log?bom=true&action=push_job.created").await.text;
    assert!(table.starts_with("\u{feff}at,actor,acting_user,"), "{table}");
    for bad in ["", " ", &"x".repeat(101)] {
        let headers = [("x-acting-user", bad), ("accept", "*/*")];
        let sent = app.send(Method::GET, "/companies", &headers, None).await;
        // The client of these tests leaves out an empty header.
        if !bad.is_empty() {
            assert_eq!(sent.problem(400, "malformed")["errors"][0]["field"], "X-Acting-User");
        }
    }
}

on_both!(
    the_person_behind_a_key_is_recorded,
    indirect_deletions_are_recorded,
    every_change_is_recorded_with_what_was_before,
    pushes_and_decisions_are_recorded,
    an_entry_says_who_and_by_which_request,
    a_rejected_key_is_recorded_once_a_minute,
    the_log_is_only_added_to,
);

//! A push reports what really happened: lost responses, odd responses, later pushes, other connections.

use std::collections::HashSet;

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, FaultKind, sample};
use reqwest::Method;
use serde_json::{Value, json};

use crate::push::{quantities, ready, states, with_successor};
use crate::support::{Backend, TestApp, dump, job_path, status};

/// Push Now starts during the scheduled job and is cancelled: the scheduled job still writes every line.
async fn a_later_job_that_wrote_nothing_supersedes_nothing(backend: Backend) {
    let (app, _) = ready(backend, 12).await;
    let first = app.post("/push-jobs", &json!({})).await.expect(202);
    for _ in 0..3 {
        app.worker.step().await.unwrap();
    }
    let second = app.post("/push-jobs", &json!({})).await.expect(202);
    for _ in 0..2 {
        app.worker.step().await.unwrap();
    }
    app.post(&format!("{}/cancel", job_path(&second)), &json!({})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (first, lines) = app.job_and_lines(&first).await;
    assert_eq!((&first["state"], states(&lines)), (&json!("succeeded"), vec!["pushed"; 12]), "{lines:?}");
    assert_eq!(quantities(&app, 12), [3.0; 12]);
}

/// A line is sent, and applied or not, and its response is lost; then the job is cancelled.
async fn a_write_with_a_lost_response_is_verified_before_cancellation(backend: Backend) {
    for (fault, outcomes) in [
        (FaultKind::StatusAfter { status: 500 }, ["pushed", "pushed"]),
        (status(500), ["cancelled", "pushed"]),
        // The cut connections also stop the other customer's line, before it is sent.
        (FaultKind::DropAfter, ["pushed", "cancelled"]),
    ] {
        let (app, _) = ready(backend, 2).await;
        let job = app.post("/push-jobs", &json!({})).await.expect(202);
        app.sandbox.fail(Fault::once(fault.clone()).on("PATCH").at("additions/100").times(7));
        app.worker.run_until_idle().await.unwrap();
        // After this many cut connections, ConnectWise gets no requests for half a minute.
        app.clock.advance(TimeDelta::seconds(31));
        let asked = app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
        assert_eq!((&asked["state"], &asked["cancel_requested"]), (&json!("running"), &json!(true)), "{asked}");
        app.worker.run_until_idle().await.unwrap();
        let (job, lines) = app.job_and_lines(&job).await;
        assert_eq!((&job["state"], states(&lines)), (&json!("cancelled"), outcomes.to_vec()), "{fault:?} {lines:?}");
        let has = quantities(&app, 2)[0];
        assert_eq!(has, if outcomes[0] == "pushed" { 3.0 } else { 1.0 }, "{fault:?}");
    }
}

/// The same if ConnectWise cannot be read to check: the line is `unverified`. It can be retried and reverted.
async fn a_write_that_cannot_be_verified_is_unverified(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    let unverified = async || {
        app.sandbox.fail(Fault::once(FaultKind::StatusAfter { status: 500 }).on("PATCH").at("additions/100").times(7));
        let job = app.post("/push-jobs", &json!({})).await.expect(202);
        app.worker.run_until_idle().await.unwrap();
        app.sandbox.fail(Fault::once(status(500)).on("GET").at("agreements/10/additions").times(3));
        app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
        app.worker.run_until_idle().await.unwrap();
        app.sandbox.clear_faults();
        app.job_and_lines(&job).await
    };
    let (job, lines) = unverified().await;
    assert_eq!((&job["state"], states(&lines)), (&json!("cancelled"), vec!["unverified", "pushed"]), "{lines:?}");
    assert_eq!((&job["lines"]["unverified"], &job["lines"]["done"]), (&json!(1), &json!(2)));
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!("1"), &json!("3")));
    assert!(lines[0]["detail"].as_str().unwrap().contains("no response arrived"), "{}", lines[0]);
    assert_eq!(app.all("/push-lines?state=unverified").await.len(), 1);
    assert_eq!(app.all("/billing-lines?last_push_state=unverified").await.len(), 1);
    let retry = app.post(&format!("{}/retry", job_path(&job)), &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&retry).await;
    assert_eq!(states(&lines), ["unchanged"], "it had taken effect");

    // A revert restores the quantity, as ConnectWise has what the job wrote.
    app.usage("C1", "STORAGE", "900").await;
    let (job, lines) = unverified().await;
    assert_eq!(states(&lines), ["unverified", "unchanged"], "{lines:?}");
    let revert = app.post(&format!("{}/revert", job_path(&job)), &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&revert).await;
    assert_eq!((states(&lines), quantities(&app, 2)[0]), (vec!["pushed"], 3.0), "{lines:?}");
}

/// The last attempt of a line that was already sent once: it ends only after a check.
async fn the_last_attempt_ends_with_a_verification(backend: Backend) {
    for (looks_fail, outcome) in [(true, "unverified"), (false, "pushed")] {
        let (app, _) = ready(backend, 1).await;
        app.sandbox.fail(Fault::once(FaultKind::StatusAfter { status: 500 }).on("PATCH").times(7));
        let job = app.post("/push-jobs", &json!({})).await.expect(202);
        app.worker.run_until_idle().await.unwrap();
        // Every read fails from now on: seven tries for each attempt, and three more to verify.
        let reads = if looks_fail { u32::MAX } else { 11 * 7 };
        app.sandbox.fail(Fault::once(status(500)).on("GET").at("additions").times(reads));
        for _ in 0..12 {
            app.clock.advance(TimeDelta::minutes(61));
            app.worker.run_until_idle().await.unwrap();
        }
        let (job, lines) = app.job_and_lines(&job).await;
        assert_eq!(states(&lines), [outcome], "{lines:?}");
        assert_eq!(job["state"], if looks_fail { "completed_with_failures" } else { "succeeded" });
    }
}

/// A write is applied with its response lost, then its retry is rejected: the line was still written.
async fn a_rejection_after_a_lost_response_is_no_failure(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(FaultKind::StatusAfter { status: 500 }).on("PATCH"));
    app.sandbox.fail(Fault::once(status(400)).on("PATCH"));
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("succeeded"), vec!["pushed"]), "{lines:?}");
    assert_eq!(lines[0]["from"], "1");
}

/// A proxy's page or an odd response for one customer fails or delays only that customer.
async fn one_odd_answer_never_ends_a_job(backend: Backend) {
    let odd = [
        status(401),
        status(403),
        FaultKind::Page { status: 403 },
        FaultKind::Page { status: 404 },
        FaultKind::Redirect { to: "http://127.0.0.1:1/".to_owned() },
    ];
    for (fault, at) in
        odd.iter().flat_map(|fault| [(fault, ("PATCH", "additions/200")), (fault, ("GET", "agreements/20/additions"))])
    {
        let (app, _) = ready(backend, 4).await;
        app.sandbox.fail(Fault::once(fault.clone()).on(at.0).at(at.1).times(20));
        let (job, lines) = app.push(&json!({})).await;
        let others: Vec<&str> = [0, 2, 3].iter().map(|index| lines[*index]["state"].as_str().unwrap()).collect();
        assert_eq!(others, ["pushed"; 3], "{fault:?} at {at:?}: {lines:?}");
        assert!(["pending", "failed"].contains(&lines[1]["state"].as_str().unwrap()), "{fault:?} at {at:?}: {lines:?}");
        assert!(lines[1]["detail"].is_string(), "it says why: {}", lines[1]);
        app.sandbox.clear_faults();
        if job["state"] == "running" {
            app.clock.advance(TimeDelta::minutes(2));
            app.worker.run_until_idle().await.unwrap();
            assert_eq!(app.get(&job_path(&job)).await.expect(200)["state"], "succeeded", "{fault:?} at {at:?}");
        } else {
            app.post(&format!("{}/retry", job_path(&job)), &json!({})).await.expect(202);
            app.worker.run_until_idle().await.unwrap();
        }
        assert_eq!(quantities(&app, 4), [3.0; 4], "{fault:?} at {at:?}");
    }
}

/// Two products bill to one addition in turn: a revert of the first does not touch what the second wrote.
async fn a_revert_leaves_what_another_line_wrote_to_the_addition(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let (first, lines) = app.push(&json!({})).await;
    let second = with_successor(&app, &lines[0], json!({"push_enabled": true, "block_size": "50"})).await;
    let (later, lines) = app.push(&json!({"product_id": second})).await;
    assert_eq!((states(&lines), quantities(&app, 1)), (vec!["pushed"], vec![5.0]));
    let rejected =
        app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.problem(409, "nothing_to_revert");
    assert!(rejected["detail"].as_str().unwrap().contains(later["id"].as_str().unwrap()), "{rejected}");
    // A line that has waited since before does not undo it either.
    assert_eq!(quantities(&app, 1), [5.0]);
}

async fn a_revert_is_rejected_only_for_what_was_changed_since(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    let (first, _) = app.push(&json!({})).await;
    let (second, _) = app.push(&json!({})).await;
    assert_eq!(second["lines"]["unchanged"], 2);
    app.usage("C2", "STORAGE", "900").await;
    let (third, lines) = app.push(&json!({})).await;
    assert_eq!(states(&lines), ["unchanged", "pushed"]);
    let revert = app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.expect(202);
    assert_eq!(revert["lines"]["total"], 1, "the other was changed since");
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(quantities(&app, 2), [1.0, 9.0]);
    let rejected =
        app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.problem(409, "nothing_to_revert");
    let detail = rejected["detail"].as_str().unwrap();
    for job in [&third, &revert] {
        assert!(detail.contains(job["id"].as_str().unwrap()), "{rejected}");
    }
    assert!(!detail.contains(second["id"].as_str().unwrap()), "{rejected}");
}

/// Another port is also another ConnectWise site, even if nothing of the old one is left but a match.
async fn another_connectwise_needs_a_clean_start(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let mut other = app.connection();
    other["site"] = json!("http://127.0.0.1:9");
    app.put("/connection", &other).await.problem(409, "other_connectwise");
    // Everything there was deleted; only the company's match is left.
    app.sandbox.change(|store| *store = Default::default());
    app.post("/connectwise/refresh", &json!({"force": true})).await.expect(200);
    app.put("/connection", &other).await.problem(409, "other_connectwise");
    app.delete("/connection").await;
    app.put("/connection", &other).await.expect(200);
    app.put("/connection", &app.connection()).await.expect(200);
}

/// The connection changes while additions are read: they are not saved, as they may be another ConnectWise's.
async fn additions_are_saved_under_the_connection_they_were_read_under(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
    app.company("C1", "Customer 000001").await;
    let product = app.product("P").await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 1_000 }).at("additions"));
    app.sandbox.clear_ledger();
    let rule = json!({"product_id": product, "target": "agreement", "expression": "name like '%'"});
    let change = async {
        let mut connection = app.connection();
        connection["client_id"] = json!("another-client");
        // Continues once the additions are being read.
        while app.sandbox.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        app.put("/connection", &connection).await.expect(200);
    };
    let (saved, ()) = tokio::join!(app.post("/matching-rules", &rule), change);
    saved.expect(201);
    let rows = dump(app.database_url());
    assert!(rows["cw_additions"].is_empty(), "{:?}", rows["cw_additions"]);
    assert!(rows["cw_agreements"].iter().all(|row| row["additions_read_at"].is_null()), "{:?}", rows["cw_agreements"]);
}

/// The rule is committed even if reading the additions that its lines now need fails.
async fn a_saved_rule_is_confirmed(backend: Backend) {
    for fault in [status(401), status(500), FaultKind::Html, FaultKind::Drop] {
        let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
        app.company("C1", "Customer 000001").await;
        let product = app.product("P").await;
        app.post("/companies/auto-match", &json!({})).await.expect(200);
        app.sandbox.fail(Fault::once(fault.clone()).at("additions").times(100));
        let rule = json!({"product_id": product, "target": "agreement", "expression": "name like '%'"});
        let headers = [("content-type", "application/json"), ("idempotency-key", "rule")];
        let send = || app.send(Method::POST, "/matching-rules", &headers, Some(rule.to_string().into_bytes()));
        let saved = send().await.expect(201);
        assert_eq!(send().await.expect(201)["rule"]["id"], saved["rule"]["id"], "{fault:?}");
        let changed = json!({"expression": "name like '%a%'"});
        app.put(&format!("/matching-rules/{}", saved["rule"]["id"].as_str().unwrap()), &changed).await.expect(200);
    }
}

/// The stream of a job with held lines stays open until they are decided, and `done` never decreases.
async fn the_stream_of_a_job_that_waits_for_approval_stays_open(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    app.usage("C1", "STORAGE", "190").await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let stream = format!("{}/events", job_path(&job));
    let decide = async {
        app.worker.run_until_idle().await.unwrap();
        let waiting = app.get(&job_path(&job)).await.expect(200);
        assert_eq!((&waiting["state"], &waiting["finished_at"]), (&json!("waiting_for_approval"), &Value::Null));
        let line = app.all(&format!("{}/lines?state=held", job_path(&job))).await[0]["id"].clone();
        app.post(&format!("{}/lines/drop", job_path(&job)), &json!({"push_line_ids": [line]})).await.expect(200);
        assert_eq!(app.get(&job_path(&job)).await.expect(200)["state"], "waiting_for_approval", "one is left");
        app.post(&format!("{}/lines/approve", job_path(&job)), &json!({})).await.expect(200);
        app.worker.run_until_idle().await.unwrap();
    };
    let (events, ()) = tokio::join!(app.get(&stream), decide);
    let jobs: Vec<Value> = events
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let done: Vec<i64> = jobs.iter().map(|job| job["lines"]["done"].as_i64().unwrap()).collect();
    assert!(done.is_sorted(), "{done:?}");
    let last = jobs.last().unwrap();
    assert_eq!((&last["state"], &last["lines"]["done"]), (&json!("succeeded"), &json!(3)), "{}", events.text);
    assert_eq!(events.text.matches("event: end").count(), 1, "{}", events.text);
}

async fn a_job_that_waits_for_approval_can_be_cancelled(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("waiting_for_approval"), vec!["held"; 2]));
    assert_eq!(app.all("/push-jobs?state=waiting_for_approval").await.len(), 1);
    let cancelled = app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["lines"]["cancelled"]), (&json!("cancelled"), &json!(2)));
    app.post(&format!("{}/lines/approve", job_path(&job)), &json!({})).await.problem(409, "nothing_held");
    assert!(app.sandbox.ledger().writes.is_empty());
}

/// While ConnectWise is down, the job reports it; when the job continues, no longer.
async fn a_job_says_that_connectwise_is_down(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    app.sandbox.fail(Fault::once(status(503)).on("PATCH").at("additions/100").times(7));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let down = app.get(&job_path(&job)).await.expect(200);
    assert_eq!(down["state"], "running");
    assert!(down["detail"].as_str().unwrap().contains("ConnectWise"), "{down}");
    app.clock.advance(TimeDelta::minutes(2));
    app.worker.run_until_idle().await.unwrap();
    let up = app.get(&job_path(&job)).await.expect(200);
    assert_eq!((&up["state"], &up["detail"]), (&json!("succeeded"), &Value::Null), "{up}");
}

/// An exact quantity that cannot be stored has the true reason.
async fn a_quantity_of_too_many_digits_says_so(backend: Backend) {
    let (app, product) = ready(backend, 1).await;
    app.patch(&format!("/products/{product}"), &json!({"rounding": "exact", "block_size": "100"})).await.expect(200);
    app.usage("C1", "STORAGE", "302448882706.15058637665346").await;
    let (_, lines) = app.push(&json!({})).await;
    let detail = lines[0]["detail"].as_str().unwrap();
    assert!(detail.contains("more than 15 digits") && !detail.contains("no finite decimal"), "{detail}");
}

/// A process that should push is not ready while none of its worker loops runs.
async fn a_process_without_its_workers_is_not_ready(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.outside("/readyz").await.expect(200);
    app.worker.expect_loops();
    let problem = app.outside("/readyz").await.problem(503, "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("no worker runs"), "{problem}");
}

/// Every line of every job ends once, despite pushes, cancellations and reverts in between.
async fn overlapping_jobs_end_with_the_last_written_quantity(backend: Backend) {
    let (app, _) = ready(backend, 6).await;
    let first = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.step().await.unwrap();
    app.usage("C2", "STORAGE", "900").await;
    let second = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let (first, one) = app.job_and_lines(&first).await;
    let (second, two) = app.job_and_lines(&second).await;
    assert_eq!((&first["state"], &second["state"]), (&json!("succeeded"), &json!("succeeded")));
    assert_eq!(quantities(&app, 6), [3.0, 9.0, 3.0, 3.0, 3.0, 3.0]);
    let ids: HashSet<&str> = one.iter().chain(&two).map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 12);
    assert!(one.iter().chain(&two).all(|line| line["finished_at"].is_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_rule_is_confirmed_when_its_follow_up_fails() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    let app = TestApp::connected(Backend::Sqlite, sample::many(1, 1, 1)).await;
    app.company("C1", "Customer 000001").await;
    let product = app.product("P").await;
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 500 }).at("additions"));
    let mut other = SqliteConnection::establish(app.database_url().strip_prefix("sqlite:").unwrap()).unwrap();
    other.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    let lock = async {
        while app.sandbox.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
    };
    let rule = json!({"product_id": product, "target": "agreement", "expression": "name like '%'"});
    let (saved, ()) = tokio::join!(app.post("/matching-rules", &rule), lock);
    saved.expect(201);
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(app.get("/matching-rules").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

/// ConnectWise applied the write and returned something other than the addition: that is not a rejection.
async fn a_response_that_is_not_the_addition_is_a_lost_one(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(FaultKind::WrongType).on("PATCH"));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    app.clock.advance(TimeDelta::minutes(1));
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!((states(&lines), &lines[0]["from"]), (vec!["pushed"], &json!("1")), "{lines:?}");
}

on_both!(
    a_response_that_is_not_the_addition_is_a_lost_one,
    a_later_job_that_wrote_nothing_supersedes_nothing,
    a_write_with_a_lost_response_is_verified_before_cancellation,
    a_write_that_cannot_be_verified_is_unverified,
    the_last_attempt_ends_with_a_verification,
    a_rejection_after_a_lost_response_is_no_failure,
    one_odd_answer_never_ends_a_job,
    a_revert_leaves_what_another_line_wrote_to_the_addition,
    a_revert_is_rejected_only_for_what_was_changed_since,
    another_connectwise_needs_a_clean_start,
    additions_are_saved_under_the_connection_they_were_read_under,
    a_saved_rule_is_confirmed,
    the_stream_of_a_job_that_waits_for_approval_stays_open,
    a_job_that_waits_for_approval_can_be_cancelled,
    a_job_says_that_connectwise_is_down,
    a_quantity_of_too_many_digits_says_so,
    a_process_without_its_workers_is_not_ready,
    overlapping_jobs_end_with_the_last_written_quantity,
);

//! Interruptions of a push: a person, another job, another connection, a long wait.

use chrono::TimeDelta;
use connectwise_billing::sandbox::{Fault, FaultKind, Kind};
use serde_json::{Value, json};

use crate::push::{quantities, ready, states, with_successor};
use crate::support::{Backend, TestApp, job_path, status};

async fn with_keys(app: &TestApp, private_key: &str) {
    let mut connection = app.connection();
    connection["private_key"] = json!(private_key);
    app.put("/connection", &connection).await.expect(200);
}

/// The line of another product has exactly the quantity that is there: it bills the addition, and a revert skips it.
async fn a_revert_leaves_what_another_line_found(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let (first, lines) = app.push(&json!({})).await;
    let second = with_successor(&app, &lines[0], json!({"push_enabled": true})).await;
    let (later, lines) = app.push(&json!({"product_id": second})).await;
    assert_eq!(states(&lines), ["unchanged"]);
    let rejected =
        app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.problem(409, "nothing_to_revert");
    assert!(rejected["detail"].as_str().unwrap().contains(later["id"].as_str().unwrap()), "{rejected}");
    assert_eq!(quantities(&app, 1), [3.0]);
}

/// A job may wait for days for its connection: before it continues, it reads again which agreements are live.
async fn what_ended_while_a_job_waited_is_not_written(backend: Backend) {
    let (app, _) = ready(backend, 2).await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    with_keys(&app, "wrong").await;
    let (job, _) = app.push(&json!({})).await;
    app.clock.advance(TimeDelta::days(3));
    let cancelled = json!({"cancelledFlag": true}).as_object().unwrap().clone();
    app.sandbox.change(|store| store.merge(Kind::Agreements, 10, cancelled));
    app.connect().await;
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!((states(&lines), &lines[0]["reason"]), (vec!["skipped", "pushed"], &json!("stale")), "{lines:?}");
    assert_eq!(quantities(&app, 2), [1.0, 3.0]);
}

/// An approved line waits for the connection as long as any other, counted from the approval.
async fn approved_lines_wait_for_the_connection_too(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    let (job, _) = app.push(&json!({})).await;
    app.clock.advance(TimeDelta::days(10));
    with_keys(&app, "wrong").await;
    let approved = app.post(&format!("{}/lines/approve", job_path(&job)), &json!({})).await.expect(200);
    assert_eq!(approved["state"], "running");
    for _ in 0..20 {
        app.worker.run_until_idle().await.unwrap();
        app.clock.advance(TimeDelta::hours(1));
    }
    let (waiting, lines) = app.job_and_lines(&job).await;
    assert_eq!((&waiting["state"], states(&lines)), (&json!("running"), vec!["pending"; 2]), "{lines:?}");
    assert!(lines[0]["decided_at"].is_string(), "{}", lines[0]);
    app.connect().await;
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.get(&job_path(&job)).await.expect(200)["state"], "succeeded");
    assert_eq!(quantities(&app, 2), [3.0; 2]);
}

/// The clock of the replica that received the approval is slightly ahead of the one that receives the cancellation.
async fn lines_approved_by_a_faster_clock_are_cancelled(backend: Backend) {
    let (app, product) = ready(backend, 2).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    let (job, _) = app.push(&json!({})).await;
    app.clock.advance(TimeDelta::seconds(2));
    app.post(&format!("{}/lines/approve", job_path(&job)), &json!({})).await.expect(200);
    app.clock.advance(TimeDelta::seconds(-2));
    let cancelled = app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    assert_eq!(
        (&cancelled["state"], &cancelled["lines"]["cancelled"]),
        (&json!("cancelled"), &json!(2)),
        "{cancelled}"
    );
}

/// A write that ConnectWise temporarily rejected was not applied, and needs no person.
async fn a_write_that_was_not_accepted_is_no_lost_response(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(FaultKind::Throttle { retry_after: 300, html: false }).on("PATCH"));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.step().await.unwrap();
    let (_, lines) = app.job_and_lines(&job).await;
    assert_eq!((states(&lines), &lines[0]["attempts"]), (vec!["pending"], &json!(0)), "{lines:?}");
    let cancelled = app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["lines"]["cancelled"]), (&json!("cancelled"), &json!(1)));
}

/// After this many failures, ConnectWise gets no requests for half a minute: the check waits until then.
async fn a_throttled_read_back_is_retried(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.sandbox.fail(Fault::once(FaultKind::DropAfter).on("PATCH").times(7));
    app.worker.run_until_idle().await.unwrap();
    app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    let (waiting, lines) = app.job_and_lines(&job).await;
    assert_eq!((&waiting["state"], states(&lines)), (&json!("running"), vec!["pending"]), "{lines:?}");
    app.clock.advance(TimeDelta::seconds(40));
    app.worker.run_until_idle().await.unwrap();
    let (ended, lines) = app.job_and_lines(&job).await;
    assert_eq!((&ended["state"], states(&lines)), (&json!("cancelled"), vec!["pushed"]), "{lines:?}");
    // The result of the check is saved in our own table as well.
    assert_eq!(app.all("/billing-lines").await[0]["connectwise_quantity"], "3");
}

/// Makes a job whose one line is unverified, with its quantity in ConnectWise.
async fn unverified(app: &TestApp) -> Value {
    app.sandbox.fail(Fault::once(FaultKind::StatusAfter { status: 500 }).on("PATCH").times(7));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    app.sandbox.fail(Fault::once(status(500)).on("GET").at("additions").times(3));
    app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    app.sandbox.clear_faults();
    let (job, lines) = app.job_and_lines(&job).await;
    assert_eq!(states(&lines), ["unverified"], "{lines:?}");
    job
}

async fn a_line_that_may_have_been_written_is_out_of_date(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.push(&json!({})).await;
    app.usage("C1", "STORAGE", "900").await;
    unverified(&app).await;
    app.usage("C1", "STORAGE", "250").await;
    assert_eq!(quantities(&app, 1), [9.0]);
    assert_eq!(app.all("/billing-lines?out_of_date=true").await.len(), 1, "nobody knows what is there");
    let (job, lines) = app.push(&json!({"out_of_date": true})).await;
    assert_eq!((&job["lines"]["total"], states(&lines), quantities(&app, 1)), (&json!(1), vec!["pushed"], vec![3.0]));
    assert!(app.all("/billing-lines?out_of_date=true").await.is_empty());
}

/// The newer quantity is there, though its write is unverified: an older job does not overwrite it.
async fn an_older_quantity_stays_away_from_a_newer_one_that_is_unverified(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(status(500)).on("PATCH").times(7));
    let older = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    app.usage("C1", "STORAGE", "900").await;
    unverified(&app).await;
    app.clock.advance(TimeDelta::minutes(2));
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&older).await;
    assert_eq!((&lines[0]["state"], &lines[0]["reason"]), (&json!("skipped"), &json!("superseded")), "{lines:?}");
    assert_eq!(quantities(&app, 1), [9.0]);
}

/// The job is cancelled while ConnectWise is read, and then the change is too large: no approval is requested.
async fn a_cancelled_job_holds_no_line(backend: Backend) {
    let (app, product) = ready(backend, 1).await;
    app.patch(&format!("/products/{product}"), &json!({"max_change_units": "1"})).await.expect(200);
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 400 }).at("additions"));
    let cancel = async {
        while app.sandbox.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    };
    let (stepped, ()) = tokio::join!(app.worker.run_until_idle(), cancel);
    stepped.unwrap();
    let (job, lines) = app.job_and_lines(&job).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("cancelled"), vec!["cancelled"]), "{lines:?}");
    assert_eq!(job["lines"]["done"], job["lines"]["total"]);
}

/// The keys are corrected while a worker finds the old ones rejected: the job still continues at once.
async fn corrected_keys_are_used_at_once(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    with_keys(&app, "wrong").await;
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 400 }).at("additions"));
    let mend = async {
        while app.sandbox.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        app.connect().await;
    };
    let (stepped, ()) = tokio::join!(app.worker.step(), mend);
    stepped.unwrap();
    app.clock.advance(TimeDelta::seconds(6));
    app.worker.run_until_idle().await.unwrap();
    let (job, lines) = app.job_and_lines(&job).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("succeeded"), vec!["pushed"]), "{lines:?}");
}

/// With wrong keys on the day of the push nothing is lost: the job waits, and continues when they are corrected.
async fn a_job_waits_for_its_connection_and_goes_on(backend: Backend) {
    let (app, _) = ready(backend, 5).await;
    with_keys(&app, "wrong").await;
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], &job["lines"]["pending"]), (&json!("running"), &json!(5)), "{job}");
    assert!(job["detail"].as_str().unwrap().contains("private key"), "{job}");
    assert!(lines.iter().all(|line| line["state"] == "pending" && line["not_before"].is_string()), "{lines:?}");
    let asked = app.sandbox.ledger().requests.len();
    assert!(asked <= 4, "{asked} requests to learn, and to confirm, that the keys are bad");
    app.clock.advance(TimeDelta::days(3));
    app.worker.run_until_idle().await.unwrap();
    let path = job_path(&job);
    assert_eq!(app.get(&path).await.expect(200)["state"], "running", "still");
    app.connect().await;
    app.worker.run_until_idle().await.unwrap();
    let done = app.get(&path).await.expect(200);
    assert_eq!(
        (&done["state"], &done["lines"]["pushed"], &done["detail"]),
        (&json!("succeeded"), &json!(5), &Value::Null)
    );
    assert_eq!(quantities(&app, 5), [3.0; 5]);
}

async fn a_job_does_not_wait_for_its_connection_for_ever(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    with_keys(&app, "wrong").await;
    let (job, _) = app.push(&json!({})).await;
    // CWB_SCHEDULE_MAX_LATE is a week.
    app.clock.advance(TimeDelta::hours(169));
    app.worker.run_until_idle().await.unwrap();
    let path = job_path(&job);
    let failed = app.get(&path).await.expect(200);
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("private key"), "{failed}");
    let lines = app.all(&format!("{path}/lines")).await;
    assert!(lines.iter().all(|line| line["reason"] == "connection"), "{lines:?}");
    app.connect().await;
    app.post(&format!("{path}/retry"), &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(quantities(&app, 3), [3.0; 3]);
}

async fn changes_while_a_job_waits_are_applied(backend: Backend) {
    let (app, product) = ready(backend, 3).await;
    app.post("/push-jobs", &json!({})).await.expect(202);
    let lines = app.all("/billing-lines").await;
    app.patch(&format!("/billing-lines/{}", lines[0]["id"].as_str().unwrap()), &json!({"push_enabled": false}))
        .await
        .expect(200);
    let company = lines[1]["company"]["id"].as_str().unwrap();
    app.delete(&format!("/companies/{company}/connectwise-company")).await.expect(200);
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(quantities(&app, 3), [1.0, 1.0, 3.0]);
    let job = app.all("/push-jobs").await[0]["id"].as_str().unwrap().to_owned();
    let found = app.all(&format!("/push-jobs/{job}/lines")).await;
    assert_eq!((&found[0]["reason"], &found[1]["reason"]), (&json!("disabled"), &json!("stale")));
    assert_eq!(app.line(&product, company).await["last_push"]["state"], "skipped");
}

async fn a_job_cancelled_during_an_outage_ends(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(status(503)).times(1_000));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let path = job_path(&job);
    assert_eq!(app.get(&path).await.expect(200)["state"], "running");
    assert_eq!(app.post(&format!("{path}/cancel"), &json!({})).await.expect(200)["state"], "cancelled");
}

/// A worker is stopped after it has read the addition, for longer than its lease. Meanwhile another worker writes the
/// same addition for an older job, so the value that the first one read is no longer true.
async fn a_stopped_worker_does_not_write_beside_its_successor(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    app.sandbox.fail(Fault::once(status(500)).on("GET").at("additions").times(7));
    let first = app.post("/push-jobs", &json!({})).await.expect(202);
    app.worker.step().await.unwrap();
    app.usage("C1", "STORAGE", "500").await;
    let second = app.post("/push-jobs", &json!({})).await.expect(202);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 200 }).on("GET").at("additions"));
    let mut stopped = Box::pin(app.second_worker.step());
    while app.sandbox.in_flight() == 0 {
        assert!(futures_util::poll!(&mut stopped).is_pending());
        tokio::task::yield_now().await;
    }
    app.clock.advance(TimeDelta::minutes(3));
    app.worker.step().await.unwrap();
    let (_, lines) = app.job_and_lines(&first).await;
    assert_eq!((states(&lines), quantities(&app, 1)), (vec!["pushed"], vec![3.0]), "{lines:?}");
    stopped.await.unwrap();
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&second).await;
    assert_eq!((states(&lines), &lines[0]["from"]), (vec!["pushed"], &json!("3")), "{lines:?}");
    assert_eq!(quantities(&app, 1), [5.0]);
}

/// A revert has to wait. Meanwhile a newer push finds its quantity in ConnectWise: the newer push wins.
async fn a_revert_that_waited_undoes_nothing_that_a_newer_push_found(backend: Backend) {
    let (app, _) = ready(backend, 1).await;
    let (first, _) = app.push(&json!({})).await;
    app.sandbox.fail(Fault::once(status(500)).on("GET").at("additions").times(7));
    let revert = app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.expect(202);
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(states(&lines), ["unchanged"]);
    app.clock.advance(TimeDelta::minutes(5));
    app.worker.run_until_idle().await.unwrap();
    let (_, lines) = app.job_and_lines(&revert).await;
    assert_eq!((states(&lines), &lines[0]["reason"]), (vec!["skipped"], &json!("superseded")), "{lines:?}");
    assert_eq!(quantities(&app, 1), [3.0]);
}

on_both!(
    a_revert_that_waited_undoes_nothing_that_a_newer_push_found,
    a_stopped_worker_does_not_write_beside_its_successor,
    a_revert_leaves_what_another_line_found,
    what_ended_while_a_job_waited_is_not_written,
    approved_lines_wait_for_the_connection_too,
    lines_approved_by_a_faster_clock_are_cancelled,
    a_write_that_was_not_accepted_is_no_lost_response,
    a_throttled_read_back_is_retried,
    a_line_that_may_have_been_written_is_out_of_date,
    an_older_quantity_stays_away_from_a_newer_one_that_is_unverified,
    a_cancelled_job_holds_no_line,
    corrected_keys_are_used_at_once,
    a_job_waits_for_its_connection_and_goes_on,
    a_job_does_not_wait_for_its_connection_for_ever,
    changes_while_a_job_waits_are_applied,
    a_job_cancelled_during_an_outage_ends,
);

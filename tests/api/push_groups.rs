//! Lines of several agreements that one worker claims together: each ends as if it were alone.

use std::time::Duration;

use connectwise_billing::app::Config;
use connectwise_billing::sandbox::{Fault, FaultKind, Kind, Store, sample};
use serde_json::json;

use crate::push::{prepare, quantities, states};
use crate::support::{Backend, TestApp, job_path, status};

/// Companies with an agreement and an addition each, all in one claim: the tenant has only one worker.
async fn ready(backend: Backend, companies: i64) -> TestApp {
    ready_for(backend, companies, 1).await
}

async fn ready_for(backend: Backend, companies: i64, workers: usize) -> TestApp {
    let mut store = Store::default();
    for c in 1..=companies {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Company {c}")));
        store.put(Kind::Agreements, sample::agreement(c * 10, c, "Backup", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(c * 100, c * 10, "BKP-GB", "Storage", 1.0));
    }
    let settings = |config: &mut Config| {
        config.connectwise_parallel = workers;
        config.connectwise_timeout = 10;
    };
    let app = TestApp::start_with(backend, store, settings).await;
    app.connect().await;
    prepare(&app, companies).await;
    app.sandbox.clear_ledger();
    app
}

/// The requests that concern additions, in order, as `GET 10` or `PATCH 10`, where 10 is the agreement.
fn requests(app: &TestApp) -> Vec<String> {
    let ledger = app.sandbox.ledger();
    let agreement = |path: &str| {
        path.split("agreements/")
            .nth(1)
            .filter(|rest| rest.contains("additions"))
            .map(|rest| rest.split('/').next().unwrap().to_owned())
    };
    ledger.requests.iter().filter_map(|one| Some(format!("{} {}", one.method, agreement(&one.path)?))).collect()
}

/// Waits until ConnectWise has received this many writes.
async fn writes(app: &TestApp, count: usize) {
    while app.sandbox.ledger().writes.len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn one_agreement_that_fails_holds_up_no_other(backend: Backend) {
    let app = ready(backend, 4).await;
    app.sandbox.fail(Fault::once(status(500)).on("GET").at("agreements/20/").times(100));
    let (job, lines) = app.push(&json!({})).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("running"), vec!["pushed", "pending", "pushed", "pushed"]));
    assert!(lines[1]["not_before"].is_string(), "{}", lines[1]);
    let read: Vec<String> =
        requests(&app).into_iter().filter(|one| one.starts_with("GET") && !one.ends_with(" 20")).collect();
    assert_eq!(read, ["GET 10", "GET 30", "GET 40"], "what was read before the failure is written, not read again");
}

async fn a_slow_read_does_not_make_other_reads_stale(backend: Backend) {
    let app = ready(backend, 2).await;
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 5_000 }).on("GET").at("agreements/20/"));
    let (_, lines) = app.push(&json!({})).await;
    assert_eq!(states(&lines), ["pushed", "pushed"]);
    // The slow read was abandoned, and repeated after the write.
    assert_eq!(requests(&app), ["GET 10", "PATCH 10", "GET 20", "PATCH 20"]);
}

async fn what_changes_after_the_writes_have_begun_is_noticed(backend: Backend) {
    let app = ready(backend, 3).await;
    let lines = app.all("/billing-lines").await;
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 1_000 }).on("PATCH").at("agreements/10/"));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let meanwhile = async {
        writes(&app, 1).await;
        let path = format!("/billing-lines/{}", lines[1]["id"].as_str().unwrap());
        app.patch(&path, &json!({"push_enabled": false})).await.expect(200);
    };
    let (step, ()) = tokio::join!(app.worker.step(), meanwhile);
    step.unwrap();
    let (job, pushed) = app.job_and_lines(&job).await;
    assert_eq!((&job["state"], states(&pushed)), (&json!("succeeded"), vec!["pushed", "skipped", "pushed"]));
    assert_eq!((&pushed[1]["reason"], &pushed[1]["attempts"]), (&json!("disabled"), &json!(0)), "{}", pushed[1]);
    assert_eq!(quantities(&app, 3), [3.0, 1.0, 3.0]);
}

async fn a_job_cancelled_after_the_writes_have_begun_sends_no_more(backend: Backend) {
    let app = ready(backend, 3).await;
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 1_000 }).on("PATCH").at("agreements/10/"));
    let job = app.post("/push-jobs", &json!({})).await.expect(202);
    let meanwhile = async {
        writes(&app, 1).await;
        app.post(&format!("{}/cancel", job_path(&job)), &json!({})).await.expect(200);
    };
    let (step, ()) = tokio::join!(app.worker.step(), meanwhile);
    step.unwrap();
    let (job, lines) = app.job_and_lines(&job).await;
    assert_eq!((&job["state"], states(&lines)), (&json!("cancelled"), vec!["pushed", "cancelled", "cancelled"]));
    let read_back = requests(&app).iter().filter(|one| one.starts_with("GET")).count();
    assert_eq!(read_back, 3, "a write that was not sent needs no second look");
}

/// A revert writes nothing for a billing line that a later push has written since, to another addition.
async fn a_revert_notices_a_later_push_after_its_writes_have_begun(backend: Backend) {
    // Two workers for three agreements: the first claims two of them.
    let app = ready_for(backend, 3, 2).await;
    let (first, lines) = app.push(&json!({})).await;
    app.sandbox.change(|store| {
        store.put(Kind::Agreements, sample::agreement(21, 2, "Another", (1, "SP Backup")));
        store.put(Kind::Additions, sample::addition(210, 21, "BKP-GB", "Storage", 1.0));
    });
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
    app.sandbox.fail(Fault::once(FaultKind::Slow { ms: 2_000 }).on("PATCH").at("agreements/10/"));
    let before = app.sandbox.ledger().writes.len();
    let revert = app.post(&format!("{}/revert", job_path(&first)), &json!({})).await.expect(202);
    let meanwhile = async {
        writes(&app, before + 1).await;
        let path = format!("/agreement-mappings/{}", lines[1]["billing_line_id"].as_str().unwrap());
        app.put(&path, &json!({"agreement_id": "21"})).await.expect(200);
        let later = app.post("/push-jobs", &json!({"company_ids": [lines[1]["company_id"]]})).await.expect(202);
        app.second_worker.run_until_idle().await.unwrap();
        assert_eq!(states(&app.job_and_lines(&later).await.1), ["pushed"]);
    };
    let (step, ()) = tokio::join!(app.worker.step(), meanwhile);
    step.unwrap();
    let (_, reverted) = app.job_and_lines(&revert).await;
    assert_eq!(states(&reverted), ["pushed", "skipped", "pushed"], "{reverted:?}");
    assert_eq!(reverted[1]["reason"], "superseded");
    assert_eq!(quantities(&app, 3), [1.0, 3.0, 1.0]);
}

on_both!(
    one_agreement_that_fails_holds_up_no_other,
    a_slow_read_does_not_make_other_reads_stale,
    what_changes_after_the_writes_have_begun_is_noticed,
    a_job_cancelled_after_the_writes_have_begun_sends_no_more,
    a_revert_notices_a_later_push_after_its_writes_have_begun,
);

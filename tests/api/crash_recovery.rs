//! The real process, killed a hundred times in the middle of one push while ConnectWise fails in every way.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use connectwise_billing::sandbox::{Fault, FaultKind, Sandbox, Write};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Service, every_line_is_right, set_up, start_push, store, written_once};
use crate::support::{Backend, TestDatabase, dump, sandbox};

const LINES: i64 = 300;
const KILLS: usize = 100;

/// A fifth of all calls fail; the intervals of the kinds of failure have no common factor.
fn fail_often(sandbox: &Sandbox) {
    let always =
        |kind, one_in| Fault { kind, times: u32::MAX, method: None, path: Some("additions".to_owned()), one_in };
    let status = |status| FaultKind::Status { status, code: None, message: None };
    for fault in [
        always(FaultKind::StatusAfter { status: 500 }, 29),
        always(FaultKind::DropAfter, 31),
        always(status(500), 37),
        always(FaultKind::Throttle { retry_after: 0, html: false }, 41),
        always(FaultKind::Throttle { retry_after: 0, html: true }, 43),
        always(FaultKind::Drop, 47),
        always(FaultKind::Hang { ms: 1_500 }, 97),
        always(FaultKind::Html, 23).on("GET"),
        always(FaultKind::Truncated, 53).on("GET"),
    ] {
        sandbox.fail(fault);
    }
}

async fn killed_a_hundred_times_every_line_is_written_and_recorded_once(backend: Backend) {
    let (database, sandbox) = (TestDatabase::new(backend), sandbox(store(LINES)));
    let mut service = Service::start(&database, None);
    let key = service.key.clone();
    set_up(&service, &sandbox, LINES).await;
    sandbox.clear_ledger();
    sandbox.tune(|behavior| {
        behavior.latency_ms = 150;
        behavior.keep_answers = false;
    });
    fail_often(&sandbox);
    let job = service.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    let seed = if backend == Backend::Sqlite { 1 } else { 2 };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut random = TestRunner::new_with_rng(Config::default(), random);
    for _ in 0..KILLS {
        // This test must use real time: it tests the moment of the kill.
        let instant = (0_u64..200).new_tree(&mut random).unwrap().current();
        tokio::time::sleep(Duration::from_millis(instant)).await;
        drop(service);
        service = Service::start(&database, Some(&key));
    }
    let left = service.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    assert_eq!(left["finished_at"], Value::Null, "the kills came while it ran: {left}");
    sandbox.tune(|behavior| behavior.latency_ms = 0);
    every_line_is_right(&service, &sandbox, &job, LINES).await;
    only_lost_responses_cost_a_write(&sandbox);
    service.process.interrupt();
}

/// A process that is asked to stop finishes the request that it has sent, stores what it knows, and gives back the
/// rest: the next process need not wait for a lease, or ask ConnectWise about writes that were never sent.
async fn a_process_that_ends_gives_back_what_it_has_not_written(backend: Backend) {
    const LINES: i64 = 60;
    let (database, sandbox) = (TestDatabase::new(backend), sandbox(store(LINES)));
    let mut service = Service::start(&database, None);
    set_up(&service, &sandbox, LINES).await;
    start_push(&service, &sandbox, 100).await;
    while sandbox.ledger().writes.len() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    service.process.interrupt();
    let written: HashSet<i64> = sandbox.ledger().writes.iter().map(|write| write.addition).collect();
    let written = i64::try_from(written.len()).unwrap();
    assert!(written < LINES, "it ended in the middle: {written}");
    let lines = dump(database.text()).remove("push_lines").unwrap();
    let count = |state: &str| i64::try_from(lines.iter().filter(|line| line["state"] == state).count()).unwrap();
    assert_eq!((count("pushed"), count("pending")), (written, LINES - written));
    for line in lines.iter().filter(|line| line["state"] == "pending") {
        assert_eq!((&line["attempts"], &line["lease_owner"]), (&json!(0), &Value::Null), "{line:?}");
    }
    let next = Service::start(&database, Some(&service.key));
    let job = next.all("/push-jobs").await[0]["id"].as_str().unwrap().to_owned();
    sandbox.tune(|behavior| behavior.latency_ms = 0);
    every_line_is_right(&next, &sandbox, &job, LINES).await;
    written_once(&sandbox, LINES);
}

/// An addition is written again only after a write whose response was lost, by ConnectWise's failure or by the kill. A
/// write in flight when the process died may take effect after the next process has read the addition.
fn only_lost_responses_cost_a_write(sandbox: &Sandbox) {
    let ledger = sandbox.ledger();
    let mut lost: HashMap<i64, usize> = HashMap::new();
    let mut failed = 0;
    for request in &ledger.requests {
        failed += usize::from(request.status != 200);
        if request.method == "PATCH" && matches!(request.status, 0 | 500) {
            let addition = request.path.rsplit('/').next().unwrap().parse().unwrap();
            *lost.entry(addition).or_default() += 1;
        }
    }
    assert!(failed * 10 > ledger.requests.len(), "{failed} of {}: too few fail", ledger.requests.len());
    let mut writes: HashMap<i64, Vec<&Write>> = HashMap::new();
    ledger.writes.iter().for_each(|write| writes.entry(write.addition).or_default().push(write));
    assert_eq!(writes.len(), 300);
    let mut by_kills = 0;
    for (addition, writes) in writes {
        assert!(writes[1..].iter().all(|write| write.from == write.to), "addition {addition}: {writes:?}");
        by_kills += (writes.len() - 1).saturating_sub(lost.get(&addition).copied().unwrap_or_default());
    }
    assert_eq!(by_kills, 0, "{by_kills} writes were made again for no reason but a kill");
}

on_both!(
    killed_a_hundred_times_every_line_is_written_and_recorded_once,
    a_process_that_ends_gives_back_what_it_has_not_written,
);

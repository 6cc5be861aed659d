//! Failures around replicas, for real: processes killed and stopped, PostgreSQL restarted, connections cut. Every line
//! ends correctly, and `/readyz` is correct.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Service, every_line_is_right, progress, set_up, start_push, store, written_once};
use crate::support::{Cluster, TestDatabase, Way, http_client, sandbox};

/// The responses of `/readyz`, polled; `None` if there was none.
struct Watch(Arc<Mutex<Vec<Said>>>);

/// When the request was sent, when the response arrived, and its status.
type Said = (Instant, Instant, Option<u16>);

impl Watch {
    fn on(base: &str) -> Self {
        let (said, url) = (Arc::new(Mutex::new(Vec::new())), format!("{base}/readyz"));
        let (log, http) = (said.clone(), http_client());
        tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                let reply = http.get(&url).timeout(Duration::from_secs(5)).send().await;
                log.lock().unwrap().push((asked, Instant::now(), reply.ok().map(|reply| reply.status().as_u16())));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self(said)
    }

    fn between(&self, from: Instant, to: Instant) -> Vec<Option<u16>> {
        let said = self.0.lock().unwrap();
        let within = said.iter().filter(|(asked, answered, _)| *asked > from && *answered < to);
        within.map(|(_, _, status)| *status).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_end_a_push_whatever_fails() {
    const LINES: i64 = 1_000;
    let cluster = Cluster::start();
    let (at, way) = (cluster.database("billing"), Way::to(cluster.port()).await);
    let database = TestDatabase::at(at(cluster.port()));
    let sandbox = sandbox(store(LINES));
    let first = Service::start(&database, None);
    let key = first.key.clone();
    set_up(&first, &sandbox, LINES).await;
    let second = Service::start(&database, Some(&key));
    let third = Service::start_at(&database, &at(way.port), Some(&key), &[]);
    let (watch_second, watch_third) = (Watch::on(&second.base), Watch::on(&third.base));
    let begun = Instant::now();
    let job = start_push(&first, &sandbox, 120).await;
    // Results are stored at the latest a second after they are known.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let (before, _) = progress(&third, &job).await;
    assert!(before > 0 && before < LINES, "{before}: the faults come in the middle");
    drop(first); // kill -9
    second.process.signal("STOP");
    let stopped = Instant::now();
    // Longer than the lease of 3 s, and than the 10 s for which the database lets it keep a lock.
    tokio::time::sleep(Duration::from_secs(13)).await;
    let (meanwhile, _) = progress(&third, &job).await;
    assert!(meanwhile > before && meanwhile < LINES, "{before}, then {meanwhile}: one goes on alone");
    second.process.signal("CONT");
    let resumed = Instant::now();
    assert!(way.cut() > 0);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let before_down = Instant::now();
    cluster.stop();
    let down = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (status, problem) = third.try_ask(Method::GET, "/api/v1/companies", Value::Null).await.unwrap();
    assert_eq!((status, &problem["title"]), (503, &json!("Service unavailable")), "{problem}");
    let starting = Instant::now();
    cluster.start_again();
    let up = Instant::now();
    // As a supervisor would do.
    let first = Service::start(&database, Some(&key));
    let (_, job_now) = progress(&first, &job).await;
    assert_eq!(job_now["finished_at"], Value::Null, "it is not over yet: {job_now}");
    every_line_is_right(&first, &sandbox, &job, LINES).await;
    written_once(&sandbox, LINES);
    let ended = Instant::now();

    let all_ready = |said: &[Option<u16>]| !said.is_empty() && said.iter().all(|status| *status == Some(200));
    let settle = Duration::from_secs(5);
    for (name, watch) in [("second", &watch_second), ("third", &watch_third)] {
        let while_down = watch.between(down, starting);
        assert!(!while_down.is_empty() && !while_down.contains(&Some(200)), "{name}, down: {while_down:?}");
        assert!(while_down.contains(&Some(503)), "{name} says so, and in time: {while_down:?}");
        let after = watch.between(up + settle, ended);
        assert!(all_ready(&after), "{name}, up again: {after:?}");
    }
    assert!(all_ready(&watch_third.between(begun, resumed)), "another's death is not its own");
    assert!(all_ready(&watch_second.between(begun, stopped - Duration::from_millis(500))));
    let cut = watch_third.between(resumed, before_down - Duration::from_millis(500));
    assert!(all_ready(&cut), "cut connections are made anew: {cut:?}");
    for service in [&first, &second, &third] {
        every_line_is_right(service, &sandbox, &job, LINES).await;
    }
}

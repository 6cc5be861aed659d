//! Replicas: what they share, and how they affect each other through the database.

use connectwise_billing::app::Config;
use connectwise_billing::sandbox::{Fault, FaultKind, sample};
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl};
use reqwest::Method;
use serde_json::{Value, json};

use crate::push::ready;
use crate::service::{Service, every_line_is_right, set_up, store};
use crate::support::{Backend, TestApp, TestDatabase, Way, sandbox};

#[derive(QueryableByName)]
struct Tenant {
    #[diesel(sql_type = Text)]
    id: String,
}

/// A replica that is stopped in the middle of a transaction holds its tenant's lock: writes wait for it, and reads must
/// not wait behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_writes_wait_for_another_replica() {
    let app = TestApp::start(Backend::Postgres, connectwise_billing::sandbox::Store::default()).await;
    let mut other = PgConnection::establish(app.database_url()).unwrap();
    let tenant: Tenant = diesel::sql_query("SELECT id FROM tenants").get_result(&mut other).unwrap();
    let run = |conn: &mut PgConnection, sql: &str| diesel::sql_query(sql).execute(conn).unwrap();
    run(&mut other, "BEGIN");
    run(&mut other, &format!("SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))", tenant.id));
    let bodies: Vec<_> = (1..=8).map(|n| json!({"external_id": format!("C{n}"), "name": "Waiting"})).collect();
    let writes = futures_util::future::join_all(bodies.iter().map(|body| app.post("/companies", body)));
    let reads = async {
        // Continues once all writes are waiting, however many connections they use.
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            app.get("/companies").await.expect(200);
        }
        run(&mut other, "ROLLBACK");
    };
    let (written, ()) = tokio::join!(writes, reads);
    for reply in written {
        reply.expect(201);
    }
}

/// A replica that is stopped during a claim, or while it records a line, holds rows until the database ends its
/// transaction. Nobody waits for them: the workers of other replicas claim the lines of other agreements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_waits_for_lines_that_another_transaction_holds() {
    let (app, _) = ready(Backend::Postgres, 3).await;
    app.post("/push-jobs", &json!({})).await.expect(202);
    let mut other = PgConnection::establish(app.database_url()).unwrap();
    let mut run = |text: &str| diesel::sql_query(text).execute(&mut other).unwrap();
    run("BEGIN");
    // One line of an agreement is enough: its other lines are left alone as well.
    assert_eq!(run("SELECT id FROM push_lines ORDER BY id LIMIT 1 FOR UPDATE"), 1);
    // The step would wait for 15 s for the rows, and then fail.
    let began = std::time::Instant::now();
    assert!(app.worker.step().await.unwrap(), "a second agreement");
    assert!(app.worker.step().await.unwrap(), "a third");
    assert!(!app.worker.step().await.unwrap(), "the first is held");
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    run("ROLLBACK");
    assert!(app.worker.step().await.unwrap(), "the first is free");
    assert!(!app.worker.step().await.unwrap(), "that was all");
}

/// Two jobs have lines of one agreement, and two replicas claim at the same moment, each the lines of another job. Only
/// one may get the agreement: if both wrote an addition at once, ConnectWise could end with the older job's quantity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_claim_one_agreement_at_once() {
    let (app, _) = ready(Backend::Postgres, 1).await;
    let first = app.post("/push-jobs", &json!({})).await.expect(202);
    app.post("/push-jobs", &json!({})).await.expect(202);
    let mut other = PgConnection::establish(app.database_url()).unwrap();
    let mut run = |text: &str| diesel::sql_query(text).execute(&mut other).unwrap();
    run("BEGIN");
    // The uncommitted claim of another replica.
    let lease_until = |hours| (app.clock.now() + chrono::TimeDelta::hours(hours)).format("%F %T").to_string();
    let claim = format!(
        "UPDATE push_lines SET state = 'working', lease_owner = 'another', lease_until = '{}', fence = fence + 1 \
         WHERE job_id = '{}'",
        lease_until(1),
        first["id"].as_str().unwrap()
    );
    assert_eq!(run(&claim), 1);
    assert!(!app.worker.step().await.unwrap(), "while it claims");
    run("COMMIT");
    assert!(!app.worker.step().await.unwrap(), "while it works");
    run(&format!("UPDATE push_lines SET lease_until = '{}' WHERE lease_owner = 'another'", lease_until(-1)));
    app.worker.run_until_idle().await.unwrap();
    assert_eq!(app.sandbox.ledger().writes.len(), 1, "one job wrote, and the other found its quantity");
}

/// Both send requests as fast as they may for some seconds: ConnectWise receives no more than one alone may send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_of_requests_is_shared() {
    let slow = |config: &mut Config| config.connectwise_per_minute = 120.try_into().unwrap();
    let first = TestApp::start_with(Backend::Postgres, sample::many(3, 1, 1), slow).await;
    first.connect().await;
    let second = first.replica(slow).await;
    let started = std::time::Instant::now();
    let ask = async |app: &TestApp| {
        while started.elapsed().as_secs() < 4 {
            app.post("/connection/test", &json!({})).await.expect(200);
        }
    };
    tokio::join!(ask(&first), ask(&first), ask(&second), ask(&second));
    let seconds = started.elapsed().as_secs_f64();
    let asked =
        first.sandbox.ledger().requests.iter().filter(|request| !request.path.contains("companyinfo")).count() as f64;
    // 120 a minute: 6 at once, then 114 a minute.
    let allowed = 6.0 + seconds * 114.0 / 60.0;
    assert!(asked <= allowed + 1.0, "{asked} requests in {seconds} s");
    assert!(asked >= allowed - 3.0, "{asked} requests in {seconds} s: some are lost");
}

/// A `Retry-After` that one replica receives applies to all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_holds_for_every_replica() {
    let first = TestApp::connected(Backend::Postgres, sample::many(3, 1, 1)).await;
    let second = first.replica(|_| {}).await;
    second.post("/connectwise/refresh", &json!({})).await.expect(200);
    first.sandbox.fail(Fault::once(FaultKind::Throttle { retry_after: 30, html: false }));
    first.post("/connectwise/refresh", &json!({})).await.problem(503, "connectwise_throttled");
    first.sandbox.clear_ledger();
    second.post("/connectwise/refresh", &json!({})).await.problem(503, "connectwise_throttled");
    assert_eq!(first.sandbox.ledger().requests.len(), 0, "nobody asks before the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_fire_once_and_refreshes_are_not_doubled() {
    let first = TestApp::connected(Backend::Postgres, sample::many(3, 1, 1)).await;
    let second = first.replica(|_| {}).await;
    first.company("C1", "Customer 000001").await;
    first.sandbox.clear_ledger();
    first.sandbox.tune(|behavior| behavior.latency_ms = 300);
    let body = json!({});
    let (one, other) =
        tokio::join!(first.post("/companies/auto-match", &body), second.post("/companies/auto-match", &body));
    let applied = [one, other].map(|reply| reply.expect(200)["applied"].as_i64().unwrap());
    assert_eq!(applied.iter().sum::<i64>(), 1, "who came second found it matched");
    let lists =
        |name: &str| first.sandbox.ledger().requests.iter().filter(|request| request.path.ends_with(name)).count();
    assert_eq!((lists("company/companies"), lists("finance/agreements")), (1, 1), "one read for both");
    let schedule = json!({"enabled": true, "day_of_month": 23, "time": "02:00", "time_zone": "UTC"});
    first.put("/push-schedule", &schedule).await.expect(200);
    first.clock.advance(chrono::TimeDelta::days(1));
    let (one, other) = tokio::join!(first.worker.fire_schedules(), second.worker.fire_schedules());
    assert_eq!(one.unwrap() + other.unwrap(), 1);
    assert_eq!(first.all("/push-jobs").await.len(), 1);
}

/// One process serves requests, another pushes, a third runs the scheduler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_have_a_process_of_its_own() {
    let (database, sandbox) = (TestDatabase::new(Backend::Postgres), sandbox(store(20)));
    let http = Service::start_at(&database, database.text(), None, &["--roles", "http"]);
    set_up(&http, &sandbox, 20).await;
    let job = http.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    let scheduler = Service::start_at(&database, database.text(), Some(&http.key), &["--roles", "scheduler"]);
    let waiting = http.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    assert_eq!(waiting["state"], "queued", "nobody works: {waiting}");
    let worker = Service::start_at(&database, database.text(), Some(&http.key), &["--roles", "worker"]);
    every_line_is_right(&http, &sandbox, &job, 20).await;
    for alone in [&worker, &scheduler] {
        for (path, status) in
            [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/companies", 404), ("/", 404)]
        {
            let (said, body) = alone.try_ask(Method::GET, path, Value::Null).await.unwrap();
            assert_eq!(said, status, "{path}: {body}");
        }
    }
    let (_, problem) = worker.try_ask(Method::POST, "/api/v1/push-jobs", json!({})).await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("role http"), "{problem}");
}

/// Two replicas share a push. One is stopped for longer than its lease and then continues: the other has done its
/// lines, and nothing is written twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stopped_past_its_lease_writes_nothing_late() {
    let (database, sandbox) = (TestDatabase::new(Backend::Postgres), sandbox(store(300)));
    let first = Service::start(&database, None);
    set_up(&first, &sandbox, 300).await;
    let second = Service::start(&database, Some(&first.key));
    sandbox.clear_ledger();
    sandbox.tune(|behavior| behavior.latency_ms = 100);
    let job = first.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    first.process.signal("STOP");
    // Longer than its lease of 3 s, and than the 10 s for which the database lets it keep a lock.
    tokio::time::sleep(std::time::Duration::from_secs(14)).await;
    let meanwhile = second.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    assert!(meanwhile["lines"]["pushed"].as_i64().unwrap() > 20, "the other goes on: {meanwhile}");
    first.process.signal("CONT");
    every_line_is_right(&second, &sandbox, &job, 300).await;
    assert_eq!(sandbox.ledger().writes.len(), 300, "nothing was written twice");
    every_line_is_right(&first, &sandbox, &job, 300).await;
}

/// A replica that cannot reach the database, but can reach ConnectWise, gives up its lines, and recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_cut_off_past_its_lease_writes_nothing_late() {
    let (database, sandbox) = (TestDatabase::new(Backend::Postgres), sandbox(store(300)));
    let first = Service::start(&database, None);
    set_up(&first, &sandbox, 300).await;
    let server: url::Url = database.text().parse().unwrap();
    let way = Way::to(server.port().unwrap()).await;
    let mut by_way = server.clone();
    by_way.set_port(Some(way.port)).unwrap();
    let second = Service::start_at(&database, by_way.as_str(), Some(&first.key), &[]);
    sandbox.clear_ledger();
    sandbox.tune(|behavior| behavior.latency_ms = 150);
    let job = first.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    way.close(true);
    let readiness = async || second.try_ask(Method::GET, "/readyz", Value::Null).await.unwrap().0;
    assert_eq!(readiness().await, 503);
    // Longer than its lease of 3 s.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(readiness().await, 503);
    way.close(false);
    while readiness().await != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // A network that silently drops every packet.
    way.freeze(true);
    let asked = std::time::Instant::now();
    assert_eq!(readiness().await, 503);
    assert!(asked.elapsed().as_secs() < 5, "it says so in time: {:?}", asked.elapsed());
    way.freeze(false);
    every_line_is_right(&first, &sandbox, &job, 300).await;
    assert_eq!(sandbox.ledger().writes.len(), 300, "nothing was written twice");
    every_line_is_right(&second, &sandbox, &job, 300).await;
    assert_eq!(readiness().await, 200);
}

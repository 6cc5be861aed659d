//! What fails around the service, for real: processes killed and stopped, PostgreSQL restarted, connections cut; and
//! what can happen to an SQLite file. Every line comes out right, and `/readyz` tells the truth.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connectwise_billing::sandbox::Sandbox;
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::program;
use crate::service::{Service, every_line_is_right, set_up, store};
use crate::support::{Backend, Cluster, Disk, TestDatabase, Way, dump, read_only, sandbox};

/// What `/readyz` said, asked again and again; nothing where nobody answered.
struct Watch(Arc<Mutex<Vec<Said>>>);

/// When it was asked, when that was answered, and how.
type Said = (Instant, Instant, Option<u16>);

impl Watch {
    fn on(base: &str) -> Self {
        let (said, url) = (Arc::new(Mutex::new(Vec::new())), format!("{base}/readyz"));
        let (log, http) = (said.clone(), reqwest::Client::builder().no_proxy().build().unwrap());
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

async fn progress(service: &Service, job: &str) -> (i64, Value) {
    let job = service.ask(Method::GET, &format!("/push-jobs/{job}"), json!({})).await;
    (job["lines"]["pushed"].as_i64().unwrap(), job)
}

async fn start_push(service: &Service, sandbox: &Sandbox, latency_ms: u64) -> String {
    sandbox.clear_ledger();
    sandbox.tune(|tuning| {
        tuning.latency_ms = latency_ms;
        tuning.keep_answers = false;
    });
    service.ask(Method::POST, "/push-jobs", json!({})).await["id"].as_str().unwrap().to_owned()
}

/// Every write changed something, or repeated one whose outcome was lost.
fn written_once(sandbox: &Sandbox, lines: i64) {
    let writes = sandbox.ledger().writes;
    let real = writes.iter().filter(|write| write.from != write.to).count();
    assert_eq!(real as i64, lines, "{} writes in all", writes.len());
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
    tokio::time::sleep(Duration::from_secs(2)).await;

    let (before, _) = progress(&third, &job).await;
    assert!(before > 0 && before < LINES, "{before}: the faults come in the middle");
    drop(first); // kill -9
    second.process.signal("STOP");
    let stopped = Instant::now();
    // Longer than the lease of 3 s, and than the 5 s for which the database leaves it a lock that it may hold.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (meanwhile, _) = progress(&third, &job).await;
    assert!(meanwhile > before && meanwhile < LINES, "{meanwhile}: one goes on alone");
    second.process.signal("CONT");
    let resumed = Instant::now();
    assert!(way.cut() > 0);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let before_down = Instant::now();
    cluster.stop();
    let down = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (status, problem) = third.try_ask(Method::GET, "/api/v1/companies", Value::Null).await.unwrap();
    assert_eq!((status, &problem["title"]), (503, &json!("Try again shortly")), "{problem}");
    let starting = Instant::now();
    cluster.start_again();
    let up = Instant::now();
    // As a supervisor would.
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

/// What a small SQLite service is tried with.
const LINES: i64 = 60;

async fn ready(service: &Service) -> (u16, Value) {
    service.try_ask(Method::GET, "/readyz", Value::Null).await.unwrap()
}

async fn add_company(service: &Service, name: &str) -> (u16, Value) {
    let company = json!({"external_id": name, "name": name});
    service.try_ask(Method::POST, "/api/v1/companies", company).await.unwrap()
}

/// The answer of a service that cannot write: what to do, and nothing of the inside.
fn refused(reply: &(u16, Value)) {
    assert_eq!((reply.0, &reply.1["title"]), (503, &json!("Try again shortly")), "{}", reply.1);
    let text = reply.1.to_string();
    assert!(!text.contains("disk") && !text.contains("readonly") && !text.contains("sqlite"), "{text}");
}

mod sqlite {
    use super::*;

    /// Writes fail, reads go on, and `/readyz` says so; when the disk has room again, all goes on by itself.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_disk_refuses_writes_and_loses_nothing() {
        let (database, sandbox) = (TestDatabase::new(Backend::Sqlite), sandbox(store(LINES)));
        let disk = Disk::new(database.folder());
        let service = Service::start_in(&disk, &database);
        set_up(&service, &sandbox, LINES).await;
        let job = start_push(&service, &sandbox, 100).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        disk.fill(&service.process);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut tries = 0;
        let reply = loop {
            // What room is left in the file's log takes a few more.
            let reply = add_company(&service, &format!("LATE-{tries}")).await;
            if reply.0 != 201 || tries > 500 {
                break reply;
            }
            tries += 1;
        };
        refused(&reply);
        assert_eq!(ready(&service).await.0, 503, "it cannot do its work");
        let companies = service.all("/companies?limit=500").await.len() as i64;
        assert_eq!(companies, LINES + tries, "reads go on; what was answered for is there, what was refused is not");
        let (done, _) = progress(&service, &job).await;
        assert!(done < LINES, "{done}: it failed in the middle");
        disk.free(&service.process);
        let since = Instant::now();
        while ready(&service).await.0 != 200 {
            assert!(since.elapsed() < Duration::from_secs(10), "it recovers without hands");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(add_company(&service, "AFTER").await.0, 201);
        every_line_is_right(&service, &sandbox, &job, LINES).await;
        written_once(&sandbox, LINES);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_database_that_another_process_holds_is_waited_for() {
        let (database, sandbox) = (TestDatabase::new(Backend::Sqlite), sandbox(store(LINES)));
        let service = Service::start(&database, None);
        set_up(&service, &sandbox, LINES).await;
        let job = start_push(&service, &sandbox, 50).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut other = SqliteConnection::establish(database.text().strip_prefix("sqlite:").unwrap()).unwrap();
        other.batch_execute("PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE").unwrap();
        refused(&add_company(&service, "LOCKED-OUT").await);
        assert_eq!(ready(&service).await.0, 503);
        assert_eq!(service.all("/companies?limit=500").await.len() as i64, LINES, "reads go on");
        other.batch_execute("COMMIT").unwrap();
        assert_eq!(ready(&service).await.0, 200, "at once");
        every_line_is_right(&service, &sandbox, &job, LINES).await;
        written_once(&sandbox, LINES);
    }

    /// A second process on the same file would take the first for dead.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_second_process_on_the_file_is_refused() {
        let database = TestDatabase::new(Backend::Sqlite);
        let first = Service::start(&database, None);
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database.text()]);
        let second = command.output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success() && said.contains("another process serves from"), "{said}");
        assert_eq!(ready(&first).await.0, 200);
        let key = first.key.clone();
        drop(first); // kill -9: the lock goes with the process
        let third = Service::start(&database, Some(&key));
        assert_eq!(ready(&third).await.0, 200);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_cannot_be_written_says_so_at_the_start() {
        let database = TestDatabase::new(Backend::Sqlite);
        let service = Service::start(&database, None);
        let key = service.key.clone();
        drop(service);
        let mut command = read_only(database.folder());
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database.text()]);
        command.args(["--encryption-key-file", &database.folder().join("key").display().to_string()]);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains("cannot be written"), "{said}");
        let service = Service::start(&database, Some(&key));
        assert_eq!(ready(&service).await.0, 200, "nothing was lost");
    }

    /// What a power cut leaves of the last write: half of it. What was answered for is all there.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_torn_write_ahead_log_loses_nothing_that_was_answered_for() {
        let (database, sandbox) = (TestDatabase::new(Backend::Sqlite), sandbox(store(LINES)));
        let service = Service::start(&database, None);
        let key = service.key.clone();
        set_up(&service, &sandbox, LINES).await;
        let job = start_push(&service, &sandbox, 50).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(service);
        let wal = format!("{}-wal", database.text().strip_prefix("sqlite:").unwrap());
        let whole = std::fs::read(&wal).unwrap();
        assert!(whole.len() > 4_096, "there is something in it");
        let before = {
            let copy = tempfile::tempdir().unwrap();
            let to = copy.path().join("copy.db");
            std::fs::copy(database.text().strip_prefix("sqlite:").unwrap(), &to).unwrap();
            std::fs::write(format!("{}-wal", to.display()), &whole).unwrap();
            dump(&format!("sqlite:{}", to.display()))
        };
        // Half a page that repeats what is there, and half a page of noise.
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[32..32 + 2_000]);
        torn.extend((0..2_000_u32).map(|n| (n * 7 % 251) as u8));
        std::fs::write(&wal, &torn).unwrap();
        assert_eq!(dump(database.text()), before);
        let service = Service::start(&database, Some(&key));
        every_line_is_right(&service, &sandbox, &job, LINES).await;
        written_once(&sandbox, LINES);
    }
}

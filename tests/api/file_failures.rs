//! Failures of an SQLite file, for real: a full disk, a file that cannot be written, another process that holds it, a
//! torn write-ahead log. Nothing is lost, and `/readyz` is correct.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::program;
use crate::service::{Service, every_line_is_right, progress, set_up, start_push, store, written_once};
use crate::support::{Backend, Disk, TestDatabase, dump, read_only, sandbox};

/// The number of lines of a small SQLite service.
const LINES: i64 = 60;

async fn ready(service: &Service) -> (u16, Value) {
    service.try_ask(Method::GET, "/readyz", Value::Null).await.unwrap()
}

async fn add_company(service: &Service, name: &str) -> (u16, Value) {
    let company = json!({"external_id": name, "name": name});
    service.try_ask(Method::POST, "/api/v1/companies", company).await.unwrap()
}

/// The response of a service that cannot write: what to do, and no internal details.
fn rejected(reply: &(u16, Value)) {
    assert_eq!((reply.0, &reply.1["title"]), (503, &json!("Service unavailable")), "{}", reply.1);
    let text = reply.1.to_string();
    assert!(!text.contains("disk") && !text.contains("readonly") && !text.contains("sqlite"), "{text}");
}

/// Writes fail, reads continue, and `/readyz` reports it; once the disk has space, the service recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_rejects_writes_and_loses_nothing() {
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
        // The space left in the file's log has room for a few more.
        let reply = add_company(&service, &format!("LATE-{tries}")).await;
        if reply.0 != 201 || tries > 500 {
            break reply;
        }
        tries += 1;
    };
    rejected(&reply);
    assert_eq!(ready(&service).await.0, 503, "it cannot do its work");
    let companies = service.all("/companies?limit=500").await.len() as i64;
    assert_eq!(companies, LINES + tries, "reads go on; what was answered for is there, what was rejected is not");
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
    rejected(&add_company(&service, "LOCKED-OUT").await);
    assert_eq!(ready(&service).await.0, 503);
    assert_eq!(service.all("/companies?limit=500").await.len() as i64, LINES, "reads go on");
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(ready(&service).await.0, 200, "at once");
    every_line_is_right(&service, &sandbox, &job, LINES).await;
    written_once(&sandbox, LINES);
}

/// A second process on the same file would assume that the first is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_file_is_rejected() {
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
async fn a_read_only_file_is_reported_at_start() {
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

/// A power cut tears the last write in half. All confirmed writes are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_write_ahead_log_loses_no_confirmed_write() {
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
    // Half a page that repeats the existing content, and half a page of noise.
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[32..32 + 2_000]);
    torn.extend((0..2_000_u32).map(|n| (n * 7 % 251) as u8));
    std::fs::write(&wal, &torn).unwrap();
    assert_eq!(dump(database.text()), before);
    let service = Service::start(&database, Some(&key));
    every_line_is_right(&service, &sandbox, &job, LINES).await;
    written_once(&sandbox, LINES);
}

/// Somebody removed the file. Further writes to the open file would be lost with the process: the service reports it,
/// and does not create an empty file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_database_file_is_reported() {
    let database = TestDatabase::new(Backend::Sqlite);
    let service = Service::start(&database, None);
    assert_eq!(ready(&service).await.0, 200);
    let file = database.text().strip_prefix("sqlite:").unwrap();
    std::fs::remove_file(file).unwrap();
    assert_eq!(ready(&service).await.0, 503);
    // More requests at once than there are connections so far.
    let asked = (0..20).map(|_| service.try_ask(Method::GET, "/api/v1/companies", Value::Null));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().flatten().all(|(status, _)| [200, 503].contains(status)), "{answers:?}");
    assert!(!std::path::Path::new(file).exists(), "no empty one is made in its place");
}

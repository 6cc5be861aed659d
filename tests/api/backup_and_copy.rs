//! Backup, restore, and moving from one database to another, with the commands in the documents.

use std::process::{Command, Output};

use connectwise_billing::sandbox::{Fault, FaultKind};
use reqwest::Method;
use serde_json::json;

use crate::isolation::{a_failing_connection, rich, rich_store};
use crate::process::program;
use crate::service::Service;
use crate::support::{Backend, Dump, TestApp, TestDatabase, dump};

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    (output, text)
}

fn copy(from: &str, to: &str) -> (bool, String) {
    let (output, text) = run(program().args(["copy", "--from", from, "--to", to]));
    (output.status.success(), text)
}

/// The rows, without values that depend on the current minute.
fn kept(url: &str) -> Dump {
    let mut dump = dump(url);
    assert!(dump.remove("request_budgets").is_some());
    dump
}

/// A tenant with rows in every table, including rare values: fractions, corrections, failures, all of Unicode.
async fn richer(app: &TestApp) {
    let names = rich(app).await;
    app.company("RICH-2", "Größe 🎈 & \"Söhne\", \u{130}stanbul").await;
    let (product, line) = (&names["product"], &names["line"]);
    app.patch(&format!("/products/{product}"), &json!({"max_change_percent": "12.5", "max_change_units": "0.000001"}))
        .await
        .expect(200);
    app.patch(&format!("/billing-lines/{line}"), &json!({"block_size": "0.125"})).await.expect(200);
    app.usage("RICH-1", "RICH-PRODUCT", "0.000001").await;
    app.usage("RICH-1", "RICH-PRODUCT", "123456789.123456").await;
    let (dry, lines) = app.push(&json!({"dry_run": true})).await;
    assert_eq!(lines.iter().filter(|line| line["state"] == "would_push").count(), 1, "{lines:?}");
    let (job, _) = app.push(&json!({})).await;
    let job = job["id"].as_str().unwrap();
    app.post(&format!("/push-jobs/{job}/lines/drop"), &json!({})).await.expect(200);
    app.sandbox.fail(Fault::once(FaultKind::Status { status: 400, code: None, message: None }).on("PATCH"));
    let (_, lines) = app.push(&json!({"from_dry_run": dry["id"]})).await;
    assert!(lines.iter().any(|line| ["failed", "held"].contains(&line["state"].as_str().unwrap())), "{lines:?}");
    a_failing_connection(app).await;
    // A process that runs on a copy must change nothing, so it must send nothing.
    app.patch(&format!("/webhooks/{}", names["webhook"]), &json!({"enabled": false})).await.expect(200);
    let key = app.post("/api-keys", &json!({"name": "old"})).await.expect(201);
    app.delete(&format!("/api-keys/{}", key["api_key"]["id"].as_str().unwrap_or_else(|| panic!("{key}")))).await;
}

#[test]
fn a_rejected_copy_reports_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let (done, said) = copy(&at("none.db"), &at("new.db"));
    assert!(!done && said.contains("there is no database at"), "{said}");
    std::fs::write(folder.path().join("old.db"), "").unwrap();
    let (done, said) = copy(&at("old.db"), &at("new.db"));
    assert!(!done && said.contains("run migrate on it first"), "{said}");
    assert!(!said.contains("panicked"));
}

/// A backup during writes is a consistent snapshot: every company has its line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sqlite_database_is_backed_up_while_it_is_written() {
    let app = TestApp::start_yesterday(Backend::Sqlite, rich_store()).await;
    richer(&app).await;
    let file = std::env::temp_dir().join(format!("backup-{}.db", uuid::Uuid::now_v7().simple()));
    let arguments = ["backup", "--database-url", app.database_url(), "--to", file.to_str().unwrap()].map(str::to_owned);
    let backup = tokio::task::spawn_blocking(move || run(program().args(arguments)));
    let mut written = 0;
    while !backup.is_finished() {
        app.company(&format!("DURING-{written}"), "Written meanwhile").await;
        written += 1;
    }
    let (output, said) = backup.await.unwrap();
    assert!(output.status.success() && said.contains("keep"), "{said}");
    let copied = kept(&format!("sqlite:{}", file.display()));
    let companies = copied["companies"].len();
    assert!((2..=2 + written).contains(&companies), "{companies} of {written}");
    assert_eq!(copied["billing_lines"].len(), companies, "one product: a line for each company");

    // Restored: the backup replaces the file, and the service continues.
    let (key, database) = (app.key.clone(), app.stop().await);
    let place = database.text().strip_prefix("sqlite:").unwrap().to_owned();
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{place}{rest}"));
    }
    std::fs::rename(&file, &place).unwrap();
    let service = Service::start_with_key(database.text(), &database.folder().join("test.key"), &key);
    assert_eq!(service.all("/companies?limit=500").await.len(), companies);
    let (output, said) = run(program().args(["backup", "--database-url", database.text(), "--to", &place]));
    assert!(!output.status.success() && said.contains("exists already"), "{said}");
}

mod postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_moves_to_postgresql_and_back() {
        let app = TestApp::start_yesterday(Backend::Sqlite, rich_store()).await;
        richer(&app).await;
        let from = app.database_url().to_owned();
        let postgres = TestDatabase::empty(Backend::Postgres);
        let (moved, said) = copy(&from, postgres.text());
        assert!(!moved && said.contains("another process serves from"), "{said}");
        let (key, sandbox) = (app.key.clone(), app.sandbox.clone());
        let database = app.stop().await;
        let mut before = kept(&from);
        assert!(before.values().all(|rows| !rows.is_empty()));

        let (moved, said) = copy(&from, postgres.text());
        assert!(moved && said.contains("1  push_schedule_runs") && said.contains("each compared"), "{said}");
        assert!(said.contains("test.key") || said.contains("the encryption key"), "{said}");
        assert_eq!(kept(postgres.text()), before);
        let (again, said) = copy(&from, postgres.text());
        assert!(!again && said.contains("is not empty"), "{said}");

        // The service continues there, and can decrypt the keys.
        let service = Service::start_with_key(postgres.text(), &database.folder().join("test.key"), &key);
        let test = service.ask(Method::POST, "/connection/test", json!({})).await;
        assert_eq!(test["passed"], true, "{test}");
        // The test ends the connection's failure and finds the agreement recap; nothing else changes.
        before.insert("connection_failures".to_owned(), Vec::new());
        before.get_mut("cw_refreshes").unwrap()[0]["recap_list"] = json!("finance/agreementrecap/");
        let back = format!("sqlite:{}", database.folder().join("back.db").display());
        let (moved, said) = copy(postgres.text(), &back);
        assert!(!moved && said.contains("stop it first"), "{said}");
        drop(service);
        wait_for_no_one(postgres.text());

        let (moved, said) = copy(postgres.text(), &back);
        assert!(moved, "{said}");
        assert_eq!(kept(&back), before);
        drop(sandbox);
    }

    /// A killed process's connections end when PostgreSQL notices.
    fn wait_for_no_one(url: &str) {
        use diesel::{Connection, PgConnection, RunQueryDsl};
        let mut conn = PgConnection::establish(url).unwrap();
        let others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while diesel::sql_query(others).execute(&mut conn).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_postgresql_database_is_restored_from_its_dump() {
        let app = TestApp::start_yesterday(Backend::Postgres, rich_store()).await;
        richer(&app).await;
        let (from, file) = (app.database_url().to_owned(), tempfile::NamedTempFile::new().unwrap());
        let before = kept(&from);
        let to = TestDatabase::empty(Backend::Postgres);
        let path = file.path().to_str().unwrap();
        for (tool, arguments) in [
            ("pg_dump", vec!["--format=custom", "--file", path, &from]),
            ("pg_restore", vec!["--no-owner", "--exit-on-error", "--dbname", to.text(), path]),
        ] {
            let (output, said) = run(Command::new(tool).args(arguments));
            assert!(output.status.success(), "{tool}: {said}");
        }
        assert_eq!(kept(to.text()), before);
        let service = Service::start_with_key(to.text(), &app.key_file(), &app.key);
        assert_eq!(service.all("/companies?limit=500").await.len(), 2);
    }
}

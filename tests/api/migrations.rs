//! Migrations run once, and the previous version can run with their additions.

use connectwise_billing::app::Application;
use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::sample;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use serde_json::json;

use crate::support::{Backend, TestApp, TestDatabase, test_config};

async fn a_second_start_finds_nothing_to_do(backend: Backend) {
    let database = TestDatabase::empty(backend);
    let config = test_config(&database);
    let mut first = Application::build(&config, Clock::system()).await.unwrap();
    assert!(first.first_key().is_some());
    drop(first);
    let mut second = Application::build(&config, Clock::system()).await.unwrap();
    assert!(second.first_key().is_none(), "the key is made once");
}

/// The statements of a migration, without their comments.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap()).collect();
    let statements = code.join(" ");
    statements
        .split(';')
        .map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|one| !one.is_empty())
        .collect()
}

/// Why the previous version could not run after this statement; `None` if it can.
fn breaks_the_version_before(statement: &str, new_tables: &[String]) -> Option<&'static str> {
    let upper = statement.to_uppercase();
    let in_new = |after: &str| {
        let table = upper.split(after).nth(1).and_then(|rest| rest.split([' ', '(']).find(|word| !word.is_empty()));
        table.is_some_and(|table| new_tables.contains(&table.to_owned()))
    };
    // They change how PostgreSQL plans and stores, not what.
    let settings = [" SET (N_DISTINCT ", " SET (FILLFACTOR "];
    if upper.starts_with("CREATE TABLE")
        || upper.starts_with("CREATE UNLOGGED TABLE")
        || upper.starts_with("CREATE INDEX")
        || upper.starts_with("CREATE FUNCTION")
        || upper.starts_with("ANALYZE ")
        || (upper.starts_with("ALTER TABLE") && settings.iter().any(|setting| upper.contains(setting)))
        || upper == "SELECT 1"
        // The end of a trigger or function, whose body has a semicolon.
        || upper == "END"
        || upper == "END $$"
    {
        return None;
    }
    if upper.starts_with("CREATE TRIGGER") {
        return (!in_new(" ON ")).then_some("the version before may do what the trigger rejects");
    }
    if upper.starts_with("CREATE UNIQUE INDEX") {
        return (!in_new(" ON ")).then_some("what the version before writes twice would be rejected");
    }
    if upper.starts_with("ALTER TABLE") && upper.contains(" ADD COLUMN ") {
        let fills_itself = !upper.contains("NOT NULL") || upper.contains(" DEFAULT ");
        let refers = ["REFERENCES", "UNIQUE", "CHECK"].iter().any(|word| upper.contains(word));
        return (!fills_itself || refers).then_some("the version before does not know what to write there");
    }
    Some("it takes away or changes what the version before uses")
}

/// The rule of docs/OPERATIONS.md: the previous version need not know what a migration adds.
#[test]
fn migrations_leave_the_version_before_running() {
    let mut read = 0;
    for tree in ["sqlite", "postgres"] {
        let folder = format!("{}/migrations/{tree}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for migration in &names[1..] {
            let text = std::fs::read_to_string(migration.join("up.sql")).unwrap();
            if text.starts_with("-- contraction: unused since ") {
                continue;
            }
            let statements = statements(&text);
            let made =
                |one: &String| one.to_uppercase().split(" TABLE ").nth(1)?.split([' ', '(']).next().map(str::to_owned);
            let new: Vec<String> =
                statements.iter().filter(|one| one.to_uppercase().starts_with("CREATE")).filter_map(made).collect();
            for statement in &statements {
                read += 1;
                let why = breaks_the_version_before(statement, &new);
                assert_eq!(why, None, "{}: {statement}", migration.display());
            }
        }
    }
    assert!(read >= 20, "{read} statements");
    for bad in [
        "ALTER TABLE products DROP COLUMN name",
        "ALTER TABLE products RENAME COLUMN name TO title",
        "ALTER TABLE products ADD COLUMN size TEXT NOT NULL",
        "DROP TABLE products",
        "UPDATE products SET name = 'x'",
        "CREATE UNIQUE INDEX x ON products (name)",
        "CREATE TRIGGER x BEFORE UPDATE ON products BEGIN SELECT RAISE(ABORT, 'no')",
    ] {
        assert!(breaks_the_version_before(bad, &["OTHER".to_owned()]).is_some(), "{bad}");
    }
}

/// This version acts as the older one: a newer one has added to the schema and recorded it.
async fn it_runs_on_a_newer_schema(backend: Backend) {
    let app = TestApp::connected(backend, sample::many(1, 1, 1)).await;
    let newer = "CREATE TABLE newer_things (id TEXT PRIMARY KEY NOT NULL); \
                 ALTER TABLE billing_lines ADD COLUMN newer TEXT; \
                 ALTER TABLE push_lines ADD COLUMN newer BOOLEAN NOT NULL DEFAULT FALSE; \
                 CREATE INDEX newer_lines ON push_lines (newer, id); \
                 INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000001')";
    match backend {
        Backend::Sqlite => {
            let path = app.database_url().strip_prefix("sqlite:").unwrap();
            SqliteConnection::establish(path).unwrap().batch_execute(newer).unwrap();
        }
        Backend::Postgres => PgConnection::establish(app.database_url()).unwrap().batch_execute(newer).unwrap(),
    }
    let goes_on = async |app: &TestApp, code: &str| {
        app.outside("/readyz").await.expect(200);
        app.product(code).await;
        app.company(&format!("of-{code}"), "Customer 000001").await;
        let (job, _) = app.push(&json!({})).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    };
    goes_on(&app, "FIRST").await;
    let (key, clock, sandbox, database) = (app.key.clone(), app.clock.clone(), app.sandbox.clone(), app.stop().await);
    let again = TestApp::on(database, key, clock, sandbox).await;
    goes_on(&again, "AFTER-A-RESTART").await;
}

on_both!(a_second_start_finds_nothing_to_do, it_runs_on_a_newer_schema);

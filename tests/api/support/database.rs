//! A database for one test.

use std::path::Path;
use std::sync::OnceLock;

use connectwise_billing::app::DatabaseUrl;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

use crate::process::program;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The template for copies: an SQLite file's bytes, or the name of a PostgreSQL database.
pub enum Original {
    Sqlite(Vec<u8>),
    Postgres(String),
}

pub struct TestDatabase {
    url: String,
    folder: TempDir,
}

impl TestDatabase {
    /// A database with the current schema and no rows: a copy of a template, which is faster than migrating each.
    pub fn new(backend: Backend) -> Self {
        static TEMPLATES: [OnceLock<Original>; 2] = [OnceLock::new(), OnceLock::new()];
        let template = &TEMPLATES[usize::from(backend == Backend::Postgres)];
        Self::copy(template.get_or_init(|| {
            let empty = Self::empty(backend);
            migrate(empty.text());
            empty.into_original()
        }))
    }

    /// A copy of a database that is not in use.
    pub fn copy(original: &Original) -> Self {
        match original {
            Original::Postgres(name) => Self::at(new_postgres(name)),
            Original::Sqlite(bytes) => {
                let database = Self::empty(Backend::Sqlite);
                std::fs::write(database.text().strip_prefix("sqlite:").unwrap(), bytes).unwrap();
                database
            }
        }
    }

    /// Its content, to be copied. Everything that used it must have ended.
    pub fn into_original(self) -> Original {
        match self.text().strip_prefix("sqlite:") {
            Some(file) => {
                // Part of the content may still be in the write-ahead log.
                let mut conn = SqliteConnection::establish(file).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 10000; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
                Original::Sqlite(std::fs::read(file).unwrap())
            }
            None => {
                let name = self.name().to_owned();
                // A recently closed connection may still be open on the server.
                as_admin(&format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
                ));
                Original::Postgres(name)
            }
        }
    }

    /// Deletes it, for a test that creates thousands. The others are deleted with their server.
    pub fn remove(self) {
        if self.text().starts_with("postgres:") {
            as_admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name()));
        }
    }

    /// A PostgreSQL database's name.
    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap().split('?').next().unwrap()
    }

    /// A database without any table.
    pub fn empty(backend: Backend) -> Self {
        if backend == Backend::Postgres {
            return Self::at(new_postgres("template0"));
        }
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}", folder.path().join("test.db").display()), folder }
    }

    /// An existing database.
    pub fn at(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().unwrap() }
    }

    pub fn url(&self) -> DatabaseUrl {
        self.url.parse().unwrap()
    }

    pub fn text(&self) -> &str {
        &self.url
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Uses the command, whose process closes all connections at its end: a template must not be in use while it is copied.
fn migrate(url: &str) {
    let output = program().args(["migrate", "--database-url", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn server() -> String {
    std::env::var("CWB_TEST_POSTGRES_URL")
        .expect("CWB_TEST_POSTGRES_URL names no PostgreSQL: run scripts/test, which starts one")
}

fn as_admin(command: &str) {
    let mut admin = PgConnection::establish(&format!("{}/postgres?sslmode=disable", server())).unwrap();
    diesel::sql_query(command).execute(&mut admin).unwrap();
}

/// Creates a database; returns its address.
fn new_postgres(template: &str) -> String {
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    as_admin(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
    format!("{}/{name}?sslmode=disable", server())
}

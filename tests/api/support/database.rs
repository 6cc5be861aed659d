//! A database for one test.

use std::path::Path;
use std::sync::OnceLock;

use connectwise_billing::app::DatabaseUrl;
use diesel::{Connection, PgConnection, RunQueryDsl};
use tempfile::TempDir;

use crate::process::program;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

pub struct TestDatabase {
    url: String,
    folder: TempDir,
}

impl TestDatabase {
    /// A database with the present schema and no rows: a copy of a template, which is quicker than to migrate each.
    pub fn new(backend: Backend) -> Self {
        if backend == Backend::Postgres {
            return Self::at(new_postgres("test", postgres_template()));
        }
        let database = Self::empty(backend);
        std::fs::write(database.text().strip_prefix("sqlite:").unwrap(), sqlite_template()).unwrap();
        database
    }

    /// A database without any table.
    pub fn empty(backend: Backend) -> Self {
        if backend == Backend::Postgres {
            return Self::at(new_postgres("test", "template0"));
        }
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}", folder.path().join("test.db").display()), folder }
    }

    /// One that is there already.
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

/// The bytes of a migrated SQLite file, made once.
fn sqlite_template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("template.db");
        migrate(&format!("sqlite:{}", file.display()));
        std::fs::read(file).unwrap()
    })
}

/// The name of a migrated PostgreSQL database, made once.
fn postgres_template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let url = new_postgres("template", "template0");
        migrate(&url);
        url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned()
    })
}

/// By the command, whose process has closed all its connections when it ends: nobody may use a template that is copied.
fn migrate(url: &str) {
    let output = program().args(["migrate", "--database-url", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn new_postgres(kind: &str, template: &str) -> String {
    let server = std::env::var("CWB_TEST_POSTGRES_URL")
        .expect("CWB_TEST_POSTGRES_URL names no PostgreSQL: run scripts/test, which starts one");
    let name = format!("{kind}_{}", uuid::Uuid::now_v7().simple());
    let mut admin = PgConnection::establish(&format!("{server}/postgres?sslmode=disable")).unwrap();
    diesel::sql_query(format!("CREATE DATABASE {name} TEMPLATE {template}")).execute(&mut admin).unwrap();
    format!("{server}/{name}?sslmode=disable")
}

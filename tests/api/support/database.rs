//! A database for one test.

use std::path::Path;

use connectwise_billing::app::DatabaseUrl;
use diesel::{Connection, PgConnection, RunQueryDsl};
use tempfile::TempDir;

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
    pub fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite:{}", folder.path().join("test.db").display()),
            Backend::Postgres => new_postgres(),
        };
        Self { url, folder }
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

fn new_postgres() -> String {
    let server = std::env::var("CWB_TEST_POSTGRES_URL")
        .expect("CWB_TEST_POSTGRES_URL names no PostgreSQL: run scripts/test, which starts one");
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut admin = PgConnection::establish(&format!("{server}/postgres?sslmode=disable")).unwrap();
    diesel::sql_query(format!("CREATE DATABASE {name} TEMPLATE template0")).execute(&mut admin).unwrap();
    format!("{server}/{name}?sslmode=disable")
}

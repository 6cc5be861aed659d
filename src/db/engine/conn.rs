//! One connection type for both databases, their settings, and transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::connection::{AnsiTransactionManager, Instrumentation, InstrumentationEvent, TransactionManager};
use diesel::{Connection, PgConnection, QueryResult, SqliteConnection, connection::SimpleConnection};

/// A connection to either database. Most queries run on it unchanged.
#[derive(diesel::MultiConnection)]
pub enum Conn {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// SQLite.
    Sqlite(SqliteConnection),
}

/// Compiles a body once for each database. Needed where diesel's enum has no support: upserts and multi-row inserts.
macro_rules! on_each {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::db::engine::conn::Conn::Postgres($c) => $body,
            $crate::db::engine::conn::Conn::Sqlite($c) => $body,
        }
    };
}
pub(in crate::db) use on_each;

/// Runs a query whose SQL is always the same, such as `run_fixed!(self, query, load)`. diesel recognises such a query by
/// its type and does not write its SQL again, but only on the database's own connection type. Worth it for queries that
/// run often; a boxed query gains nothing.
macro_rules! run_fixed {
    ($tx:expr, $query:expr, $method:ident) => {{ $crate::db::engine::conn::on_each!(&mut *$tx.conn, |c| diesel::RunQueryDsl::$method($query, c)) }};
}
pub(in crate::db) use run_fixed;

/// A PostgreSQL URL or the path of an SQLite file, depending only on the scheme of the database URL.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::db) enum DatabaseTarget {
    Postgres(String),
    Sqlite(String),
}

/// The settings of every connection to PostgreSQL. Our transactions wait only for the database and for short
/// computations, so a transaction that stays idle belongs to a process that was stopped or cut off. Its locks must be
/// released before other writers time out.
pub(in crate::db) const POSTGRES_SET_UP: &str = "SET TIME ZONE 'UTC'; SET statement_timeout = '60s'; SET lock_timeout = '15s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET application_name = 'connectwise-billing';";

/// Adds the network timeouts that the URL does not set itself. With them, a lost database is detected within seconds.
/// TCP alone gives up only after a quarter of an hour.
fn with_time_outs(url: &str) -> String {
    let mut url = url.to_owned();
    for (name, value) in [
        ("connect_timeout", "5"),
        ("tcp_user_timeout", "10000"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
        ("keepalives_count", "3"),
    ] {
        if !url.contains(name) {
            let join = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{join}{name}={value}"));
        }
    }
    url
}

/// A path as an SQLite URI, with special characters escaped (<https://www.sqlite.org/uri.html>). The URI sets the open
/// mode, because SQLite by default creates a missing file.
fn sqlite_address(path: &str, mode: &str) -> String {
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // After two slashes, SQLite expects a host.
    let host = if path.starts_with('/') { "//" } else { "" };
    format!("file:{host}{path}?mode={mode}")
}

impl DatabaseTarget {
    /// Connects to an existing database.
    pub(in crate::db) fn connect(&self) -> diesel::ConnectionResult<Conn> {
        self.establish("rw", Arc::default())
    }

    /// Connects to an existing database, and counts the connection's statements.
    pub(in crate::db) fn connect_counted(&self, counts: &Arc<Counts>) -> diesel::ConnectionResult<Conn> {
        self.establish("rw", counts.clone())
    }

    /// Connects, and creates a missing SQLite file.
    pub(in crate::db) fn connect_or_create(&self) -> diesel::ConnectionResult<Conn> {
        self.establish("rwc", Arc::default())
    }

    fn establish(&self, mode: &str, counts: Arc<Counts>) -> diesel::ConnectionResult<Conn> {
        let mut conn = match self {
            Self::Postgres(url) => Conn::Postgres(PgConnection::establish(&with_time_outs(url))?),
            Self::Sqlite(path) => Conn::Sqlite(SqliteConnection::establish(&sqlite_address(path, mode))?),
        };
        let set_up = match self {
            // The writer semaphore queues our own writers. busy_timeout is for other processes (a backup, a shell).
            Self::Sqlite(_) => {
                // A confirmed write must survive a power cut, so each commit is synced to the disk.
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA cache_size = -8000;"
            }
            Self::Postgres(_) => POSTGRES_SET_UP,
        };
        match &mut conn {
            Conn::Postgres(c) => c.set_instrumentation(Statements::new(counts)),
            Conn::Sqlite(c) => c.set_instrumentation(Statements::new(counts)),
        }
        conn.batch_execute(set_up).map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

/// The numbers of statements and commits that one connection pool has sent to its database.
#[derive(Debug, Default)]
pub struct Counts {
    /// The number of statements, including those that begin and end transactions.
    pub statements: AtomicU64,
    /// The number of transactions that may have written and were committed.
    pub commits: AtomicU64,
}

/// Counts the statements sent to the database. At the level `trace` it logs their text, without values.
struct Statements {
    all: metrics::Counter,
    of_pool: Arc<Counts>,
}

impl Statements {
    fn new(of_pool: Arc<Counts>) -> Self {
        Self { all: metrics::counter!("database_statements_total"), of_pool }
    }
}

impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            self.all.increment(1);
            self.of_pool.statements.fetch_add(1, Ordering::Relaxed);
            if tracing::enabled!(tracing::Level::TRACE) {
                let text = query.to_string();
                // Values may be a customer's data or a key. They come after this word.
                let sql = text.split("binds").next().unwrap_or_default();
                tracing::trace!(sql = sql.trim_end_matches([' ', '-']), "statement");
            }
        }
    }
}

/// Runs a body in a transaction. On SQLite it takes the write lock at the start, so that a write after a read never
/// fails with "database is locked". Inside, `conn.transaction` creates savepoints.
pub(in crate::db) fn write_transaction<T, E: From<diesel::result::Error>>(
    conn: &mut Conn,
    body: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    match conn {
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN")?,
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?,
    }
    finish(conn, body)
}

/// Runs a read-only body in a transaction on one snapshot of the database.
pub(in crate::db) fn read_transaction<T, E: From<diesel::result::Error>>(
    conn: &mut Conn,
    body: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    match conn {
        Conn::Postgres(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        }
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN")?,
    }
    finish(conn, body)
}

type Manager = <Conn as Connection>::TransactionManager;

fn finish<T, E: From<diesel::result::Error>>(
    conn: &mut Conn,
    body: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    match body(conn) {
        Ok(value) => {
            Manager::commit_transaction(conn)?;
            Ok(value)
        }
        Err(error) => {
            let rolled_back: QueryResult<()> = Manager::rollback_transaction(conn);
            if let Err(cause) = rolled_back {
                tracing::warn!(cause = %cause, "failed to roll back a transaction; its connection is dropped");
            }
            Err(error)
        }
    }
}

//! The connection pool and transactions. All database access goes through [`Db`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::{SimpleConnection, TransactionManager};
use diesel::r2d2::R2D2Connection;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::announcements::Announcements;
use super::conn::{Conn, Counts, read_transaction, write_transaction};
use super::file::{ensure_file_exists, try_to_grow, try_to_write};
use super::keyed_locks::KeyedLocks;
use super::migrate;
use super::record_index_cache::RecordIndexes;
use super::tx::{SystemTx, Tx};
use super::url::DatabaseUrl;
use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};

/// How long a writer waits for earlier writers.
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a readiness probe waits for a connection. Probes time out after a few seconds.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection is trusted after it last worked.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A connection of the pool.
struct PooledConn {
    conn: Conn,
    /// When it last worked; `None` if it must be tested before its next use.
    worked_at: Option<Instant>,
}

impl PooledConn {
    /// Runs work. Afterwards the connection counts as tested, unless the database was unavailable.
    fn run<T>(&mut self, body: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        self.worked_at = None;
        let answer = body(&mut self.conn);
        if !matches!(answer, Err(Error::Unavailable(_))) {
            self.worked_at = Some(Instant::now());
        }
        answer
    }

    /// Whether the connection worked just now, and the server has not closed it since.
    fn is_trusted(&mut self) -> bool {
        if self.worked_at.is_none_or(|at| at.elapsed() >= TRUSTED_FOR) {
            return false;
        }
        match &mut self.conn {
            // Reads any data received so far, without waiting. Fails if the connection was closed.
            Conn::Postgres(conn) => !matches!(conn.notifications_iter().next(), Some(Err(_))),
            Conn::Sqlite(_) => true,
        }
    }
}

#[derive(Debug)]
struct Manager {
    url: DatabaseUrl,
    counts: Arc<Counts>,
}

impl r2d2::ManageConnection for Manager {
    type Connection = PooledConn;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<PooledConn, Self::Error> {
        let conn = self.url.connect_counted(&self.counts).map_err(diesel::r2d2::Error::ConnectionError)?;
        Ok(PooledConn { conn, worked_at: Some(Instant::now()) })
    }

    /// Tests a connection unless it worked just now, because a test is a round trip to the database.
    fn is_valid(&self, pooled: &mut PooledConn) -> Result<(), Self::Error> {
        if pooled.is_trusted() {
            return Ok(());
        }
        pooled.conn.batch_execute("SELECT 1").map_err(diesel::r2d2::Error::QueryError)
    }

    /// After a panic inside a transaction, the connection must not be reused.
    fn has_broken(&self, pooled: &mut PooledConn) -> bool {
        let conn = &mut pooled.conn;
        <Conn as diesel::Connection>::TransactionManager::is_broken_transaction_manager(conn) || conn.is_broken()
    }
}

/// The database. Clones share one connection pool.
#[derive(Clone)]
pub struct Db {
    /// The database's address. No other process uses an SQLite file.
    url: DatabaseUrl,
    pool: r2d2::Pool<Manager>,
    /// All callers queue here for a connection. In the pool's own queue, each would block a thread.
    connections: Arc<Semaphore>,
    /// Writers queue here rather than for a connection. SQLite allows one writer at a time.
    writers: Arc<Semaphore>,
    /// Writers that need the same database lock queue here first: those of one tenant, and those that claim push lines.
    /// Otherwise each would wait on a connection of its own, and the database would grant the lock to all waiting
    /// connections of a stopped process, one after the other.
    turns: Arc<KeyedLocks>,
    record_indexes: Arc<RecordIndexes>,
    /// Whether a write failed because the database was unavailable (full disk, read-only file, lock) and `is_ready` has
    /// not written successfully since.
    unwritable: Arc<AtomicBool>,
    counts: Arc<Counts>,
    announcements: Arc<Announcements>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Db")
    }
}

impl Db {
    /// Opens the database. Creates a missing SQLite file and its folder.
    pub fn open(url: &DatabaseUrl, connections: u32) -> Result<Self> {
        if let Some(folder) = url.file().and_then(std::path::Path::parent) {
            std::fs::create_dir_all(folder).map_err(Error::internal)?;
        }
        // Opens one connection directly, so that its error is reported instead of a timeout of the pool.
        drop(url.connect_or_create().map_err(|error| Error::Unavailable(Box::new(error)))?);
        let counts = Arc::new(Counts::default());
        let pool = r2d2::Pool::builder()
            .max_size(connections)
            .min_idle(Some(1))
            .connection_timeout(CONNECTION_TIMEOUT)
            .test_on_check_out(url.file().is_none())
            .error_handler(Box::new(LogErrors))
            .build(Manager { url: url.clone(), counts: counts.clone() })
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        // On PostgreSQL writers may wait for one another and for other replicas, so a quarter of the connections is
        // reserved for reads.
        let writers = if url.file().is_some() { 1 } else { (connections - connections.div_ceil(4)).max(1) as usize };
        let writers = Arc::new(Semaphore::new(writers));
        let connections = Arc::new(Semaphore::new(connections as usize));
        let (turns, record_indexes, unwritable) = (Arc::default(), Arc::default(), Arc::default());
        let (url, announcements) = (url.clone(), Arc::default());
        Ok(Self { url, pool, connections, writers, turns, record_indexes, unwritable, counts, announcements })
    }

    /// Whether other processes may use the same database.
    pub fn is_shared(&self) -> bool {
        self.url.file().is_none()
    }

    /// Returns the number of statements that were sent so far, and of writing transactions that were committed.
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.statements.load(Ordering::Relaxed), self.counts.commits.load(Ordering::Relaxed))
    }

    /// Announces new work to the other processes on the same PostgreSQL.
    pub fn announce_work(&self) {
        self.announcements.announce();
    }

    /// Waits until work is announced; forever unless [`Self::exchange_announcements`] runs.
    pub async fn work_announced(&self) {
        self.announcements.received().await;
    }

    /// Starts to exchange announcements with the other processes, until `stop`. Does nothing on SQLite, which has one
    /// process.
    pub fn exchange_announcements(&self, stop: CancellationToken) {
        if self.is_shared() {
            self.announcements.clone().exchange(self.url.clone(), stop);
        }
    }

    /// Migrates the schema and returns the names of the applied migrations.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        self.blocking(migrate::up).await
    }

    /// Whether the database responds in time, accepts writes, and has the current schema.
    pub async fn is_ready(&self) -> Result<bool> {
        let (unwritable, url) = (self.unwritable.clone(), self.url.clone());
        let look = move |conn: &mut Conn| {
            ensure_file_exists(url.file()).map_err(|gone| Error::Unavailable(gone.into()))?;
            if unwritable.load(Ordering::Relaxed) {
                try_to_write(conn)?;
                try_to_grow(url.file())?;
                unwritable.store(false, Ordering::Relaxed);
            }
            migrate::is_current(conn)
        };
        // An outer limit, in case a pooled connection does not respond.
        let answer = tokio::time::timeout(READINESS_TIMEOUT + Duration::from_secs(1), self.check_twice(look)).await;
        answer.map_err(|late| Error::Unavailable(Box::new(late)))?
    }

    /// Runs a check. If its connection to PostgreSQL turns out to be lost, runs it again with another, because the
    /// database itself may well respond.
    async fn check_twice<T: Send + 'static>(
        &self,
        check: impl FnOnce(&mut Conn) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let begun = Instant::now();
        let first = self.blocking_within(READINESS_TIMEOUT, check.clone()).await;
        let left = READINESS_TIMEOUT.saturating_sub(begun.elapsed());
        match first {
            Err(Error::Unavailable(_)) if self.is_shared() && !left.is_zero() => {
                self.blocking_within(left, check).await
            }
            answer => answer,
        }
    }

    /// Reads within one tenant, in one transaction and from one snapshot.
    pub async fn read<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tenant, record_indexes) = (tenant.clone(), self.record_indexes.clone());
        let read =
            move |conn: &mut Conn| body(&mut SystemTx { conn, record_indexes: &record_indexes }.for_tenant(&tenant));
        self.blocking(move |conn| read_transaction(conn, read)).await
    }

    /// Writes within one tenant, in one transaction. An error rolls it back. The body cannot wait for the network.
    pub async fn write<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let of_tenant = tenant.clone();
        let work = move |tx: &mut SystemTx<'_>| {
            tx.lock(of_tenant.as_str())?;
            body(&mut tx.for_tenant(&of_tenant))
        };
        self.write_system_in_turn(tenant.as_str(), work).await
    }

    /// Same as [`Self::write`], but rolls back, to show what a write would do.
    pub async fn write_and_roll_back<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (send, receive) = oneshot::channel();
        let work = move |tx: &mut Tx<'_>| -> Result<T> {
            drop(send.send(body(tx)?));
            // An error rolls back.
            Err(Error::internal("rolled back"))
        };
        let outcome = self.write(tenant, work).await;
        receive.await.or(outcome)
    }

    /// Reads within one tenant with one statement, which needs no transaction: a statement reads from one snapshot.
    pub async fn query<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let tenant = tenant.clone();
        self.query_system(move |tx| body(&mut tx.for_tenant(&tenant))).await
    }

    /// Reads across tenants, in one transaction and from one snapshot.
    pub async fn read_system<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut SystemTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let record_indexes = self.record_indexes.clone();
        let read = move |conn: &mut Conn| body(&mut SystemTx { conn, record_indexes: &record_indexes });
        self.blocking(move |conn| read_transaction(conn, read)).await
    }

    /// Reads across tenants with one statement, which needs no transaction.
    pub async fn query_system<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut SystemTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let record_indexes = self.record_indexes.clone();
        self.blocking(move |conn| body(&mut SystemTx { conn, record_indexes: &record_indexes })).await
    }

    /// Writes across tenants, in one transaction.
    pub async fn write_system<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut SystemTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_since(tokio::time::Instant::now(), body).await
    }

    /// Writes across tenants. Within this process, writes with the same name run one after another: use it for writes
    /// that would wait for the same lock or the same rows.
    pub async fn write_system_in_turn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce(&mut SystemTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let begun = tokio::time::Instant::now();
        let _turn = before(begun + WRITER_TIMEOUT, self.turns.wait(name)).await?;
        self.write_since(begun, body).await
    }

    /// Writes across tenants, for a caller that has been waiting since `begun`.
    async fn write_since<T: Send + 'static>(
        &self,
        begun: tokio::time::Instant,
        body: impl FnOnce(&mut SystemTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _turn = before(begun + WRITER_TIMEOUT, self.writers.acquire()).await?.map_err(Error::internal)?;
        let record_indexes = self.record_indexes.clone();
        let write = move |conn: &mut Conn| body(&mut SystemTx { conn, record_indexes: &record_indexes });
        let written = self.blocking(move |conn| write_transaction(conn, write)).await;
        // A success proves nothing: a worker that found no work has written nothing. So `is_ready` tries a write.
        match &written {
            Err(Error::Unavailable(_)) => self.unwritable.store(true, Ordering::Relaxed),
            Err(_) => {}
            Ok(_) => drop(self.counts.commits.fetch_add(1, Ordering::Relaxed)),
        }
        written
    }

    /// Runs a write without a transaction, after waiting for a writer's slot.
    pub(in crate::db) async fn with_writer<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let until = tokio::time::Instant::now() + WRITER_TIMEOUT;
        let _turn = before(until, self.writers.acquire()).await?.map_err(Error::internal)?;
        self.blocking(body).await
    }

    /// Runs work on a thread for blocking calls, within the caller's log span.
    pub(in crate::db) async fn blocking<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking_within(CONNECTION_TIMEOUT, body).await
    }

    /// Same as [`Self::blocking`], but waits at most `wait` for a connection.
    async fn blocking_within<T: Send + 'static>(
        &self,
        wait: Duration,
        body: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let until = tokio::time::Instant::now() + wait;
        let turn = before(until, self.connections.clone().acquire_owned()).await?.map_err(Error::internal)?;
        let (pool, span) = (self.pool.clone(), tracing::Span::current());
        let task = tokio::task::spawn_blocking(move || {
            // Kept until the connection is back in the pool, even if the caller is gone.
            let _turn = turn;
            span.in_scope(|| {
                let wait = until.saturating_duration_since(tokio::time::Instant::now());
                let mut pooled = pool.get_timeout(wait).map_err(|error| Error::Unavailable(Box::new(error)))?;
                pooled.run(body)
            })
        });
        task.await.map_err(Error::internal)?
    }
}

/// Waits for a turn, but no longer than until the given time.
async fn before<T>(until: tokio::time::Instant, turn: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout_at(until, turn).await.map_err(|late| Error::Unavailable(Box::new(late)))
}

#[derive(Debug)]
struct LogErrors;

impl r2d2::HandleError<diesel::r2d2::Error> for LogErrors {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        tracing::warn!(cause = %error, "failed to open a database connection");
    }
}

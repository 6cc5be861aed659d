//! Announces new work to the other processes on the same PostgreSQL database (`LISTEN`, `NOTIFY`), so that they need
//! not wait until they next poll for it. An announcement that is lost only delays the work until then. An SQLite
//! database has one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::Integer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::conn::Conn;
use super::url::DatabaseUrl;
use crate::domain::{Error, Result};

const LISTEN: &str = "LISTEN connectwise_billing_work";
const NOTIFY: &str = "NOTIFY connectwise_billing_work";
/// How often announcements are sent and received. Receiving reads the connection's socket and sends no statement.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(50);
/// How many intervals to wait before connecting again: two seconds.
const INTERVALS_BEFORE_RETRY: usize = 40;

/// The announcements of a process.
#[derive(Debug, Default)]
pub(in crate::db) struct Announcements {
    /// Whether an announcement waits to be sent.
    unsent: AtomicBool,
    received: Notify,
}

impl Announcements {
    /// Announces new work to the other processes. Several announcements at the same time are sent as one.
    pub(in crate::db) fn announce(&self) {
        self.unsent.store(true, Ordering::Relaxed);
    }

    /// Waits for an announcement.
    pub(in crate::db) async fn received(&self) {
        self.received.notified().await;
    }

    /// Sends and receives announcements until `stop`, with a thread and a connection of its own. The end of the process
    /// does not wait for the thread, which may be waiting for a database that does not respond.
    pub(in crate::db) fn exchange(self: Arc<Self>, url: DatabaseUrl, stop: CancellationToken) {
        std::thread::spawn(move || exchange(&url, &self, &stop));
    }
}

fn exchange(url: &DatabaseUrl, announcements: &Announcements, stop: &CancellationToken) {
    while let Err(error) = exchange_until_error(url, announcements, stop) {
        tracing::warn!(
            cause = %error.chain(),
            "cannot exchange announcements of new work with other processes; trying again"
        );
        for _ in 0..INTERVALS_BEFORE_RETRY {
            if stop.is_cancelled() {
                return;
            }
            std::thread::sleep(EXCHANGE_INTERVAL);
        }
    }
}

/// Exchanges announcements until `stop`, or until the connection is lost.
fn exchange_until_error(url: &DatabaseUrl, announcements: &Announcements, stop: &CancellationToken) -> Result<()> {
    let Conn::Postgres(mut conn) = url.connect().map_err(|error| Error::Unavailable(Box::new(error)))? else {
        return Ok(());
    };
    let scoped: i32 = diesel::select(sql::<Integer>("pg_backend_pid()")).get_result(&mut conn)?;
    conn.batch_execute(LISTEN)?;
    // Work may have been announced before.
    announcements.received.notify_one();
    while !stop.is_cancelled() {
        if announcements.unsent.swap(false, Ordering::Relaxed)
            && let Err(error) = conn.batch_execute(NOTIFY)
        {
            announcements.unsent.store(true, Ordering::Relaxed);
            return Err(error.into());
        }
        let mut is_received = false;
        for notification in conn.notifications_iter() {
            // PostgreSQL also sends a process its own notifications.
            is_received |= notification?.process_id != scoped;
        }
        if is_received {
            announcements.received.notify_one();
        }
        std::thread::sleep(EXCHANGE_INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    mod postgres {
        use std::sync::Arc;
        use std::time::Duration;

        use tokio_util::sync::CancellationToken;

        use crate::db::DatabaseUrl;
        use crate::db::engine::announcements::Announcements;

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn work_is_announced_to_other_processes() {
            let server = std::env::var("CWB_TEST_POSTGRES_URL").expect("run scripts/test, which starts a PostgreSQL");
            let url: DatabaseUrl = format!("{server}/postgres?sslmode=disable").parse().unwrap();
            let (one, other) = (Arc::new(Announcements::default()), Arc::new(Announcements::default()));
            let stop = CancellationToken::new();
            for process in [&one, &other] {
                process.clone().exchange(url.clone(), stop.clone());
            }
            let hears = || tokio::time::timeout(Duration::from_secs(20), other.received());
            hears().await.expect("it looks for work when it begins to listen");
            one.announce();
            hears().await.expect("an announcement arrives");
            stop.cancel();
        }
    }
}

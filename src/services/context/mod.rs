//! The context that use cases share: the database, the clock, the clients, and the background loops.

mod client_cache;
mod fair_tenant_queue;
mod known_keys;
mod loop_count;
mod rejected_keys;
mod watched_jobs;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connectwise;
use crate::db::{Db, KeyedLocks};
use crate::domain::clock::Clock;
use crate::outgoing::WebhookSender;
use crate::services::security::encryption::Vault;

pub use client_cache::Clients;
pub use fair_tenant_queue::{FairTenantQueue, Turn};
pub use known_keys::KnownKeys;
pub use loop_count::{LoopCount, RunningLoop};
pub use rejected_keys::RejectedKeys;
pub use watched_jobs::{WatchedJobs, WatchedKey};

/// Number of new rows after which the database's statistics may be out of date.
const MANY_ROWS: usize = 1_000;

/// Whether a worker's step found work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// Some work was done.
    Worked,
    /// Nothing is due.
    Idle,
}

/// Settings of the use cases.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Maximum age of stored data from ConnectWise; older data are read again.
    pub refresh_max_age: TimeDelta,
    /// How late a scheduled push may start after an outage, and how long push lines wait for a failing connection.
    pub schedule_max_late: TimeDelta,
    /// How long a lease on claimed push lines or on a refresh lasts unless it is renewed.
    pub lease: TimeDelta,
    /// Settings of every connection to ConnectWise.
    pub connectwise: connectwise::Settings,
}

/// Everything that the use cases need. Clones share the same state.
#[derive(Clone)]
pub struct AppContext {
    /// The database.
    pub db: Db,
    /// The source of the current time.
    pub clock: Clock,
    /// Encrypts and decrypts stored secrets.
    pub vault: Arc<Vault>,
    /// One ConnectWise client for each tenant.
    pub clients: Arc<Clients>,
    /// Wakes a worker when there is work.
    pub wake: Arc<Notify>,
    /// Decides which tenant's push lines are processed next.
    pub turns: Arc<FairTenantQueue>,
    /// Sends webhooks.
    pub webhooks: Arc<WebhookSender>,
    /// Wakes a loop that sends webhooks.
    pub wake_deliveries: Arc<Notify>,
    /// Decides which tenant's webhooks are sent next.
    pub delivery_turns: Arc<FairTenantQueue>,
    /// Locks that allow one refresh at a time for each tenant.
    pub refreshing: Arc<KeyedLocks>,
    /// Counts the loops that process push jobs.
    pub push_loops: LoopCount,
    /// Counts the loops that start scheduled pushes.
    pub schedule_loops: LoopCount,
    /// API keys that were just looked up.
    pub known_keys: Arc<KnownKeys>,
    /// When the rejection of each API key was last recorded.
    pub rejected_keys: Arc<RejectedKeys>,
    /// The push jobs with subscribers.
    pub watched: Arc<WatchedJobs>,
    /// The number of rows that were added since the database's statistics were last updated.
    pub new_rows: Arc<AtomicUsize>,
    /// Cancelled when the process stops.
    pub shutdown: CancellationToken,
    /// Time limits, ages and the connection's limits, as the operator set them; they do not change while the process
    /// runs.
    pub settings: Arc<Settings>,
}

impl AppContext {
    /// Wakes a worker of this process for new work, and announces the work to other processes.
    pub fn wake_worker(&self) {
        self.turns.poll_again();
        self.wake.notify_one();
        self.db.announce_work();
    }

    /// Wakes a loop that sends webhooks, for a new delivery, and announces it to other processes.
    pub fn wake_deliveries(&self) {
        self.delivery_turns.poll_again();
        self.wake_deliveries.notify_one();
        self.db.announce_work();
    }

    /// Counts rows that were added or changed, and updates the database's statistics after many. A failure only makes
    /// reads slower for a while.
    pub async fn after_growth(&self, rows: usize) {
        if self.new_rows.fetch_add(rows, Ordering::Relaxed) + rows < MANY_ROWS {
            return;
        }
        self.new_rows.store(0, Ordering::Relaxed);
        if let Err(error) = self.db.optimize().await {
            tracing::warn!(cause = %error.chain(), "failed to update the database's statistics");
        }
    }
}

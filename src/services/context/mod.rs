//! What every use case needs: the database, the clock, the clients, and the background loops.

mod clients;
mod loop_count;
mod watched_jobs;

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::encryption::Vault;
use crate::connectwise;
use crate::db::{Db, KeyedLocks};
use crate::domain::clock::Clock;

pub use clients::Clients;
pub use loop_count::LoopCount;
pub use watched_jobs::{Watched, WatchedKey};

/// How the use cases behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How old data from ConnectWise may be before it is read again.
    pub refresh_max_age: TimeDelta,
    /// How late a scheduled push may start after an outage.
    pub schedule_max_late: TimeDelta,
    /// How long a worker holds the lines that it claimed.
    pub lease: TimeDelta,
    /// How every connection to ConnectWise behaves.
    pub connectwise: connectwise::Settings,
}

/// Everything the use cases need. Copies share it.
#[derive(Clone)]
pub struct AppContext {
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: Clock,
    /// Seals and opens stored secrets.
    pub vault: Arc<Vault>,
    /// One ConnectWise client for each tenant.
    pub clients: Arc<Clients>,
    /// Wakes the worker when there is work.
    pub wake: Arc<Notify>,
    /// One refresh at a time for each tenant.
    pub refreshing: Arc<KeyedLocks>,
    /// The loops that work on push jobs.
    pub push_loops: LoopCount,
    /// The loop that starts scheduled pushes.
    pub schedule_loops: LoopCount,
    /// The push jobs with subscribers.
    pub watched: Arc<Watched>,
    /// Cancelled when the process stops.
    pub stop: CancellationToken,
    /// How they behave.
    pub settings: Arc<Settings>,
}

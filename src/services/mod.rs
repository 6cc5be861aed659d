//! What the service does: use cases that join the database, ConnectWise and the domain's decisions.
//!
//! Functions that take a transaction are one write and never wait for the network. Those that take [`Services`] may:
//! they read, ask ConnectWise, and then write what they learnt, in transactions of their own.

pub mod billed;
mod budget;
pub mod companies;
pub mod connections;
mod error;
pub mod idempotency;
pub mod keys;
pub mod lines;
mod loops;
pub mod products;
pub mod push;
pub mod refresh;
pub mod resolve;
pub mod rules;
pub mod schedule;
pub mod story;
pub mod transfer;
pub mod usage;
pub mod vault;

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connectwise;
use crate::db::{Db, Turns};
use crate::domain::clock::Clock;
use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};
use connections::Clients;
use vault::Vault;

pub use loops::LoopCount;

/// How the use cases behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How old what was read from ConnectWise may be before it is read again.
    pub refresh_max_age: TimeDelta,
    /// How late a scheduled push may start after an outage.
    pub schedule_max_late: TimeDelta,
    /// For how long a worker holds the lines it claimed.
    pub lease: TimeDelta,
    /// How every connection to ConnectWise behaves.
    pub connectwise: connectwise::Settings,
}

/// Everything the use cases need. Copies share it.
#[derive(Clone)]
pub struct Services {
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: Clock,
    /// Seals and opens stored secrets.
    pub vault: Arc<Vault>,
    /// One ConnectWise client for each tenant.
    pub clients: Arc<Clients>,
    /// Wakes the worker when there is something to do.
    pub wake: Arc<Notify>,
    /// Whose turn it is to refresh.
    pub refreshing: Arc<Turns>,
    /// The loops that work on push jobs.
    pub push_loops: LoopCount,
    /// The loop that starts scheduled pushes.
    pub schedule_loops: LoopCount,
    /// The push jobs that somebody watches.
    pub watched: Arc<push::Watched>,
    /// Cancelled when the process is to stop.
    pub stop: CancellationToken,
    /// How they behave.
    pub settings: Arc<Settings>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Whose data it is about.
    pub tenant: TenantId,
    /// What history calls them: the name of the API key.
    pub name: String,
}

/// The versions that a caller's `If-Match` allows, as they are written in an ETag; `None` allows any.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(pub Option<Vec<String>>);

impl IfMatch {
    /// Errors where the present version is not among them.
    pub fn check(&self, current: i64) -> Result<()> {
        match &self.0 {
            Some(versions) if !versions.contains(&current.to_string()) => Err(Error::VersionMismatch { current }),
            _ => Ok(()),
        }
    }
}

//! What the sandbox's handlers share: the records, the ledger, the faults, and how it behaves.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::ledger::Ledger;
use super::store::Store;

/// Who may come in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The company that logs in.
    pub company_id: String,
    /// The public key.
    pub public_key: String,
    /// The private key.
    pub private_key: String,
    /// The integration's id.
    pub client_id: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            company_id: "sandbox".to_owned(),
            public_key: "sandboxpublickey".to_owned(),
            private_key: "sandboxprivatekey".to_owned(),
            client_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        }
    }
}

/// How it behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behavior {
    /// Requests a minute before it throttles.
    pub requests_per_minute: usize,
    /// Requests at once before it throttles.
    pub parallel: usize,
    /// What `Retry-After` says when it throttles.
    pub retry_after: u64,
    /// How long every answer takes, in milliseconds.
    pub latency_ms: u64,
    /// The folder that company information names.
    pub codebase: String,
    /// Rights that the API member lacks: `companies`, `agreements`, `additions`, `edit`.
    pub deny: Vec<String>,
    /// Whether lists can be read forward only; endpoints that cannot send no `Link` then.
    pub forward_only: bool,
    /// The most records that a page holds, whatever is asked for.
    pub page_cap: usize,
    /// Where `Link`s point, in place of this host.
    pub link_host: Option<String>,
    /// Whether the ledger keeps the bodies of answers.
    pub keep_answers: bool,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            requests_per_minute: 1_000_000,
            parallel: 1_000,
            retry_after: 1,
            latency_ms: 0,
            codebase: "v2025_1".to_owned(),
            deny: Vec::new(),
            forward_only: true,
            page_cap: 1_000,
            link_host: None,
            keep_answers: false,
        }
    }
}

impl Behavior {
    pub(super) fn denied(&self, parts: &[&str], method: &str) -> Option<&'static str> {
        let right = match (method, parts) {
            ("GET", ["company", ..]) => "companies",
            ("GET", ["finance", "agreements", _, "additions", ..]) => "additions",
            ("GET", ["finance", ..]) => "agreements",
            ("GET", _) => return None,
            _ => "edit",
        };
        self.deny.iter().any(|denied| denied == right).then_some(right)
    }
}

/// Everything that changes.
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    pub(super) behavior: Behavior,
    pub(super) recent: VecDeque<Instant>,
}

/// What all handlers share.
pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    pub(super) identity: Identity,
    pub(super) in_flight: AtomicUsize,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner.store);
        if let Err(error) = inner.store.save() {
            tracing::warn!(cause = %error, "the sandbox's file could not be written");
        }
        changed
    }
}

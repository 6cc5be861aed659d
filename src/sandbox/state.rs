//! The state that the sandbox's handlers share: records, ledger, faults, and behaviour.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::ledger::{Ledger, Write};
use super::store::Store;

/// The credentials that the sandbox accepts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The company id used to log in.
    pub company_id: String,
    /// The public key of the API member.
    pub public_key: String,
    /// The private key of the API member.
    pub private_key: String,
    /// The integration's client id.
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

/// The adjustable behaviour of the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behavior {
    /// Maximum number of requests per minute; more are throttled.
    pub requests_per_minute: usize,
    /// Maximum number of concurrent requests; more are throttled.
    pub parallel: usize,
    /// The `Retry-After` of throttled requests, in seconds.
    pub retry_after: u64,
    /// The delay before each response, in milliseconds.
    pub latency_ms: u64,
    /// The codebase that company information returns, such as `v2025_1`. It is the first part of API paths.
    pub codebase: String,
    /// Rights that the API member lacks: `companies`, `agreements`, `additions`, `edit`.
    pub deny: Vec<String>,
    /// Whether lists support forward-only paging. If not, a request for it gets a response without `Link`.
    pub forward_only: bool,
    /// Maximum number of records on a page, whatever `pageSize` requests.
    pub page_cap: usize,
    /// The host in `Link` headers, instead of the sandbox's own.
    pub link_host: Option<String>,
    /// The path of the agreement recap, after `finance/`; `None` if there is no recap. Any other path is not found,
    /// even one that only lacks the final slash.
    pub recap: Option<String>,
    /// Whether the ledger keeps response bodies.
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
            recap: Some("agreementrecap/".to_owned()),
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

/// The state that changes, guarded by one lock.
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    pub(super) behavior: Behavior,
    pub(super) recent: VecDeque<Instant>,
    pub(super) observer: Option<Observer>,
}

/// A function that is called with each change of an addition.
pub(super) type Observer = Box<dyn Fn(&Write) + Send>;

/// The state that all handlers share.
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
            tracing::warn!(cause = %error, "failed to write the sandbox's file");
        }
        changed
    }
}

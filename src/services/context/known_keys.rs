//! API keys that were looked up within the last second, so that a caller with many requests costs few lookups.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::db::ApiKey;

/// How long a key is remembered: for so long, a key that another process revokes still works in this one.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);
/// Maximum number of keys that are remembered.
const MAX_KEYS: usize = 10_000;

/// The remembered keys, by their readable beginning.
#[derive(Debug, Default)]
pub struct KnownKeys(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<String, (ApiKey, Instant)>,
    /// The number of keys that this process has revoked.
    revocations: u64,
}

/// A lookup that began. Its result is not remembered if a key has been revoked since.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    revocations: u64,
}

impl KnownKeys {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key with a prefix, if it is remembered, or begins a lookup.
    pub fn get(&self, prefix: &str) -> Result<ApiKey, Lookup> {
        let known = self.lock();
        let recent = known.keys.get(prefix).filter(|(_, at)| at.elapsed() < REMEMBERED_FOR);
        recent.map(|(key, _)| key.clone()).ok_or(Lookup { revocations: known.revocations })
    }

    /// Remembers the key that a lookup has found.
    pub fn put(&self, lookup: Lookup, key: &ApiKey) {
        let mut known = self.lock();
        if known.revocations != lookup.revocations {
            return;
        }
        if known.keys.len() >= MAX_KEYS {
            known.keys.retain(|_, (_, at)| at.elapsed() < REMEMBERED_FOR);
        }
        if known.keys.len() < MAX_KEYS {
            known.keys.insert(key.prefix.clone(), (key.clone(), Instant::now()));
        }
    }

    /// Forgets all keys, because one was revoked.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.revocations += 1;
        known.keys.clear();
    }
}

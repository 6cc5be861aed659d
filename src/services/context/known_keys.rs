//! API keys that were looked up within the last second, so a caller with many requests causes few lookups.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::db::ApiKey;

/// How long a key is remembered. A key that another process revokes keeps working in this process for at most this
/// long.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);
/// Maximum number of keys that are remembered.
const MAX_KEYS: usize = 10_000;

/// The remembered keys, by their plain-text prefix.
#[derive(Debug, Default)]
pub struct KnownKeys(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<String, (ApiKey, Instant)>,
    /// The number of keys that this process has revoked.
    revocations: u64,
}

/// A started lookup. Its result is not remembered if a key has been revoked since.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    begun_at: Instant,
    revocations: u64,
}

impl KnownKeys {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the remembered key with a prefix, or starts a lookup.
    pub fn get(&self, prefix: &str) -> Result<ApiKey, Lookup> {
        let known = self.lock();
        let recent = known.keys.get(prefix).filter(|(_, at)| at.elapsed() < REMEMBERED_FOR);
        recent.map(|(key, _)| key.clone()).ok_or(Lookup { begun_at: Instant::now(), revocations: known.revocations })
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
            known.keys.insert(key.prefix.clone(), (key.clone(), lookup.begun_at));
        }
    }

    /// Forgets all keys, because one was revoked.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.revocations += 1;
        known.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::ids::{ApiKeyId, TenantId};

    fn key() -> ApiKey {
        ApiKey {
            id: ApiKeyId::new(),
            tenant_id: TenantId::new(),
            name: "test".to_owned(),
            prefix: "cwb_12345678".to_owned(),
            hash: String::new(),
            created_at: Timestamp::UNIX_EPOCH.naive_utc(),
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_remembered_until_one_is_revoked() {
        let (known, key) = (KnownKeys::default(), key());
        let lookup = known.get(&key.prefix).unwrap_err();
        known.put(lookup, &key);
        assert_eq!(known.get(&key.prefix).unwrap(), key);
        assert!(known.get("cwb_abcdefgh").is_err());
        known.forget();
        assert!(known.get(&key.prefix).is_err());
    }

    #[test]
    fn a_lookup_that_a_revocation_overtook_is_not_remembered() {
        let (known, key) = (KnownKeys::default(), key());
        let lookup = known.get(&key.prefix).unwrap_err();
        known.forget();
        known.put(lookup, &key);
        assert!(known.get(&key.prefix).is_err());
    }

    #[test]
    fn a_key_is_remembered_for_a_second_from_its_lookup() {
        let (known, key) = (KnownKeys::default(), key());
        let begun_at = Instant::now().checked_sub(REMEMBERED_FOR).unwrap();
        known.put(Lookup { begun_at, revocations: 0 }, &key);
        assert!(known.get(&key.prefix).is_err());
    }
}

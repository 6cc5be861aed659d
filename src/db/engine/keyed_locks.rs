//! In-process locks by name, such as a tenant's id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// In-process locks by name. A lock that nobody holds or waits for is removed.
#[derive(Debug, Default)]
pub struct KeyedLocks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl KeyedLocks {
    /// Waits for the lock with this name and holds it until the guard is dropped.
    pub async fn wait(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // If only the map has a reference, nobody holds the lock or waits for it.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(name.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn locks_are_per_name() {
        let (locks, one, other) = (KeyedLocks::default(), "one", "other");
        let held = locks.wait(one).await;
        let _other = locks.wait(other).await;
        let second = locks.wait(one);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(held);
        assert!(futures_util::poll!(&mut second).is_ready());
        drop(_other);
        let _third = locks.wait("third").await;
        assert_eq!(locks.0.lock().unwrap().len(), 1, "unused locks are removed");
    }
}

//! The push jobs whose progress has subscribers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::ids::{PushJobId, TenantId};
use crate::services::push::progress::Progress;

/// Identifies a push job: its tenant and its id.
pub type WatchedKey = (TenantId, PushJobId);

/// The watched jobs, each with the channel that publishes its progress.
#[derive(Debug, Default)]
pub struct WatchedJobs(Mutex<HashMap<WatchedKey, Arc<watch::Sender<Progress>>>>);

impl WatchedJobs {
    /// Subscribes to a job that is already watched; `None` if it is not.
    pub fn join(&self, key: &WatchedKey) -> Option<watch::Receiver<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(|sender| sender.subscribe())
    }

    /// Adds a watched job, with the sender of its progress.
    pub fn add(&self, key: WatchedKey, sender: Arc<watch::Sender<Progress>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sender);
    }

    /// Stops watching a job without subscribers, or any job if `anyway` is set. Returns whether watching stopped.
    pub fn leave(&self, key: &WatchedKey, sender: &watch::Sender<Progress>, anyway: bool) -> bool {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock, so that no subscriber joins between the count and the removal.
        let leave = anyway || sender.receiver_count() == 0;
        if leave {
            watched.remove(key);
        }
        leave
    }
}

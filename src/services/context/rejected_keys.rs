//! When the rejection of each API key was last recorded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::domain::clock::Timestamp;
use crate::domain::ids::ApiKeyId;

/// Minimum time between two recorded rejections of one key.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// Limits how often the rejection of a key is recorded.
#[derive(Debug, Default)]
pub struct RejectedKeys(Mutex<HashMap<ApiKeyId, Timestamp>>);

impl RejectedKeys {
    /// Returns true if a rejection may be recorded now. If so, no other rejection of this key is recorded for one
    /// minute.
    pub fn may_record(&self, key: &ApiKeyId, now: Timestamp) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| (now - *at).abs() < PAUSE);
        let is_first = !last.contains_key(key);
        if is_first {
            last.insert(key.clone(), now);
        }
        is_first
    }
}

//! An in-memory cache of record indexes. An entry is valid while its tenant's generation and the day stay the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDate;

use crate::domain::ids::TenantId;
use crate::domain::mappings::RecordIndex;

/// Maximum number of cached record indexes.
const MAX_INDEXES: usize = 4;
/// How long an unused record index stays in the cache.
const MAX_IDLE: Duration = Duration::from_secs(600);

struct CacheEntry {
    tenant: TenantId,
    generation: String,
    today: NaiveDate,
    used: Instant,
    record_index: Arc<RecordIndex>,
}

/// The cached record indexes of the tenants that used one most recently.
#[derive(Default)]
pub(in crate::db) struct RecordIndexes(Mutex<Vec<CacheEntry>>);

impl RecordIndexes {
    pub(in crate::db) fn get(&self, tenant: &TenantId, generation: &str, today: NaiveDate) -> Option<Arc<RecordIndex>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.used.elapsed() < MAX_IDLE);
        let known = kept.iter_mut().find(|one| one.tenant == *tenant)?;
        if known.generation != generation || known.today != today {
            return None;
        }
        known.used = Instant::now();
        Some(known.record_index.clone())
    }

    pub(in crate::db) fn put(
        &self,
        tenant: &TenantId,
        generation: String,
        today: NaiveDate,
        record_index: Arc<RecordIndex>,
    ) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.tenant != *tenant);
        kept.sort_by_key(|one| std::cmp::Reverse(one.used));
        kept.truncate(MAX_INDEXES - 1);
        kept.push(CacheEntry { tenant: tenant.clone(), generation, today, used: Instant::now(), record_index });
    }
}

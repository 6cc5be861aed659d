//! An in-memory cache of catalogs. An entry is valid while its tenant's generation and the day stay the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDate;

use crate::domain::ids::TenantId;
use crate::domain::mappings::Catalog;

/// Maximum number of cached catalogs.
const MAX_CATALOGS: usize = 4;
/// How long an unused catalog stays in the cache.
const MAX_IDLE: Duration = Duration::from_secs(600);

struct CacheEntry {
    tenant: TenantId,
    generation: String,
    today: NaiveDate,
    used: Instant,
    catalog: Arc<Catalog>,
}

/// The cached catalogs: those of the tenants that used one most recently.
#[derive(Default)]
pub(in crate::db) struct Catalogs(Mutex<Vec<CacheEntry>>);

impl Catalogs {
    pub(in crate::db) fn get(&self, tenant: &TenantId, generation: &str, today: NaiveDate) -> Option<Arc<Catalog>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.used.elapsed() < MAX_IDLE);
        let known = kept.iter_mut().find(|one| one.tenant == *tenant)?;
        if known.generation != generation || known.today != today {
            return None;
        }
        known.used = Instant::now();
        Some(known.catalog.clone())
    }

    pub(in crate::db) fn put(&self, tenant: &TenantId, generation: String, today: NaiveDate, catalog: Arc<Catalog>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.tenant != *tenant);
        kept.sort_by_key(|one| std::cmp::Reverse(one.used));
        kept.truncate(MAX_CATALOGS - 1);
        kept.push(CacheEntry { tenant: tenant.clone(), generation, today, used: Instant::now(), catalog });
    }
}

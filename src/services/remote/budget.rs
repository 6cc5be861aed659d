//! The request budget that replicas share through the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::connectwise::{Admission, RateLimit, SharedBudget};
use crate::db::{Db, RateReservation};
use crate::domain::Result;
use crate::domain::ids::TenantId;
use crate::services::context::AppContext;

/// If the pace allows several requests in this time, they are reserved together, because each reservation is a round
/// trip to the database. A request that is reserved but not sent is lost to the budget.
const BATCH_PERIOD: Duration = Duration::from_millis(10);
/// How long a batch may be used: a `Retry-After` that another replica receives is respected at most this much later.
const BATCH_VALID_FOR: Duration = Duration::from_millis(50);

/// The request budget of one tenant's connection.
struct Shared {
    db: Db,
    tenant: TenantId,
    pace: RateLimit,
    batch: Mutex<Option<ReservedBatch>>,
}

/// Requests that were reserved together.
struct ReservedBatch {
    reserved_at: Instant,
    /// How long after `reserved_at` the next request is due, at the steady rate.
    ahead: Duration,
    left: u32,
}

impl ReservedBatch {
    /// Takes the next request. Returns how far ahead it is now; `None` if none is left or the batch is too old.
    fn take(&mut self, interval: Duration) -> Option<Duration> {
        let age = self.reserved_at.elapsed();
        if self.left == 0 || age >= BATCH_VALID_FOR {
            return None;
        }
        let ahead = self.ahead.saturating_sub(age);
        (self.left, self.ahead) = (self.left - 1, self.ahead + interval);
        Some(ahead)
    }
}

impl Shared {
    /// The number of requests to reserve together: at most a burst.
    fn batch_size(&self) -> u32 {
        let fit = BATCH_PERIOD.as_nanos() / self.pace.interval().as_nanos().max(1);
        u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, self.pace.burst.get())
    }

    /// Reserves a request, from the last batch if one is left.
    async fn take(&self, limit: Duration) -> Result<RateReservation> {
        let (interval, size) = (self.pace.interval(), self.batch_size());
        if size == 1 {
            return self.db.take_request(&self.tenant, interval, limit).await;
        }
        let mut batch = self.batch.lock().await;
        if let Some(ahead) = batch.as_mut().and_then(|batch| batch.take(interval)) {
            return Ok(if ahead > limit { RateReservation::TooLate(ahead) } else { RateReservation::Taken(ahead) });
        }
        let reserved = self.db.take_request(&self.tenant, interval * size, limit).await?;
        let RateReservation::Taken(last) = reserved else { return Ok(reserved) };
        let first = last.saturating_sub(interval * (size - 1));
        *batch = Some(ReservedBatch { reserved_at: Instant::now(), ahead: first + interval, left: size - 1 });
        Ok(RateReservation::Taken(first))
    }
}

/// Returns the shared budget of a tenant's connection; `None` if no other process can use the database.
pub(super) fn shared(ctx: &AppContext, tenant: &TenantId) -> Option<Arc<dyn SharedBudget>> {
    let pace = RateLimit::of(ctx.settings.connectwise.per_minute);
    let budget = Shared { db: ctx.db.clone(), tenant: tenant.clone(), pace, batch: Mutex::default() };
    ctx.db.is_shared().then(|| Arc::new(budget) as Arc<dyn SharedBudget>)
}

impl SharedBudget for Shared {
    fn reserve(&self, max_wait: Duration) -> BoxFuture<'_, Result<Admission, String>> {
        Box::pin(async move {
            // A full burst may run ahead of the steady rate.
            let burst = self.pace.interval() * self.pace.burst.get();
            let place = self.take(burst + max_wait).await.map_err(|error| {
                tracing::warn!(
                    tenant = %self.tenant, cause = %error.chain(),
                    "failed to reserve a request to ConnectWise; it was not sent"
                );
                "the request was not sent, because the database that counts requests is unavailable".to_owned()
            })?;
            Ok(match place {
                RateReservation::Taken(ahead) => Admission::After(ahead.saturating_sub(burst)),
                RateReservation::TooLate(ahead) => Admission::TooLate(ahead.saturating_sub(burst)),
                RateReservation::Paused(wait) => Admission::Paused(wait),
            })
        })
    }

    fn pause(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.db.pause_requests(&self.tenant, wait).await {
                // This process still respects the wait.
                tracing::warn!(
                    tenant = %self.tenant, cause = %error.chain(),
                    "failed to share a Retry-After with other replicas"
                );
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_of_a_batch_follow_each_other() {
        let interval = Duration::from_secs(1);
        let mut batch = ReservedBatch { reserved_at: Instant::now(), ahead: Duration::from_secs(10), left: 2 };
        let first = batch.take(interval).unwrap();
        let second = batch.take(interval).unwrap();
        assert!(first <= Duration::from_secs(10) && first > Duration::from_secs(9), "{first:?}");
        assert!(second > Duration::from_secs(10) && second <= Duration::from_secs(11), "{second:?}");
        assert_eq!(batch.take(interval), None);
    }

    #[test]
    fn an_old_batch_is_not_used() {
        let reserved_at = Instant::now().checked_sub(BATCH_VALID_FOR).unwrap();
        let mut batch = ReservedBatch { reserved_at, ahead: Duration::ZERO, left: 2 };
        assert_eq!(batch.take(Duration::from_millis(1)), None);
    }
}

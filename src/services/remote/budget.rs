//! The request budget that replicas share through the database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::connectwise::{Admission, RateLimit, SharedBudget};
use crate::db::{Db, RateReservation};
use crate::domain::ids::TenantId;
use crate::services::context::AppContext;

/// The request budget of one tenant's connection.
struct Shared {
    db: Db,
    tenant: TenantId,
    pace: RateLimit,
}

/// Returns the shared budget of a tenant's connection; `None` if no other process can use the database.
pub(super) fn shared(ctx: &AppContext, tenant: &TenantId) -> Option<Arc<dyn SharedBudget>> {
    let pace = RateLimit::of(ctx.settings.connectwise.per_minute);
    let budget = Shared { db: ctx.db.clone(), tenant: tenant.clone(), pace };
    ctx.db.is_shared().then(|| Arc::new(budget) as Arc<dyn SharedBudget>)
}

impl SharedBudget for Shared {
    fn reserve(&self, max_wait: Duration) -> BoxFuture<'_, Result<Admission, String>> {
        Box::pin(async move {
            let interval = self.pace.interval();
            // A full burst may run ahead of the steady rate.
            let burst = interval * self.pace.burst.get();
            let place = self.db.take_request(&self.tenant, interval, burst + max_wait).await.map_err(|error| {
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

    fn hold(&self, wait: Duration) -> BoxFuture<'_, ()> {
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

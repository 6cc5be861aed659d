//! Starts the monthly push when it is due.

use chrono::TimeDelta;

use super::create::{NewPush, create};
use crate::db::{ScheduleRun, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Instant;
use crate::domain::ids::TenantId;
use crate::domain::push::PushTrigger;
use crate::services::audit::Audit;
use crate::services::billed_lines::BilledMonths;
use crate::services::context::AppContext;
use crate::services::reconciliation::{Scope, Totals, history, reconcile, totals};
use crate::services::schedule::{self, Schedule};

/// Starts the pushes that are due: exactly one for each tenant and month, also across restarts, replicas and clock
/// changes. A missed push is started once, unless it is later than `schedule_max_late`. Returns the number of started
/// pushes.
pub async fn start_due(ctx: &AppContext) -> Result<usize> {
    let now = ctx.clock.now();
    let mut started = 0;
    for tenant in ctx.db.read_system(|tx| tx.scheduled_tenants()).await? {
        match start_tenant(ctx, &tenant, now).await {
            Ok(jobs) => started += jobs,
            // A failure of one tenant does not affect the others; the next check retries it.
            Err(error) => tracing::warn!(%tenant, cause = %error.chain(), "failed to start a scheduled push"),
        }
    }
    if started > 0 {
        ctx.wake_worker();
    }
    Ok(started)
}

async fn start_tenant(ctx: &AppContext, tenant: &TenantId, now: Instant) -> Result<usize> {
    let late = ctx.settings.schedule_max_late;
    let Some((month, _)) = ctx.db.read(tenant, move |tx| due(tx, now, late)).await? else { return Ok(0) };
    // Compared before the job exists, and apart from it: the push does not depend on it.
    let scope = Scope { months: BilledMonths::ScheduledRun(month), ..Scope::default() };
    let compare = move |tx: &mut Tx<'_>| Ok(totals(&reconcile(tx, &scope, now)?));
    let found = match ctx.db.read(tenant, compare).await {
        Ok(totals) => Some(totals),
        Err(error) => {
            tracing::warn!(%tenant, %month, cause = %error.chain(), "failed to compare a month before its scheduled push");
            None
        }
    };
    ctx.db.write(tenant, move |tx| start(tx, now, late, found)).await
}

/// The month whose run is due, and since when. One at a time: the next check finds the next run.
fn due(tx: &mut Tx<'_>, now: Instant, max_late: TimeDelta) -> Result<Option<(BillingMonth, Instant)>> {
    let Schedule { enabled, enabled_at, monthly, calendar, .. } = schedule::get(tx)?;
    let Some(enabled_at) = enabled_at.filter(|_| enabled) else { return Ok(None) };
    let present = calendar.month_of(now);
    for month in [present.previous(), present] {
        let due = monthly.due(month, &calendar);
        let is_due = due <= now && due > enabled_at && now - due <= max_late;
        if is_due && !tx.has_schedule_run(month)? {
            return Ok(Some((month, due)));
        }
    }
    Ok(None)
}

/// Starts the due push of a tenant. The job, the record of its run and what was found before are stored in one transaction.
fn start(tx: &mut Tx<'_>, now: Instant, max_late: TimeDelta, found: Option<Totals>) -> Result<usize> {
    // Another process may have started it in between.
    let Some((month, due)) = due(tx, now, max_late)? else { return Ok(0) };
    let new = NewPush { months: BilledMonths::ScheduledRun(month), ..NewPush::everything(PushTrigger::Schedule) };
    let job = create(tx, &new, &Audit::internal(tx.tenant(), "schedule", now))?;
    tracing::info!(tenant = %tx.tenant(), push_job = %job.id, %month, %due, "started a scheduled push");
    if let Some(found) = found {
        history::keep(tx, found, &job.id, now)?;
    }
    let (tenant_id, created_at) = (tx.tenant().clone(), now.naive_utc());
    tx.insert_schedule_run(&ScheduleRun { tenant_id, month, due_at: due.naive_utc(), job_id: job.id, created_at })?;
    Ok(1)
}

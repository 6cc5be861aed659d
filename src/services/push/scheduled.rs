//! Starts the monthly push when it is due.

use chrono::TimeDelta;

use super::create::{NewPush, create};
use crate::db::{ScheduleRun, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::push::PushTrigger;
use crate::services::audit::Audit;
use crate::services::billed_lines::BilledMonths;
use crate::services::context::AppContext;
use crate::services::schedule::{self, Schedule};

/// Starts the pushes that are due: exactly one for each tenant and month, also across restarts, replicas and clock
/// changes. A missed push is started once, unless it is later than `schedule_max_late`. Returns the number of started
/// pushes.
pub async fn start_due(ctx: &AppContext) -> Result<usize> {
    let now = ctx.clock.now();
    let mut started = 0;
    for tenant in ctx.db.read_system(|tx| tx.scheduled_tenants()).await? {
        let late = ctx.settings.schedule_max_late;
        match ctx.db.write(&tenant, move |tx| start(tx, now, late)).await {
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

/// Starts the due push of a tenant. The job and the record of its run are stored in one transaction.
fn start(tx: &mut Tx<'_>, now: Instant, max_late: TimeDelta) -> Result<usize> {
    let Schedule { enabled, enabled_at, monthly, calendar, .. } = schedule::get(tx)?;
    let Some(enabled_at) = enabled_at.filter(|_| enabled) else { return Ok(0) };
    let present = calendar.month_of(now);
    for month in [present.previous(), present] {
        let due = monthly.due(month, &calendar);
        let is_due = due <= now && due > enabled_at && now - due <= max_late;
        if !is_due || tx.has_schedule_run(month)? {
            continue;
        }
        let new = NewPush { months: BilledMonths::ScheduledRun(month), ..NewPush::everything(PushTrigger::Schedule) };
        let job = create(tx, &new, &Audit::internal(tx.tenant(), "schedule", now))?;
        tracing::info!(tenant = %tx.tenant(), push_job = %job.id, %month, %due, "started a scheduled push");
        let (tenant_id, created_at) = (tx.tenant().clone(), now.naive_utc());
        tx.insert_schedule_run(&ScheduleRun { tenant_id, month, due_at: due.naive_utc(), job_id: job.id, created_at })?;
        // One at a time: the next check finds the next run.
        return Ok(1);
    }
    Ok(0)
}

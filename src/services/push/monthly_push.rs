//! Starts the monthly push when it is due.

use std::time::Duration;

use chrono::TimeDelta;

use super::create::{NewPush, create};
use crate::connectwise::RetryPolicy;
use crate::db::{PushBeforeInvoice, ScheduleRun, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, PushBeforeInvoiceId, PushJobId, TenantId};
use crate::domain::push::PushTrigger;
use crate::services::context::AppContext;
use crate::services::quantities::compute::BilledMonths;
use crate::services::reconciliation::{ReconciliationScope, Totals, history, reconcile, totals};
use crate::services::remote::refresh;
use crate::services::schedule::invoice_dates::{self, DueInvoices};
use crate::services::schedule::{self, Schedule};
use crate::services::security::audit::Audit;

/// Maximum age of the invoice dates of tenants whose agreements are pushed before their invoices.
const DATES_VALID_FOR: TimeDelta = TimeDelta::hours(20);
/// Maximum time to wait for one tenant's invoice dates, so it does not delay the others.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(120);

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

async fn start_tenant(ctx: &AppContext, tenant: &TenantId, now: Timestamp) -> Result<usize> {
    let late = ctx.settings.schedule_max_late;
    let Some(run) = ctx.db.read(tenant, move |tx| due(tx, now, late)).await? else { return Ok(0) };
    let found = match run {
        Run::OfMonth { month, .. } => compared(ctx, tenant, month, now).await.map(|totals| (month, totals)),
        Run::BeforeInvoices(_) => None,
    };
    ctx.db.write(tenant, move |tx| start(tx, now, late, found)).await
}

/// Compares a month with ConnectWise before its scheduled push. The job does not exist yet and does not depend on the
/// result.
async fn compared(ctx: &AppContext, tenant: &TenantId, month: BillingMonth, now: Timestamp) -> Option<Totals> {
    let scope = ReconciliationScope { months: BilledMonths::ScheduledRun(month), ..ReconciliationScope::default() };
    let compare = move |tx: &mut Tx<'_>| {
        // Without a connection there is no push.
        let is_connected = tx.connection()?.is_some();
        if is_connected { reconcile(tx, &scope, now).map(|found| Some(totals(&found))) } else { Ok(None) }
    };
    match ctx.db.read(tenant, compare).await {
        Ok(totals) => totals,
        Err(error) => {
            tracing::warn!(%tenant, %month, cause = %error.chain(), "failed to compare a month before its scheduled push");
            None
        }
    }
}

/// A run that is due.
enum Run {
    /// The monthly run, which was due at this time.
    OfMonth { month: BillingMonth, due: Timestamp, schedule: Schedule },
    /// Agreements that are pushed before their invoices.
    BeforeInvoices(DueInvoices),
}

/// Returns one due run. The next check finds the next one.
fn due(tx: &mut Tx<'_>, now: Timestamp, max_late: TimeDelta) -> Result<Option<Run>> {
    let schedule = schedule::get(tx)?;
    let Some(enabled_at) = schedule.enabled_at.filter(|_| schedule.enabled) else { return Ok(None) };
    let current = schedule.calendar.month_of(now);
    for month in [current.previous(), current] {
        let due = schedule.monthly.due(month, &schedule.calendar);
        let is_due = due <= now && due > enabled_at && now - due <= max_late;
        if is_due && !tx.has_schedule_run(month)? {
            return Ok(Some(Run::OfMonth { month, due, schedule }));
        }
    }
    let Some(before) = schedule.before_invoices() else { return Ok(None) };
    Ok(invoice_dates::due(tx, before, enabled_at, now, max_late)?.map(Run::BeforeInvoices))
}

/// Starts the due push of a tenant. The job, the record of its run and the earlier comparison are stored in one
/// transaction.
fn start(tx: &mut Tx<'_>, now: Timestamp, max_late: TimeDelta, found: Option<(BillingMonth, Totals)>) -> Result<usize> {
    // Another process may have started it in between.
    match due(tx, now, max_late)? {
        Some(Run::OfMonth { month, due, schedule }) => {
            start_month(tx, (month, due), (&schedule, max_late), found, now)?
        }
        Some(Run::BeforeInvoices(invoices)) => start_before(tx, invoices, now)?,
        None => return Ok(0),
    }
    Ok(1)
}

fn start_month(
    tx: &mut Tx<'_>,
    (month, due): (BillingMonth, Timestamp),
    (schedule, max_late): (&Schedule, TimeDelta),
    found: Option<(BillingMonth, Totals)>,
    now: Timestamp,
) -> Result<()> {
    let lines = match schedule.before_invoices() {
        Some(_) => Some(invoice_dates::without_date(tx, schedule.calendar.today(now) - max_late)?),
        None => None,
    };
    let job = create_run(tx, month, lines, now)?;
    tracing::info!(tenant = %tx.tenant(), push_job = %job, %month, %due, "started a scheduled push");
    // Another month may be due by now.
    if let Some((_, found)) = found.filter(|(compared, _)| *compared == month) {
        history::keep(tx, found, &job, now)?;
    }
    let (tenant_id, created_at) = (tx.tenant().clone(), now.naive_utc());
    tx.insert_schedule_run(&ScheduleRun { tenant_id, month, due_at: due.naive_utc(), job_id: job, created_at })
}

fn start_before(tx: &mut Tx<'_>, DueInvoices { month, invoices, lines }: DueInvoices, now: Timestamp) -> Result<()> {
    let job = create_run(tx, month, Some(lines), now)?;
    tracing::info!(
        tenant = %tx.tenant(), push_job = %job, %month, agreements = invoices.len(),
        "started a scheduled push before invoices"
    );
    let run = |(agreement_id, invoice_on)| PushBeforeInvoice {
        id: PushBeforeInvoiceId::new(),
        tenant_id: tx.tenant().clone(),
        agreement_id,
        invoice_on,
        job_id: job.clone(),
        created_at: now.naive_utc(),
    };
    let runs: Vec<PushBeforeInvoice> = invoices.into_iter().map(run).collect();
    tx.insert_pushes_before_invoices(&runs)
}

fn create_run(
    tx: &mut Tx<'_>,
    month: BillingMonth,
    lines: Option<Vec<BillingLineId>>,
    now: Timestamp,
) -> Result<PushJobId> {
    let new = NewPush {
        months: BilledMonths::ScheduledRun(month),
        billing_line_ids: lines,
        ..NewPush::everything(PushTrigger::Schedule)
    };
    Ok(create(tx, &new, &Audit::internal(tx.tenant(), "schedule", now))?.id)
}

/// Reads the lists of companies and agreements, which include the next invoice dates, for tenants whose agreements are
/// pushed before their invoices. Skips lists that are not older than `DATES_VALID_FOR`.
pub async fn refresh_invoice_dates(ctx: &AppContext) -> Result<()> {
    let oldest = ctx.clock.now() - DATES_VALID_FOR;
    for tenant in ctx.db.read_system(|tx| tx.tenants_by_invoice()).await? {
        match tokio::time::timeout(
            REFRESH_TIMEOUT,
            refresh::ensure_since(ctx, &tenant, oldest, RetryPolicy::Background),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%tenant, cause = %error.chain(), "failed to read invoice dates"),
            Err(_) => tracing::warn!(%tenant, "gave up waiting for invoice dates"),
        }
    }
    Ok(())
}

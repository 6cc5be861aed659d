//! The monthly push, as set.

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use chrono_tz::Tz;

use super::push::{self, NewPush};
use super::{IfMatch, Services};
use crate::db::{PushSchedule, ScheduleRun, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::schedule::MonthlySchedule;
use crate::domain::usage::BillingMonth;
use crate::domain::words::{PushKind, PushTrigger};

/// A schedule that was understood.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Whether it fires.
    pub enabled: bool,
    /// Since when it is enabled as it is.
    pub enabled_at: Option<Instant>,
    /// When.
    pub monthly: MonthlySchedule,
    /// The version; 0 where none was ever set.
    pub version: i64,
}

/// The tenant's schedule; until one is set, the first of the month at 02:00 UTC, not enabled.
pub fn get(tx: &mut Tx<'_>) -> Result<Schedule> {
    let row = tx.push_schedule()?;
    Ok(row.and_then(|row| understood(&row)).unwrap_or(Schedule {
        enabled: false,
        enabled_at: None,
        monthly: MonthlySchedule { day_of_month: 1, time: two_o_clock(), zone: Tz::UTC },
        version: 0,
    }))
}

fn two_o_clock() -> NaiveTime {
    NaiveTime::from_hms_opt(2, 0, 0).unwrap_or_default()
}

fn understood(row: &PushSchedule) -> Option<Schedule> {
    let monthly = MonthlySchedule {
        day_of_month: u32::try_from(row.day_of_month).ok()?,
        time: row.time_of_day.parse().ok()?,
        zone: row.time_zone.parse().ok()?,
    };
    let enabled_at = row.enabled_at.map(|at| at.and_utc());
    Some(Schedule { enabled: row.enabled, enabled_at, monthly, version: row.version })
}

/// Sets the tenant's schedule.
pub fn put(
    tx: &mut Tx<'_>,
    enabled: bool,
    monthly: MonthlySchedule,
    if_match: &IfMatch,
    now: Instant,
) -> Result<Schedule> {
    let before = tx.push_schedule()?.map_or(0, |row| row.version);
    if_match.check(before)?;
    let row = PushSchedule {
        tenant_id: tx.tenant().clone(),
        enabled,
        day_of_month: i64::from(monthly.day_of_month),
        time_of_day: monthly.time.format("%H:%M:%S").to_string(),
        time_zone: monthly.zone.name().to_owned(),
        enabled_at: enabled.then(|| now.naive_utc()),
        version: before + 1,
        updated_at: now.naive_utc(),
    };
    tx.put_push_schedule(&row)?;
    Ok(Schedule { enabled, enabled_at: enabled.then_some(now), monthly, version: row.version })
}

/// Starts the pushes that are due: one for each tenant and month, whatever restarts, replicas and clocks do. What was
/// missed is made up for once, unless it is older than the setting. Gives how many were started.
pub async fn fire_due(services: &Services) -> Result<usize> {
    let now = services.clock.now();
    let mut started = 0;
    for tenant in services.db.read_system(|tx| tx.scheduled_tenants()).await? {
        let late = services.settings.schedule_max_late;
        match services.db.write(&tenant, move |tx| fire(tx, now, late)).await {
            Ok(jobs) => started += jobs,
            // One tenant's trouble is not another's; it is tried again with the next look.
            Err(error) => tracing::warn!(%tenant, cause = %error.chain(), "a scheduled push could not be started"),
        }
    }
    if started > 0 {
        services.wake.notify_one();
    }
    Ok(started)
}

/// The job and the record that its month was pushed are stored together, or neither is.
fn fire(tx: &mut Tx<'_>, now: Instant, max_late: TimeDelta) -> Result<usize> {
    let schedule = get(tx)?;
    let Some(enabled_at) = schedule.enabled_at.filter(|_| schedule.enabled) else { return Ok(0) };
    let present = BillingMonth::of(now, schedule.monthly.zone);
    for month in [present.previous(), present] {
        let due = schedule.monthly.due(month);
        let is_due = due <= now && due > enabled_at && now - due <= max_late;
        if !is_due || tx.has_schedule_run(month)? {
            continue;
        }
        let new = NewPush {
            kind: PushKind::Push,
            started_by: PushTrigger::Schedule,
            product_id: None,
            company_ids: None,
            line_ids: None,
            billing_month: Some(month),
            parent: None,
        };
        let job = push::create(tx, &new, now, "schedule")?;
        tracing::info!(tenant = %tx.tenant(), push_job = %job.id, %month, %due, "the scheduled push was started");
        let (tenant_id, created_at) = (tx.tenant().clone(), now.naive_utc());
        tx.insert_schedule_run(&ScheduleRun { tenant_id, month, due_at: due.naive_utc(), job_id: job.id, created_at })?;
        // One at a time: the next look finds the next.
        return Ok(1);
    }
    Ok(0)
}

/// The time zone in which the tenant's months begin: the schedule's.
pub fn zone(tx: &mut Tx<'_>) -> Result<Tz> {
    Ok(get(tx)?.monthly.zone)
}

/// The day it is where the tenant bills.
pub fn today(tx: &mut Tx<'_>, now: Instant) -> Result<NaiveDate> {
    Ok(now.with_timezone(&zone(tx)?).date_naive())
}

/// The billing month asked for, or else the present one.
pub fn month_or_present(tx: &mut Tx<'_>, asked: Option<BillingMonth>, now: Instant) -> Result<(BillingMonth, Tz)> {
    let zone = zone(tx)?;
    Ok((asked.unwrap_or_else(|| BillingMonth::of(now, zone)), zone))
}

//! The schedule of the monthly push.

pub mod billing_calendar;
pub mod invoice_dates;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;
use serde_json::{Value, json};

use self::invoice_dates::BeforeInvoices;
use super::context::AppContext;
use crate::db::{BillingTimeZone, PushSchedule, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::schedule::MonthlySchedule;
use crate::domain::{Error, Result};
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::{Audit, Subject};

/// The schedule of a tenant's monthly push.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Whether scheduled pushes run.
    pub enabled: bool,
    /// When the schedule was enabled or its day or time was last changed. Runs that were due before are not started.
    /// `None` while it is disabled.
    pub enabled_at: Option<Timestamp>,
    /// The day of the month and the time of day of each run.
    pub monthly: MonthlySchedule,
    /// How many days before its own next invoice each agreement is pushed; `None` if all are pushed on the day of the
    /// month.
    pub days_before_invoice: Option<u32>,
    /// The configured time zone. After a change, it may apply only from the next month.
    pub zone: Tz,
    /// The tenant's billing calendar.
    pub calendar: BillingCalendar,
    /// The version; 0 until a schedule is set.
    pub version: i64,
}

/// A schedule with its next runs.
#[derive(Debug, Clone)]
pub struct ScheduleView {
    /// The schedule.
    pub schedule: Schedule,
    /// The current billing month.
    pub current_month: BillingMonth,
    /// The next five runs on the day of the month.
    pub next_runs: Vec<Timestamp>,
    /// The next five runs before invoices, each with the date of the invoices and the number of agreements.
    pub next_invoice_runs: Vec<(Timestamp, NaiveDate, usize)>,
}

/// Returns the tenant's schedule with its next runs.
pub async fn show(ctx: &AppContext, actor: &Actor) -> Result<ScheduleView> {
    let now = ctx.clock.now();
    let read = move |tx: &mut Tx<'_>| {
        let schedule = get(tx)?;
        view(tx, schedule, now)
    };
    ctx.db.read(&actor.tenant, read).await
}

fn view(tx: &mut Tx<'_>, schedule: Schedule, now: Timestamp) -> Result<ScheduleView> {
    let (current_month, next_runs) = (schedule.calendar.month_of(now), schedule.next_runs(tx, now, 5)?);
    let next_invoice_runs = match schedule.before_invoices() {
        Some(before) => invoice_dates::next_runs(tx, before, now, 5)?,
        None => Vec::new(),
    };
    Ok(ScheduleView { schedule, current_month, next_runs, next_invoice_runs })
}

impl Schedule {
    /// The pushes of agreements before their invoices, if the schedule has such pushes.
    pub fn before_invoices(&self) -> Option<BeforeInvoices<'_>> {
        let days = self.days_before_invoice?;
        Some(BeforeInvoices { days, monthly: self.monthly, calendar: &self.calendar })
    }

    /// Returns the next runs after `now`. A month has only one run, even if the day is changed after it.
    fn next_runs(&self, tx: &mut Tx<'_>, now: Timestamp, count: usize) -> Result<Vec<Timestamp>> {
        let present = self.calendar.month_of(now);
        let first = if tx.has_schedule_run(present)? { present.next() } else { present };
        Ok(self.monthly.next_runs(now, first, &self.calendar, count))
    }
}

/// Returns the tenant's schedule. Until one is set, it is disabled, on the first of the month at 02:00 UTC. A stored
/// schedule that cannot be read is an error, so no month is left out unnoticed.
pub fn get(tx: &mut Tx<'_>) -> Result<Schedule> {
    let row = tx.push_schedule()?;
    let calendar = billing_calendar::of_schedule(tx, row.as_ref())?;
    match row {
        None => Ok(not_set(calendar, 0)),
        Some(row) => understood(&row, &calendar).ok_or_else(|| unreadable(&row)),
    }
}

fn not_set(calendar: BillingCalendar, version: i64) -> Schedule {
    let monthly = MonthlySchedule { day_of_month: 1, time: two_o_clock() };
    Schedule { enabled: false, enabled_at: None, monthly, days_before_invoice: None, zone: Tz::UTC, calendar, version }
}

fn unreadable(row: &PushSchedule) -> Error {
    Error::internal(format!(
        "the stored push schedule cannot be read: day {}, time {}, time zone {}; PUT /api/v1/push-schedule again",
        row.day_of_month, row.time_of_day, row.time_zone
    ))
}

fn two_o_clock() -> NaiveTime {
    NaiveTime::from_hms_opt(2, 0, 0).unwrap_or_default()
}

fn understood(row: &PushSchedule, calendar: &BillingCalendar) -> Option<Schedule> {
    Some(Schedule {
        enabled: row.enabled,
        enabled_at: row.enabled_at.map(|at| at.and_utc()),
        monthly: MonthlySchedule {
            day_of_month: u32::try_from(row.day_of_month).ok()?,
            time: row.time_of_day.parse().ok()?,
        },
        days_before_invoice: row.days_before_invoice.map(u32::try_from).transpose().ok()?,
        zone: row.time_zone.parse().ok()?,
        calendar: calendar.clone(),
        version: row.version,
    })
}

/// The new content of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSchedule {
    /// Whether scheduled pushes run.
    pub enabled: bool,
    /// The day of the month and the time of day of each run.
    pub monthly: MonthlySchedule,
    /// How many days before its own next invoice each agreement is pushed; `None` if all are pushed on the day of the
    /// month.
    pub days_before_invoice: Option<u32>,
    /// The time zone of the runs and of the billing months; [`put`] describes when it takes effect.
    pub zone: Tz,
}

/// Sets the tenant's schedule. An identical one changes nothing. A new time zone takes effect in the next month, or at
/// once if nothing has been billed or measured yet.
pub async fn put(ctx: &AppContext, actor: &Actor, new: NewSchedule, if_match: IfMatch) -> Result<ScheduleView> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let schedule = save(tx, new, &if_match, &audit)?;
        view(tx, schedule, audit.now())
    };
    ctx.db.write(&actor.tenant, work).await
}

/// Returns the schedule as [`put`] would save it, and saves nothing.
pub async fn preview(ctx: &AppContext, actor: &Actor, new: NewSchedule, if_match: IfMatch) -> Result<ScheduleView> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let schedule = save(tx, new, &if_match, &audit)?;
        view(tx, schedule, audit.now())
    };
    ctx.db.write_and_roll_back(&actor.tenant, work).await
}

/// A schedule as the audit log records it.
fn audited(schedule: &NewSchedule) -> Value {
    let NewSchedule { enabled, monthly, days_before_invoice, zone } = schedule;
    let time = monthly.time.format("%H:%M").to_string();
    json!({
        "enabled": enabled, "day_of_month": monthly.day_of_month, "time": time, "time_zone": zone.name(),
        "days_before_invoice": days_before_invoice,
    })
}

fn save(tx: &mut Tx<'_>, new: NewSchedule, if_match: &IfMatch, audit: &Audit) -> Result<Schedule> {
    let now = audit.now();
    let row = tx.push_schedule()?;
    let calendar = billing_calendar::of_schedule(tx, row.as_ref())?;
    // A schedule that cannot be read is replaced like one that was never set.
    let known = row.as_ref().and_then(|row| understood(row, &calendar));
    let readable = known.is_some();
    let before = known.unwrap_or_else(|| not_set(calendar, row.map_or(0, |row| row.version)));
    if_match.check(before.version)?;
    let NewSchedule { enabled, monthly, days_before_invoice, zone } = new;
    let known = NewSchedule {
        enabled: before.enabled,
        monthly: before.monthly,
        days_before_invoice: before.days_before_invoice,
        zone: before.zone,
    };
    if readable && known == new {
        return Ok(before);
    }
    set_time_zone(tx, &before.calendar, zone, now)?;
    let are_same = before.monthly == monthly && before.days_before_invoice == days_before_invoice;
    let same_runs = before.enabled_at.filter(|_| are_same);
    let row = PushSchedule {
        tenant_id: tx.tenant().clone(),
        enabled,
        day_of_month: i64::from(monthly.day_of_month),
        time_of_day: monthly.time.format("%H:%M:%S").to_string(),
        time_zone: zone.name().to_owned(),
        days_before_invoice: days_before_invoice.map(i64::from),
        // A change of only the time zone does not move this month's run, which may be due right now.
        enabled_at: enabled.then(|| same_runs.unwrap_or(now).naive_utc()),
        version: before.version + 1,
        updated_at: now.naive_utc(),
    };
    tx.put_push_schedule(&row)?;
    audit.record(tx, AuditAction::PushScheduleSet, Subject::NONE, Some(audited(&known)), Some(audited(&new)))?;
    get(tx)
}

fn set_time_zone(tx: &mut Tx<'_>, calendar: &BillingCalendar, zone: Tz, now: Timestamp) -> Result<()> {
    let tenant = tx.tenant().clone();
    let row = |from_month, zone: Tz| BillingTimeZone {
        tenant_id: tenant.clone(),
        from_month,
        time_zone: zone.name().to_owned(),
    };
    let first = BillingMonth::FIRST;
    if !tx.has_billed()? {
        return tx.put_billing_time_zones(first, &[row(first, zone)]);
    }
    let present = calendar.month_of(now);
    if tx.billing_time_zones()?.is_empty() {
        // Until now all months had one time zone, which was not stored by month.
        tx.put_billing_time_zones(first, &[row(first, calendar.zone_of(present))])?;
    }
    // The next month begins by the old zone and ends by the new one. So the month after it is the first that begins at
    // a new time, and nothing can have been measured for it yet: records are at most a day ahead.
    tx.put_billing_time_zones(present.next(), &[row(present.next(), zone)])
}

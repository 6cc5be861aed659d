//! The monthly push, as set.

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;

use super::IfMatch;
use crate::db::{PushSchedule, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::schedule::MonthlySchedule;
use crate::domain::usage::BillingMonth;

/// A schedule that was understood.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Whether it fires.
    pub enabled: bool,
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
    Some(Schedule { enabled: row.enabled, monthly, version: row.version })
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
        version: before + 1,
        updated_at: now.naive_utc(),
    };
    tx.put_push_schedule(&row)?;
    Ok(Schedule { enabled, monthly, version: row.version })
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

//! The tenant's billing calendar, in which each month keeps the time zone that it started with.

use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::db::{BillingTimeZone, PushSchedule, Tx};
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::{Error, Result};

/// Loads the tenant's billing calendar. `schedule` is the tenant's schedule.
pub(in crate::services) fn of_schedule(tx: &mut Tx<'_>, schedule: Option<&PushSchedule>) -> Result<BillingCalendar> {
    let zones = zones(tx)?;
    Ok(if zones.is_empty() { without_zones(schedule) } else { BillingCalendar::new(zones) })
}

/// Loads the time zones of billing months, by first month. One that cannot be read is an error, because without it months
/// would have other bounds.
fn zones(tx: &mut Tx<'_>) -> Result<Vec<(BillingMonth, Tz)>> {
    let unreadable = |zone: &str| Error::internal(format!("the stored billing time zone {zone} cannot be read"));
    let zone = |row: &BillingTimeZone| {
        let zone = row.time_zone.parse().map_err(|_| unreadable(&row.time_zone))?;
        Ok((row.from_month, zone))
    };
    tx.billing_time_zones()?.iter().map(zone).collect()
}

/// The calendar of a tenant for which no time zone is stored by month, as in older versions: the schedule's time zone
/// applies to all months.
fn without_zones(schedule: Option<&PushSchedule>) -> BillingCalendar {
    let zone = schedule.and_then(|row| row.time_zone.parse().ok());
    BillingCalendar::new(zone.map(|zone| (BillingMonth::FIRST, zone)).into_iter().collect())
}

/// Loads the tenant's billing calendar.
pub fn load(tx: &mut Tx<'_>) -> Result<BillingCalendar> {
    let zones = zones(tx)?;
    if !zones.is_empty() {
        return Ok(BillingCalendar::new(zones));
    }
    Ok(without_zones(tx.push_schedule()?.as_ref()))
}

/// Returns today's date in the tenant's billing time zone.
pub fn today(tx: &mut Tx<'_>, now: Timestamp) -> Result<NaiveDate> {
    Ok(load(tx)?.today(now))
}

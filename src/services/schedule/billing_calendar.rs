//! The tenant's billing calendar, in which each month keeps the time zone that it started with.

use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::db::{BillingTimeZone, PushSchedule, Tx};
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::{Error, Result};

/// Loads the tenant's billing calendar. If no time zone is stored by month, as in older versions, the schedule's time
/// zone applies to all months. A stored time zone that cannot be read is an error, because without it months would have
/// other bounds.
pub(in crate::services) fn of_schedule(tx: &mut Tx<'_>, schedule: Option<&PushSchedule>) -> Result<BillingCalendar> {
    let unreadable = |zone: &str| Error::internal(format!("the stored billing time zone {zone} cannot be read"));
    let zone = |row: &BillingTimeZone| {
        let zone = row.time_zone.parse().map_err(|_| unreadable(&row.time_zone))?;
        Ok((row.from_month, zone))
    };
    let mut zones: Vec<(BillingMonth, Tz)> = tx.billing_time_zones()?.iter().map(zone).collect::<Result<_>>()?;
    if let (true, Some(zone)) = (zones.is_empty(), schedule.and_then(|row| row.time_zone.parse().ok())) {
        zones.push((BillingMonth::FIRST, zone));
    }
    Ok(BillingCalendar::new(zones))
}

/// Loads the tenant's billing calendar.
pub fn load(tx: &mut Tx<'_>) -> Result<BillingCalendar> {
    let row = tx.push_schedule()?;
    of_schedule(tx, row.as_ref())
}

/// Returns today's date in the tenant's billing time zone.
pub fn today(tx: &mut Tx<'_>, now: Timestamp) -> Result<NaiveDate> {
    Ok(load(tx)?.today(now))
}

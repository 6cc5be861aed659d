//! When the monthly push is due.

use chrono::{Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::clock::Instant;
use super::usage::BillingMonth;

/// A day of each month, at a time, in a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthlySchedule {
    /// From 1 to 31; a day past a month's end means its last day.
    pub day_of_month: u32,
    /// The local time of day.
    pub time: NaiveTime,
    /// The IANA time zone.
    pub zone: Tz,
}

impl MonthlySchedule {
    /// When the run of a month is due. A local time that the clocks skip means the first moment after the gap;
    /// one that occurs twice means the first of the two.
    pub fn due(&self, month: BillingMonth) -> Instant {
        let (year, number) = month.parts();
        let last = last_day(year, number);
        let day = NaiveDate::from_ymd_opt(year, number, self.day_of_month).unwrap_or(last);
        first_instant(self.zone, day.and_time(self.time))
    }

    /// The next runs strictly after a moment.
    pub fn next_runs(&self, after: Instant, count: usize) -> Vec<Instant> {
        let first = BillingMonth::of(after, self.zone);
        std::iter::successors(Some(first), |month| Some(month.next()))
            .map(|month| self.due(month))
            .filter(|due| *due > after)
            .take(count)
            .collect()
    }
}

fn last_day(year: i32, month: u32) -> NaiveDate {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let first = NaiveDate::from_ymd_opt(next.0, next.1, 1).unwrap_or(NaiveDate::MAX);
    first.checked_sub_days(Days::new(1)).unwrap_or(NaiveDate::MAX)
}

/// The first moment that a local time names in a zone; in a gap, the first moment after it.
pub(crate) fn first_instant(zone: Tz, local: NaiveDateTime) -> Instant {
    let mut probe = local;
    // No zone ever skipped more than 24 hours (Samoa, 2011), and offsets change on whole minutes today.
    for _ in 0..=(25 * 60) {
        match zone.from_local_datetime(&probe) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.to_utc(),
            LocalResult::None => probe += TimeDelta::minutes(1) - seconds_past_minute(probe),
        }
    }
    zone.from_utc_datetime(&local).to_utc()
}

fn seconds_past_minute(at: NaiveDateTime) -> TimeDelta {
    TimeDelta::seconds(at.and_utc().timestamp().rem_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(day_of_month: u32, time: &str, zone: Tz) -> MonthlySchedule {
        MonthlySchedule { day_of_month, time: time.parse().unwrap(), zone }
    }

    fn due(schedule: MonthlySchedule, month: &str) -> String {
        schedule.due(month.parse().unwrap()).to_rfc3339()
    }

    #[test]
    fn a_day_past_the_end_is_the_last_day() {
        let last = schedule(31, "02:00:00", Tz::UTC);
        assert_eq!(due(last, "2026-02"), "2026-02-28T02:00:00+00:00");
        assert_eq!(due(last, "2028-02"), "2028-02-29T02:00:00+00:00");
        assert_eq!(due(last, "2026-12"), "2026-12-31T02:00:00+00:00");
    }

    #[test]
    fn a_skipped_hour_means_the_first_moment_after_it() {
        let spring = schedule(29, "02:30:00", chrono_tz::Europe::Berlin);
        assert_eq!(due(spring, "2026-03"), "2026-03-29T01:00:00+00:00");
    }

    #[test]
    fn a_repeated_hour_means_its_first_pass() {
        let autumn = schedule(1, "01:30:00", chrono_tz::America::New_York);
        assert_eq!(due(autumn, "2026-11"), "2026-11-01T05:30:00+00:00");
    }

    #[test]
    fn a_skipped_day_means_the_first_moment_after_it() {
        let samoa = schedule(30, "12:00:15", chrono_tz::Pacific::Apia);
        assert_eq!(due(samoa, "2011-12"), "2011-12-30T10:00:00+00:00");
    }

    #[test]
    fn the_next_runs_are_one_a_month() {
        let runs = schedule(31, "00:00:00", Tz::UTC)
            .next_runs(Tz::UTC.with_ymd_and_hms(2026, 11, 30, 0, 0, 0).unwrap().to_utc(), 3);
        let days: Vec<_> = runs.iter().map(|at| at.format("%F").to_string()).collect();
        assert_eq!(days, ["2026-12-31", "2027-01-31", "2027-02-28"]);
    }
}

//! The times at which the monthly push is due.

use chrono::{Days, NaiveDate, NaiveTime};

use super::calendar::{BillingCalendar, BillingMonth, first_instant};
use super::clock::Timestamp;

/// A day of each month and a local time, in the month's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthlySchedule {
    /// From 1 to 31; a day past a month's end means its last day.
    pub day_of_month: u32,
    /// The local time of day.
    pub time: NaiveTime,
}

impl MonthlySchedule {
    /// Returns when the run of a month is due. A local time that the clocks skip means the first moment after the gap;
    /// one that occurs twice means the first of the two. If a change of the time zone makes the month begin later, the
    /// run is not due before the month's beginning: the run of a month is always in that month.
    pub fn due(&self, month: BillingMonth, calendar: &BillingCalendar) -> Timestamp {
        let local = month.day(self.day_of_month).and_time(self.time);
        first_instant(calendar.zone_of(month), local).max(calendar.start(month))
    }

    /// Returns when an agreement is pushed: the given number of days before its invoice, at the schedule's time of day.
    pub fn before_invoice(&self, invoice_on: NaiveDate, days: u32, calendar: &BillingCalendar) -> Timestamp {
        let day = invoice_on.checked_sub_days(Days::new(days.into())).unwrap_or(invoice_on);
        first_instant(calendar.zone_of(BillingMonth::of_day(day)), day.and_time(self.time))
    }

    /// Returns the next `count` runs strictly after a moment, beginning with the run of the month `first`.
    pub fn next_runs(
        &self,
        after: Timestamp,
        first: BillingMonth,
        calendar: &BillingCalendar,
        count: usize,
    ) -> Vec<Timestamp> {
        std::iter::successors(Some(first), |month| Some(month.next()))
            .map(|month| self.due(month, calendar))
            .filter(|due| *due > after)
            .take(count)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use chrono_tz::Tz;

    use super::*;

    fn due(day_of_month: u32, time: &str, zone: Tz, month: &str) -> String {
        let calendar = BillingCalendar::new(vec![("2000-01".parse().unwrap(), zone)]);
        let schedule = MonthlySchedule { day_of_month, time: time.parse().unwrap() };
        schedule.due(month.parse().unwrap(), &calendar).to_rfc3339()
    }

    #[test]
    fn a_day_past_the_end_is_the_last_day() {
        assert_eq!(due(31, "02:00:00", Tz::UTC, "2026-02"), "2026-02-28T02:00:00+00:00");
        assert_eq!(due(31, "02:00:00", Tz::UTC, "2028-02"), "2028-02-29T02:00:00+00:00");
        assert_eq!(due(31, "02:00:00", Tz::UTC, "2026-12"), "2026-12-31T02:00:00+00:00");
    }

    #[test]
    fn a_skipped_hour_means_the_first_moment_after_it() {
        assert_eq!(due(29, "02:30:00", chrono_tz::Europe::Berlin, "2026-03"), "2026-03-29T01:00:00+00:00");
    }

    #[test]
    fn a_repeated_hour_means_its_first_pass() {
        assert_eq!(due(1, "01:30:00", chrono_tz::America::New_York, "2026-11"), "2026-11-01T05:30:00+00:00");
    }

    #[test]
    fn a_skipped_day_means_the_first_moment_after_it() {
        assert_eq!(due(30, "12:00:15", chrono_tz::Pacific::Apia, "2011-12"), "2011-12-30T10:00:00+00:00");
    }

    #[test]
    fn the_next_runs_are_one_a_month() {
        let calendar = BillingCalendar::new(Vec::new());
        let schedule = MonthlySchedule { day_of_month: 31, time: NaiveTime::MIN };
        let after = Tz::UTC.with_ymd_and_hms(2026, 11, 30, 0, 0, 0).unwrap().to_utc();
        let runs = schedule.next_runs(after, "2026-11".parse().unwrap(), &calendar, 3);
        let days: Vec<_> = runs.iter().map(|at| at.format("%F").to_string()).collect();
        assert_eq!(days, ["2026-12-31", "2027-01-31", "2027-02-28"]);
    }

    #[test]
    fn the_run_of_a_month_is_in_that_month_when_the_time_zone_moves_east() {
        let zones = vec![("2000-01".parse().unwrap(), Tz::UTC), ("2026-12".parse().unwrap(), chrono_tz::Asia::Tokyo)];
        let calendar = BillingCalendar::new(zones);
        let december: BillingMonth = "2026-12".parse().unwrap();
        let due = MonthlySchedule { day_of_month: 1, time: NaiveTime::MIN }.due(december, &calendar);
        assert_eq!(due.to_rfc3339(), "2026-12-01T00:00:00+00:00");
        assert_eq!(calendar.month_of(due), december);
    }
}

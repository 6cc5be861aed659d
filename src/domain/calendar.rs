//! Billing months: calendar months in the tenant's time zone, which may change from one month to the next.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::clock::Timestamp;

/// A calendar month, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BillingMonth {
    year: i32,
    month: u32,
}

/// The error for a text that is not a billing month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a billing month is written YYYY-MM, such as \"2026-11\", from 2000-01 to 2199-12")]
pub struct NotBillingMonth;

impl BillingMonth {
    /// The earliest valid month.
    pub const FIRST: Self = Self { year: 2000, month: 1 };

    /// Returns the month that contains a moment, in a time zone.
    pub fn of(at: Timestamp, zone: Tz) -> Self {
        let local = at.with_timezone(&zone);
        Self { year: local.year(), month: local.month() }
    }

    /// Returns the month that contains a day.
    pub fn of_day(day: NaiveDate) -> Self {
        Self { year: day.year(), month: day.month() }
    }

    /// The month before.
    pub fn previous(self) -> Self {
        match self.month {
            1 => Self { year: self.year - 1, month: 12 },
            month => Self { year: self.year, month: month - 1 },
        }
    }

    /// The month after.
    pub fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
    }

    /// The first day of the month.
    pub fn first_day(self) -> NaiveDate {
        self.day(1)
    }

    /// Returns a day of the month, or its last day if the month has fewer days.
    pub(super) fn day(self, day: u32) -> NaiveDate {
        let last = || {
            let next = self.next();
            let first = NaiveDate::from_ymd_opt(next.year, next.month, 1).unwrap_or(NaiveDate::MAX);
            first.checked_sub_days(Days::new(1)).unwrap_or(NaiveDate::MAX)
        };
        NaiveDate::from_ymd_opt(self.year, self.month, day).unwrap_or_else(last)
    }

    /// Midnight at the beginning of the month, in a time zone.
    fn start(self, zone: Tz) -> Timestamp {
        first_instant(zone, self.day(1).and_time(chrono::NaiveTime::MIN))
    }
}

impl FromStr for BillingMonth {
    type Err = NotBillingMonth;
    fn from_str(text: &str) -> Result<Self, NotBillingMonth> {
        let bytes = text.as_bytes();
        if bytes.len() != 7 || bytes[4] != b'-' || !text.is_ascii() {
            return Err(NotBillingMonth);
        }
        let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten();
        match (number(&text[..4]), number(&text[5..])) {
            (Some(year @ 2000..=2199), Some(month @ 1..=12)) => Ok(Self { year: year.cast_signed(), month }),
            _ => Err(NotBillingMonth),
        }
    }
}

impl TryFrom<String> for BillingMonth {
    type Error = NotBillingMonth;
    fn try_from(text: String) -> Result<Self, NotBillingMonth> {
        text.parse()
    }
}

impl From<BillingMonth> for String {
    fn from(month: BillingMonth) -> String {
        month.to_string()
    }
}

impl fmt::Display for BillingMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// A tenant's billing months. A new time zone applies from a given month on, and each month ends where the next begins:
/// every moment is in exactly one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingCalendar {
    /// The time zone of the months before the first change.
    first: Tz,
    /// The time zones in order, each with the first month to which it applies.
    changes: Vec<(BillingMonth, Tz)>,
}

impl BillingCalendar {
    /// Creates a calendar from time zones, each with the first month to which it applies. The earliest also applies to
    /// all months before. Without any, the time zone is UTC.
    pub fn new(mut changes: Vec<(BillingMonth, Tz)>) -> Self {
        changes.sort_by_key(|(from, _)| *from);
        Self { first: changes.first().map_or(Tz::UTC, |(_, zone)| *zone), changes }
    }

    /// Returns the time zone of a month, which determines its days and its end.
    pub fn zone_of(&self, month: BillingMonth) -> Tz {
        let known = self.changes.iter().rev().find(|(from, _)| *from <= month);
        known.map_or(self.first, |(_, zone)| *zone)
    }

    /// Returns the first moment of a month, which is where the month before ends.
    pub fn start(&self, month: BillingMonth) -> Timestamp {
        month.start(self.zone_of(month.previous()))
    }

    /// Returns the first moment of a month and the first moment after it.
    pub fn bounds(&self, month: BillingMonth) -> (Timestamp, Timestamp) {
        (self.start(month), self.start(month.next()))
    }

    /// Returns the first moment of a day.
    pub fn start_of_day(&self, day: NaiveDate) -> Timestamp {
        let noon = day.and_time(chrono::NaiveTime::MIN) + chrono::TimeDelta::hours(12);
        let month = BillingMonth::of(noon.and_utc(), Tz::UTC);
        // The first day begins where the month does, even if the month has a new time zone.
        let midnight = first_instant(self.zone_of(month), day.and_time(chrono::NaiveTime::MIN));
        if day == month.day(1) { self.start(month) } else { midnight.max(self.start(month)) }
    }

    /// The date of a moment, in the time zone of its month.
    pub fn today(&self, now: Timestamp) -> NaiveDate {
        now.with_timezone(&self.zone_of(self.month_of(now))).date_naive()
    }

    /// Returns the month that contains a moment.
    pub fn month_of(&self, at: Timestamp) -> BillingMonth {
        // No zone is more than a day from UTC, so the month in UTC is at most one off.
        let near = BillingMonth::of(at, Tz::UTC);
        let months = [near.previous(), near, near.next()];
        months.into_iter().rev().find(|month| self.start(*month) <= at).unwrap_or(near)
    }
}

/// Returns the first moment with a local time in a zone, or the first moment after the gap if clocks skip that time.
pub(super) fn first_instant(zone: Tz, local: NaiveDateTime) -> Timestamp {
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
    use proptest::prelude::*;

    use super::*;

    fn month(text: &str) -> BillingMonth {
        text.parse().unwrap()
    }

    #[test]
    fn months_read_and_step() {
        assert_eq!(month("2026-01").previous().to_string(), "2025-12");
        assert_eq!(month("2026-01").previous().next(), month("2026-01"));
        for bad in ["2026-1", "2026-13", "2026-00", "1999-12", "2026/01", "20260-1", "२०२६-०१"] {
            assert!(bad.parse::<BillingMonth>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_month_begins_at_midnight_of_its_zone() {
        let calendar = BillingCalendar::new(vec![(month("2026-01"), chrono_tz::America::New_York)]);
        let (start, end) = calendar.bounds(month("2026-11"));
        assert_eq!(start.to_rfc3339(), "2026-11-01T04:00:00+00:00");
        assert_eq!(end.to_rfc3339(), "2026-12-01T05:00:00+00:00");
        assert_eq!(calendar.month_of(start), month("2026-11"));
        assert_eq!(calendar.month_of(start - TimeDelta::microseconds(1)), month("2026-10"));
        assert_eq!(calendar.bounds(month("2025-02")).0.to_rfc3339(), "2025-02-01T05:00:00+00:00", "before the first");
    }

    #[test]
    fn a_new_time_zone_moves_the_end_of_its_first_month() {
        let tokyo = (month("2026-12"), chrono_tz::Asia::Tokyo);
        let calendar = BillingCalendar::new(vec![tokyo, (month("2000-01"), Tz::UTC)]);
        let bounds = |text: &str| {
            let (start, end) = calendar.bounds(month(text));
            (start.to_rfc3339(), end.to_rfc3339())
        };
        let text = |start: &str, end: &str| (start.to_owned(), end.to_owned());
        assert_eq!(bounds("2026-11"), text("2026-11-01T00:00:00+00:00", "2026-12-01T00:00:00+00:00"));
        assert_eq!(bounds("2026-12"), text("2026-12-01T00:00:00+00:00", "2026-12-31T15:00:00+00:00"));
    }

    proptest! {
        /// For any sequence of time zones, every moment is in exactly the month that `month_of` returns.
        #[test]
        fn months_cover_all_time_and_never_overlap(
            zones in proptest::collection::vec((0_u32..36, 0..chrono_tz::TZ_VARIANTS.len()), 0..6),
            seconds in 0_i64..(3 * 366 * 86_400),
        ) {
            let mut changes: Vec<(BillingMonth, Tz)> = Vec::new();
            for (offset, zone) in zones {
                let from = (0..offset).fold(month("2025-01"), |month, _| month.next());
                if changes.iter().all(|(known, _)| *known != from) {
                    changes.push((from, chrono_tz::TZ_VARIANTS[zone]));
                }
            }
            let calendar = BillingCalendar::new(changes);
            let at = month("2025-01").start(Tz::UTC) + TimeDelta::seconds(seconds);
            let found = calendar.month_of(at);
            let (start, end) = calendar.bounds(found);
            prop_assert!(start <= at && at < end);
            prop_assert_eq!(calendar.bounds(found.next()).0, end);
        }
    }
}

//! Computes the one amount that is billed for a month from its usage records.

use chrono::TimeDelta;

use super::calendar::{BillingCalendar, BillingMonth};
use super::clock::Timestamp;
use super::quantity::Amount;
use super::string_enum::string_enum;

string_enum! {
    /// How a billing month's usage records become one billed amount.
    Aggregation {
        /// The newest record by `measured_at`.
        Last = "last",
        /// The largest record.
        Max = "max",
        /// The sum of all records.
        Sum = "sum",
    }
}

string_enum! {
    /// The month that a push bills.
    BillingPeriod {
        /// The month in which the push is due.
        Current = "current",
        /// The month before it: billing in arrears.
        Previous = "previous",
    }
}

/// The default maximum age of the newest record with the aggregation `last`, in days.
pub const DEFAULT_MAX_USAGE_AGE_DAYS: i64 = 35;

impl Aggregation {
    /// Returns the default billing period. `max` and `sum` are final only when the month has ended; `last` is a gauge
    /// that can be read at any time.
    pub const fn default_billing_period(self) -> BillingPeriod {
        match self {
            Self::Last => BillingPeriod::Current,
            Self::Max | Self::Sum => BillingPeriod::Previous,
        }
    }
}

impl BillingPeriod {
    /// Returns the month that is billed by a push in a given month.
    pub fn billed_month(self, pushed_in: BillingMonth) -> BillingMonth {
        match self {
            Self::Current => pushed_in,
            Self::Previous => pushed_in.previous(),
        }
    }
}

/// The time range of the records that count for a billing month: at or after `from`, and before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageWindow {
    /// The earliest moment that counts.
    pub from: Timestamp,
    /// The first moment that no longer counts.
    pub until: Timestamp,
    /// Whether the month has ended by now.
    pub month_closed: bool,
    /// Whether a record from before the month may count, if it is not too old.
    pub carries_over: bool,
}

impl UsageWindow {
    /// Returns the window of a month as of `now`. `max` and `sum` count the month's own records. `last` counts the
    /// newest record until `now` or the month's end, whichever is earlier, if it is at most `max_age_days` old then,
    /// even if it was measured before the month began.
    pub fn new(
        aggregation: Aggregation,
        max_age_days: i64,
        month: BillingMonth,
        calendar: &BillingCalendar,
        now: Timestamp,
    ) -> Self {
        let (start, end) = calendar.bounds(month);
        let month_closed = now >= end;
        if aggregation != Aggregation::Last {
            return Self { from: start, until: end, month_closed, carries_over: false };
        }
        // A record measured at exactly this moment counts.
        let until = if month_closed { end } else { now + TimeDelta::microseconds(1) };
        let read_at = end.min(now);
        let from = TimeDelta::try_days(max_age_days).and_then(|age| read_at.checked_sub_signed(age));
        Self { from: from.unwrap_or(Timestamp::MIN_UTC), until, month_closed, carries_over: true }
    }
}

/// The month's usage has more digits than can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the month's usage adds up to more than 28 digits")]
pub struct UsageOverflow;

/// The billed usage and the records it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedUsage {
    /// The amount, in the product's unit.
    pub amount: Amount,
    /// When the newest counted record was measured.
    pub through: Timestamp,
    /// Number of records that were counted; always 1 for `last`.
    pub records: i64,
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};

    use super::*;

    fn at(month: u32, day: u32) -> Timestamp {
        Utc.with_ymd_and_hms(2026, month, day, 0, 0, 0).unwrap()
    }

    #[test]
    fn a_gauge_is_read_at_the_moment_and_a_month_as_a_whole() {
        let calendar = BillingCalendar::new(Vec::new());
        let november: BillingMonth = "2026-11".parse().unwrap();
        let window = |how, now| UsageWindow::new(how, 35, november, &calendar, now);
        let sum = UsageWindow { from: at(11, 1), until: at(12, 1), month_closed: false, carries_over: false };
        assert_eq!(window(Aggregation::Sum, at(11, 15)), sum);
        assert_eq!(window(Aggregation::Max, at(12, 1)), UsageWindow { month_closed: true, ..sum });
        let tick = TimeDelta::microseconds(1);
        let gauge = UsageWindow { from: at(10, 11), until: at(11, 15) + tick, month_closed: false, carries_over: true };
        assert_eq!(window(Aggregation::Last, at(11, 15)), gauge);
        let closed = UsageWindow { from: at(10, 27), until: at(12, 1), month_closed: true, carries_over: true };
        assert_eq!(window(Aggregation::Last, at(12, 20)), closed);
    }
}

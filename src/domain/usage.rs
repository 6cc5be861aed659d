//! From a billing month's usage records to the one amount that is billed.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::clock::Instant;
use super::quantity::Amount;
use super::schedule::first_instant;
use super::words::Aggregation;

/// A calendar month, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BillingMonth {
    year: i32,
    month: u32,
}

/// A text that is no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a billing month is written YYYY-MM, such as \"2026-11\", from 2000-01 to 2199-12")]
pub struct NotBillingMonth;

impl BillingMonth {
    /// The month that a moment falls into, in a time zone.
    pub fn of(at: Instant, zone: Tz) -> Self {
        let local = at.with_timezone(&zone);
        Self { year: local.year(), month: local.month() }
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

    /// The year and the month's number, from 1.
    pub fn parts(self) -> (i32, u32) {
        (self.year, self.month)
    }

    /// The first moment of the month and the first after it, in a time zone.
    pub fn bounds(self, zone: Tz) -> (Instant, Instant) {
        (self.start(zone), self.next().start(zone))
    }

    fn start(self, zone: Tz) -> Instant {
        let midnight = NaiveDate::from_ymd_opt(self.year, self.month, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
        midnight.map_or_else(|| chrono::Utc.timestamp_nanos(0), |local| first_instant(zone, local))
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

/// The usage of a month has more digits than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the month's usage adds up to more than 28 digits")]
pub struct UsageOverflow;

/// The billed amount of a month's records, given as (measured at, amount) in any order; `None` without records.
pub fn aggregate(
    aggregation: Aggregation,
    records: impl IntoIterator<Item = (Instant, Amount)>,
) -> Result<Option<Amount>, UsageOverflow> {
    let mut records = records.into_iter();
    match aggregation {
        Aggregation::Last => Ok(records.max_by_key(|(at, _)| *at).map(|(_, amount)| amount)),
        Aggregation::Max => Ok(records.map(|(_, amount)| amount).max()),
        Aggregation::Sum => {
            let Some((_, first)) = records.next() else { return Ok(None) };
            records.try_fold(first, |sum, (_, next)| sum.checked_add(next)).map(Some).ok_or(UsageOverflow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_read_and_step() {
        let month: BillingMonth = "2026-01".parse().unwrap();
        assert_eq!(month.previous().to_string(), "2025-12");
        assert_eq!(month.previous().next(), month);
        for bad in ["2026-1", "2026-13", "2026-00", "1999-12", "2026/01", "20260-1", "२०२६-०१"] {
            assert!(bad.parse::<BillingMonth>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_month_begins_at_midnight_of_its_zone() {
        let (start, end) = "2026-11".parse::<BillingMonth>().unwrap().bounds(chrono_tz::America::New_York);
        assert_eq!(start.to_rfc3339(), "2026-11-01T04:00:00+00:00");
        assert_eq!(end.to_rfc3339(), "2026-12-01T05:00:00+00:00");
    }

    #[test]
    fn aggregation_decides_the_amount() {
        let at = |day| chrono::Utc.with_ymd_and_hms(2026, 11, day, 0, 0, 0).unwrap();
        let records: Vec<(Instant, Amount)> =
            [(3, "5"), (1, "7.5"), (2, "1.25")].map(|(day, text)| (at(day), text.parse().unwrap())).into();
        let of = |how| aggregate(how, records.clone()).unwrap().unwrap().to_string();
        assert_eq!(of(Aggregation::Last), "5");
        assert_eq!(of(Aggregation::Max), "7.5");
        assert_eq!(of(Aggregation::Sum), "13.75");
        assert_eq!(aggregate(Aggregation::Sum, []), Ok(None));
    }
}

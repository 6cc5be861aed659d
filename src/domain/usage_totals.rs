//! The totals of the usage records of a company and product in one billing month, updated record by record.

use super::clock::Timestamp;
use super::exact_sum::ExactSum;
use super::quantity::Amount;
use super::usage::{Aggregation, CountedUsage, UsageOverflow};

/// The data of a usage record on which totals depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured<'r> {
    /// When it was measured.
    pub at: Timestamp,
    /// The meter or report that it comes from. At one moment each source has one current record.
    pub source: &'r str,
    /// The amount, in the product's unit.
    pub amount: Amount,
}

/// The usage that an aggregation counts among one month's records that no later record corrects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthlyCountedUsage {
    /// When the newest record was measured.
    pub last_at: Timestamp,
    /// The usage, or the error if its sum has too many digits.
    pub counted: Result<CountedUsage, UsageOverflow>,
}

impl MonthlyCountedUsage {
    /// Creates the counted usage from a number of records and their billed amount.
    pub fn new(last_at: Timestamp, records: i64, amount: Result<Amount, UsageOverflow>) -> Self {
        let usage = |amount| CountedUsage { amount, through: last_at, records };
        Self { last_at, counted: amount.map(usage) }
    }
}

/// The totals of one month's current records (those that no later record corrects): all that any aggregation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTotals {
    /// The number of records.
    pub records: i64,
    /// When the first record was measured.
    pub first_at: Timestamp,
    /// When the newest record was measured.
    pub last_at: Timestamp,
    /// The source of the newest record. If several were measured at that time, the source whose name sorts last.
    pub last_source: String,
    /// The newest record's amount.
    pub last: Amount,
    /// The largest amount.
    pub max: Amount,
    /// The sum of all amounts.
    pub sum: ExactSum,
}

impl UsageTotals {
    /// Returns the totals of one record.
    pub fn of(record: Measured<'_>) -> Self {
        let Measured { at, source, amount } = record;
        let (last_source, mut sum) = (source.to_owned(), ExactSum::default());
        sum.add(amount);
        Self { records: 1, first_at: at, last_at: at, last_source, last: amount, max: amount, sum }
    }

    /// Returns the totals of records in any order; `None` without any.
    pub fn of_all<'r>(records: impl IntoIterator<Item = Measured<'r>>) -> Option<Self> {
        let mut totals: Option<Self> = None;
        for record in records {
            match &mut totals {
                Some(totals) => totals.add(record),
                None => totals = Some(Self::of(record)),
            }
        }
        totals
    }

    /// Adds a record.
    pub fn add(&mut self, record: Measured<'_>) {
        let Measured { at, source, amount } = record;
        self.records += 1;
        self.first_at = self.first_at.min(at);
        if (at, source) > (self.last_at, self.last_source.as_str()) {
            (self.last_at, self.last_source, self.last) = (at, source.to_owned(), amount);
        }
        self.max = self.max.max(amount);
        self.sum.add(amount);
    }

    /// Replaces a record's amount. Returns `false` if the totals must be computed again from all records, because the
    /// largest amount was reduced.
    #[must_use]
    pub fn correct(&mut self, record: Measured<'_>, before: Amount) -> bool {
        let Measured { at, source, amount } = record;
        if before == self.max && amount < before {
            return false;
        }
        self.max = self.max.max(amount);
        self.sum.subtract(before);
        self.sum.add(amount);
        if (at, source) == (self.last_at, self.last_source.as_str()) {
            self.last = amount;
        }
        true
    }

    /// Returns the usage that an aggregation counts, with the time of the newest record.
    pub fn in_month(&self, aggregation: Aggregation) -> MonthlyCountedUsage {
        MonthlyCountedUsage { last_at: self.last_at, counted: self.counted(aggregation) }
    }

    /// Returns the usage that an aggregation counts.
    pub fn counted(&self, aggregation: Aggregation) -> Result<CountedUsage, UsageOverflow> {
        let (amount, records) = match aggregation {
            Aggregation::Last => (self.last, 1),
            Aggregation::Max => (self.max, self.records),
            Aggregation::Sum => (total(self.sum)?, self.records),
        };
        Ok(CountedUsage { amount, through: self.last_at, records })
    }
}

/// The sum of a month's records.
pub fn total(sum: ExactSum) -> Result<Amount, UsageOverflow> {
    sum.amount().ok_or(UsageOverflow)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    /// Amounts that repeat, that are close to each other, and that add up to too many digits.
    fn amounts() -> impl Strategy<Value = Amount> {
        let odd = ["0", "0.1", "9999999999999999999999999999", "9999999999999999999999999.125"].map(amount);
        prop_oneof![
            4 => (0_u32..5).prop_map(|whole| amount(&whole.to_string())),
            2 => (0_u32..5_000).prop_map(|cents| amount(&format!("{}.{:02}", cents / 100, cents % 100))),
            1 => proptest::sample::select(odd.to_vec()),
        ]
    }

    /// The amount that an aggregation counts, by its definition.
    fn by_definition(aggregation: Aggregation, current: &BTreeMap<(Timestamp, &str), Amount>) -> Option<Amount> {
        match aggregation {
            Aggregation::Last => current.last_key_value().map(|(_, amount)| *amount),
            Aggregation::Max => current.values().max().copied(),
            // None where the sum may have too many digits: then there is nothing to compare with.
            Aggregation::Sum if current.values().any(|amount| amount.get() > Decimal::from(1_000_000)) => None,
            Aggregation::Sum => Amount::new(current.values().map(|amount| amount.get()).sum()).ok(),
        }
    }

    proptest! {
        /// Records and corrections in any order: the totals are those of the records that count in the end.
        #[test]
        fn totals_are_what_the_records_add_up_to(
            history in proptest::collection::vec((0_i64..6, 0_usize..3, amounts()), 1..40),
        ) {
            let mut current: BTreeMap<(Timestamp, &str), Amount> = BTreeMap::new();
            let mut totals: Option<UsageTotals> = None;
            let recompute = |current: &BTreeMap<(Timestamp, &'static str), Amount>| {
                let newest_first = current.iter().rev();
                UsageTotals::of_all(newest_first.map(|((at, source), amount)| Measured { at: *at, source, amount: *amount }))
            };
            for (hour, source, amount) in history {
                let (at, source) = (DateTime::UNIX_EPOCH + TimeDelta::hours(hour), ["a", "b", "C"][source]);
                let record = Measured { at, source, amount };
                let before = current.insert((at, source), amount);
                match (&mut totals, before) {
                    (None, _) => totals = Some(UsageTotals::of(record)),
                    (Some(totals), None) => totals.add(record),
                    (Some(known), Some(before)) => {
                        if !known.correct(record, before) {
                            totals = recompute(&current);
                        }
                    }
                }
                let totals = totals.as_ref().unwrap();
                let recomputed = recompute(&current);
                prop_assert_eq!(Some(totals), recomputed.as_ref());
                for aggregation in [Aggregation::Last, Aggregation::Max, Aggregation::Sum] {
                    let counted = totals.counted(aggregation).ok().map(|counted| counted.amount);
                    if let Some(expected) = by_definition(aggregation, &current) {
                        prop_assert_eq!(counted, Some(expected));
                    }
                }
                let (first, newest) = (current.first_key_value().unwrap().0.0, current.last_key_value().unwrap().0.0);
                prop_assert_eq!((totals.first_at, totals.last_at), (first, newest));
                prop_assert_eq!(totals.records, i64::try_from(current.len()).unwrap());
            }
        }
    }
}

//! How a line's usage becomes its quantity: an adjustment, blocks, rounding, a minimum, and an included quantity.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::calendar::BillingMonth;
use super::quantity::{
    AdjustmentAmount, Amount, BlockSize, IncludedQuantity, MinimumQuantity, Quantity, QuantityError, Rounding,
    quantity, sum,
};

/// An agreed adjustment: units that are billed in addition to a line's usage, or that are not billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The units that are added to the usage before it is divided into blocks; negative to subtract units.
    pub amount: AdjustmentAmount,
    /// It applies from the billing month of this day on.
    pub from: NaiveDate,
    /// It applies until the billing month of this day, inclusive; `None` means that it has no end.
    pub until: Option<NaiveDate>,
    /// Why it was agreed.
    pub reason: String,
}

impl Adjustment {
    /// Whether it applies to a month: the months of its first and last day, and all months between.
    pub fn applies_to(&self, month: BillingMonth) -> bool {
        self.from < month.next().first_day() && self.until.is_none_or(|until| until >= month.first_day())
    }

    /// The usage after the adjustment: never less than 0.
    fn adjusted(&self, usage: Amount) -> Result<Amount, QuantityError> {
        let sum = sum(usage.get(), self.amount.get()).ok_or(QuantityError::TooPrecise)?;
        Amount::new(sum.max(Decimal::ZERO)).map_err(|_| QuantityError::TooPrecise)
    }
}

// It is stored as text.
impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Adjustment {
    type Err = serde_json::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

/// The settings that turn a line's usage into a quantity.
#[derive(Debug, Clone, Copy)]
pub struct QuantitySettings<'a> {
    /// The adjustment that applies to the month.
    pub adjustment: Option<&'a Adjustment>,
    /// The amount of usage that makes one unit of the quantity.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// The minimum quantity that is billed.
    pub minimum: Option<MinimumQuantity>,
    /// The quantity above which the overage product bills; `None` if the line bills all usage.
    pub included: Option<IncludedQuantity>,
}

/// A quantity, with the steps that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantityBreakdown {
    /// The usage after the adjustment.
    pub adjusted: Amount,
    /// The usage in blocks, rounded.
    pub blocks: Quantity,
    /// The blocks, or the minimum if that is more.
    pub total: Quantity,
    /// The quantity to write: the total, or the included quantity if that is less.
    pub quantity: Quantity,
}

impl QuantityBreakdown {
    /// The units above the included quantity, which are the usage of the overage product.
    pub fn overage(&self) -> Result<Amount, QuantityError> {
        let above = sum(self.total.get(), -self.quantity.get()).ok_or(QuantityError::TooPrecise)?;
        Amount::new(above).map_err(|_| QuantityError::TooPrecise)
    }
}

impl QuantitySettings<'_> {
    /// The quantity for an amount of usage.
    pub fn quantity_of(self, usage: Amount) -> Result<QuantityBreakdown, QuantityError> {
        let adjusted = self.adjustment.map_or(Ok(usage), |adjustment| adjustment.adjusted(usage))?;
        let blocks = quantity(adjusted, self.block_size, self.rounding)?;
        let least = self.minimum.map(|minimum| Quantity::from(minimum.get()));
        let total = least.map_or(blocks, |least| blocks.max(least));
        let included = self.included.map(|included| Quantity::from(included.get()));
        Ok(QuantityBreakdown {
            adjusted,
            blocks,
            total,
            quantity: included.map_or(total, |included| total.min(included)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adjustment(amount: &str, from: &str, until: Option<&str>) -> Adjustment {
        Adjustment {
            amount: amount.parse().unwrap(),
            from: from.parse().unwrap(),
            until: until.map(|day| day.parse().unwrap()),
            reason: "Two kiosk users".to_owned(),
        }
    }

    fn of(usage: &str, adjustment: Option<&Adjustment>, minimum: Option<&str>) -> (String, String, String) {
        let settings = QuantitySettings {
            adjustment,
            block_size: "10".parse().unwrap(),
            rounding: Rounding::Ceil,
            minimum: minimum.map(|minimum| minimum.parse().unwrap()),
            included: None,
        };
        let found = settings.quantity_of(usage.parse().unwrap()).unwrap();
        (found.adjusted.to_string(), found.blocks.to_string(), found.quantity.to_string())
    }

    #[test]
    fn an_adjustment_counts_before_blocks_and_a_minimum_after() {
        let text = |one: &str, two: &str, three: &str| (one.to_owned(), two.to_owned(), three.to_owned());
        let less = adjustment("-2", "2026-11-01", None);
        assert_eq!(of("101", None, None), text("101", "11", "11"));
        assert_eq!(of("101", Some(&less), None), text("99", "10", "10"));
        assert_eq!(of("1.5", Some(&less), None), text("0", "0", "0"), "usage is never negative");
        assert_eq!(of("1.5", Some(&less), Some("2.5")), text("0", "0", "2.5"));
        assert_eq!(of("101", Some(&less), Some("10")), text("99", "10", "10"));
        let more = adjustment("0.5", "2026-11-01", None);
        assert_eq!(of("100", Some(&more), Some("3")), text("100.5", "11", "11"));
    }

    #[test]
    fn an_adjustment_applies_to_the_months_of_its_days() {
        let month = |text: &str| text.parse::<BillingMonth>().unwrap();
        let limited = adjustment("-2", "2026-11-15", Some("2027-03-31"));
        for (text, applies) in [("2026-10", false), ("2026-11", true), ("2027-03", true), ("2027-04", false)] {
            assert_eq!(limited.applies_to(month(text)), applies, "{text}");
        }
        assert!(adjustment("-2", "2026-11-01", None).applies_to(month("2199-12")));
        let stored: Adjustment = limited.to_string().parse().unwrap();
        assert_eq!(stored, limited);
    }

    #[test]
    fn overage_begins_above_the_included_quantity() {
        let of = |usage: &str, included: &str| {
            let settings = QuantitySettings {
                adjustment: None,
                block_size: BlockSize::ONE,
                rounding: Rounding::Exact,
                minimum: Some("2".parse().unwrap()),
                included: Some(included.parse().unwrap()),
            };
            let found = settings.quantity_of(usage.parse().unwrap()).unwrap();
            (found.quantity.to_string(), found.overage().unwrap().to_string())
        };
        for (usage, included, quantity, overage) in [
            ("30", "25", "25", "5"),
            ("25", "25", "25", "0"),
            ("3.5", "25", "3.5", "0"),
            ("3.5", "0", "0", "3.5"),
            ("25.00001", "25", "25", "0.00001"),
            ("1", "1.5", "1.5", "0.5"),
        ] {
            assert_eq!(of(usage, included), (quantity.to_owned(), overage.to_owned()), "{usage} with {included}");
        }
    }

    proptest! {
        /// Without rounding, the quantity plus the overage equals the usage plus the adjustment, or the minimum.
        #[test]
        fn nothing_is_lost_or_added(usage in 0_i64..1_000_000, change in -1_000_000_i64..1_000_000, least in 0_i64..1_000_000, included in proptest::option::of(0_i64..1_000_000), scale in 0_u32..4) {
            let decimal = |number: i64| Decimal::new(number, scale);
            let adjustment = AdjustmentAmount::new(decimal(change)).ok().map(|amount| Adjustment {
                amount, from: NaiveDate::MIN, until: None, reason: String::new(),
            });
            let minimum = Some(MinimumQuantity::new(decimal(least)).unwrap());
            let settings = QuantitySettings {
                adjustment: adjustment.as_ref(), block_size: BlockSize::ONE, rounding: Rounding::Exact, minimum,
                included: included.map(|included| IncludedQuantity::new(decimal(included)).unwrap()),
            };
            let found = settings.quantity_of(Amount::new(decimal(usage)).unwrap()).unwrap();
            let total = decimal((usage + change).max(0).max(least));
            prop_assert_eq!(found.quantity.get() + found.overage().unwrap().get(), total.normalize());
            prop_assert_eq!(found.quantity.get(), included.map_or(total, |included| total.min(decimal(included))).normalize());
        }
    }
}

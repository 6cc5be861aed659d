//! Says how a line's quantity was made, in sentences for the customer who pays for it.

use super::line_quantity::{Adjustment, LineQuantity};
use super::quantity::{Amount, BlockSize, MinimumQuantity, Money, Quantity, Rounding};
use super::usage::Aggregation;
use super::usage::CountedUsage;

/// What a quantity was made of.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// The product's unit.
    pub unit: &'a str,
    /// How the records became one amount.
    pub aggregation: Aggregation,
    /// The usage that counts.
    pub usage: Option<CountedUsage>,
    /// Why there is no quantity.
    pub problem: Option<&'a str>,
    /// The adjustment that applies.
    pub adjustment: Option<&'a Adjustment>,
    /// The amount of usage in a block.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// The quantity that is billed at least.
    pub minimum: Option<MinimumQuantity>,
    /// The quantity, and what it was before the minimum.
    pub derived: Option<LineQuantity>,
    /// The units that the agreement includes.
    pub less_included: Option<Quantity>,
    /// The quantity that is charged.
    pub billed: Option<Quantity>,
    /// The price of a unit, with the currency's code.
    pub unit_price: Option<(Money, Option<&'a str>)>,
    /// What is charged.
    pub amount: Option<Money>,
}

impl Making<'_> {
    /// The steps from the usage to the amount, in order. Steps that change nothing are left out.
    pub fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let Some(usage) = self.usage else {
            steps.push(self.problem.map_or_else(
                || "No usage was measured: nothing is billed for it.".to_owned(),
                |problem| format!("Nothing is billed: {problem}."),
            ));
            return steps;
        };
        steps.push(self.measured(usage));
        let Some(derived) = self.derived else {
            steps.extend(self.problem.map(|problem| format!("There is no quantity: {problem}.")));
            return steps;
        };
        if let Some(adjustment) = self.adjustment {
            steps.push(self.adjusted(adjustment, derived.adjusted));
        }
        if self.block_size != BlockSize::ONE || self.rounding != Rounding::Exact {
            steps.push(self.rounded(derived));
        }
        if let Some(minimum) = self.minimum.filter(|_| derived.blocks != derived.quantity) {
            steps.push(format!("At least {minimum} are agreed: the quantity is {}.", derived.quantity));
        }
        if let Some(included) = self.less_included.filter(|included| *included > Quantity::ZERO) {
            let charged = self.billed.map_or_else(|| "?".to_owned(), |billed| billed.to_string());
            steps.push(format!("The agreement includes {included}: {charged} are charged."));
        }
        if let (Some((price, currency)), Some(amount)) = (self.unit_price, self.amount) {
            let currency = currency.map(|code| format!(" {code}")).unwrap_or_default();
            steps.push(format!("At {price}{currency} each: {amount}{currency}."));
        }
        steps
    }

    fn measured(&self, usage: CountedUsage) -> String {
        let CountedUsage { amount, through, records } = usage;
        let (unit, at) = (self.unit, through.format("%Y-%m-%d %H:%M UTC"));
        let count = if records == 1 { "one record".to_owned() } else { format!("{records} records") };
        match self.aggregation {
            Aggregation::Last => format!("{amount} {unit} were measured at {at}, the newest record."),
            Aggregation::Max => format!("{amount} {unit} are the largest of {count}, the newest of {at}."),
            Aggregation::Sum => format!("{amount} {unit} are the sum of {count}, the newest of {at}."),
        }
    }

    fn adjusted(&self, adjustment: &Adjustment, adjusted: Amount) -> String {
        let (amount, reason) = (adjustment.amount, adjustment.reason.trim_end_matches('.'));
        let amount = if amount.get().is_sign_negative() { amount.to_string() } else { format!("+{amount}") };
        format!("Adjusted by {amount} {} ({reason}): {adjusted} {}.", self.unit, self.unit)
    }

    fn rounded(&self, derived: LineQuantity) -> String {
        let how = match self.rounding {
            Rounding::Ceil => ", each one that is begun",
            Rounding::Floor => ", each one that is full",
            Rounding::Round => ", to the nearest",
            Rounding::Exact => "",
        };
        format!("In blocks of {} {}{how}: {}.", self.block_size, self.unit, derived.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::line_quantity::QuantityTerms;

    #[test]
    fn the_steps_say_why_it_is_this_amount() {
        let adjustment = Adjustment {
            amount: "-60.5".parse().unwrap(),
            from: "2026-11-01".parse().unwrap(),
            until: None,
            reason: "Two kiosk users.".to_owned(),
        };
        let (block_size, minimum) = ("100".parse().unwrap(), Some("5".parse().unwrap()));
        let terms = QuantityTerms { adjustment: Some(&adjustment), block_size, rounding: Rounding::Ceil, minimum };
        let amount = "250".parse().unwrap();
        let making = Making {
            unit: "GB",
            aggregation: Aggregation::Max,
            usage: Some(CountedUsage { amount, through: "2026-11-22T12:00:00Z".parse().unwrap(), records: 3 }),
            problem: None,
            adjustment: Some(&adjustment),
            block_size,
            rounding: Rounding::Ceil,
            minimum,
            derived: terms.quantity_of(amount).ok(),
            less_included: Some("2".parse().unwrap()),
            billed: Some("3".parse().unwrap()),
            unit_price: Some(("9.5".parse().unwrap(), Some("USD"))),
            amount: Some("28.5".parse().unwrap()),
        };
        assert_eq!(
            making.steps(),
            [
                "250 GB are the largest of 3 records, the newest of 2026-11-22 12:00 UTC.",
                "Adjusted by -60.5 GB (Two kiosk users): 189.5 GB.",
                "In blocks of 100 GB, each one that is begun: 2.",
                "At least 5 are agreed: the quantity is 5.",
                "The agreement includes 2: 3 are charged.",
                "At 9.5 USD each: 28.5 USD.",
            ]
        );
        let silent = Making { usage: None, derived: None, ..making };
        assert_eq!(silent.steps(), ["No usage was measured: nothing is billed for it."]);
        let old = Making { problem: Some("the meter is silent"), ..silent };
        assert_eq!(old.steps(), ["Nothing is billed: the meter is silent."]);
    }
}

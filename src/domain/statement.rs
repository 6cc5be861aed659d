//! Explains how a line's quantity was computed, in sentences for the customer who pays for it.

use super::line_quantity::{Adjustment, QuantityBreakdown};
use super::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Money, Quantity, Rounding};
use super::usage::{Aggregation, CountedUsage};
use crate::domain::invoice_terms::{AdditionInvoicing, BillCustomer};
use crate::domain::invoices::billed_quantity;

/// The data from which a quantity was computed.
#[derive(Debug, Clone, Copy)]
pub struct StatementInput<'a> {
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
    /// The minimum quantity that is billed.
    pub minimum: Option<MinimumQuantity>,
    /// The included quantity, above which overage begins; `None` if nothing is included.
    pub included: Option<IncludedQuantity>,
    /// The name of the base product whose overage is billed; `None` if the product has usage of its own.
    pub overage_of: Option<&'a str>,
    /// The steps to the quantity; `None` without one, or if it is unknown how it was computed.
    pub breakdown: Option<QuantityBreakdown>,
    /// The quantity of the month's last push or, without a push, of the usage.
    pub quantity: Option<Quantity>,
    /// Whether the quantity was set back by a revert.
    pub is_reverted: bool,
    /// The quantity in ConnectWise; `None` if it is unknown, or no addition is billed.
    pub connectwise_quantity: Option<Quantity>,
    /// How ConnectWise bills the addition; `None` without one.
    pub terms: Option<&'a AdditionInvoicing>,
    /// The code of the agreement's currency.
    pub currency: Option<&'a str>,
    /// The amount that is charged for ConnectWise's quantity.
    pub amount: Option<Money>,
    /// Whether the next invoice leaves it out.
    pub is_not_invoiced: bool,
}

impl StatementInput<'_> {
    /// The steps from the usage to the amount, in order. Steps that change nothing are left out.
    pub fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if self.is_reverted {
            steps.push("A revert set the quantity back.".to_owned());
        } else {
            self.quantity_steps(&mut steps);
        }
        self.charge_steps(&mut steps);
        steps
    }

    fn quantity_steps(&self, steps: &mut Vec<String>) {
        match (self.usage, self.problem) {
            (Some(usage), _) => steps.push(self.measured(usage)),
            (None, Some(problem)) => steps.push(format!("No usage was counted: {problem}.")),
            (None, None) => steps.push("No usage was measured.".to_owned()),
        }
        let Some(breakdown) = self.breakdown else {
            if self.usage.is_some() {
                steps.extend(self.problem.map(|problem| format!("There is no quantity: {problem}.")));
            }
            steps.extend(self.quantity.map(|quantity| format!("The quantity was {quantity} when it was pushed.")));
            return;
        };
        if let Some(adjustment) = self.adjustment {
            steps.push(self.adjusted(adjustment, breakdown.adjusted));
        }
        if self.block_size != BlockSize::ONE || breakdown.blocks.get() != breakdown.adjusted.get() {
            steps.push(self.rounded(breakdown));
        }
        if let Some(minimum) = self.minimum.filter(|_| breakdown.blocks != breakdown.total) {
            steps.push(format!("The agreed minimum is {minimum}: {}.", breakdown.total));
        }
        if let Some(included) = self.included.filter(|_| self.overage_of.is_none()) {
            steps.push(match breakdown.overage() {
                Ok(above) if above != Amount::ZERO => {
                    format!(
                        "{included} are included, so the quantity is {}, and the overage {above}.",
                        breakdown.quantity
                    )
                }
                _ => format!("{included} are included, so there is no overage."),
            });
        }
    }

    /// Adds the steps from the quantity in ConnectWise to the amount.
    fn charge_steps(&self, steps: &mut Vec<String>) {
        let (Some(terms), Some(has)) = (self.terms, self.connectwise_quantity) else {
            if self.quantity.is_some() {
                steps.push("It is unknown whether an invoice charges it.".to_owned());
            }
            return;
        };
        if Some(has) != self.quantity {
            steps.push(format!("The quantity on the agreement is {has}."));
        }
        match terms.bill_customer {
            Some(BillCustomer::DoNotBill) => steps.push("It is not billed under the agreement.".to_owned()),
            Some(BillCustomer::NoCharge) => steps.push("It is free of charge.".to_owned()),
            Some(BillCustomer::Billable) | None => {
                let charged = billed_quantity(has, terms);
                if let Some(included) = terms.less_included.filter(|included| *included > Quantity::ZERO) {
                    steps.push(format!("The agreement includes {included}: {charged} are charged."));
                }
                if let (Some(price), Some(amount)) = (terms.unit_price, self.amount) {
                    let currency = self.currency.map(|code| format!(" {code}")).unwrap_or_default();
                    steps.push(format!("At {price}{currency} each: {amount}{currency}."));
                }
            }
        }
        if self.is_not_invoiced {
            steps.push("It will not be on the next invoice.".to_owned());
        }
    }

    fn measured(&self, usage: CountedUsage) -> String {
        let CountedUsage { amount, through, records } = usage;
        if let Some(other) = self.overage_of {
            return match self.included {
                Some(included) => format!("Above the {included} included with {other}: {amount}."),
                None => format!("No quantity of {other} is included, so there is no overage."),
            };
        }
        let (unit, at) = (self.unit, through.format("%Y-%m-%d %H:%M UTC"));
        let count = if records == 1 { "one record".to_owned() } else { format!("{records} records") };
        match self.aggregation {
            _ if records == 1 => format!("Measured at {at}: {amount} {unit}."),
            Aggregation::Last => format!("Measured at {at}: {amount} {unit}."),
            Aggregation::Max => format!("Highest of {count}: {amount} {unit}, the latest measured at {at}."),
            Aggregation::Sum => format!("Sum of {count}: {amount} {unit}, the latest measured at {at}."),
        }
    }

    fn adjusted(&self, adjustment: &Adjustment, adjusted: Amount) -> String {
        let (amount, reason) = (adjustment.amount, adjustment.reason.trim_end_matches('.'));
        let amount = if amount.get().is_sign_negative() { amount.to_string() } else { format!("+{amount}") };
        format!("Adjusted by {amount} {} ({reason}): {adjusted} {}.", self.unit, self.unit)
    }

    fn rounded(&self, breakdown: QuantityBreakdown) -> String {
        let how = match self.rounding {
            Rounding::Ceil => ", rounded up",
            Rounding::Floor => ", rounded down",
            Rounding::Round => ", rounded to the nearest",
            Rounding::Exact => "",
        };
        format!("In blocks of {} {}{how}: {}.", self.block_size, self.unit, breakdown.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::line_quantity::QuantitySettings;

    /// Usage that is rounded up to whole units, without other data.
    fn input<'a>(unit: &'a str, amount: &str, records: i64) -> StatementInput<'a> {
        let through = "2026-11-22T12:00:00Z".parse().unwrap();
        StatementInput {
            unit,
            aggregation: Aggregation::Last,
            usage: Some(CountedUsage { amount: amount.parse().unwrap(), through, records }),
            problem: None,
            adjustment: None,
            block_size: BlockSize::ONE,
            rounding: Rounding::Ceil,
            minimum: None,
            included: None,
            overage_of: None,
            breakdown: None,
            quantity: None,
            is_reverted: false,
            connectwise_quantity: None,
            terms: None,
            currency: None,
            amount: None,
            is_not_invoiced: false,
        }
    }

    #[test]
    fn the_steps_say_why_it_is_this_amount() {
        let adjustment = Adjustment {
            amount: "-60.5".parse().unwrap(),
            from: "2026-11-01".parse().unwrap(),
            until: None,
            reason: "Two kiosk users.".to_owned(),
        };
        let (block_size, minimum) = ("100".parse().unwrap(), Some("5".parse().unwrap()));
        let settings = QuantitySettings {
            adjustment: Some(&adjustment),
            block_size,
            rounding: Rounding::Ceil,
            minimum,
            included: None,
        };
        let amount = "250".parse().unwrap();
        let billed = AdditionInvoicing {
            less_included: Some("2".parse().unwrap()),
            unit_price: Some("9.5".parse().unwrap()),
            ..AdditionInvoicing::default()
        };
        let making = StatementInput {
            aggregation: Aggregation::Max,
            adjustment: Some(&adjustment),
            block_size,
            minimum,
            breakdown: settings.quantity_of(amount).ok(),
            quantity: Some("5".parse().unwrap()),
            connectwise_quantity: Some("5".parse().unwrap()),
            terms: Some(&billed),
            currency: Some("USD"),
            amount: Some("28.5".parse().unwrap()),
            ..input("GB", "250", 3)
        };
        let until_quantity = [
            "Highest of 3 records: 250 GB, the latest measured at 2026-11-22 12:00 UTC.",
            "Adjusted by -60.5 GB (Two kiosk users): 189.5 GB.",
            "In blocks of 100 GB, rounded up: 2.",
            "The agreed minimum is 5: 5.",
        ];
        assert_eq!(making.steps()[..4], until_quantity);
        assert_eq!(making.steps()[4..], ["The agreement includes 2: 3 are charged.", "At 9.5 USD each: 28.5 USD."]);
        let free = AdditionInvoicing { bill_customer: Some(BillCustomer::DoNotBill), ..billed.clone() };
        let changed = StatementInput { connectwise_quantity: Some("7".parse().unwrap()), terms: Some(&free), ..making };
        let other_quantity = "The quantity on the agreement is 7.";
        assert_eq!(changed.steps()[4..], [other_quantity, "It is not billed under the agreement."]);
        let silent = StatementInput {
            usage: None,
            breakdown: None,
            quantity: None,
            problem: Some("the meter is silent"),
            ..changed
        };
        assert_eq!(silent.steps()[..2], ["No usage was counted: the meter is silent.", other_quantity]);
        let reverted = StatementInput { is_reverted: true, ..making };
        assert_eq!(reverted.steps()[0], "A revert set the quantity back.");
        let unmapped = StatementInput { terms: None, connectwise_quantity: None, ..making };
        assert_eq!(unmapped.steps()[4..], ["It is unknown whether an invoice charges it."]);
    }

    #[test]
    fn overage_is_reported_on_both_sides() {
        let settings = QuantitySettings {
            adjustment: None,
            block_size: BlockSize::ONE,
            rounding: Rounding::Ceil,
            minimum: None,
            included: Some("25".parse().unwrap()),
        };
        let steps = |text: &str, overage_of: Option<&str>| {
            let amount = text.parse().unwrap();
            let included = settings.included.filter(|_| overage_of.is_none());
            let breakdown = QuantitySettings { included, ..settings }.quantity_of(amount).ok();
            let making =
                StatementInput { included: settings.included, overage_of, breakdown, ..input("seats", text, 1) };
            making.steps()
        };
        assert_eq!(steps("30", None)[1], "25 are included, so the quantity is 25, and the overage 5.");
        assert_eq!(steps("25", None)[1], "25 are included, so there is no overage.");
        assert_eq!(steps("5", Some("Seats"))[..], ["Above the 25 included with Seats: 5."]);
    }
}

//! How ConnectWise invoices a quantity: the charged quantity, the amount, and warnings.
//!
//! Sources: ConnectWise's schema of agreements and additions, and users' reports about invoicing. The period that an
//! invoice covers differs between agreements, so a warning says what to check, and changes nothing.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::calendar::BillingMonth;
use super::quantity::{Money, Quantity};
use super::records::{Addition, Agreement};
use super::string_enum::string_enum;
use crate::domain::invoice_terms::{AdditionInvoicing, AgreementInvoicing, BillCustomer};

string_enum! {
    /// Something to check before the invoice is made. The first sentence states the problem, and the second what to do.
    InvoiceWarning {
        /// The addition is set to Do Not Bill in ConnectWise, so nothing is invoiced. Set Bill Customer to Billable
        /// there if the customer is to pay.
        DoNotBill = "do_not_bill",
        /// The addition is set to No Charge in ConnectWise, so it is on the invoice free of charge. Set Bill Customer
        /// to Billable there if the customer is to pay.
        NoCharge = "no_charge",
        /// Some units are included in the agreement and not billed. Check the addition's Less Included in ConnectWise.
        LessIncluded = "less_included",
        /// The agreement's billing cycle is None, so it is never invoiced. Set a billing cycle in ConnectWise.
        NeverInvoiced = "never_invoiced",
        /// The invoice for this month has been made already. Undo that invoice in ConnectWise, or bill the difference
        /// by hand.
        AlreadyInvoiced = "already_invoiced",
        /// The addition begins within the month, and the agreement does not prorate, so ConnectWise bills it in full or
        /// not at all. Turn on prorating in ConnectWise, or let the addition begin on the first day of a period.
        ProrateOff = "prorate_off",
        /// The addition is billed only from a later day on. Correct its effective date in ConnectWise if usage before
        /// that day is to be billed.
        EffectiveLater = "effective_later",
        /// The addition's unit price is 0. Set a price in ConnectWise if the customer is to pay.
        PriceZero = "price_zero",
        /// The agreement or the addition ends before the next invoice. Check its end in ConnectWise.
        EndsBeforeInvoice = "ends_before_invoice",
        /// ConnectWise has another company with this name. Check that the company is matched to the right one.
        TwinCompany = "twin_company",
    }
}

string_enum! {
    /// How a push handles a line if the invoice for the month has been made.
    WhenInvoiced {
        /// It writes the quantity, and the billing line has the warning `already_invoiced`. This is the default.
        Warn = "warn",
        /// It holds the line until a person approves or drops it.
        Hold = "hold",
        /// It skips the line, so ConnectWise keeps its quantity.
        Skip = "skip",
    }
}

/// How a quantity is invoiced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceEffect {
    /// The quantity that is billed, without the included units; `None` if there is no quantity.
    pub billed_quantity: Option<Quantity>,
    /// The billed quantity at the unit price; `None` if one of them is unknown, or the result has too many digits.
    pub amount: Option<Money>,
    /// The warnings to check before the invoice is made.
    pub warnings: Vec<InvoiceWarning>,
}

/// The other facts on which an invoice depends.
#[derive(Debug, Clone, Copy)]
pub struct InvoiceFacts<'a> {
    /// The agreement that the line bills to.
    pub agreement: &'a Agreement,
    /// The agreement that is invoiced: the parent of a child agreement, or the agreement itself.
    pub invoiced: &'a Agreement,
    /// The month that the line bills.
    pub month: BillingMonth,
    /// Today's date in the tenant's time zone.
    pub today: NaiveDate,
    /// Whether ConnectWise has another company of the same name.
    pub has_twin: bool,
}

/// The part of a quantity that ConnectWise bills: nothing if the addition is not billed, otherwise the units that are
/// not included. A negative quantity is a discount; included units do not apply to it.
pub fn billed_quantity(quantity: Quantity, terms: &AdditionInvoicing) -> Quantity {
    if terms.bill_customer == Some(BillCustomer::DoNotBill) {
        return Quantity::ZERO;
    }
    let included = terms.less_included.map_or(Decimal::ZERO, Quantity::get).max(Decimal::ZERO);
    let whole = quantity.get();
    if whole <= Decimal::ZERO { quantity } else { Quantity::from((whole - included).max(Decimal::ZERO)) }
}

/// The amount of a billed quantity.
pub(super) fn amount(billed: Quantity, terms: &AdditionInvoicing) -> Option<Money> {
    if matches!(terms.bill_customer, Some(BillCustomer::DoNotBill | BillCustomer::NoCharge)) {
        return Some(Money::ZERO);
    }
    Money::of(billed, terms.unit_price?)
}

/// Returns how a line's quantity is invoiced.
pub fn invoice_effect(quantity: Option<Quantity>, addition: &Addition, facts: InvoiceFacts<'_>) -> InvoiceEffect {
    let terms = &addition.terms;
    let billed = quantity.map(|quantity| billed_quantity(quantity, terms));
    InvoiceEffect {
        billed_quantity: billed,
        amount: billed.and_then(|billed| amount(billed, terms)),
        warnings: warnings(addition, facts),
    }
}

impl InvoiceFacts<'_> {
    /// The day of the next invoice; if it is unknown, the day after the month.
    fn expected(&self) -> NaiveDate {
        self.invoiced.terms.next_invoice.unwrap_or_else(|| self.month.next().first_day())
    }
}

/// Whether the next invoice leaves out an addition with these warnings.
pub fn is_not_invoiced(warnings: &[InvoiceWarning], addition: &Addition, facts: InvoiceFacts<'_>) -> bool {
    use InvoiceWarning::*;
    let begins_after = addition.terms.effective.is_some_and(|day| day > facts.expected());
    warnings.iter().any(|warning| match warning {
        NeverInvoiced | AlreadyInvoiced | EndsBeforeInvoice | DoNotBill => true,
        EffectiveLater => begins_after,
        NoCharge | LessIncluded | ProrateOff | PriceZero | TwinCompany => false,
    })
}

/// The warnings to check before the invoice is made.
pub fn warnings(addition: &Addition, facts: InvoiceFacts<'_>) -> Vec<InvoiceWarning> {
    let InvoiceFacts { agreement, invoiced, month, today, has_twin } = facts;
    let terms = &addition.terms;
    let is_billed = !matches!(terms.bill_customer, Some(BillCustomer::DoNotBill | BillCustomer::NoCharge));
    let cycle = invoiced.terms.cycle();
    let ends = [addition.cancelled_at, agreement.cancelled_at, agreement.ends_at.filter(|_| !agreement.no_end)];
    let expected = facts.expected();
    let ends_before = ends.into_iter().flatten().any(|end| end.date_naive() < expected);
    let begins_within = terms.effective.is_some_and(|day| day > month.first_day() && day < month.next().first_day());
    use InvoiceWarning::*;
    let all = [
        (DoNotBill, terms.bill_customer == Some(BillCustomer::DoNotBill)),
        (NoCharge, terms.bill_customer == Some(BillCustomer::NoCharge)),
        (LessIncluded, terms.less_included.is_some_and(|included| included > Quantity::ZERO)),
        (NeverInvoiced, cycle == "none"),
        (AlreadyInvoiced, is_invoiced(month, &invoiced.terms)),
        (ProrateOff, begins_within && agreement.terms.prorates == Some(false)),
        (EffectiveLater, terms.effective.is_some_and(|day| day > today)),
        (PriceZero, is_billed && terms.unit_price == Some(Money::ZERO)),
        (EndsBeforeInvoice, ends_before),
        (TwinCompany, has_twin),
    ];
    all.into_iter().filter(|(_, applies)| *applies).map(|(warning, _)| warning).collect()
}

/// Whether the invoice for a month (the first one after the month) has been made, by the terms of the agreement that is
/// invoiced. If the date of the last invoice is unknown, a monthly agreement's next date shows whether it was made; for
/// a longer cycle it counts as not made.
pub fn is_invoiced(month: BillingMonth, terms: &AgreementInvoicing) -> bool {
    if terms.last_invoice.is_some_and(|last| last >= month.next().first_day()) {
        return true;
    }
    let cycle = terms.cycle();
    let is_monthly = cycle.is_empty() || cycle.contains("month");
    is_monthly && terms.next_invoice.is_some_and(|next| next >= month.next().next().first_day())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn agreement(terms: AgreementInvoicing) -> Agreement {
        Agreement { terms, ..Agreement::endless(1, 1, String::new()) }
    }

    fn addition(terms: AdditionInvoicing) -> Addition {
        Addition { product_identifier: None, terms, ..Addition::plain(1, 1, "") }
    }

    fn number(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    /// How 12 units are invoiced for November, on 22 November.
    fn november(agreement: &Agreement, addition: &Addition) -> InvoiceEffect {
        let month = "2026-11".parse().unwrap();
        let facts = InvoiceFacts { agreement, invoiced: agreement, month, today: day("2026-11-22"), has_twin: false };
        invoice_effect(Some(number("12")), addition, facts)
    }

    #[test]
    fn what_is_included_is_not_billed() {
        let price = Some("9.5".parse().unwrap());
        let with = |terms: AdditionInvoicing| {
            let InvoiceEffect { billed_quantity, amount, warnings } =
                november(&agreement(AgreementInvoicing::default()), &addition(terms));
            let text = |value: Option<String>| value.unwrap_or_default();
            (text(billed_quantity.map(|n| n.to_string())), text(amount.map(|n| n.to_string())), warnings)
        };
        let plain = AdditionInvoicing { unit_price: price, ..AdditionInvoicing::default() };
        assert_eq!(with(plain.clone()), ("12".into(), "114".into(), vec![]));
        let included = AdditionInvoicing { less_included: Some(number("2.5")), ..plain.clone() };
        assert_eq!(with(included), ("9.5".into(), "90.25".into(), vec![InvoiceWarning::LessIncluded]));
        let all = AdditionInvoicing { less_included: Some(number("20")), ..plain.clone() };
        assert_eq!(with(all), ("0".into(), "0".into(), vec![InvoiceWarning::LessIncluded]));
        let never = AdditionInvoicing { bill_customer: Some(BillCustomer::DoNotBill), ..plain.clone() };
        assert_eq!(with(never), ("0".into(), "0".into(), vec![InvoiceWarning::DoNotBill]));
        let free = AdditionInvoicing { bill_customer: Some(BillCustomer::NoCharge), ..plain.clone() };
        assert_eq!(with(free), ("12".into(), "0".into(), vec![InvoiceWarning::NoCharge]));
        let zero = AdditionInvoicing { unit_price: Some(Money::ZERO), ..plain };
        assert_eq!(with(zero), ("12".into(), "0".into(), vec![InvoiceWarning::PriceZero]));
        assert_eq!(
            with(AdditionInvoicing::default()),
            ("12".into(), String::new(), vec![]),
            "an unknown price is no amount"
        );
    }

    #[test]
    fn reasons_a_quantity_is_not_invoiced_are_reported() {
        use InvoiceWarning::*;
        let monthly = |next: &str| AgreementInvoicing {
            billing_cycle: Some("Monthly".into()),
            next_invoice: Some(day(next)),
            ..AgreementInvoicing::default()
        };
        let of =
            |terms: AgreementInvoicing, own: AdditionInvoicing| november(&agreement(terms), &addition(own)).warnings;
        let plain = AdditionInvoicing::default;
        for (next, expected) in [
            ("2026-11-25", vec![]),
            ("2026-12-01", vec![]),
            ("2026-12-31", vec![]),
            ("2027-01-01", vec![AlreadyInvoiced]),
        ] {
            assert_eq!(of(monthly(next), plain()), expected, "{next}");
        }
        let quarterly = AgreementInvoicing { billing_cycle: Some("Quarterly".into()), ..monthly("2027-01-01") };
        let last = |day: NaiveDate| AgreementInvoicing { last_invoice: Some(day), ..quarterly.clone() };
        assert_eq!(of(last(day("2026-12-01")), plain()), vec![AlreadyInvoiced], "whatever the cycle");
        assert_eq!(of(last(day("2026-11-30")), plain()), vec![]);
        assert_eq!(of(quarterly, plain()), vec![]);
        let none = AgreementInvoicing { billing_cycle: Some("None".into()), ..AgreementInvoicing::default() };
        assert_eq!(of(none, plain()), vec![NeverInvoiced]);
        let from = |text: &str| AdditionInvoicing { effective: Some(day(text)), ..plain() };
        let unprorated = || AgreementInvoicing { prorates: Some(false), ..AgreementInvoicing::default() };
        assert_eq!(of(unprorated(), from("2026-11-10")), vec![ProrateOff]);
        assert_eq!(of(unprorated(), from("2026-11-01")), vec![]);
        assert_eq!(of(AgreementInvoicing { prorates: Some(true), ..unprorated() }, from("2026-11-10")), vec![]);
        assert_eq!(of(AgreementInvoicing::default(), from("2026-11-23")), vec![EffectiveLater]);
        let mut ending = agreement(monthly("2026-12-01"));
        (ending.no_end, ending.ends_at) = (false, Some("2026-11-30T00:00:00Z".parse().unwrap()));
        assert_eq!(november(&ending, &addition(plain())).warnings, vec![EndsBeforeInvoice]);
    }

    proptest! {
        /// Billed and included units add up to the quantity: nothing is added or lost.
        #[test]
        fn billed_and_included_make_the_quantity(quantity in 0_i64..1_000_000, included in 0_i64..1_000_000, scale in 0_u32..4) {
            let decimal = |number: i64| Quantity::from(Decimal::new(number, scale));
            let terms = AdditionInvoicing { less_included: Some(decimal(included)), ..AdditionInvoicing::default() };
            let billed = billed_quantity(decimal(quantity), &terms).get();
            prop_assert!(billed >= Decimal::ZERO && billed <= decimal(quantity).get());
            prop_assert_eq!(decimal(quantity).get() - billed, decimal(included).get().min(decimal(quantity).get()));
        }
    }
}

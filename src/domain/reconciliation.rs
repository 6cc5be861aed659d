//! Compares what a line should bill with what ConnectWise bills, in units and in money.

use rust_decimal::Decimal;

use super::mapping_status::{MappingReason, MappingStatus};
use super::quantity::{Money, Quantity};
use super::string_enum::string_enum;
use crate::domain::invoice_terms::AdditionInvoicing;
use crate::domain::invoices::{InvoiceWarning, amount, billed_quantity};

string_enum! {
    /// How a line, or an addition without a line, compares with ConnectWise. The first sentence states the situation,
    /// and the second what to do.
    ReconciliationKind {
        /// The company is not matched, so its usage is not billed. Match the company.
        CompanyNotSet = "company_not_set",
        /// The agreement or the addition is not resolved, so the usage is not billed. Choose it, or change the rule.
        Unresolved = "unresolved",
        /// Several agreements or additions match, so the usage is not billed. Choose one, or make the rule narrower.
        Ambiguous = "ambiguous",
        /// The agreement or the addition was cancelled, ended or deleted, so the usage is not billed. Choose another
        /// one.
        Stale = "stale",
        /// Pushes of this line are not enabled. Enable the line, or correct the quantity in ConnectWise by hand.
        Disabled = "disabled",
        /// Several lines bill to the same addition, so none of them is pushed. Choose another addition for the others.
        AdditionShared = "addition_shared",
        /// The usage cannot be turned into a quantity that ConnectWise can store. Change the rounding or the block
        /// size.
        NoQuantity = "no_quantity",
        /// There is no usage that counts, but ConnectWise continues to bill its quantity. Check the meter, or cancel
        /// the addition.
        SilentMeter = "silent_meter",
        /// The month's quantity has not been pushed yet, or it is unknown whether it arrived. Push it.
        NotPushed = "not_pushed",
        /// Usage or settings have changed since the month's last push, or another month was pushed after it. Push it
        /// again.
        OutOfDate = "out_of_date",
        /// The quantity in ConnectWise is not the one that was last pushed: somebody changed it there. Find out why,
        /// then push it again or add an adjustment.
        ChangedInConnectwise = "changed_in_connectwise",
        /// Usage or settings have changed since the month was pushed, and later months have been pushed since. If usage
        /// came late, bill the difference by hand: a push would overwrite the current quantity.
        PastDiffers = "past_differs",
        /// The month was not pushed, but later months were, so it is unknown what was billed for it. Check its invoice.
        PastUnknown = "past_unknown",
        /// The product's rules match this addition, but no line bills to it. Match its company, or cancel the addition.
        NoLine = "no_line",
        /// ConnectWise has the quantity. There is nothing to do, unless there are warnings.
        Agrees = "agrees",
    }
}

/// The facts by which a line is compared.
#[derive(Debug, Clone, Copy)]
pub struct ReconciliationInput<'a> {
    /// Whether pushes write the line.
    pub push_enabled: bool,
    /// The statuses of the agreement mapping and of the addition mapping, with the reason of the first.
    pub mappings: (MappingStatus, MappingStatus, Option<MappingReason>),
    /// Whether another enabled line bills to the same addition.
    pub is_shared: bool,
    /// Whether later months have been pushed since. Then the current quantity in ConnectWise is of a later month, and
    /// `connectwise_quantity` is what this month's last push wrote or found.
    pub is_past: bool,
    /// The quantity of the month's usage; `None` without usage that counts, or if there is a problem.
    pub quantity: Option<Quantity>,
    /// Whether there is usage that cannot be turned into a quantity.
    pub has_problem: bool,
    /// How the addition is invoiced; `None` if the line bills to no addition.
    pub terms: Option<&'a AdditionInvoicing>,
    /// The quantity in ConnectWise; `None` if it is unknown, or the line bills to no live addition.
    pub connectwise_quantity: Option<Quantity>,
    /// The quantity that the month's last push wrote or found in the addition; `None` if there was no such push.
    pub pushed_quantity: Option<Quantity>,
}

/// How a line compares with ConnectWise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconciliationResult {
    /// Why they differ, if they do.
    pub kind: ReconciliationKind,
    /// The quantity that is missing in ConnectWise; negative if ConnectWise has too many units; `None` if that is
    /// unknown.
    pub difference: Option<Quantity>,
    /// The amount that an invoice charges for the computed quantity.
    pub amount: Option<Money>,
    /// The amount that an invoice charges for ConnectWise's quantity.
    pub connectwise_amount: Option<Money>,
    /// The amount that is missing; negative if too much is billed; `None` if one of the two is unknown.
    pub amount_difference: Option<Money>,
}

impl ReconciliationInput<'_> {
    /// Compares a line.
    pub fn compared(&self) -> ReconciliationResult {
        let kind = self.kind();
        let is_billed_to = self.terms.is_some() && self.is_resolved();
        // Without an addition for the usage, ConnectWise bills none of it.
        let theirs = if is_billed_to { self.connectwise_quantity } else { Some(Quantity::ZERO) };
        let difference = self.quantity.zip(theirs).map(|(ours, theirs)| ours.minus(theirs));
        let of = |quantity: Option<Quantity>| charge(quantity?, self.terms?);
        let (amount, connectwise_amount) = (of(self.quantity), of(theirs));
        let amount_difference = amount.zip(connectwise_amount).and_then(|(ours, theirs)| ours.minus(theirs));
        ReconciliationResult { kind, difference, amount, connectwise_amount, amount_difference }
    }

    fn is_resolved(&self) -> bool {
        let (agreement, addition, _) = self.mappings;
        [agreement, addition].iter().all(|status| *status == MappingStatus::Resolved)
    }

    /// The first cause, in the order in which a person would fix them.
    fn kind(&self) -> ReconciliationKind {
        use ReconciliationKind::*;
        if self.has_problem {
            return NoQuantity;
        }
        let Some(ours) = self.quantity else {
            let goes_on = self.is_resolved() && self.connectwise_quantity.is_some_and(|has| has != Quantity::ZERO);
            return if goes_on { SilentMeter } else { Agrees };
        };
        if !self.is_resolved() {
            return if ours == Quantity::ZERO { Agrees } else { self.unmapped() };
        }
        if self.is_shared && self.push_enabled {
            return AdditionShared;
        }
        if self.is_past {
            return match self.connectwise_quantity {
                Some(has) if has == ours => Agrees,
                Some(_) => PastDiffers,
                None => PastUnknown,
            };
        }
        match (self.connectwise_quantity, self.pushed_quantity) {
            (Some(has), _) if has == ours => Agrees,
            _ if !self.push_enabled => Disabled,
            (Some(has), Some(pushed)) if has != pushed => ChangedInConnectwise,
            (_, Some(_)) => OutOfDate,
            (_, None) => NotPushed,
        }
    }

    fn unmapped(&self) -> ReconciliationKind {
        let (agreement, addition, reason) = self.mappings;
        let first = if agreement == MappingStatus::Resolved { addition } else { agreement };
        match first {
            _ if reason == Some(MappingReason::CompanyNotSet) => ReconciliationKind::CompanyNotSet,
            MappingStatus::Ambiguous => ReconciliationKind::Ambiguous,
            MappingStatus::Stale => ReconciliationKind::Stale,
            MappingStatus::Unresolved | MappingStatus::Resolved => ReconciliationKind::Unresolved,
        }
    }
}

/// The amount that an invoice charges for a quantity; `None` if the price is unknown.
pub fn charge(quantity: Quantity, terms: &AdditionInvoicing) -> Option<Money> {
    amount(billed_quantity(quantity, terms), terms)
}

/// The units that a warning affects, and their price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarningImpact {
    /// Why the customer may not be charged for the units.
    pub warning: InvoiceWarning,
    /// The units that the customer may not be charged; `None` if that is unknown.
    pub quantity: Option<Quantity>,
    /// Their price; `None` if that is unknown.
    pub amount: Option<Money>,
}

/// The units and the amount that each warning affects. The warning `already_invoiced` is left out if ConnectWise
/// already has the quantity, because the last invoice covered it.
pub fn warning_impacts(
    warnings: &[InvoiceWarning],
    quantity: Option<Quantity>,
    connectwise_quantity: Option<Quantity>,
    terms: &AdditionInvoicing,
) -> Vec<WarningImpact> {
    let priced = |quantity: Quantity| Money::of(quantity, terms.unit_price?);
    let impact = |warning: InvoiceWarning| {
        let units = match warning {
            InvoiceWarning::AlreadyInvoiced => {
                let billed = |quantity: Option<Quantity>| quantity.map(|quantity| billed_quantity(quantity, terms));
                billed(quantity).zip(billed(connectwise_quantity)).map(|(ours, theirs)| ours.minus(theirs))
            }
            other => quantity.and_then(|quantity| affected_units(other, quantity, terms)),
        };
        WarningImpact { warning, quantity: units, amount: units.and_then(priced) }
    };
    let is_taken = quantity.is_some() && quantity == connectwise_quantity;
    let applies = |warning: &&InvoiceWarning| **warning != InvoiceWarning::AlreadyInvoiced || !is_taken;
    warnings.iter().filter(applies).map(|warning| impact(*warning)).collect()
}

fn affected_units(warning: InvoiceWarning, quantity: Quantity, terms: &AdditionInvoicing) -> Option<Quantity> {
    let included = terms.less_included.map_or(Decimal::ZERO, Quantity::get).max(Decimal::ZERO);
    let not_included = Quantity::from((quantity.get() - included).max(quantity.get().min(Decimal::ZERO)));
    match warning {
        InvoiceWarning::LessIncluded => Some(quantity.minus(not_included)),
        InvoiceWarning::TwinCompany | InvoiceWarning::ProrateOff => None,
        InvoiceWarning::DoNotBill | InvoiceWarning::NoCharge | InvoiceWarning::PriceZero => Some(not_included),
        _ => Some(billed_quantity(quantity, terms)),
    }
}

/// Divides the quantity of an addition among the lines that bill to it: each gets the quantity that it needs, in order,
/// and the last one gets the rest.
pub fn divided(has: Quantity, needs: &[Quantity]) -> Vec<Quantity> {
    let mut left = has;
    let mut parts: Vec<Quantity> = needs
        .iter()
        .map(|need| {
            let part = left.min(*need).max(Quantity::ZERO);
            left = left.minus(part);
            part
        })
        .collect();
    if let Some(last) = parts.last_mut() {
        *last = Quantity::from(last.get() + left.get());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::invoice_terms::BillCustomer;

    fn number(text: &str) -> Option<Quantity> {
        Some(text.parse().unwrap())
    }

    fn money(text: &str) -> Option<Money> {
        Some(text.parse().unwrap())
    }

    fn resolved(terms: &AdditionInvoicing) -> ReconciliationInput<'_> {
        ReconciliationInput {
            push_enabled: true,
            mappings: (MappingStatus::Resolved, MappingStatus::Resolved, None),
            is_shared: false,
            is_past: false,
            quantity: number("3"),
            has_problem: false,
            terms: Some(terms),
            connectwise_quantity: number("3"),
            pushed_quantity: None,
        }
    }

    #[test]
    fn a_line_has_the_first_cause_that_a_person_would_remove() {
        use ReconciliationKind::*;
        let terms = AdditionInvoicing { unit_price: money("9.5"), ..AdditionInvoicing::default() };
        let line = resolved(&terms);
        let kind = |line: ReconciliationInput<'_>| line.compared().kind;
        assert_eq!(kind(line), Agrees);
        let other = ReconciliationInput { connectwise_quantity: number("2"), ..line };
        assert_eq!(kind(other), NotPushed);
        assert_eq!(kind(ReconciliationInput { pushed_quantity: number("2"), ..other }), OutOfDate);
        assert_eq!(kind(ReconciliationInput { pushed_quantity: number("3"), ..other }), ChangedInConnectwise);
        assert_eq!(
            kind(ReconciliationInput { is_shared: true, ..line }),
            AdditionShared,
            "none of the lines is pushed"
        );
        assert_eq!(kind(ReconciliationInput { is_past: true, ..other }), PastDiffers);
        let unknown = ReconciliationInput { is_past: true, connectwise_quantity: None, ..other };
        assert_eq!((kind(unknown), unknown.compared().amount_difference), (PastUnknown, None));
        assert_eq!(kind(ReconciliationInput { push_enabled: false, ..other }), Disabled);
        assert_eq!(kind(ReconciliationInput { push_enabled: false, ..line }), Agrees);
        assert_eq!(kind(ReconciliationInput { quantity: None, ..other }), SilentMeter);
        assert_eq!(kind(ReconciliationInput { quantity: None, connectwise_quantity: number("0"), ..other }), Agrees);
        assert_eq!(kind(ReconciliationInput { quantity: None, has_problem: true, ..other }), NoQuantity);
        let not_set = (MappingStatus::Unresolved, MappingStatus::Unresolved, Some(MappingReason::CompanyNotSet));
        let unmapped = ReconciliationInput { mappings: not_set, terms: None, connectwise_quantity: None, ..line };
        assert_eq!(kind(unmapped), CompanyNotSet);
        assert_eq!(kind(ReconciliationInput { quantity: number("0"), ..unmapped }), Agrees, "nothing is missing");
        assert_eq!(unmapped.compared().difference, number("3"), "none of it is billed");
        let ambiguous = (MappingStatus::Resolved, MappingStatus::Ambiguous, None);
        assert_eq!(kind(ReconciliationInput { mappings: ambiguous, ..unmapped }), Ambiguous);
        let stale = (MappingStatus::Stale, MappingStatus::Stale, None);
        let gone = ReconciliationInput { mappings: stale, ..other }.compared();
        assert_eq!((gone.kind, gone.difference, gone.amount_difference), (Stale, number("3"), money("28.5")));
    }

    #[test]
    fn an_addition_is_divided_among_its_lines() {
        let parts = |has: &str, needs: [&str; 2]| {
            let needs = needs.map(|need| need.parse().unwrap());
            divided(has.parse().unwrap(), &needs).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(parts("7", ["3", "4"]), ["3", "4"]);
        assert_eq!(parts("9", ["3", "4"]), ["3", "6"]);
        assert_eq!(parts("2", ["3", "4"]), ["2", "0"]);
        assert_eq!(parts("-2", ["3", "4"]), ["0", "-2"], "a discount");
    }

    #[test]
    fn money_is_what_an_invoice_charges() {
        let terms = AdditionInvoicing {
            unit_price: money("9.5"),
            less_included: number("2.5"),
            ..AdditionInvoicing::default()
        };
        let compared = ReconciliationInput { connectwise_quantity: number("1"), ..resolved(&terms) }.compared();
        assert_eq!((compared.difference, compared.amount_difference), (number("2"), money("4.75")));
        let free = AdditionInvoicing { bill_customer: Some(BillCustomer::DoNotBill), ..terms.clone() };
        let compared = ReconciliationInput { connectwise_quantity: number("1"), ..resolved(&free) }.compared();
        assert_eq!((compared.difference, compared.amount_difference), (number("2"), money("0")));
        let impacts =
            warning_impacts(&[InvoiceWarning::DoNotBill, InvoiceWarning::LessIncluded], number("3"), None, &free);
        let told: Vec<_> = impacts.iter().map(|impact| (impact.quantity, impact.amount)).collect();
        assert_eq!(told, [(number("0.5"), money("4.75")), (number("2.5"), money("23.75"))]);
        let invoiced = [InvoiceWarning::AlreadyInvoiced];
        assert_eq!(warning_impacts(&invoiced, number("3"), number("3"), &terms), [], "the invoice took it");
        let late = warning_impacts(&invoiced, number("5"), number("3"), &terms);
        assert_eq!((late[0].quantity, late[0].amount), (number("2"), money("19")));
        let unknown = AdditionInvoicing::default();
        assert_eq!(resolved(&unknown).compared().amount_difference, None);
    }
}

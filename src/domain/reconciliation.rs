//! Compares what a line should bill with what ConnectWise bills, in units and in money.

use rust_decimal::Decimal;

use super::invoice::{InvoiceWarning, amount, billed_quantity};
use super::mapping_status::{MappingReason, MappingStatus};
use super::quantity::{Money, Quantity};
use super::string_enum::string_enum;
use super::terms::AdditionTerms;

string_enum! {
    /// How a line, or an addition without a line, compares with ConnectWise. The first sentence says what is the case, and
    /// the second what to do.
    ComparisonKind {
        /// The company is not matched, so that its usage is not billed. Match the company.
        CompanyNotSet = "company_not_set",
        /// The agreement or the addition is not resolved, so that the usage is not billed. Choose it, or change the rule.
        Unresolved = "unresolved",
        /// Several agreements or additions match, so that the usage is not billed. Choose one, or make the rule narrower.
        Ambiguous = "ambiguous",
        /// The agreement or the addition was cancelled, ended or deleted, so that the usage is not billed. Choose another one.
        Stale = "stale",
        /// Pushes of this line are not enabled. Enable the line, or correct the quantity in ConnectWise by hand.
        Disabled = "disabled",
        /// Several lines bill to the same addition, so that none of them is pushed. Choose another addition for the others.
        AdditionShared = "addition_shared",
        /// The usage makes no quantity that ConnectWise can store. Change the rounding or the block size.
        NoQuantity = "no_quantity",
        /// There is no usage that counts, and ConnectWise goes on billing its quantity. Check the meter, or cancel the addition.
        SilentMeter = "silent_meter",
        /// The month's quantity was not pushed yet. Push it.
        NotPushed = "not_pushed",
        /// Usage or settings have changed since the month's last push. Push it again.
        OutOfDate = "out_of_date",
        /// The quantity in ConnectWise is not the one that was last pushed: somebody changed it there. Find out why, then push
        /// it again or add an adjustment.
        ChangedInConnectwise = "changed_in_connectwise",
        /// The product's rules match this addition, and no line bills to it. Match its company, or cancel the addition.
        NoLine = "no_line",
        /// ConnectWise has the quantity. There is nothing to do, unless there are warnings.
        Agrees = "agrees",
    }
}

/// What a line is compared by.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// Whether pushes write the line.
    pub push_enabled: bool,
    /// The statuses of the agreement mapping and of the addition mapping, with the reason of the first.
    pub mappings: (MappingStatus, MappingStatus, Option<MappingReason>),
    /// Whether another enabled line bills to the same addition.
    pub is_shared: bool,
    /// The quantity of the month's usage; `None` without usage that counts, or if there is a problem.
    pub quantity: Option<Quantity>,
    /// Whether there is usage of which no quantity can be made.
    pub has_problem: bool,
    /// How the addition is invoiced; `None` if the line bills to no addition.
    pub terms: Option<&'a AdditionTerms>,
    /// The quantity in ConnectWise; `None` if it is not known, or the line bills to no live addition.
    pub connectwise_quantity: Option<Quantity>,
    /// The quantity that the month's last push wrote or found in the addition; `None` if there was no such push.
    pub pushed_quantity: Option<Quantity>,
}

/// How a line compares with ConnectWise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// The kind.
    pub kind: ComparisonKind,
    /// The quantity that is missing in ConnectWise; negative if it has too many units; `None` if that is not known.
    pub difference: Option<Quantity>,
    /// What an invoice with our quantity charges.
    pub amount: Option<Money>,
    /// What an invoice with ConnectWise's quantity charges.
    pub connectwise_amount: Option<Money>,
    /// The amount that is missing; negative if too much is billed; `None` if one of the two is not known.
    pub amount_difference: Option<Money>,
}

impl Comparison<'_> {
    /// Compares a line.
    pub fn compared(&self) -> Compared {
        let kind = self.kind();
        let is_billed_to = self.terms.is_some() && self.is_resolved();
        // Where no addition takes the usage, ConnectWise bills none of it.
        let theirs = if is_billed_to { self.connectwise_quantity } else { Some(Quantity::ZERO) };
        let difference = self.quantity.zip(theirs).map(|(ours, theirs)| ours.minus(theirs));
        let of = |quantity: Option<Quantity>| charge(quantity?, self.terms?);
        let (amount, connectwise_amount) = (of(self.quantity), of(theirs));
        let amount_difference = amount.zip(connectwise_amount).and_then(|(ours, theirs)| ours.minus(theirs));
        Compared { kind, difference, amount, connectwise_amount, amount_difference }
    }

    fn is_resolved(&self) -> bool {
        let (agreement, addition, _) = self.mappings;
        [agreement, addition].iter().all(|status| *status == MappingStatus::Resolved)
    }

    /// The kind: the first cause in the order in which a person would remove them.
    fn kind(&self) -> ComparisonKind {
        use ComparisonKind::*;
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
        match (self.connectwise_quantity, self.pushed_quantity) {
            (Some(has), _) if has == ours => Agrees,
            _ if !self.push_enabled => Disabled,
            _ if self.is_shared => AdditionShared,
            (Some(has), Some(pushed)) if has != pushed => ChangedInConnectwise,
            (_, Some(_)) => OutOfDate,
            (_, None) => NotPushed,
        }
    }

    fn unmapped(&self) -> ComparisonKind {
        let (agreement, addition, reason) = self.mappings;
        let first = if agreement == MappingStatus::Resolved { addition } else { agreement };
        match first {
            _ if reason == Some(MappingReason::CompanyNotSet) => ComparisonKind::CompanyNotSet,
            MappingStatus::Ambiguous => ComparisonKind::Ambiguous,
            MappingStatus::Stale => ComparisonKind::Stale,
            MappingStatus::Unresolved | MappingStatus::Resolved => ComparisonKind::Unresolved,
        }
    }
}

/// What an invoice charges for a quantity; `None` if the price is not known.
pub fn charge(quantity: Quantity, terms: &AdditionTerms) -> Option<Money> {
    amount(billed_quantity(quantity, terms), terms)
}

/// What a warning is about: so many units, at this price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtStake {
    /// The warning.
    pub warning: InvoiceWarning,
    /// The units that the customer may not be charged; `None` if that is not known.
    pub quantity: Option<Quantity>,
    /// Their price; `None` if that is not known.
    pub amount: Option<Money>,
}

/// What each warning of a line is about.
pub fn at_stake(warnings: &[InvoiceWarning], quantity: Option<Quantity>, terms: &AdditionTerms) -> Vec<AtStake> {
    let priced = |quantity: Quantity| Money::of(quantity, terms.unit_price?);
    let of = |warning: &InvoiceWarning| {
        let units = quantity.and_then(|quantity| units_at_stake(*warning, quantity, terms));
        AtStake { warning: *warning, quantity: units, amount: units.and_then(priced) }
    };
    warnings.iter().map(of).collect()
}

fn units_at_stake(warning: InvoiceWarning, quantity: Quantity, terms: &AdditionTerms) -> Option<Quantity> {
    let included = terms.less_included.map_or(Decimal::ZERO, Quantity::get).max(Decimal::ZERO);
    let not_included = Quantity::from((quantity.get() - included).max(quantity.get().min(Decimal::ZERO)));
    match warning {
        InvoiceWarning::LessIncluded => Some(quantity.minus(not_included)),
        InvoiceWarning::TwinCompany | InvoiceWarning::ProrateOff => None,
        InvoiceWarning::DoNotBill | InvoiceWarning::NoCharge | InvoiceWarning::PriceZero => Some(not_included),
        _ => Some(billed_quantity(quantity, terms)),
    }
}

/// Whether the next invoice takes nothing of a line with these warnings.
pub fn is_left_out(warnings: &[InvoiceWarning]) -> bool {
    use InvoiceWarning::*;
    warnings.iter().any(|warning| {
        matches!(warning, NeverInvoiced | AlreadyInvoiced | EffectiveLater | EndsBeforeInvoice | DoNotBill)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::terms::BillCustomer;

    fn number(text: &str) -> Option<Quantity> {
        Some(text.parse().unwrap())
    }

    fn money(text: &str) -> Option<Money> {
        Some(text.parse().unwrap())
    }

    fn resolved(terms: &AdditionTerms) -> Comparison<'_> {
        Comparison {
            push_enabled: true,
            mappings: (MappingStatus::Resolved, MappingStatus::Resolved, None),
            is_shared: false,
            quantity: number("3"),
            has_problem: false,
            terms: Some(terms),
            connectwise_quantity: number("3"),
            pushed_quantity: None,
        }
    }

    #[test]
    fn a_line_has_the_first_cause_that_a_person_would_remove() {
        use ComparisonKind::*;
        let terms = AdditionTerms { unit_price: money("9.5"), ..AdditionTerms::default() };
        let line = resolved(&terms);
        let kind = |line: Comparison<'_>| line.compared().kind;
        assert_eq!(kind(line), Agrees);
        let other = Comparison { connectwise_quantity: number("2"), ..line };
        assert_eq!(kind(other), NotPushed);
        assert_eq!(kind(Comparison { pushed_quantity: number("2"), ..other }), OutOfDate);
        assert_eq!(kind(Comparison { pushed_quantity: number("3"), ..other }), ChangedInConnectwise);
        assert_eq!(kind(Comparison { is_shared: true, ..other }), AdditionShared);
        assert_eq!(kind(Comparison { push_enabled: false, ..other }), Disabled);
        assert_eq!(kind(Comparison { push_enabled: false, ..line }), Agrees);
        assert_eq!(kind(Comparison { quantity: None, ..other }), SilentMeter);
        assert_eq!(kind(Comparison { quantity: None, connectwise_quantity: number("0"), ..other }), Agrees);
        assert_eq!(kind(Comparison { quantity: None, has_problem: true, ..other }), NoQuantity);
        let not_set = (MappingStatus::Unresolved, MappingStatus::Unresolved, Some(MappingReason::CompanyNotSet));
        let unmapped = Comparison { mappings: not_set, terms: None, connectwise_quantity: None, ..line };
        assert_eq!(kind(unmapped), CompanyNotSet);
        assert_eq!(kind(Comparison { quantity: number("0"), ..unmapped }), Agrees, "nothing is missing");
        assert_eq!(unmapped.compared().difference, number("3"), "none of it is billed");
        let ambiguous = (MappingStatus::Resolved, MappingStatus::Ambiguous, None);
        assert_eq!(kind(Comparison { mappings: ambiguous, ..unmapped }), Ambiguous);
        let stale = (MappingStatus::Stale, MappingStatus::Stale, None);
        let gone = Comparison { mappings: stale, ..other }.compared();
        assert_eq!((gone.kind, gone.difference, gone.amount_difference), (Stale, number("3"), money("28.5")));
    }

    #[test]
    fn money_is_what_an_invoice_charges() {
        let terms =
            AdditionTerms { unit_price: money("9.5"), less_included: number("2.5"), ..AdditionTerms::default() };
        let compared = Comparison { connectwise_quantity: number("1"), ..resolved(&terms) }.compared();
        assert_eq!((compared.difference, compared.amount_difference), (number("2"), money("4.75")));
        let free = AdditionTerms { bill_customer: Some(BillCustomer::DoNotBill), ..terms.clone() };
        let compared = Comparison { connectwise_quantity: number("1"), ..resolved(&free) }.compared();
        assert_eq!((compared.difference, compared.amount_difference), (number("2"), money("0")));
        let stakes = at_stake(&[InvoiceWarning::DoNotBill, InvoiceWarning::LessIncluded], number("3"), &free);
        let told: Vec<_> = stakes.iter().map(|stake| (stake.quantity, stake.amount)).collect();
        assert_eq!(told, [(number("0.5"), money("4.75")), (number("2.5"), money("23.75"))]);
        let unknown = AdditionTerms::default();
        assert_eq!(resolved(&unknown).compared().amount_difference, None);
    }
}

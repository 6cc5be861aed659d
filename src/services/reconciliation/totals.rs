//! The totals of a reconciliation: by currency, kind, warning and product.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;

use super::item::Item;
use super::reconcile::ReconciledScope;
use crate::db::Product;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::ProductId;
use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::reconciliation::ReconciliationKind;

/// Amounts of one currency. An amount is `None` if it has too many digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyTotals {
    /// The currency's code; `None` for agreements without one.
    pub currency: Option<String>,
    /// The amount that invoices charge with the computed quantities.
    pub amount: Option<Money>,
    /// The amount that invoices charge with ConnectWise's quantities.
    pub connectwise_amount: Option<Money>,
    /// The sum of the known differences.
    pub difference: Option<Money>,
    /// The part of `amount` that the next invoices do not include.
    pub not_invoiced_amount: Option<Money>,
}

impl MoneyTotals {
    /// All amounts are unknown.
    pub const UNKNOWN: Self =
        Self { currency: None, amount: None, connectwise_amount: None, difference: None, not_invoiced_amount: None };
}

/// The items of one kind.
#[derive(Debug, Clone)]
pub struct KindTotals {
    /// The kind that all these items have.
    pub kind: ReconciliationKind,
    /// How many items there are.
    pub items: usize,
    /// How many of them have no difference in money, because a quantity or the price is unknown.
    pub without_amount: usize,
    /// Their amounts, one entry for each currency.
    pub money: Vec<MoneyTotals>,
}

/// The items with one warning.
#[derive(Debug, Clone)]
pub struct WarningTotals {
    /// The warning that all these items have.
    pub warning: InvoiceWarning,
    /// How many items there are.
    pub items: usize,
    /// The amounts that the warning affects, by currency.
    pub amounts: Vec<(Option<String>, Option<Money>)>,
}

/// The items of one product.
#[derive(Debug, Clone)]
pub struct ProductTotals {
    /// The product.
    pub product: Product,
    /// The month that is compared.
    pub month: BillingMonth,
    /// The number of items, including those that agree.
    pub items: usize,
    /// The number of items that a person should check.
    pub to_review: usize,
    /// The sum of the computed quantities.
    pub quantity: Quantity,
    /// The sum of ConnectWise's quantities.
    pub connectwise_quantity: Quantity,
    /// The sum of the known differences.
    pub difference: Quantity,
    /// Their amounts, one entry for each currency.
    pub money: Vec<MoneyTotals>,
}

/// The totals of a reconciliation.
#[derive(Debug, Clone)]
pub struct Totals {
    /// All amounts, by currency.
    pub money: Vec<MoneyTotals>,
    /// Totals by kind, in the order of the kinds; kinds without items are left out.
    pub kinds: Vec<KindTotals>,
    /// Totals by warning, in the order of the warnings; warnings without items are left out.
    pub warnings: Vec<WarningTotals>,
    /// Totals by product, ordered by name.
    pub products: Vec<ProductTotals>,
}

/// An amount for each currency.
type AmountsByCurrency<'i> = BTreeMap<Option<&'i str>, Option<Money>>;

/// Sums of one currency.
struct Sums([Option<Money>; 4]);

impl Sums {
    fn add(&mut self, values: [Option<Money>; 4]) {
        for (sum, value) in self.0.iter_mut().zip(values) {
            *sum = sum.and_then(|sum| sum.plus(value.unwrap_or(Money::ZERO)));
        }
    }
}

#[derive(Default)]
struct ByCurrency<'i>(BTreeMap<Option<&'i str>, Sums>);

impl<'i> ByCurrency<'i> {
    fn add(&mut self, item: &'i Item) {
        let compared = &item.compared;
        let values = [
            compared.amount,
            compared.connectwise_amount,
            compared.amount_difference,
            compared.amount.filter(|_| item.is_not_invoiced),
        ];
        if values.iter().any(Option::is_some) {
            let sums = self.0.entry(item.currency.as_deref()).or_insert_with(|| Sums([Some(Money::ZERO); 4]));
            sums.add(values);
        }
    }

    fn totals(self) -> Vec<MoneyTotals> {
        let of = |(currency, sums): (Option<&str>, Sums)| {
            let Sums([amount, connectwise_amount, difference, not_invoiced_amount]) = sums;
            MoneyTotals {
                currency: currency.map(str::to_owned),
                amount,
                connectwise_amount,
                difference,
                not_invoiced_amount,
            }
        };
        self.0.into_iter().map(of).collect()
    }
}

/// Adds everything up. Amounts of different currencies are never added.
pub fn totals(reconciled: &ReconciledScope) -> Totals {
    let mut all = ByCurrency::default();
    let mut kinds: BTreeMap<ReconciliationKind, (usize, usize, ByCurrency<'_>)> = BTreeMap::new();
    let mut warnings: BTreeMap<InvoiceWarning, (usize, AmountsByCurrency<'_>)> = BTreeMap::new();
    let mut products: HashMap<&ProductId, ProductSums<'_>> = HashMap::new();
    for item in &reconciled.items {
        all.add(item);
        let (items, without_amount, money) = kinds.entry(item.compared.kind).or_default();
        *items += 1;
        *without_amount += usize::from(item.compared.amount_difference.is_none());
        money.add(item);
        for impact in &item.warnings {
            let (items, amounts) = warnings.entry(impact.warning).or_default();
            *items += 1;
            if let Some(amount) = impact.amount {
                let sum = amounts.entry(item.currency.as_deref()).or_insert(Some(Money::ZERO));
                *sum = sum.and_then(|sum| sum.plus(amount));
            }
        }
        products.entry(&item.product_id).or_default().add(item);
    }
    let kind = |(kind, (items, without_amount, money)): (_, (_, _, ByCurrency<'_>))| KindTotals {
        kind,
        items,
        without_amount,
        money: money.totals(),
    };
    let warning = |(warning, (items, amounts)): (InvoiceWarning, (usize, AmountsByCurrency<'_>))| WarningTotals {
        warning,
        items,
        amounts: amounts.into_iter().map(|(currency, amount)| (currency.map(str::to_owned), amount)).collect(),
    };
    let mut in_order: Vec<&(Product, BillingMonth)> = reconciled.products.values().collect();
    in_order.sort_by_key(|(product, _)| (&product.name_key, &product.id));
    Totals {
        money: all.totals(),
        kinds: kinds.into_iter().map(kind).collect(),
        warnings: warnings.into_iter().map(warning).collect(),
        products: in_order
            .into_iter()
            .map(|(product, month)| products.remove(&product.id).unwrap_or_default().totals(product, *month))
            .collect(),
    }
}

#[derive(Default)]
struct ProductSums<'i> {
    items: usize,
    to_review: usize,
    quantities: [Decimal; 3],
    money: ByCurrency<'i>,
}

impl<'i> ProductSums<'i> {
    fn add(&mut self, item: &'i Item) {
        self.items += 1;
        self.to_review += usize::from(item.needs_review());
        let values = [item.quantity, item.connectwise_quantity, item.compared.difference];
        for (sum, value) in self.quantities.iter_mut().zip(values) {
            *sum = sum.saturating_add(value.map_or(Decimal::ZERO, Quantity::get));
        }
        self.money.add(item);
    }

    fn totals(self, product: &Product, month: BillingMonth) -> ProductTotals {
        let [quantity, connectwise_quantity, difference] = self.quantities.map(Quantity::from);
        ProductTotals {
            product: product.clone(),
            month,
            items: self.items,
            to_review: self.to_review,
            quantity,
            connectwise_quantity,
            difference,
            money: self.money.totals(),
        }
    }
}

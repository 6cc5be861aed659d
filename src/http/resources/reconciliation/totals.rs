//! The totals of a reconciliation.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::calendar::BillingMonth;
use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::reconciliation::ReconciliationKind;
use crate::domain::string_enum::StringEnum;
use crate::services::reconciliation as service;

/// Amounts in one currency. An amount is null if it has too many digits to be exact.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyTotals {
    /// The currency's code; null for agreements without one.
    #[schema(required)]
    pub currency: Option<String>,
    /// The amount that invoices charge with the computed quantities.
    #[schema(required)]
    pub amount: Option<Money>,
    /// The amount that invoices charge with ConnectWise's quantities.
    #[schema(required)]
    pub connectwise_amount: Option<Money>,
    /// The sum of the known differences: the amounts missing on invoices, less the amounts billed in excess.
    #[schema(required)]
    pub amount_difference: Option<Money>,
    /// The part of `amount` that the next invoices will not include, because of warnings.
    #[schema(required)]
    pub not_invoiced_amount: Option<Money>,
}

impl From<service::MoneyTotals> for CurrencyTotals {
    fn from(totals: service::MoneyTotals) -> Self {
        let service::MoneyTotals { currency, amount, connectwise_amount, difference, not_invoiced_amount } = totals;
        Self { currency, amount, connectwise_amount, amount_difference: difference, not_invoiced_amount }
    }
}

/// The items of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct KindTotals {
    /// The kind.
    pub kind: ReconciliationKind,
    /// The kind as a sentence, with what to do.
    pub explanation: String,
    /// The number of items.
    pub items: usize,
    /// The number of items without a difference in money, because a quantity or the price is unknown.
    pub without_amount: usize,
    /// Their amounts, by currency.
    pub totals: Vec<CurrencyTotals>,
}

impl From<service::KindTotals> for KindTotals {
    fn from(totals: service::KindTotals) -> Self {
        Self {
            kind: totals.kind,
            explanation: totals.kind.meaning().trim().to_owned(),
            items: totals.items,
            without_amount: totals.without_amount,
            totals: totals.money.into_iter().map(Into::into).collect(),
        }
    }
}

/// The items with one warning.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarningTotals {
    /// The warning.
    pub code: InvoiceWarning,
    /// The warning as a sentence, with what to do.
    pub explanation: String,
    /// The number of items.
    pub items: usize,
    /// The price of the units that customers might not be charged for, by currency.
    pub amounts: Vec<CurrencyAmount>,
}

/// An amount in one currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyAmount {
    /// The currency's code; null for agreements without one.
    #[schema(required)]
    pub currency: Option<String>,
    /// The amount; null if it has too many digits to be exact.
    #[schema(required)]
    pub amount: Option<Money>,
}

impl From<service::WarningTotals> for WarningTotals {
    fn from(totals: service::WarningTotals) -> Self {
        let amount = |(currency, amount)| CurrencyAmount { currency, amount };
        Self {
            code: totals.warning,
            explanation: totals.warning.meaning().trim().to_owned(),
            items: totals.items,
            amounts: totals.amounts.into_iter().map(amount).collect(),
        }
    }
}

/// The items of one product.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductTotals {
    /// The product's id.
    pub product_id: String,
    /// The product's code.
    pub product_code: String,
    /// The product's name.
    pub product_name: String,
    /// The month that is compared.
    pub billing_month: BillingMonth,
    /// The number of items: its lines, and additions that match its rules but have no line.
    pub items: usize,
    /// The number of items that do not agree or have warnings.
    pub to_review: usize,
    /// The sum of the computed quantities.
    pub quantity: Quantity,
    /// The sum of ConnectWise's quantities.
    pub connectwise_quantity: Quantity,
    /// The sum of the known differences, in units.
    pub quantity_difference: Quantity,
    /// The amounts, by currency.
    pub totals: Vec<CurrencyTotals>,
}

impl From<service::ProductTotals> for ProductTotals {
    fn from(totals: service::ProductTotals) -> Self {
        Self {
            product_id: totals.product.id.to_string(),
            product_code: totals.product.code,
            product_name: totals.product.name,
            billing_month: totals.month,
            items: totals.items,
            to_review: totals.to_review,
            quantity: totals.quantity,
            connectwise_quantity: totals.connectwise_quantity,
            quantity_difference: totals.difference,
            totals: totals.money.into_iter().map(Into::into).collect(),
        }
    }
}

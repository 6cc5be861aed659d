//! What ConnectWise's invoice makes of a line's quantity.

use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::string_enum::StringEnum;
use crate::services::quantities::invoice_effects;

/// What ConnectWise's invoice makes of the quantity in `usage`, as far as ConnectWise reported when it was last read.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineInvoice {
    /// The quantity that is billed: without the units that are included, and 0 if the addition is not billed. Null if
    /// there is no quantity.
    #[schema(required)]
    pub billed_quantity: Option<Quantity>,
    /// The billed quantity at the unit price, without taxes; 0 if the addition is not billed. Null if the quantity or
    /// the price is unknown.
    #[schema(required)]
    pub amount: Option<Money>,
    /// The code of the agreement's currency, such as `USD`; null if it has none. Amounts of different currencies must
    /// not be added up.
    #[schema(required)]
    pub currency: Option<String>,
    /// The price of a unit; null if it is unknown.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// The units that are included in the agreement; null if that is unknown.
    #[schema(required)]
    pub less_included: Option<Quantity>,
    /// The date of the next invoice, of the parent for a child agreement; null if it is unknown.
    #[schema(required)]
    pub next_invoice_on: Option<NaiveDate>,
    /// The date of the last invoice, of the parent for a child agreement; null if the site does not tell it.
    #[schema(required)]
    pub last_invoice_on: Option<NaiveDate>,
    /// The number of periods that were not invoiced yet, of the parent for a child agreement; null if the site does not
    /// tell it.
    #[schema(required)]
    pub unbilled_periods: Option<i64>,
    /// What to look at before the invoice is made.
    pub warnings: Vec<InvoiceWarningBody>,
}

/// Something to look at before the invoice is made.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceWarningBody {
    /// What it is, for programs.
    pub code: InvoiceWarning,
    /// The warning as a sentence, with what to do.
    pub explanation: String,
}

impl From<InvoiceWarning> for InvoiceWarningBody {
    fn from(code: InvoiceWarning) -> Self {
        Self { code, explanation: code.meaning().trim().to_owned() }
    }
}

impl From<invoice_effects::LineInvoice> for LineInvoice {
    fn from(invoice: invoice_effects::LineInvoice) -> Self {
        Self {
            billed_quantity: invoice.invoiced.billed_quantity,
            amount: invoice.invoiced.amount,
            currency: invoice.currency,
            unit_price: invoice.unit_price,
            less_included: invoice.less_included,
            next_invoice_on: invoice.next_invoice,
            last_invoice_on: invoice.last_invoice,
            unbilled_periods: invoice.unbilled_periods,
            warnings: invoice.invoiced.warnings.into_iter().map(InvoiceWarningBody::from).collect(),
        }
    }
}

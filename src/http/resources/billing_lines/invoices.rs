//! How ConnectWise invoices a line's quantity.

use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::string_enum::StringEnum;
use crate::services::quantities::invoice_effects;

/// How ConnectWise will invoice the quantity in `usage`, according to the data last read from ConnectWise.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineInvoice {
    /// The quantity that is billed: without included units, and 0 if the addition is not billed. Null if there is no
    /// quantity.
    #[schema(required)]
    pub billed_quantity: Option<Quantity>,
    /// The billed quantity times the unit price, without taxes; 0 if the addition is not billed. Null if the quantity
    /// or the price is unknown.
    #[schema(required)]
    pub amount: Option<Money>,
    /// The code of the agreement's currency, such as `USD`; null if it has none. Amounts of different currencies must
    /// not be added up.
    #[schema(required)]
    pub currency: Option<String>,
    /// The price per unit; null if it is unknown.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// The number of units that the agreement includes; null if it is unknown.
    #[schema(required)]
    pub less_included: Option<Quantity>,
    /// The date of the next invoice (for a child agreement, the parent's); null if it is unknown.
    #[schema(required)]
    pub next_invoice_on: Option<NaiveDate>,
    /// The date of the last invoice (for a child agreement, the parent's); null if the site does not report it.
    #[schema(required)]
    pub last_invoice_on: Option<NaiveDate>,
    /// The number of periods not invoiced yet (for a child agreement, the parent's); null if the site does not report
    /// it.
    #[schema(required)]
    pub unbilled_periods: Option<i64>,
    /// Problems to check before the invoice is created.
    pub warnings: Vec<InvoiceWarningBody>,
}

/// A problem to check before the invoice is created.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceWarningBody {
    /// The warning's code, for programs.
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

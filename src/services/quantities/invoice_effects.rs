//! How ConnectWise invoices the quantities of lines.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;

use crate::db::{BillingLineView, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::CwAgreementId;
use crate::domain::invoices::{InvoiceEffect, InvoiceFacts, invoice_effect};
use crate::domain::quantity::{Money, Quantity};
use crate::domain::records::Agreement;
use crate::domain::text::fold;

/// How a line is invoiced, with the data behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineInvoice {
    /// The price of a unit.
    pub unit_price: Option<Money>,
    /// The units that are included in the agreement.
    pub less_included: Option<Quantity>,
    /// The code of the agreement's currency.
    pub currency: Option<String>,
    /// The date of the next invoice (the parent's, for a child agreement).
    pub next_invoice: Option<NaiveDate>,
    /// The date of the last invoice (the parent's, for a child agreement).
    pub last_invoice: Option<NaiveDate>,
    /// The number of periods that were not invoiced yet (the parent's, for a child agreement).
    pub unbilled_periods: Option<i64>,
    /// The billed quantity, its amount, and what to check before the invoice is made.
    pub invoiced: InvoiceEffect,
}

/// A line, the month that it bills, and its quantity.
pub type InvoicedLine<'l> = (&'l BillingLineView, BillingMonth, Option<Quantity>);

/// Returns how each line's quantity is invoiced; `None` for a line that bills to no addition. Runs at most two queries.
pub fn of_lines(tx: &mut Tx<'_>, lines: &[InvoicedLine<'_>], today: NaiveDate) -> Result<Vec<Option<LineInvoice>>> {
    let parents: HashSet<CwAgreementId> = lines.iter().filter_map(|(view, ..)| parent_of(view)).collect();
    let parents: HashMap<CwAgreementId, Agreement> = if parents.is_empty() {
        HashMap::new()
    } else {
        let rows = tx.agreements_by_id(&parents.into_iter().collect::<Vec<_>>())?;
        rows.into_iter().map(|row| (row.id, row.into())).collect()
    };
    let names: HashSet<String> = lines.iter().filter_map(|(view, ..)| name_of(view)).collect();
    let twins = tx.twin_company_names(&names.into_iter().collect::<Vec<_>>())?;
    let invoice = |(view, month, quantity): &InvoicedLine<'_>| {
        let (agreement, addition) = (view.agreement.as_ref()?, view.addition.as_ref()?);
        let invoiced_agreement = parent_of(view).and_then(|id| parents.get(&id)).unwrap_or(agreement);
        let has_twin = name_of(view).is_some_and(|name| twins.contains(&name));
        let facts = InvoiceFacts { agreement, invoiced: invoiced_agreement, month: *month, today, has_twin };
        Some(LineInvoice {
            unit_price: addition.terms.unit_price,
            less_included: addition.terms.less_included,
            currency: agreement.terms.currency.clone(),
            next_invoice: invoiced_agreement.terms.next_invoice,
            last_invoice: invoiced_agreement.terms.last_invoice,
            unbilled_periods: invoiced_agreement.terms.unbilled_periods,
            invoiced: invoice_effect(*quantity, addition, facts),
        })
    };
    Ok(lines.iter().map(invoice).collect())
}

fn parent_of(view: &BillingLineView) -> Option<CwAgreementId> {
    view.agreement.as_ref()?.terms.parent
}

/// The name of the matched ConnectWise company, folded for comparison, if the line bills to an addition.
fn name_of(view: &BillingLineView) -> Option<String> {
    view.addition.as_ref()?;
    view.cw_company.as_ref().map(|company| fold(&company.name))
}

//! Compares everything in a scope.

use std::collections::HashMap;
use std::sync::Arc;

use super::additions_without_line;
use super::item::{Item, ReconciliationScope};
use super::lines::{ConnectWiseState, Lines, compare};
use crate::db::{Product, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, ProductId};
use crate::domain::mappings::RecordIndex;
use crate::services::schedule::billing_calendar;

/// The result of comparing a scope.
pub struct ReconciledScope {
    /// The products, by id, each with its month.
    pub products: HashMap<ProductId, (Product, BillingMonth)>,
    /// The lines and the additions without a line, including items that agree.
    pub items: Vec<Item>,
    /// The number of agreements that a product's rule matches and whose additions were never read.
    pub unread_agreements: usize,
    pub(super) record_index: Arc<RecordIndex>,
}

/// Compares a scope. The number of queries depends on the number of products and months, not on the number of lines.
pub fn reconcile(tx: &mut Tx<'_>, scope: &ReconciliationScope, now: Timestamp) -> Result<ReconciledScope> {
    let calendar = billing_calendar::load(tx)?;
    let products = match &scope.product {
        Some(id) => vec![tx.product(id).map_err(|error| error.at("product_id"))?],
        None => tx.all_products()?,
    };
    let today = calendar.today(now);
    let products: HashMap<ProductId, (Product, BillingMonth)> = products
        .into_iter()
        .map(|product| (product.id.clone(), (scope.months.of_product(&product, &calendar, now), product)))
        .map(|(id, (month, product))| (id, (product, month)))
        .collect();
    let record_index = tx.record_index(None, today)?;
    let lines = Lines::load(tx, scope.product.as_ref(), scope.company.as_ref())?;
    let of_lines: Vec<CwAdditionId> = lines.rows.iter().filter_map(|row| row.addition_id).collect();
    // For a single company, only the additions of its lines are compared.
    let quantities = tx.addition_quantities(scope.company.as_ref().map(|_| of_lines.as_slice()))?;
    let connectwise = ConnectWiseState { record_index: &record_index, quantities: &quantities, today };
    let without_line =
        additions_without_line::find(tx, &connectwise, &products, scope, &lines, calendar.month_of(now))?;
    let mut items = compare(tx, &connectwise, &products, lines, &calendar, now)?;
    items.extend(without_line.items);
    Ok(ReconciledScope { products, items, unread_agreements: without_line.unread_agreements, record_index })
}

//! Counts each product's billing lines by state.

use std::collections::BTreeMap;

use crate::db::{BillingLineCounts, Product, Tx};
use crate::domain::Result;
use crate::domain::ids::ProductId;
use crate::domain::line_need::LineNeed;
use crate::domain::push::PushLineState;
use crate::services::mappings::resolve::StatusCounts;

/// The lines of one product.
#[derive(Debug, Clone)]
pub struct ProductSummary {
    /// The product whose lines are counted.
    pub product: Product,
    /// The number of lines: one for each company.
    pub lines: i64,
    /// The number of lines that pushes write.
    pub enabled: i64,
    /// The number of lines that need a person's attention.
    pub needs_attention: i64,
    /// The number of these lines by the action that a person must take.
    pub needs: BTreeMap<LineNeed, i64>,
    /// The number of lines by the status of their agreement mapping.
    pub agreements: StatusCounts,
    /// The number of lines by the status of their addition mapping.
    pub additions: StatusCounts,
    /// The number of lines by the state of their last push; lines that were never pushed are not counted.
    pub last_pushes: BTreeMap<PushLineState, i64>,
}

/// Returns the summary of each product, or of one, ordered by name. Runs two queries.
pub fn load(tx: &mut Tx<'_>, product: Option<&ProductId>) -> Result<Vec<ProductSummary>> {
    let mut products = match product {
        Some(id) => vec![tx.product(id).map_err(|error| error.at("product_id"))?],
        None => tx.all_products()?,
    };
    products.sort_by(|a, b| (&a.name_key, &a.id).cmp(&(&b.name_key, &b.id)));
    let mut counts: BTreeMap<ProductId, Vec<BillingLineCounts>> = BTreeMap::new();
    for count in tx.line_counts(product)? {
        counts.entry(count.product_id.clone()).or_default().push(count);
    }
    Ok(products.into_iter().map(|product| summed(counts.remove(&product.id).unwrap_or_default(), product)).collect())
}

fn summed(counts: Vec<BillingLineCounts>, product: Product) -> ProductSummary {
    let mut summary = ProductSummary {
        product,
        lines: 0,
        enabled: 0,
        needs_attention: 0,
        needs: BTreeMap::new(),
        agreements: StatusCounts::default(),
        additions: StatusCounts::default(),
        last_pushes: BTreeMap::new(),
    };
    for count in counts {
        summary.lines += count.lines;
        summary.enabled += if count.push_enabled { count.lines } else { 0 };
        if let Some(need) = count.need() {
            summary.needs_attention += count.lines;
            *summary.needs.entry(need).or_default() += count.lines;
        }
        let lines = usize::try_from(count.lines).unwrap_or_default();
        summary.agreements.add(count.agreement_status, lines);
        summary.additions.add(count.addition_status, lines);
        if let Some(state) = count.last_push_state {
            *summary.last_pushes.entry(state).or_default() += count.lines;
        }
    }
    summary
}

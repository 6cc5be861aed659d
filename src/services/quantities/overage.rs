//! Products that bill the overage of others: what is above an included quantity.
//!
//! An included quantity needs a product that bills what is above it, or that would be lost. Which product bills whose
//! overage never changes, and both bill the same month.

use crate::db::{Product, Tx};
use crate::domain::ids::ProductId;
use crate::domain::{ConflictCode, Error, FieldCode, Result};

/// The error for an included quantity of a product whose overage no product bills.
pub(in crate::services) fn nobody_bills_it() -> Error {
    let detail = "no product bills what is above the included quantity: create one with this product's id as \"overage_of\" \
                  first. A product that bills overage has no included quantity itself";
    Error::conflict(ConflictCode::OverageNotBilled, detail)
}

/// Refuses an included quantity whose overage nobody bills.
pub(in crate::services) fn check_included(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    if product.included_quantity.is_some() && tx.overage_product(&product.id)?.is_none() {
        return Err(nobody_bills_it().at("/included_quantity"));
    }
    Ok(())
}

/// Checks that a new product can bill the overage of another: that one exists, bills no overage itself, and no other
/// product bills its overage. Returns the other product.
pub(in crate::services) fn check_new(tx: &mut Tx<'_>, of: &ProductId) -> Result<Product> {
    const FIELD: &str = "/overage_of";
    let base = tx.product(of).map_err(|error| error.at(FIELD))?;
    if base.overage_of.is_some() {
        let message = format!("product {of} bills the overage of another product, and has none itself");
        return Err(Error::invalid(FIELD, FieldCode::Contradiction, message));
    }
    if let Some(other) = tx.overage_product(of)? {
        let message = format!("product {} bills the overage of this product already", other.id);
        return Err(Error::invalid(FIELD, FieldCode::Contradiction, message));
    }
    Ok(base)
}

/// Gives a product that bills overage the settings by which the other one's usage counts: both bill the same month.
pub(in crate::services) fn copy_usage_settings(product: &mut Product, base: &Product) {
    product.aggregation = base.aggregation;
    product.billing_period = base.billing_period;
    product.max_usage_age_days = base.max_usage_age_days;
}

/// Refuses to delete a product while another depends on it, or while units would be left unbilled or billed twice
/// afterwards.
pub(in crate::services) fn check_deleted(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    let refuse = |detail: String| Err(Error::conflict(ConflictCode::OverageNotBilled, detail));
    if let Some(other) = tx.overage_product(&product.id)? {
        return refuse(format!("product {} bills the overage of this product: delete that one first", other.id));
    }
    // An earlier version may have deleted the other product.
    let base = match &product.overage_of {
        Some(of) => tx.products_by_id(std::slice::from_ref(of))?.pop(),
        None => None,
    };
    let Some(base) = base else { return Ok(()) };
    if base.included_quantity.is_some() || tx.has_included_quantities(&base.id)? {
        return refuse(format!(
            "product {} or some of its lines have an included quantity, and what is above it would no longer be billed: \
             remove the included quantities first",
            base.id
        ));
    }
    if tx.has_pushed_quantities(&product.id)? {
        return refuse(
            "ConnectWise still has quantities of this product, which the other product bills from now on: push this \
             product first, which writes 0"
                .to_owned(),
        );
    }
    Ok(())
}

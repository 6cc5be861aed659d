//! Overage products, which bill the amount above the included quantity of a base product.
//!
//! An included quantity needs an overage product; otherwise the amount above it would not be billed. The base product
//! of an overage product never changes, and both bill the same month.

use crate::db::{Product, Tx};
use crate::domain::ids::ProductId;
use crate::domain::{ConflictCode, Error, FieldCode, Result};

/// The error for an included quantity of a product without an overage product.
pub(in crate::services) fn overage_not_billed() -> Error {
    let detail = "no product bills the overage above the included quantity: first create one with this product's id as \
                  \"overage_of\". A product that bills overage has no included quantity itself";
    Error::conflict(ConflictCode::OverageNotBilled, detail)
}

/// Rejects an included quantity of a product without an overage product.
pub(in crate::services) fn check_included(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    if product.included_quantity.is_some() && tx.overage_product(&product.id)?.is_none() {
        return Err(overage_not_billed().at("/included_quantity"));
    }
    Ok(())
}

/// Checks that a new product can bill the overage of another: the other product exists, bills no overage itself, and
/// has no overage product yet. Returns the base product.
pub(in crate::services) fn check_new(tx: &mut Tx<'_>, of: &ProductId) -> Result<Product> {
    const FIELD: &str = "/overage_of";
    let base = tx.product(of).map_err(|error| error.at(FIELD))?;
    if base.overage_of.is_some() {
        let message = format!("product {of} bills the overage of another product, so it has no overage itself");
        return Err(Error::invalid(FIELD, FieldCode::Contradiction, message));
    }
    if let Some(other) = tx.overage_product(of)? {
        let message = format!("product {} already bills the overage of this product", other.id);
        return Err(Error::invalid(FIELD, FieldCode::Contradiction, message));
    }
    Ok(base)
}

/// Copies the usage settings of a base product to its overage product: both bill the same month.
pub(in crate::services) fn copy_usage_settings(product: &mut Product, base: &Product) {
    product.aggregation = base.aggregation;
    product.billing_period = base.billing_period;
    product.max_usage_age_days = base.max_usage_age_days;
}

/// Refuses to delete a product while another depends on it, or while units would be left unbilled or billed twice
/// afterwards.
pub(in crate::services) fn check_deleted(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    let reject = |detail: String| Err(Error::conflict(ConflictCode::OverageNotBilled, detail));
    if let Some(other) = tx.overage_product(&product.id)? {
        return reject(format!("product {} bills the overage of this product: delete that one first", other.id));
    }
    // An earlier version may have deleted the base product.
    let base = match &product.overage_of {
        Some(of) => tx.products_by_id(std::slice::from_ref(of))?.pop(),
        None => None,
    };
    let Some(base) = base else { return Ok(()) };
    if base.included_quantity.is_some() || tx.has_included_quantities(&base.id)? {
        return reject(format!(
            "product {} or some of its lines have an included quantity, and the overage above it would no longer be \
             billed: remove the included quantities first",
            base.id
        ));
    }
    if tx.has_pushed_quantities(&product.id)? {
        return reject(
            "ConnectWise still has quantities of this product, which the base product will bill: push this product \
             first to set them to 0"
                .to_owned(),
        );
    }
    Ok(())
}

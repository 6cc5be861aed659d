//! Products that bill the overage of others: what is above an included quantity.
//!
//! An included quantity needs a product that bills what is above it, or that would be lost. Which product bills whose
//! overage never changes.

use crate::db::{Product, Tx};
use crate::domain::ids::ProductId;
use crate::domain::{ConflictCode, Error, FieldCode, Result};

/// The error for an included quantity of a product whose overage no product bills.
pub(super) fn nobody_bills_it() -> Error {
    let detail = "no product bills what is above the included quantity: create one with this product's id as \"overage_of\" \
                  first";
    Error::conflict(ConflictCode::OverageNotBilled, detail)
}

/// Refuses an included quantity whose overage nobody bills.
pub(super) fn check_included(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    if product.included_quantity.is_some() && tx.overage_product(&product.id)?.is_none() {
        return Err(nobody_bills_it().at("/included_quantity"));
    }
    Ok(())
}

/// Checks that a new product can bill the overage of another: that one exists, bills no overage itself, and no other product
/// bills its overage.
pub(super) fn check_new(tx: &mut Tx<'_>, of: &ProductId) -> Result<()> {
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
    Ok(())
}

/// Refuses to delete a product while another depends on it.
pub(super) fn check_deleted(tx: &mut Tx<'_>, product: &Product) -> Result<()> {
    if let Some(other) = tx.overage_product(&product.id)? {
        let detail = format!("product {} bills the overage of this product: delete that one first", other.id);
        return Err(Error::conflict(ConflictCode::OverageNotBilled, detail));
    }
    let Some(of) = &product.overage_of else { return Ok(()) };
    if tx.product(of)?.included_quantity.is_some() || tx.has_included_quantities(of)? {
        let detail = format!(
            "product {of} or some of its lines have an included quantity, and what is above it would no longer be billed: \
             remove the included quantities first"
        );
        return Err(Error::conflict(ConflictCode::OverageNotBilled, detail));
    }
    Ok(())
}

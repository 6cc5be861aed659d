//! The settings that determine the quantities of a product's lines, besides their usage.

use diesel::prelude::*;

use super::counted_usage::CompanySelection;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::billing_lines;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::line_quantity::Adjustment;
use crate::domain::quantity::{BlockSize, IncludedQuantity, MinimumQuantity};

/// The settings that determine a line's quantity, besides its usage and its product.
#[derive(Debug, Clone, Queryable)]
pub struct LineSettings {
    /// The line's company.
    pub company_id: CompanyId,
    /// The line's own block size.
    pub block_size: Option<BlockSize>,
    /// The line's own minimum.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The line's own included quantity.
    pub included_quantity: Option<IncludedQuantity>,
    /// The line's adjustment.
    pub adjustment: Option<Adjustment>,
}

/// The columns of [`LineSettings`], in their order.
pub(super) const COLUMNS: (
    billing_lines::company_id,
    billing_lines::block_size,
    billing_lines::minimum_quantity,
    billing_lines::included_quantity,
    billing_lines::adjustment,
) = (
    billing_lines::company_id,
    billing_lines::block_size,
    billing_lines::minimum_quantity,
    billing_lines::included_quantity,
    billing_lines::adjustment,
);

impl Tx<'_> {
    /// The settings of a product's lines.
    pub fn line_settings(&mut self, product: &ProductId, selection: CompanySelection<'_>) -> Result<Vec<LineSettings>> {
        use billing_lines as l;
        let parts = match selection {
            CompanySelection::AtLeast(_) => vec![None],
            CompanySelection::Only(companies) => chunks(companies).into_iter().map(Some).collect(),
        };
        let mut found = Vec::new();
        for companies in parts {
            let mut scoped = self.scoped(l::table).filter(l::product_id.eq(product.clone())).into_boxed();
            if let Some(companies) = companies {
                scoped = scoped.filter(l::company_id.in_list(companies));
            }
            found.extend(scoped.select(COLUMNS).load::<LineSettings>(self.conn)?);
        }
        Ok(found)
    }

    /// Whether a line of a product has an included quantity of its own.
    pub fn has_included_quantities(&mut self, product: &ProductId) -> Result<bool> {
        let scoped = self.scoped(billing_lines::table).filter(billing_lines::product_id.eq(product.clone()));
        let some = scoped.filter(billing_lines::included_quantity.is_not_null());
        Ok(diesel::select(diesel::dsl::exists(some.select(billing_lines::id))).get_result(self.conn)?)
    }
}

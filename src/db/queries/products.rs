//! The products that the vendor bills.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::{MultiBackend, run_fixed};
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, chunks, keyset, like_pattern, total, without_nul};
use crate::db::engine::schema::products;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::change_guard::ChangeGuard;
use crate::domain::ids::{ProductId, TenantId};
use crate::domain::invoices::WhenInvoiced;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::string_enum::string_enum;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::domain::{Error, Result};

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true, table_name = products, primary_key(tenant_id, id), check_for_backend(MultiBackend))]
pub struct Product {
    pub id: ProductId,
    pub tenant_id: TenantId,
    pub code: String,
    pub name: String,
    pub name_key: String,
    pub unit: String,
    pub block_size: BlockSize,
    pub rounding: Rounding,
    pub aggregation: Aggregation,
    pub max_change_percent: Option<Amount>,
    pub max_change_units: Option<Amount>,
    /// `None` for the aggregation's default.
    pub billing_period: Option<BillingPeriod>,
    pub max_usage_age_days: i64,
    /// The minimum quantity that each line bills, unless the line has its own.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The maximum quantity that each line bills, unless the line has its own. The overage product bills the rest.
    pub included_quantity: Option<IncludedQuantity>,
    /// The base product whose overage this product bills.
    pub overage_of: Option<ProductId>,
    /// How a push handles a line whose invoice has been made.
    pub when_invoiced: WhenInvoiced,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

impl Product {
    /// The month that a push bills: the product's setting, or the aggregation's default.
    pub fn billing_period(&self) -> BillingPeriod {
        self.billing_period.unwrap_or(self.aggregation.default_billing_period())
    }

    /// The largest change that a push writes without approval.
    pub fn guard(&self) -> ChangeGuard {
        ChangeGuard { percent: self.max_change_percent, units: self.max_change_units }
    }
}

/// The id and the code by which callers identify a product.
#[derive(Debug, Clone, Queryable)]
pub struct ProductName {
    pub id: ProductId,
    pub code: String,
    /// The base product whose overage this product bills.
    pub overage_of: Option<ProductId>,
}

string_enum! {
    /// The sort keys of products.
    ProductSort {
        /// By name, ignoring case.
        Name = "name",
        /// By code.
        Code = "code",
        /// Oldest first.
        CreatedAt = "created_at",
    }
}

/// The filter of products.
#[derive(Debug, Clone, Default)]
pub struct ProductFilter {
    /// Name contains this text, ignoring case.
    pub search: Option<String>,
    /// Code equals this.
    pub code: Option<String>,
}

impl Tx<'_> {
    /// A page of products.
    pub fn products(&mut self, filter: &ProductFilter, page: &PageRequest<ProductSort>) -> Result<Page<Product>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(products::table).into_boxed();
            if let Some(text) = &filter.search {
                query = query.filter(products::name_key.like(like_pattern(text)).escape('\\'));
            }
            if let Some(code) = &filter.code {
                query = query.filter(products::code.eq(code.clone()));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let query = match page.sort {
            ProductSort::Name => keyset!(query, page, products::name_key, products::id),
            ProductSort::Code => keyset!(query, page, products::code, products::id),
            ProductSort::CreatedAt => keyset!(query, page, products::id, products::id),
        };
        let rows = query.limit(page.fetch()).select(Product::as_select()).load(self.conn)?;
        let rows = page.page(rows, |row: &Product| {
            let key = match page.sort {
                ProductSort::Name => row.name_key.clone(),
                ProductSort::Code => row.code.clone(),
                ProductSort::CreatedAt => row.id.to_string(),
            };
            (key, row.id.to_string())
        });
        Ok(rows.with_total(total))
    }

    /// All products of the tenant.
    pub fn all_products(&mut self) -> Result<Vec<Product>> {
        let scoped = self.scoped(products::table);
        Ok(scoped.order(products::id).select(Product::as_select()).load(self.conn)?)
    }

    /// The given products that exist.
    pub fn products_by_id(&mut self, ids: &[ProductId]) -> Result<Vec<Product>> {
        let mut rows = Vec::with_capacity(ids.len());
        for chunk in chunks(ids) {
            let scoped = self.scoped(products::table).filter(products::id.in_list(chunk));
            rows.extend::<Vec<Product>>(run_fixed!(self, scoped.select(Product::as_select()), load)?);
        }
        Ok(rows)
    }

    /// The product with an id, or a not-found error.
    pub fn product(&mut self, id: &ProductId) -> Result<Product> {
        let scoped = self.scoped(products::table).filter(products::id.eq(id));
        let row: Option<Product> = run_fixed!(self, scoped.select(Product::as_select()), first).optional()?;
        row.ok_or_else(|| Error::not_found("product", id))
    }

    /// The product with a code, if there is one.
    pub fn product_by_code(&mut self, code: &str) -> Result<Option<Product>> {
        let scoped = self.scoped(products::table).filter(products::code.eq(code));
        Ok(scoped.select(Product::as_select()).first(self.conn).optional()?)
    }

    /// The overage product of a product, if there is one.
    pub fn overage_product(&mut self, of: &ProductId) -> Result<Option<Product>> {
        let scoped = self.scoped(products::table).filter(products::overage_of.eq(of.clone()));
        Ok(scoped.select(Product::as_select()).first(self.conn).optional()?)
    }

    /// The names of all products. A tenant has few.
    pub fn product_names(&mut self) -> Result<Vec<ProductName>> {
        Ok(self.scoped(products::table).select((products::id, products::code, products::overage_of)).load(self.conn)?)
    }

    /// The ids of the products with the given codes, by code.
    pub fn products_by_code(&mut self, codes: &[String]) -> Result<HashMap<String, ProductId>> {
        let mut found = HashMap::new();
        for chunk in chunks(&without_nul(codes)) {
            let scoped = self.scoped(products::table).filter(products::code.in_list(chunk));
            found.extend(scoped.select((products::code, products::id)).load::<(String, ProductId)>(self.conn)?);
        }
        Ok(found)
    }

    /// Adds a product.
    pub fn insert_product(&mut self, row: &Product) -> Result<()> {
        insert_scoped!(self, products, std::slice::from_ref(row))?;
        Ok(())
    }

    /// Updates a product and increments its version.
    pub fn update_product(&mut self, row: &mut Product) -> Result<()> {
        row.version += 1;
        let scoped = self.scoped(products::table);
        diesel::update(scoped.filter(products::id.eq(row.id.clone()))).set(&*row).execute(self.conn)?;
        Ok(())
    }

    /// Deletes a product with its rules, billing lines and usage.
    pub fn delete_product(&mut self, id: &ProductId) -> Result<()> {
        let scoped = self.scoped(products::table);
        diesel::delete(scoped.filter(products::id.eq(id))).execute(self.conn)?;
        Ok(())
    }
}

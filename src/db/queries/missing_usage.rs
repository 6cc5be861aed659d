//! Usage that stopped: companies that had usage of a product, and no longer have any.

use chrono::NaiveDateTime;
use diesel::dsl::max;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::{usage_checks, usage_totals};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId, TenantId};

/// The time until which a tenant's meters were checked.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = usage_checks, check_for_backend(MultiBackend))]
pub struct UsageCheck {
    pub tenant_id: TenantId,
    pub checked_until: NaiveDateTime,
}

/// Selects companies by the time of their newest usage record of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewestUsage {
    /// Measured after the first time, and not after the second.
    NewestBetween(Timestamp, Timestamp),
    /// Measured in this month.
    NewestIn(BillingMonth),
}

impl Tx<'_> {
    /// Returns the time until which the tenant's meters were checked.
    pub fn usage_checked_until(&mut self) -> Result<Option<Timestamp>> {
        let scoped = self.scoped(usage_checks::table).select(usage_checks::checked_until);
        let at: Option<NaiveDateTime> = scoped.first(self.conn).optional()?;
        Ok(at.map(|at| at.and_utc()))
    }

    /// Stores the time until which the tenant's meters were checked.
    pub fn set_usage_checked_until(&mut self, until: Timestamp) -> Result<()> {
        let row = UsageCheck { tenant_id: self.tenant().clone(), checked_until: until.naive_utc() };
        insert_scoped!(self, usage_checks, std::slice::from_ref(&row), .on_conflict(usage_checks::tenant_id)
            .do_update()
            .set(&row))?;
        Ok(())
    }

    /// The companies whose newest usage of a product matches the selection, with the time at which it was measured.
    pub fn companies_by_newest_usage(
        &mut self,
        product: &ProductId,
        selection: NewestUsage,
    ) -> Result<Vec<(CompanyId, Timestamp)>> {
        let newest = self
            .scoped(usage_totals::table)
            .filter(usage_totals::product_id.eq(product.clone()))
            .group_by(usage_totals::company_id)
            .select((usage_totals::company_id, max(usage_totals::last_at)));
        let rows: Vec<(CompanyId, Option<NaiveDateTime>)> = match selection {
            NewestUsage::NewestBetween(after, until) => {
                let is_after = max(usage_totals::last_at).gt(after.naive_utc());
                newest.having(is_after.and(max(usage_totals::last_at).le(until.naive_utc()))).load(self.conn)?
            }
            NewestUsage::NewestIn(month) => newest.having(max(usage_totals::month).eq(month)).load(self.conn)?,
        };
        Ok(rows.into_iter().filter_map(|(company, at)| Some((company, at?.and_utc()))).collect())
    }
}

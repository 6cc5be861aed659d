//! The totals of usage records by company, product and month.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::usage::UsageRecord;
use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{usage_records, usage_totals};
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::exact_sum::ExactSum;
use crate::domain::ids::{CompanyId, ProductId, TenantId, UsageId};
use crate::domain::quantity::Amount;
use crate::domain::usage_totals::UsageTotals;

/// The totals of a company and product in a month, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = usage_totals, check_for_backend(MultiBackend))]
pub struct UsageTotalsRow {
    pub id: UsageId,
    pub tenant_id: TenantId,
    pub product_id: ProductId,
    pub company_id: CompanyId,
    pub month: BillingMonth,
    pub records: i64,
    pub first_at: NaiveDateTime,
    pub last_at: NaiveDateTime,
    pub last_source: String,
    pub last_amount: Amount,
    pub max_amount: Amount,
    pub sum_amount: ExactSum,
}

row_update! {
    UsageTotalsRow; usage_totals
    where id
    set records, first_at, last_at, last_source, last_amount, max_amount, sum_amount
}

/// The product, company and month that totals belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TotalsKey {
    pub product_id: ProductId,
    pub company_id: CompanyId,
    pub month: BillingMonth,
}

impl UsageTotalsRow {
    fn new(tenant_id: &TenantId, key: &TotalsKey, totals: &UsageTotals) -> Self {
        Self {
            id: UsageId::new(),
            tenant_id: tenant_id.clone(),
            product_id: key.product_id.clone(),
            company_id: key.company_id.clone(),
            month: key.month,
            records: totals.records,
            first_at: totals.first_at.naive_utc(),
            last_at: totals.last_at.naive_utc(),
            last_source: totals.last_source.clone(),
            last_amount: totals.last,
            max_amount: totals.max,
            sum_amount: totals.sum,
        }
    }

    /// The row's key.
    pub fn key(&self) -> TotalsKey {
        TotalsKey { product_id: self.product_id.clone(), company_id: self.company_id.clone(), month: self.month }
    }

    /// The row's totals, without its key.
    pub fn totals(&self) -> UsageTotals {
        UsageTotals {
            records: self.records,
            first_at: self.first_at.and_utc(),
            last_at: self.last_at.and_utc(),
            last_source: self.last_source.clone(),
            last: self.last_amount,
            max: self.max_amount,
            sum: self.sum_amount,
        }
    }
}

/// The totals of a product for the given companies.
macro_rules! totals_of {
    ($tx:expr, $product:expr, $companies:expr) => {
        $tx.scoped(usage_totals::table)
            .filter(usage_totals::product_id.eq($product.clone()))
            .filter(usage_totals::company_id.in_list($companies))
    };
}

impl Tx<'_> {
    /// The stored totals of a product in a month, for the given companies that have some.
    pub fn usage_totals_rows(
        &mut self,
        product: &ProductId,
        month: BillingMonth,
        companies: &[CompanyId],
    ) -> Result<Vec<UsageTotalsRow>> {
        let mut rows = Vec::new();
        for chunk in chunks(companies) {
            let scoped = totals_of!(self, product, chunk).filter(usage_totals::month.eq(month));
            rows.extend(scoped.select(UsageTotalsRow::as_select()).load::<UsageTotalsRow>(self.conn)?);
        }
        Ok(rows)
    }

    /// Replaces the stored totals `old` with `new`. A row whose key is in both keeps its id, so that no index changes.
    pub fn replace_usage_totals(
        &mut self,
        old: &[UsageTotalsRow],
        new: &BTreeMap<TotalsKey, UsageTotals>,
    ) -> Result<()> {
        let mut ids: HashMap<TotalsKey, UsageId> = old.iter().map(|row| (row.key(), row.id.clone())).collect();
        let (mut changed, mut added) = (Vec::new(), Vec::new());
        for (key, totals) in new {
            let row = UsageTotalsRow::new(self.tenant(), key, totals);
            match ids.remove(key) {
                Some(id) => changed.push(UsageTotalsRow { id, ..row }),
                None => added.push(row),
            }
        }
        let gone: Vec<UsageId> = ids.into_values().collect();
        for chunk in chunks(&gone) {
            let scoped = self.scoped(usage_totals::table).filter(usage_totals::id.in_list(chunk));
            diesel::delete(scoped).execute(self.conn)?;
        }
        self.update_rows(&changed)?;
        insert_many!(self, usage_totals, added);
        Ok(())
    }

    /// All totals of a company and product.
    pub fn all_usage_totals(&mut self, product: &ProductId, company: &CompanyId) -> Result<Vec<UsageTotalsRow>> {
        let scoped = totals_of!(self, product, [company.clone()]).order(usage_totals::month);
        Ok(scoped.select(UsageTotalsRow::as_select()).load(self.conn)?)
    }

    /// The current records of a company and product: all, or those measured within the given bounds, end excluded.
    pub fn usage_to_total(
        &mut self,
        product: &ProductId,
        company: &CompanyId,
        bounds: Option<(Timestamp, Timestamp)>,
    ) -> Result<Vec<UsageRecord>> {
        let mut scoped = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::superseded_by.is_null())
            .into_boxed();
        if let Some((from, until)) = bounds {
            scoped = scoped.filter(usage_records::measured_at.ge(from.naive_utc()));
            scoped = scoped.filter(usage_records::measured_at.lt(until.naive_utc()));
        }
        Ok(scoped.select(UsageRecord::as_select()).load(self.conn)?)
    }

    /// Marks all records of a company and product as part of the totals.
    pub fn mark_usage_totalled(&mut self, product: &ProductId, company: &CompanyId, now: Timestamp) -> Result<()> {
        let scoped = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::totalled_at.is_null());
        diesel::update(scoped).set(usage_records::totalled_at.eq(now.naive_utc())).execute(self.conn)?;
        Ok(())
    }

    /// Marks records as not part of the totals.
    pub fn mark_usage_not_totalled(&mut self, records: &[UsageId]) -> Result<()> {
        for chunk in chunks(records) {
            let scoped = self.scoped(usage_records::table).filter(usage_records::id.in_list(chunk));
            diesel::update(scoped).set(usage_records::totalled_at.eq(None::<NaiveDateTime>)).execute(self.conn)?;
        }
        Ok(())
    }

    /// The companies with records of a product.
    pub fn companies_with_usage(&mut self, product: &ProductId) -> Result<Vec<CompanyId>> {
        // The index has only current records, and every company with records has a current one.
        let scoped = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::superseded_by.is_null());
        Ok(scoped.select(usage_records::company_id).distinct().load(self.conn)?)
    }
}

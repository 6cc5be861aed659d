//! The totals of usage records by company, product and month.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::IntoSql;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::usage::UsageRecord;
use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{companies, usage_records, usage_totals};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::exact_sum::ExactSum;
use crate::domain::ids::{CompanyId, ProductId, TenantId, UsageId};
use crate::domain::quantity::Amount;
use crate::domain::usage::{Aggregation, UsageOverflow};
use crate::domain::usage_totals::{MonthlyCountedUsage, UsageTotals, total};

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

/// The product, company and month that totals belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// The companies whose usage is read.
#[derive(Debug, Clone, Copy)]
pub enum CompanySelection<'c> {
    /// At least these companies; the result may include others. Reading all costs less than naming thousands.
    AtLeast(&'c [CompanyId]),
    /// Only these companies.
    Only(&'c [CompanyId]),
}

impl<'c> CompanySelection<'c> {
    /// The companies whose usage is needed. With `AtLeast`, the usage of others may also be read.
    pub fn companies(self) -> &'c [CompanyId] {
        match self {
            Self::AtLeast(companies) | Self::Only(companies) => companies,
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

type CountRow<A> = (CompanyId, NaiveDateTime, i64, A);

fn count<A>(
    (company, last_at, records, amount): CountRow<A>,
    of: impl Fn(A) -> std::result::Result<Amount, UsageOverflow>,
) -> (CompanyId, MonthlyCountedUsage) {
    (company, MonthlyCountedUsage::new(last_at.and_utc(), records, of(amount)))
}

/// Reads the usage that an aggregation counts, and only the columns that it needs.
macro_rules! counted {
    ($tx:expr, $query:expr, $aggregation:expr, $into:expr) => {{
        use usage_totals as t;
        let query = $query;
        match $aggregation {
            Aggregation::Last => {
                let columns = (t::company_id, t::last_at, 1_i64.into_sql::<BigInt>(), t::last_amount);
                let rows: Vec<CountRow<Amount>> = query.select(columns).load($tx.conn)?;
                $into.extend(rows.into_iter().map(|row| count(row, Ok)));
            }
            Aggregation::Max => {
                let columns = (t::company_id, t::last_at, t::records, t::max_amount);
                let rows: Vec<CountRow<Amount>> = query.select(columns).load($tx.conn)?;
                $into.extend(rows.into_iter().map(|row| count(row, Ok)));
            }
            Aggregation::Sum => {
                let columns = (t::company_id, t::last_at, t::records, t::sum_amount);
                let rows: Vec<CountRow<ExactSum>> = query.select(columns).load($tx.conn)?;
                $into.extend(rows.into_iter().map(|row| count(row, total)));
            }
        }
    }};
}

impl Tx<'_> {
    /// The usage of a product that counts in a month, for each of the companies that has records.
    pub fn usage_counted(
        &mut self,
        product: &ProductId,
        aggregation: Aggregation,
        month: BillingMonth,
        selection: CompanySelection<'_>,
    ) -> Result<HashMap<CompanyId, MonthlyCountedUsage>> {
        let mut found = HashMap::new();
        let CompanySelection::Only(companies) = selection else {
            let all = self.scoped(usage_totals::table).filter(usage_totals::product_id.eq(product.clone()));
            counted!(self, all.filter(usage_totals::month.eq(month)), aggregation, found);
            return Ok(found);
        };
        for chunk in chunks(companies) {
            let own = totals_of!(self, product, chunk).filter(usage_totals::month.eq(month));
            counted!(self, own, aggregation, found);
        }
        Ok(found)
    }

    /// For each of the given companies, the usage that counts in its newest month with records before `month`. One
    /// query finds the months, and one query per month reads the usage.
    pub fn usage_counted_before(
        &mut self,
        product: &ProductId,
        aggregation: Aggregation,
        month: BillingMonth,
        companies: &[CompanyId],
    ) -> Result<HashMap<CompanyId, MonthlyCountedUsage>> {
        let mut found = HashMap::new();
        for chunk in chunks(companies) {
            let newest: Vec<(CompanyId, Option<BillingMonth>)> = totals_of!(self, product, chunk)
                .filter(usage_totals::month.lt(month))
                .group_by(usage_totals::company_id)
                .select((usage_totals::company_id, diesel::dsl::max(usage_totals::month)))
                .load(self.conn)?;
            let mut by_month: HashMap<BillingMonth, Vec<CompanyId>> = HashMap::new();
            for (company, month) in newest {
                by_month.entry(month.unwrap_or(BillingMonth::FIRST)).or_default().push(company);
            }
            for (month, companies) in by_month {
                found.extend(self.usage_counted(product, aggregation, month, CompanySelection::Only(&companies))?);
            }
        }
        Ok(found)
    }

    /// Whether any records are not part of the totals yet.
    pub fn has_usage_not_totalled(&mut self) -> Result<bool> {
        let records = self.scoped(usage_records::table).filter(usage_records::totalled_at.is_null());
        Ok(diesel::select(exists(records)).get_result(self.conn)?)
    }

    /// The companies with records of a product that are not part of the totals yet.
    pub fn companies_not_totalled(
        &mut self,
        product: &ProductId,
        selection: CompanySelection<'_>,
    ) -> Result<HashSet<CompanyId>> {
        let CompanySelection::Only(companies) = selection else {
            // The index has only such records.
            let records = self.scoped(usage_records::table).filter(usage_records::product_id.eq(product.clone()));
            let records = records.filter(usage_records::totalled_at.is_null()).select(usage_records::company_id);
            return Ok(records.distinct().load::<CompanyId>(self.conn)?.into_iter().collect());
        };
        let mut found = HashSet::new();
        for chunk in chunks(companies) {
            let records = self
                .scoped(usage_records::table)
                .filter(usage_records::product_id.eq(product.clone()))
                .filter(usage_records::company_id.eq(companies::id))
                .filter(usage_records::totalled_at.is_null());
            // One index lookup for each company, however many records it has.
            let own = self.scoped(companies::table).filter(companies::id.in_list(chunk)).filter(exists(records));
            found.extend(own.select(companies::id).load::<CompanyId>(self.conn)?);
        }
        Ok(found)
    }

    /// The stored totals of a product in a month, for the given companies that have some.
    pub fn usage_totals_rows(
        &mut self,
        product: &ProductId,
        month: BillingMonth,
        companies: &[CompanyId],
    ) -> Result<Vec<UsageTotalsRow>> {
        let mut rows = Vec::new();
        for chunk in chunks(companies) {
            let own = totals_of!(self, product, chunk).filter(usage_totals::month.eq(month));
            rows.extend(own.select(UsageTotalsRow::as_select()).load::<UsageTotalsRow>(self.conn)?);
        }
        Ok(rows)
    }

    /// Replaces totals: deletes the old rows, and adds the new ones.
    pub fn replace_usage_totals(
        &mut self,
        old: &[UsageTotalsRow],
        new: &HashMap<TotalsKey, UsageTotals>,
    ) -> Result<()> {
        let ids: Vec<UsageId> = old.iter().map(|row| row.id.clone()).collect();
        for chunk in chunks(&ids) {
            let own = self.scoped(usage_totals::table).filter(usage_totals::id.in_list(chunk));
            diesel::delete(own).execute(self.conn)?;
        }
        let tenant = self.tenant().clone();
        let rows: Vec<UsageTotalsRow> =
            new.iter().map(|(key, totals)| UsageTotalsRow::new(&tenant, key, totals)).collect();
        for chunk in rows.chunks(500) {
            insert_scoped!(self, usage_totals, chunk)?;
        }
        Ok(())
    }

    /// All totals of a company and product.
    pub fn all_usage_totals(&mut self, product: &ProductId, company: &CompanyId) -> Result<Vec<UsageTotalsRow>> {
        let own = totals_of!(self, product, [company.clone()]).order(usage_totals::month);
        Ok(own.select(UsageTotalsRow::as_select()).load(self.conn)?)
    }

    /// The current records of a company and product: all, or those measured within the given bounds, end excluded.
    pub fn usage_to_total(
        &mut self,
        product: &ProductId,
        company: &CompanyId,
        bounds: Option<(Timestamp, Timestamp)>,
    ) -> Result<Vec<UsageRecord>> {
        let mut own = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::superseded_by.is_null())
            .into_boxed();
        if let Some((from, until)) = bounds {
            own = own.filter(usage_records::measured_at.ge(from.naive_utc()));
            own = own.filter(usage_records::measured_at.lt(until.naive_utc()));
        }
        Ok(own.select(UsageRecord::as_select()).load(self.conn)?)
    }

    /// Marks all records of a company and product as part of the totals.
    pub fn mark_usage_totalled(&mut self, product: &ProductId, company: &CompanyId, now: Timestamp) -> Result<()> {
        let own = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::totalled_at.is_null());
        diesel::update(own).set(usage_records::totalled_at.eq(now.naive_utc())).execute(self.conn)?;
        Ok(())
    }

    /// Marks records as not part of the totals.
    pub fn mark_usage_not_totalled(&mut self, records: &[UsageId]) -> Result<()> {
        for chunk in chunks(records) {
            let own = self.scoped(usage_records::table).filter(usage_records::id.in_list(chunk));
            diesel::update(own).set(usage_records::totalled_at.eq(None::<NaiveDateTime>)).execute(self.conn)?;
        }
        Ok(())
    }

    /// The companies with records of a product.
    pub fn companies_with_usage(&mut self, product: &ProductId) -> Result<Vec<CompanyId>> {
        // The index has only current records, and every company with records has a current one.
        let own = self
            .scoped(usage_records::table)
            .filter(usage_records::product_id.eq(product.clone()))
            .filter(usage_records::superseded_by.is_null());
        Ok(own.select(usage_records::company_id).distinct().load(self.conn)?)
    }
}

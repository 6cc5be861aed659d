//! Usage records: measured amounts and their corrections.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, chunks, keyset, total};
use crate::db::engine::schema::usage_records;
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId, TenantId, UsageId};
use crate::domain::quantity::Amount;
use crate::domain::string_enum::string_enum;
use crate::domain::usage_totals::{Measured, UsageTotals};

/// Maximum number of combinations of companies and times that one query asks for.
const COMBINATIONS: usize = 400;

/// One measured amount of a product for a company.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = usage_records, check_for_backend(MultiBackend))]
pub struct UsageRecord {
    pub id: UsageId,
    pub tenant_id: TenantId,
    pub company_id: CompanyId,
    pub product_id: ProductId,
    pub amount: Amount,
    pub measured_at: NaiveDateTime,
    pub source: String,
    pub received_at: NaiveDateTime,
    /// The later record that corrects this one.
    pub superseded_by: Option<UsageId>,
    /// Whether it arrived after a push had computed the quantity of its month.
    pub late: bool,
    /// When it became part of the totals; `None` if it is not part of them.
    pub totalled_at: Option<NaiveDateTime>,
}

impl UsageRecord {
    /// The data of the record on which totals depend.
    pub fn measured(&self) -> Measured<'_> {
        Measured { at: self.measured_at.and_utc(), source: &self.source, amount: self.amount }
    }
}

/// Divides records into parts with few combinations of company and time, because each combination costs an index
/// lookup. A part has many companies at one time, many times of one company, or few of both.
fn few_combinations(records: &[UsageRecord]) -> Vec<Vec<&UsageRecord>> {
    let mut sorted: Vec<&UsageRecord> = records.iter().collect();
    sorted.sort_by_key(|record| (record.measured_at, &record.company_id));
    let mut parts = Vec::new();
    let (mut part, mut companies, mut times) = (Vec::new(), HashSet::new(), HashSet::new());
    for record in sorted {
        companies.insert(&record.company_id);
        times.insert(record.measured_at);
        if companies.len() * times.len() > COMBINATIONS && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            (companies, times) = (HashSet::from([&record.company_id]), HashSet::from([record.measured_at]));
        }
        part.push(record);
    }
    parts.push(part);
    parts
}

string_enum! {
    /// The sort keys of usage records.
    UsageSort {
        /// In order of arrival.
        ReceivedAt = "received_at",
    }
}

/// The filter of usage records.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Only records of this company.
    pub company_id: Option<CompanyId>,
    /// Only records of this product.
    pub product_id: Option<ProductId>,
    /// Measured at or after this time.
    pub from: Option<Timestamp>,
    /// Measured before this time.
    pub to: Option<Timestamp>,
    /// Excludes records that a later one corrects.
    pub current_only: bool,
    /// `true` for late records only, `false` for the others only.
    pub late: Option<bool>,
}

/// The usage records of a product for the given companies.
macro_rules! of_companies {
    ($tx:expr, $product:expr, $companies:expr) => {
        $tx.scoped(usage_records::table)
            .filter(usage_records::product_id.eq($product.clone()))
            .filter(usage_records::company_id.in_list($companies))
    };
}

/// A usage record with the record that corrects it.
#[derive(Debug)]
pub struct SupersededUsage {
    pub id: UsageId,
    pub superseded_by: UsageId,
}

row_update! { SupersededUsage; usage_records where id set superseded_by }

impl Tx<'_> {
    /// A page of usage history.
    pub fn usage(&mut self, filter: &UsageFilter, page: &PageRequest<UsageSort>) -> Result<Page<UsageRecord>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(usage_records::table).into_boxed();
            if let Some(id) = &filter.company_id {
                query = query.filter(usage_records::company_id.eq(id.clone()));
            }
            if let Some(id) = &filter.product_id {
                query = query.filter(usage_records::product_id.eq(id.clone()));
            }
            if let Some(from) = filter.from {
                query = query.filter(usage_records::measured_at.ge(from.naive_utc()));
            }
            if let Some(to) = filter.to {
                query = query.filter(usage_records::measured_at.lt(to.naive_utc()));
            }
            if filter.current_only {
                query = query.filter(usage_records::superseded_by.is_null());
            }
            if let Some(late) = filter.late {
                query = query.filter(usage_records::late.eq(late));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let query = keyset!(query, page, usage_records::id, usage_records::id);
        let rows = query.limit(page.fetch()).select(UsageRecord::as_select()).load(self.conn)?;
        Ok(page.page(rows, |row: &UsageRecord| (row.id.to_string(), row.id.to_string())).with_total(total))
    }

    /// The current (not corrected) records with the company, product and time of one of the given records. Some others
    /// may be included.
    pub fn current_usage(&mut self, like: &[UsageRecord]) -> Result<Vec<UsageRecord>> {
        let mut rows = Vec::new();
        for part in few_combinations(like) {
            let products: HashSet<ProductId> = part.iter().map(|row| row.product_id.clone()).collect();
            let companies: HashSet<CompanyId> = part.iter().map(|row| row.company_id.clone()).collect();
            let moments: HashSet<NaiveDateTime> = part.iter().map(|row| row.measured_at).collect();
            let scoped = self
                .scoped(usage_records::table)
                .filter(usage_records::product_id.in_list(products))
                .filter(usage_records::company_id.in_list(companies))
                .filter(usage_records::superseded_by.is_null())
                .into_boxed();
            // The records of most batches have the same time. Then the statement is the same for each batch.
            let scoped = match moments.iter().next().filter(|_| moments.len() == 1) {
                Some(moment) => scoped.filter(usage_records::measured_at.eq(*moment)),
                None => scoped.filter(usage_records::measured_at.eq_any(moments)),
            };
            rows.extend(scoped.select(UsageRecord::as_select()).load(self.conn)?);
        }
        Ok(rows)
    }

    /// Marks records as corrected by others.
    pub fn supersede_usage(&mut self, records: &[SupersededUsage]) -> Result<()> {
        self.update_rows(records).map(drop)
    }

    /// Flags as late the records of the given companies that were measured from `from` until before `until`, and
    /// received after `received_since`.
    pub fn flag_late_usage(
        &mut self,
        product: &ProductId,
        companies: &[CompanyId],
        (from, until): (Timestamp, Timestamp),
        received_since: NaiveDateTime,
    ) -> Result<()> {
        for chunk in chunks(companies) {
            let scoped = of_companies!(self, product, chunk)
                .filter(usage_records::measured_at.ge(from.naive_utc()))
                .filter(usage_records::measured_at.lt(until.naive_utc()))
                .filter(usage_records::received_at.gt(received_since));
            diesel::update(scoped).set(usage_records::late.eq(true)).execute(self.conn)?;
        }
        Ok(())
    }

    /// Adds records.
    pub fn insert_usage(&mut self, rows: &[UsageRecord]) -> Result<()> {
        insert_many!(self, usage_records, rows);
        Ok(())
    }

    /// The number of current records of a company that were measured within the given bounds, by product.
    pub fn usage_counts_of_company(
        &mut self,
        company: &CompanyId,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<HashMap<ProductId, i64>> {
        let scoped = self
            .scoped(usage_records::table)
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::measured_at.ge(from.naive_utc()))
            .filter(usage_records::measured_at.lt(until.naive_utc()))
            .filter(usage_records::superseded_by.is_null());
        let rows: Vec<(ProductId, i64)> = scoped
            .group_by(usage_records::product_id)
            .select((usage_records::product_id, diesel::dsl::count_star()))
            .load(self.conn)?;
        Ok(rows.into_iter().collect())
    }

    /// The newest current records of a company, up to a limit, that were measured within the given bounds, end
    /// excluded.
    pub fn usage_of_company(
        &mut self,
        company: &CompanyId,
        (from, until): (Timestamp, Timestamp),
        limit: i64,
    ) -> Result<Vec<UsageRecord>> {
        let scoped = self
            .scoped(usage_records::table)
            .filter(usage_records::company_id.eq(company.clone()))
            .filter(usage_records::measured_at.ge(from.naive_utc()))
            .filter(usage_records::measured_at.lt(until.naive_utc()))
            .filter(usage_records::superseded_by.is_null())
            .order((usage_records::measured_at.desc(), usage_records::id.desc()))
            .limit(limit);
        Ok(scoped.select(UsageRecord::as_select()).load(self.conn)?)
    }

    /// When the newest current record before a time was measured, for each of the given companies that has one.
    pub fn newest_usage_before(
        &mut self,
        product: &ProductId,
        before: Timestamp,
        companies: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Timestamp>> {
        let mut newest = HashMap::new();
        for chunk in chunks(companies) {
            let scoped = of_companies!(self, product, chunk)
                .filter(usage_records::measured_at.lt(before.naive_utc()))
                .filter(usage_records::superseded_by.is_null());
            let rows: Vec<(CompanyId, Option<NaiveDateTime>)> = scoped
                .group_by(usage_records::company_id)
                .select((usage_records::company_id, diesel::dsl::max(usage_records::measured_at)))
                .load(self.conn)?;
            newest.extend(rows.into_iter().filter_map(|(company, at)| Some((company, at?.and_utc()))));
        }
        Ok(newest)
    }

    /// The totals of the current usage records of a product from `from` until before `until`, by company, added up from
    /// the records.
    pub fn usage_between(
        &mut self,
        product: &ProductId,
        from: Timestamp,
        until: Timestamp,
        companies: &[CompanyId],
    ) -> Result<HashMap<CompanyId, UsageTotals>> {
        let mut by_company: HashMap<CompanyId, UsageTotals> = HashMap::new();
        for chunk in chunks(companies) {
            let scoped = of_companies!(self, product, chunk)
                .filter(usage_records::measured_at.ge(from.naive_utc()))
                .filter(usage_records::measured_at.lt(until.naive_utc()))
                .filter(usage_records::superseded_by.is_null());
            let rows: Vec<UsageRecord> = scoped.select(UsageRecord::as_select()).load(self.conn)?;
            for row in rows {
                let record = row.measured();
                match by_company.get_mut(&row.company_id) {
                    Some(totals) => totals.add(record),
                    None => drop(by_company.insert(row.company_id.clone(), UsageTotals::of(record))),
                }
            }
        }
        Ok(by_company)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn record(company: usize, second: i64) -> UsageRecord {
        UsageRecord {
            id: UsageId::new(),
            tenant_id: TenantId::from("t".to_owned()),
            company_id: CompanyId::from(format!("c{company}")),
            product_id: ProductId::from("p".to_owned()),
            amount: "1".parse().unwrap(),
            measured_at: DateTime::from_timestamp(second, 0).unwrap().naive_utc(),
            source: String::new(),
            received_at: DateTime::UNIX_EPOCH.naive_utc(),
            superseded_by: None,
            late: false,
            totalled_at: None,
        }
    }

    #[test]
    fn a_query_asks_for_few_combinations() {
        let parts = |records: &[UsageRecord]| {
            let parts = few_combinations(records);
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), records.len());
            parts.len()
        };
        let batch = |at: fn(usize) -> (usize, i64)| -> Vec<UsageRecord> {
            (0..400).map(at).map(|(company, second)| record(company, second)).collect()
        };
        assert_eq!(parts(&batch(|n| (n, 0))), 1, "many companies at one time");
        assert_eq!(parts(&batch(|n| (0, n as i64))), 1, "many times of one company");
        assert_eq!(parts(&batch(|n| (n, n as i64))), 20, "all different: 20 x 20 at most");
        assert_eq!(parts(&[record(1, 1)]), 1);
    }
}

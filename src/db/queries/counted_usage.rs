//! The usage that counts in a month, read from the totals: of one product, or of many with one query. Also finds the
//! companies whose totals are not complete yet.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::IntoSql;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::usage_totals::UsageTotalsRow;
use crate::db::engine::conn::run_fixed;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{companies, usage_records, usage_totals};
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::exact_sum::ExactSum;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::quantity::Amount;
use crate::domain::usage::{Aggregation, UsageOverflow};
use crate::domain::usage_totals::{MonthlyCountedUsage, total};

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

/// A product and month of which usage is read, for some companies.
#[derive(Debug)]
pub struct UsageToRead {
    pub product_id: ProductId,
    pub aggregation: Aggregation,
    pub month: BillingMonth,
    pub companies: Vec<CompanyId>,
}

/// The usage that counts, by company.
pub type CountedByCompany = HashMap<CompanyId, MonthlyCountedUsage>;

/// Maximum number of combinations of products and companies that one query asks for.
const COMBINATIONS: usize = 1_000;

/// Groups what one query can read: few products for mostly the same companies, as on a page of lines.
fn read_together(wanted: &[UsageToRead]) -> Vec<Vec<&UsageToRead>> {
    let mut groups = Vec::new();
    let (mut group, mut companies): (Vec<&UsageToRead>, HashSet<&CompanyId>) = (Vec::new(), HashSet::new());
    for one in wanted {
        companies.extend(&one.companies);
        if (group.len() + 1) * companies.len() > COMBINATIONS && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            companies = one.companies.iter().collect();
        }
        group.push(one);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// The aggregation and the companies of each product and month that is asked for.
type RequestIndex<'u> = HashMap<(&'u ProductId, BillingMonth), (Aggregation, HashSet<&'u CompanyId>)>;

fn index_requests<'u>(group: &[&'u UsageToRead]) -> RequestIndex<'u> {
    let one = |one: &&'u UsageToRead| {
        ((&one.product_id, one.month), (one.aggregation, one.companies.iter().collect::<HashSet<_>>()))
    };
    group.iter().map(one).collect()
}

/// The distinct products, companies and months of a group.
fn distinct_keys(group: &[&UsageToRead]) -> (HashSet<ProductId>, HashSet<CompanyId>, HashSet<BillingMonth>) {
    let companies = group.iter().flat_map(|one| one.companies.iter().cloned()).collect();
    let products = group.iter().map(|one| one.product_id.clone()).collect();
    (products, companies, group.iter().map(|one| one.month).collect())
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
                let rows: Vec<CountRow<Amount>> = run_fixed!($tx, query.select(columns), load)?;
                $into.extend(rows.into_iter().map(|row| count(row, Ok)));
            }
            Aggregation::Max => {
                let columns = (t::company_id, t::last_at, t::records, t::max_amount);
                let rows: Vec<CountRow<Amount>> = run_fixed!($tx, query.select(columns), load)?;
                $into.extend(rows.into_iter().map(|row| count(row, Ok)));
            }
            Aggregation::Sum => {
                let columns = (t::company_id, t::last_at, t::records, t::sum_amount);
                let rows: Vec<CountRow<ExactSum>> = run_fixed!($tx, query.select(columns), load)?;
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
    ) -> Result<CountedByCompany> {
        let mut found = HashMap::new();
        let CompanySelection::Only(companies) = selection else {
            let all = self.scoped(usage_totals::table).filter(usage_totals::product_id.eq(product.clone()));
            counted!(self, all.filter(usage_totals::month.eq(month)), aggregation, found);
            return Ok(found);
        };
        for chunk in chunks(companies) {
            let scoped = self
                .scoped(usage_totals::table)
                .filter(usage_totals::product_id.eq(product.clone()))
                .filter(usage_totals::company_id.in_list(chunk))
                .filter(usage_totals::month.eq(month));
            counted!(self, scoped, aggregation, found);
        }
        Ok(found)
    }

    /// The usage that counts in each product and month, which are distinct. One query reads many products.
    pub fn counted_usage_of_many(
        &mut self,
        wanted: &[UsageToRead],
    ) -> Result<HashMap<(ProductId, BillingMonth), CountedByCompany>> {
        let mut found: HashMap<(ProductId, BillingMonth), CountedByCompany> = HashMap::new();
        for group in read_together(wanted) {
            if let [one] = group[..] {
                let selection = CompanySelection::Only(&one.companies);
                let counted = self.usage_counted(&one.product_id, one.aggregation, one.month, selection)?;
                found.insert((one.product_id.clone(), one.month), counted);
                continue;
            }
            let (products, companies, months) = distinct_keys(&group);
            let scoped = self
                .scoped(usage_totals::table)
                .filter(usage_totals::product_id.in_list(products))
                .filter(usage_totals::company_id.in_list(companies))
                .filter(usage_totals::month.in_list(months));
            let rows: Vec<UsageTotalsRow> = scoped.select(UsageTotalsRow::as_select()).load(self.conn)?;
            let asked = index_requests(&group);
            for row in rows {
                // The query combines each product and month with the companies of all.
                let Some((aggregation, companies)) = asked.get(&(&row.product_id, row.month)) else { continue };
                if companies.contains(&row.company_id) {
                    let counted = row.totals().in_month(*aggregation);
                    found.entry((row.product_id, row.month)).or_default().insert(row.company_id, counted);
                }
            }
        }
        Ok(found)
    }

    /// For each product and month, the usage that counts in each company's newest month with records before that month.
    /// For each month, one query finds the newest months of many products; their usage is read as in
    /// [`Self::counted_usage_of_many`].
    pub fn counted_usage_before_many(
        &mut self,
        wanted: Vec<UsageToRead>,
    ) -> Result<HashMap<(ProductId, BillingMonth), CountedByCompany>> {
        let mut by_month: HashMap<BillingMonth, Vec<UsageToRead>> = HashMap::new();
        for one in wanted.into_iter().filter(|one| !one.companies.is_empty()) {
            by_month.entry(one.month).or_default().push(one);
        }
        let mut found: HashMap<(ProductId, BillingMonth), CountedByCompany> = HashMap::new();
        for (month, wanted) in by_month {
            for (product, counted) in self.counted_usage_of_newest(month, &wanted)? {
                found.entry((product, month)).or_default().extend(counted);
            }
        }
        Ok(found)
    }

    /// The usage that counts in the newest months with records before `month`.
    fn counted_usage_of_newest(
        &mut self,
        month: BillingMonth,
        wanted: &[UsageToRead],
    ) -> Result<Vec<(ProductId, CountedByCompany)>> {
        let asked = index_requests(&wanted.iter().collect::<Vec<_>>());
        let mut newest: HashMap<(ProductId, BillingMonth), Vec<CompanyId>> = HashMap::new();
        for group in read_together(wanted) {
            let (products, companies, _) = distinct_keys(&group);
            for companies in chunks(&companies.into_iter().collect::<Vec<_>>()) {
                let rows: Vec<(ProductId, CompanyId, Option<BillingMonth>)> = self
                    .scoped(usage_totals::table)
                    .filter(usage_totals::product_id.in_list(&products))
                    .filter(usage_totals::company_id.in_list(companies))
                    .filter(usage_totals::month.lt(month))
                    .group_by((usage_totals::product_id, usage_totals::company_id))
                    .select((usage_totals::product_id, usage_totals::company_id, diesel::dsl::max(usage_totals::month)))
                    .load(self.conn)?;
                for (product, company, newest_month) in rows {
                    // The query combines each product with the companies of all.
                    if asked.get(&(&product, month)).is_some_and(|(_, companies)| companies.contains(&company)) {
                        let newest_month = newest_month.unwrap_or(BillingMonth::FIRST);
                        newest.entry((product, newest_month)).or_default().push(company);
                    }
                }
            }
        }
        let to_read = newest.into_iter().filter_map(|((product_id, newest_month), companies)| {
            let aggregation = asked.get(&(&product_id, month))?.0;
            Some(UsageToRead { product_id, aggregation, month: newest_month, companies })
        });
        let counted = self.counted_usage_of_many(&to_read.collect::<Vec<_>>())?;
        Ok(counted.into_iter().map(|((product, _), counted)| (product, counted)).collect())
    }

    /// Whether any records are not part of the totals yet.
    pub fn has_usage_not_totalled(&mut self) -> Result<bool> {
        let records = self.scoped(usage_records::table).filter(usage_records::totalled_at.is_null());
        Ok(run_fixed!(self, diesel::select(exists(records.select(usage_records::id))), get_result)?)
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
            let scoped = self.scoped(companies::table).filter(companies::id.in_list(chunk));
            let scoped = scoped.filter(exists(records.select(usage_records::id)));
            found.extend(scoped.select(companies::id).load::<CompanyId>(self.conn)?);
        }
        Ok(found)
    }
}

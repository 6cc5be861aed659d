//! Pages of billing lines. The cost is proportional to the page size, unless a very selective filter forces many other
//! lines to be read.

use std::collections::HashMap;

use diesel::IntoSql;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::line_filter::{LineFilter, filtered, has_need, needs_attention, of_companies, of_lines};
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Cursor, Page, PageRequest, keyset, total};
use crate::db::engine::schema::{billing_lines, companies, products};
use crate::db::engine::scope::scoped_joined;
use crate::db::engine::tx::Tx;
use crate::db::queries::billing_lines::{BillingLine, BillingLineView};
use crate::db::queries::companies::Company;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::string_enum::string_enum;
use crate::domain::{Error, Result};

/// Maximum number of products whose lines are merged into a page.
const MAX_MERGED_PRODUCTS: i64 = 20;

/// Separates the parts of a cursor's key. No id contains it.
const SEPARATOR: char = '\u{1f}';

string_enum! {
    /// The sort keys of billing lines.
    BillingLineSort {
        /// By the company's name, ignoring case.
        CompanyName = "company_name",
        /// By the company's external id.
        CompanyExternalId = "company_external_id",
        /// By the agreement mapping's status.
        AgreementStatus = "agreement_status",
        /// By the addition mapping's status.
        AdditionStatus = "addition_status",
        /// By the time at which the line was created, oldest first.
        CreatedAt = "created_at",
    }
}

impl BillingLineView {
    /// The cursor after this line.
    pub fn cursor(&self, page: &PageRequest<BillingLineSort>) -> Cursor {
        page.after(sort_key(page.sort, &self.line, &self.company), self.line.id.to_string())
    }
}

fn sort_key(sort: BillingLineSort, line: &BillingLine, company: &Company) -> String {
    match sort {
        BillingLineSort::CompanyName | BillingLineSort::CompanyExternalId => {
            format!("{}{SEPARATOR}{}", company_key(sort, company), company.id)
        }
        BillingLineSort::AgreementStatus => line.agreement_status.to_string(),
        BillingLineSort::AdditionStatus => line.addition_status.to_string(),
        BillingLineSort::CreatedAt => line.id.to_string(),
    }
}

/// The text by which companies are sorted.
fn company_key(sort: BillingLineSort, company: &Company) -> &str {
    match sort {
        BillingLineSort::CompanyExternalId => &company.external_id,
        BillingLineSort::CompanyName
        | BillingLineSort::AgreementStatus
        | BillingLineSort::AdditionStatus
        | BillingLineSort::CreatedAt => &company.name_key,
    }
}

/// A condition that applies if a value is given.
macro_rules! if_given {
    ($column:expr, $value:expr) => {
        $column.nullable().eq($value.clone()).or($value.is_none().into_sql::<Bool>())
    };
}

/// A condition that applies if values are given.
macro_rules! if_any {
    ($column:expr, $values:expr) => {
        $column.in_list(&$values).or($values.is_empty().into_sql::<Bool>())
    };
}

/// Selects the companies with a line that matches a filter. Only the table of companies is walked, in the order of its
/// index, so the database can stop after the first ones.
macro_rules! with_line {
    ($tx:expr, $filter:expr) => {{
        let filter: &LineFilter = $filter;
        let has_line = $tx
            .scoped(billing_lines::table)
            .select(billing_lines::id)
            .filter(billing_lines::company_id.eq(companies::id))
            .filter(if_any!(billing_lines::agreement_status, filter.agreement_status))
            .filter(if_given!(billing_lines::agreement_source, filter.agreement_source))
            .filter(if_any!(billing_lines::addition_status, filter.addition_status))
            .filter(if_given!(billing_lines::addition_source, filter.addition_source))
            .filter(if_given!(billing_lines::push_enabled, filter.push_enabled))
            .filter(if_any!(billing_lines::last_push_state, filter.last_push_state))
            .filter(
                filter
                    .needs_attention
                    .is_none()
                    .into_sql::<Bool>()
                    .or(needs_attention!().and(filter.needs_attention.unwrap_or_default().into_sql::<Bool>()))
                    .or(diesel::dsl::not(needs_attention!())
                        .and((filter.needs_attention == Some(false)).into_sql::<Bool>())),
            )
            .filter(filter.need.is_empty().into_sql::<Bool>().or(has_need!(filter.need)));
        // With the limit, PostgreSQL cannot turn this into a join, which would read all lines first.
        let has_line = has_line.limit(1);
        let scoped = $tx.scoped(companies::table);
        match &filter.product_id {
            // A company has one line per product, which an index finds.
            Some(id) => scoped.filter(exists(has_line.filter(billing_lines::product_id.eq(id.clone())))).into_boxed(),
            None => scoped.filter(exists(has_line)).into_boxed(),
        }
    }};
}

/// Orders a boxed query of companies by a column, and starts it at the cursor's company.
macro_rules! from_company {
    ($query:expr, $page:expr, $key:expr) => {{
        let query = $query;
        let query = match (&$page.after.as_ref().map(company_cursor), $page.descending) {
            (None, _) => query,
            (Some((key, company)), false) => {
                query.filter($key.ge(key.clone())).filter($key.gt(key.clone()).or(companies::id.ge(company.clone())))
            }
            (Some((key, company)), true) => {
                query.filter($key.le(key.clone())).filter($key.lt(key.clone()).or(companies::id.le(company.clone())))
            }
        };
        if $page.descending {
            query.order(($key.desc(), companies::id.desc()))
        } else {
            query.order(($key.asc(), companies::id.asc()))
        }
    }};
}

/// The first companies of a boxed query, in the page's order.
macro_rules! first_companies {
    ($tx:expr, $query:expr, $page:expr, $limit:expr, $columns:expr) => {{
        let query = $query;
        let query = match $page.sort {
            BillingLineSort::CompanyExternalId => from_company!(query, $page, companies::external_id),
            BillingLineSort::CompanyName
            | BillingLineSort::AgreementStatus
            | BillingLineSort::AdditionStatus
            | BillingLineSort::CreatedAt => from_company!(query, $page, companies::name_key),
        };
        query.limit($limit).select($columns).load($tx.conn)?
    }};
}

/// Orders a boxed query of lines by a column of their companies, and starts it after the page's cursor.
macro_rules! by_company {
    ($query:expr, $page:expr, $key:expr) => {{
        let query = $query;
        let (id, line) = (companies::id, billing_lines::id);
        let query = match (&$page.after, $page.descending) {
            (None, _) => query,
            (Some(at), false) => {
                let (key, company) = company_cursor(at);
                let later_line = id.eq(company.clone()).and(line.gt(at.id.clone()));
                query.filter($key.gt(key.clone()).or($key.eq(key).and(id.gt(company).or(later_line))))
            }
            (Some(at), true) => {
                let (key, company) = company_cursor(at);
                let earlier_line = id.eq(company.clone()).and(line.lt(at.id.clone()));
                query.filter($key.lt(key.clone()).or($key.eq(key).and(id.lt(company).or(earlier_line))))
            }
        };
        if $page.descending {
            query.order(($key.desc(), id.desc(), line.desc()))
        } else {
            query.order(($key.asc(), id.asc(), line.asc()))
        }
    }};
}

/// Orders a boxed query of lines by a column of their own, and starts it after the page's cursor.
macro_rules! by_line {
    ($query:expr, $page:expr) => {{
        let (query, id) = ($query, billing_lines::id);
        match $page.sort {
            BillingLineSort::AgreementStatus => keyset!(query, $page, billing_lines::agreement_status, id),
            BillingLineSort::AdditionStatus => keyset!(query, $page, billing_lines::addition_status, id),
            // The ids are in the order of creation.
            BillingLineSort::CreatedAt | BillingLineSort::CompanyName | BillingLineSort::CompanyExternalId => {
                keyset!(query, $page, id, id)
            }
        }
    }};
}

/// The sort key and the company of a cursor in the order of companies.
fn company_cursor(at: &Cursor) -> (String, String) {
    let (key, company) = at.key.rsplit_once(SEPARATOR).unwrap_or((&at.key, ""));
    (key.to_owned(), company.to_owned())
}

/// Whether a page is sorted by company, and its filter names neither companies nor lines.
fn by_company_order(filter: &LineFilter, page: &PageRequest<BillingLineSort>) -> bool {
    matches!(page.sort, BillingLineSort::CompanyName | BillingLineSort::CompanyExternalId)
        && filter.ids.is_none()
        && filter.company_ids.is_none()
}

/// Whether a page is sorted by a column of the lines, and its filter does not depend on their companies.
fn by_line_order(filter: &LineFilter, page: &PageRequest<BillingLineSort>) -> bool {
    let by_line = matches!(
        page.sort,
        BillingLineSort::AgreementStatus | BillingLineSort::AdditionStatus | BillingLineSort::CreatedAt
    );
    by_line && !filter.depends_on_company()
}

impl Tx<'_> {
    /// A page of lines with their records. Runs a few queries for the lines and one for each kind of record.
    pub fn billing_lines(
        &mut self,
        filter: &LineFilter,
        page: &PageRequest<BillingLineSort>,
    ) -> Result<Page<BillingLineView>> {
        let total = {
            let query = scoped_joined!(self, billing_lines, companies).into_boxed();
            total!(page, filtered!(self, query, filter), self.conn)
        };
        let rows = if by_company_order(filter, page) {
            self.rows_by_company(filter, page)?
        } else if by_line_order(filter, page) {
            self.rows_by_line(filter, page)?
        } else {
            self.rows_of_page(filter, page)?
        };
        let rows = page.page(rows, |(line, company)| (sort_key(page.sort, line, company), line.id.to_string()));
        let next = rows.next;
        Ok(Page { items: self.with_records(rows.items)?, next, total })
    }

    /// The rows of a page that is sorted by company: first finds the companies whose lines fill it.
    fn rows_by_company(
        &mut self,
        filter: &LineFilter,
        page: &PageRequest<BillingLineSort>,
    ) -> Result<Vec<(BillingLine, Company)>> {
        if (LineFilter { product_id: None, ..filter.clone() }).selects_whole_companies() {
            // Each company has a line for each product, so the first companies fill the page.
            let lines_each = match &filter.product_id {
                Some(_) => 1,
                None => self.scoped(products::table).count().get_result::<i64>(self.conn)?.max(1),
            };
            if lines_each <= page.fetch() {
                // Some lines of the cursor's company may be on the previous page.
                let limit = (page.fetch() + lines_each - 1) / lines_each + i64::from(page.after.is_some());
                let query = of_companies!(self, self.scoped(companies::table).into_boxed(), filter);
                let companies: Vec<Company> = first_companies!(self, query, page, limit, Company::as_select());
                let is_all = i64::try_from(companies.len()).is_ok_and(|found| found < limit);
                let rows = self.rows_of_companies(filter, page, companies)?;
                if is_all || i64::try_from(rows.len()).is_ok_and(|found| found >= page.fetch()) {
                    return Ok(rows);
                }
            }
        }
        let query = of_companies!(self, with_line!(self, filter), filter);
        let companies: Vec<CompanyId> = first_companies!(self, query, page, page.fetch() + 1, companies::id);
        let narrowed = LineFilter { company_ids: Some(companies), ..filter.clone() };
        self.rows_of_page(&narrowed, page)
    }

    /// The rows of a page with lines of the given companies, which are in the page's order. The companies are not read
    /// again for each line.
    fn rows_of_companies(
        &mut self,
        filter: &LineFilter,
        page: &PageRequest<BillingLineSort>,
        companies: Vec<Company>,
    ) -> Result<Vec<(BillingLine, Company)>> {
        let ids = companies.iter().map(|company| company.id.clone()).collect();
        let narrowed = LineFilter { company_ids: Some(ids), ..filter.clone() };
        let scoped = of_lines!(self.scoped(billing_lines::table).into_boxed(), &narrowed);
        let mut lines: HashMap<CompanyId, Vec<BillingLine>> = HashMap::new();
        for line in scoped.select(BillingLine::as_select()).load::<BillingLine>(self.conn)? {
            lines.entry(line.company_id.clone()).or_default().push(line);
        }
        let cursor = page.after.as_ref().map(|at| (company_cursor(at), at.id.as_str()));
        // Both databases compare texts by their bytes, as this does.
        let is_after_cursor = |line: &BillingLine, company: &Company| {
            let Some(((key, id), last)) = &cursor else { return true };
            let place = (company_key(page.sort, company), company.id.as_str(), line.id.as_str());
            let from = (key.as_str(), id.as_str(), *last);
            if page.descending { place < from } else { place > from }
        };
        let mut rows = Vec::new();
        for company in companies {
            let mut of_company = lines.remove(&company.id).unwrap_or_default();
            of_company
                .sort_by(|one, other| if page.descending { other.id.cmp(&one.id) } else { one.id.cmp(&other.id) });
            let later = of_company.into_iter().filter(|line| is_after_cursor(line, &company));
            rows.extend(later.map(|line| (line, company.clone())));
        }
        rows.truncate(usize::try_from(page.fetch()).map_err(Error::internal)?);
        Ok(rows)
    }

    /// The rows of a page that is sorted by a column of the lines: first finds their ids without the companies. If
    /// they were joined at once, SQLite might start with the companies and sort all lines.
    fn rows_by_line(
        &mut self,
        filter: &LineFilter,
        page: &PageRequest<BillingLineSort>,
    ) -> Result<Vec<(BillingLine, Company)>> {
        let (ids, id) = (self.ids_by_line(filter, page)?, billing_lines::id);
        let rows = scoped_joined!(self, billing_lines, companies)
            .filter(id.in_list(&ids))
            .select((BillingLine::as_select(), Company::as_select()))
            .load::<(BillingLine, Company)>(self.conn)?;
        let mut by_id: HashMap<BillingLineId, (BillingLine, Company)> =
            rows.into_iter().map(|row| (row.0.id.clone(), row)).collect();
        Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
    }

    /// The ids of a page that is sorted by a column of the lines, in order. The indexes of lines begin with the
    /// product, so the first lines of each product are read, and merged.
    fn ids_by_line(&mut self, filter: &LineFilter, page: &PageRequest<BillingLineSort>) -> Result<Vec<BillingLineId>> {
        let columns = (billing_lines::id, billing_lines::agreement_status, billing_lines::addition_status);
        let mut found = Vec::new();
        for product in self.products_to_merge(filter)? {
            let mut scoped = of_lines!(self.scoped(billing_lines::table).into_boxed(), filter);
            if let Some(product) = product {
                scoped = scoped.filter(billing_lines::product_id.eq(product));
            }
            let scoped = by_line!(scoped, page);
            let rows: Vec<(BillingLineId, MappingStatus, MappingStatus)> =
                scoped.limit(page.fetch()).select(columns).load(self.conn)?;
            found.extend(rows.into_iter().map(|(id, agreement, addition)| match page.sort {
                BillingLineSort::AgreementStatus => (Some(agreement.as_str()), id),
                BillingLineSort::AdditionStatus => (Some(addition.as_str()), id),
                BillingLineSort::CreatedAt | BillingLineSort::CompanyName | BillingLineSort::CompanyExternalId => {
                    (None, id)
                }
            }));
        }
        // Both databases compare texts by their bytes, as this does.
        found.sort();
        if page.descending {
            found.reverse();
        }
        found.truncate(usize::try_from(page.fetch()).map_err(Error::internal)?);
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// The products whose lines are read one after the other; `None` for all lines at once, if the filter leaves few
    /// lines or if there are many products.
    fn products_to_merge(&mut self, filter: &LineFilter) -> Result<Vec<Option<ProductId>>> {
        if filter.product_id.is_some() || filter.ids.is_some() || filter.company_ids.is_some() {
            return Ok(vec![None]);
        }
        let scoped = self.scoped(products::table).select(products::id).limit(MAX_MERGED_PRODUCTS + 1);
        let products: Vec<ProductId> = scoped.load(self.conn)?;
        let are_few = i64::try_from(products.len()).is_ok_and(|count| count <= MAX_MERGED_PRODUCTS);
        Ok(if are_few { products.into_iter().map(Some).collect() } else { vec![None] })
    }

    /// The rows of a page, plus one if there is a next page.
    fn rows_of_page(
        &mut self,
        filter: &LineFilter,
        page: &PageRequest<BillingLineSort>,
    ) -> Result<Vec<(BillingLine, Company)>> {
        let query = scoped_joined!(self, billing_lines, companies).into_boxed();
        let query = filtered!(self, query, filter);
        let query = match page.sort {
            BillingLineSort::CompanyName => by_company!(query, page, companies::name_key),
            BillingLineSort::CompanyExternalId => by_company!(query, page, companies::external_id),
            BillingLineSort::AgreementStatus | BillingLineSort::AdditionStatus | BillingLineSort::CreatedAt => {
                by_line!(query, page)
            }
        };
        let rows = query.limit(page.fetch()).select((BillingLine::as_select(), Company::as_select()));
        Ok(rows.load(self.conn)?)
    }
}

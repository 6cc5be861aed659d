//! Companies (the vendor's customers) and their matches.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, chunks, keyset, total, without_nul};
use crate::db::engine::schema::companies;
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::clock::Timestamp;
use crate::domain::company_match::MatchSource;
use crate::domain::ids::{CompanyId, CwCompanyId, TenantId};
use crate::domain::string_enum::string_enum;
use crate::domain::{Error, Result};

/// A vendor's customer.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = companies, primary_key(tenant_id, id), check_for_backend(MultiBackend), treat_none_as_null = true)]
pub struct Company {
    pub id: CompanyId,
    pub tenant_id: TenantId,
    pub external_id: String,
    pub name: String,
    pub name_key: String,
    pub connectwise_company_id: Option<CwCompanyId>,
    pub match_source: Option<MatchSource>,
    pub matched_at: Option<NaiveDateTime>,
    pub matched_by: Option<String>,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

impl Company {
    /// Sets the match, or clears it if `target` is `None`. `by` is the name of the caller's API key.
    pub fn set_match(&mut self, target: Option<(CwCompanyId, MatchSource)>, now: Timestamp, by: &str) {
        self.connectwise_company_id = target.map(|(id, _)| id);
        self.match_source = target.map(|(_, source)| source);
        self.matched_at = Some(now.naive_utc());
        self.matched_by = Some(by.to_owned());
        self.updated_at = now.naive_utc();
    }
}

string_enum! {
    /// The sort keys of companies.
    CompanySort {
        /// By name, ignoring case.
        Name = "name",
        /// By the vendor's id.
        ExternalId = "external_id",
        /// Oldest first.
        CreatedAt = "created_at",
    }
}

/// The filter of companies.
#[derive(Debug, Clone, Default)]
pub struct CompanyFilter {
    /// Name, external id or the matched company's identifier contains this text, ignoring case.
    pub search: Option<String>,
    /// External id equals this.
    pub external_id: Option<String>,
    /// `true` for matched companies only, `false` for companies without a match only.
    pub matched: Option<bool>,
}

/// A company with a new name.
struct RenamedCompany(Company);

// `in 0`: the row is the member 0.
row_update! { RenamedCompany, in 0; companies where id set name, name_key, version, updated_at }
row_update! {
    Company; companies
    where id
    set connectwise_company_id, match_source, matched_at, matched_by, version, updated_at
}

diesel::define_sql_function! {
    /// Converts a text to lower case. On SQLite, and on PostgreSQL with the collation `C`, only ASCII letters change.
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// Companies with a text in their name or external id, or in the identifier of their ConnectWise company, ignoring
/// case.
macro_rules! named_like {
    ($tx:expr, $text:expr) => {{
        use $crate::db::engine::schema::{companies, cw_companies};
        let pattern = $crate::db::engine::page::like_pattern($text);
        let matched = $tx
            .scoped(cw_companies::table)
            .filter(cw_companies::id.nullable().eq(companies::connectwise_company_id))
            .filter(cw_companies::identifier_key.like(pattern.clone()).escape('\\'));
        let external_id = $crate::db::queries::companies::lower(companies::external_id);
        companies::name_key
            .like(pattern.clone())
            .escape('\\')
            .or(external_id.like(pattern).escape('\\'))
            // The text exactly as written, in case it has letters outside ASCII.
            .or(companies::external_id.like($crate::db::engine::page::plain_pattern($text)).escape('\\'))
            .or(diesel::dsl::exists(matched))
    }};
}
pub(in crate::db) use named_like;

impl Tx<'_> {
    /// A page of companies.
    pub fn companies(&mut self, filter: &CompanyFilter, page: &PageRequest<CompanySort>) -> Result<Page<Company>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(companies::table).into_boxed();
            if let Some(text) = &filter.search {
                query = query.filter(named_like!(tx, text));
            }
            if let Some(id) = &filter.external_id {
                query = query.filter(companies::external_id.eq(id.clone()));
            }
            match filter.matched {
                Some(true) => query = query.filter(companies::connectwise_company_id.is_not_null()),
                Some(false) => query = query.filter(companies::connectwise_company_id.is_null()),
                None => {}
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let query = match page.sort {
            CompanySort::Name => keyset!(query, page, companies::name_key, companies::id),
            CompanySort::ExternalId => keyset!(query, page, companies::external_id, companies::id),
            CompanySort::CreatedAt => keyset!(query, page, companies::id, companies::id),
        };
        let rows = query.limit(page.fetch()).select(Company::as_select()).load(self.conn)?;
        let rows = page.page(rows, |row: &Company| {
            let key = match page.sort {
                CompanySort::Name => row.name_key.clone(),
                CompanySort::ExternalId => row.external_id.clone(),
                CompanySort::CreatedAt => row.id.to_string(),
            };
            (key, row.id.to_string())
        });
        Ok(rows.with_total(total))
    }

    /// All companies of the tenant.
    pub fn all_companies(&mut self) -> Result<Vec<Company>> {
        let scoped = self.scoped(companies::table);
        Ok(scoped.order(companies::id).select(Company::as_select()).load(self.conn)?)
    }

    /// The company with an id, or a not-found error.
    pub fn company(&mut self, id: &CompanyId) -> Result<Company> {
        let scoped = self.scoped(companies::table).filter(companies::id.eq(id));
        let row = scoped.select(Company::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("company", id))
    }

    /// The company with an external id (the vendor's id), if there is one.
    pub fn company_by_external_id(&mut self, external_id: &str) -> Result<Option<Company>> {
        let scoped = self.scoped(companies::table).filter(companies::external_id.eq(external_id));
        Ok(scoped.select(Company::as_select()).first(self.conn).optional()?)
    }

    /// The given ids that belong to a company.
    pub fn existing_companies(&mut self, ids: &[CompanyId]) -> Result<HashSet<CompanyId>> {
        let mut found = HashSet::new();
        for chunk in chunks(&without_nul(ids)) {
            let scoped = self.scoped(companies::table).filter(companies::id.in_list(chunk));
            found.extend(scoped.select(companies::id).load::<CompanyId>(self.conn)?);
        }
        Ok(found)
    }

    /// The ids of the companies with the given external ids, by external id.
    pub fn companies_by_external_id(&mut self, external_ids: &[String]) -> Result<HashMap<String, CompanyId>> {
        let mut found = HashMap::new();
        for chunk in chunks(&without_nul(external_ids)) {
            let scoped = self.scoped(companies::table).filter(companies::external_id.in_list(chunk));
            found
                .extend(scoped.select((companies::external_id, companies::id)).load::<(String, CompanyId)>(self.conn)?);
        }
        Ok(found)
    }

    /// The companies with the given external ids.
    pub fn companies_with_external_ids(&mut self, external_ids: &[String]) -> Result<Vec<Company>> {
        let mut found = Vec::new();
        for chunk in chunks(&without_nul(external_ids)) {
            let scoped = self.scoped(companies::table).filter(companies::external_id.in_list(chunk));
            found.extend(scoped.select(Company::as_select()).load(self.conn)?);
        }
        Ok(found)
    }

    /// The companies that are matched to a ConnectWise company.
    pub fn companies_matched_to(&mut self, id: CwCompanyId) -> Result<Vec<Company>> {
        let scoped = self.scoped(companies::table).filter(companies::connectwise_company_id.eq(id));
        Ok(scoped.select(Company::as_select()).load(self.conn)?)
    }

    /// The first company, by name, that is matched to each of these ConnectWise companies.
    pub fn first_matched_to(&mut self, ids: &[CwCompanyId]) -> Result<HashMap<CwCompanyId, Company>> {
        let scoped = self.scoped(companies::table).filter(companies::connectwise_company_id.in_list(ids));
        let mut rows: Vec<Company> = scoped.select(Company::as_select()).load(self.conn)?;
        // Not in SQL: SQLite would read all companies in this order to find a few. The last row for a key remains.
        rows.sort_by(|a, b| (&b.name_key, &b.id).cmp(&(&a.name_key, &a.id)));
        Ok(rows.into_iter().filter_map(|row| Some((row.connectwise_company_id?, row))).collect())
    }

    /// Adds companies.
    pub fn insert_companies(&mut self, rows: &[Company]) -> Result<()> {
        insert_many!(self, companies, rows);
        Ok(())
    }

    /// Updates a company and increments its version.
    pub fn update_company(&mut self, row: &mut Company) -> Result<()> {
        row.version += 1;
        let scoped = self.scoped(companies::table);
        diesel::update(scoped.filter(companies::id.eq(row.id.clone()))).set(&*row).execute(self.conn)?;
        Ok(())
    }

    /// Stores the matches of companies, and increments their versions.
    pub fn save_matches(&mut self, rows: &mut [Company]) -> Result<()> {
        rows.iter_mut().for_each(|row| row.version += 1);
        self.update_rows(rows).map(drop)
    }

    /// Stores the names of companies, and increments their versions.
    pub fn rename_companies(&mut self, rows: Vec<Company>) -> Result<()> {
        let renamed = rows.into_iter().map(|row| RenamedCompany(Company { version: row.version + 1, ..row }));
        let renamed: Vec<RenamedCompany> = renamed.collect();
        self.update_rows(&renamed).map(drop)
    }

    /// Deletes companies with their billing lines and usage.
    pub fn delete_companies(&mut self, ids: &[CompanyId]) -> Result<()> {
        for chunk in chunks(ids) {
            diesel::delete(self.scoped(companies::table).filter(companies::id.in_list(chunk))).execute(self.conn)?;
        }
        Ok(())
    }
}

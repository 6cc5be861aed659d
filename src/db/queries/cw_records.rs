//! The stored copies of ConnectWise records: companies, agreements and additions.

use std::collections::HashSet;

use chrono::{NaiveDate, NaiveDateTime};
use diesel::prelude::*;

use crate::db::engine::conn::{MultiBackend, run_fixed};
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, chunks, keyset, like_pattern, total};
use crate::db::engine::schema::{companies, cw_additions, cw_agreements, cw_companies, cw_refreshes};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId, TenantId};
use crate::domain::invoice_terms::{AdditionInvoicing, AgreementInvoicing, BillCustomer, RecapPath};
use crate::domain::quantity::{Money, Quantity};
use crate::domain::records::{Addition, Agreement, CwCompany};
use crate::domain::string_enum::string_enum;
use crate::domain::text::fold;

/// A stored ConnectWise company.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = cw_companies, check_for_backend(MultiBackend))]
pub struct CwCompanyRow {
    pub tenant_id: TenantId,
    pub id: CwCompanyId,
    pub identifier: String,
    pub identifier_key: String,
    pub name: String,
    pub name_key: String,
    pub status: Option<String>,
    /// Whether it is marked as deleted in ConnectWise.
    pub deleted: bool,
    /// When a refresh no longer found it; `None` while ConnectWise has it.
    pub gone_at: Option<NaiveDateTime>,
}

/// A stored agreement.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = cw_agreements, check_for_backend(MultiBackend))]
pub struct AgreementRow {
    pub tenant_id: TenantId,
    pub id: CwAgreementId,
    pub company_id: CwCompanyId,
    pub name: String,
    pub name_key: String,
    pub type_name: Option<String>,
    pub status: Option<String>,
    pub cancelled: bool,
    pub cancelled_at: Option<NaiveDateTime>,
    pub ends_at: Option<NaiveDateTime>,
    pub no_end: bool,
    pub gone_at: Option<NaiveDateTime>,
    pub additions_read_at: Option<NaiveDateTime>,
    pub billing_cycle: Option<String>,
    pub next_invoice: Option<NaiveDate>,
    pub prorates: Option<bool>,
    pub parent_id: Option<CwAgreementId>,
    pub currency: Option<String>,
    pub last_invoice: Option<NaiveDate>,
    pub unbilled_periods: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = cw_additions, check_for_backend(MultiBackend))]
pub(in crate::db) struct AdditionRow {
    pub(in crate::db) tenant_id: TenantId,
    pub(in crate::db) id: CwAdditionId,
    pub(in crate::db) agreement_id: CwAgreementId,
    pub(in crate::db) product_identifier: Option<String>,
    pub(in crate::db) description: Option<String>,
    pub(in crate::db) quantity: Option<Quantity>,
    pub(in crate::db) cancelled_at: Option<NaiveDateTime>,
    pub(in crate::db) gone_at: Option<NaiveDateTime>,
    pub(in crate::db) less_included: Option<Quantity>,
    pub(in crate::db) bill_customer: Option<BillCustomer>,
    pub(in crate::db) unit_price: Option<Money>,
    pub(in crate::db) effective: Option<NaiveDate>,
}

/// The state of a tenant's running or last refresh.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = cw_refreshes, check_for_backend(MultiBackend), treat_none_as_null = true)]
pub struct RefreshRow {
    pub tenant_id: TenantId,
    /// The owner of the running refresh.
    pub lease_owner: Option<String>,
    /// When the owner's lease expires.
    pub lease_until: Option<NaiveDateTime>,
    /// When the last successful refresh ended.
    pub finished_at: Option<NaiveDateTime>,
    /// Why the last refresh failed.
    pub error: Option<String>,
    pub companies: i64,
    pub agreements: i64,
    pub additions: i64,
    /// The path of the site's agreement recap; `None` if the site has none, or has not been checked yet.
    pub recap_list: Option<RecapPath>,
}

string_enum! {
    /// The sort keys of ConnectWise companies.
    CwCompanySort {
        /// By identifier, ignoring case.
        Identifier = "identifier",
        /// By name, ignoring case.
        Name = "name",
    }
}

/// The filter of ConnectWise companies.
#[derive(Debug, Clone, Default)]
pub struct CwCompanyFilter {
    /// Name or identifier contains this text, ignoring case.
    pub search: Option<String>,
    /// Identifier equals this, ignoring case.
    pub identifier: Option<String>,
}

impl From<CwCompanyRow> for CwCompany {
    fn from(row: CwCompanyRow) -> Self {
        let deleted = row.deleted || row.gone_at.is_some();
        Self { id: row.id, identifier: row.identifier, name: row.name, status: row.status, deleted }
    }
}

impl From<AgreementRow> for Agreement {
    fn from(row: AgreementRow) -> Self {
        Self {
            id: row.id,
            company_id: row.company_id,
            name: row.name,
            type_name: row.type_name,
            status: row.status,
            cancelled: row.cancelled,
            cancelled_at: row.cancelled_at.map(|at| at.and_utc()),
            ends_at: row.ends_at.map(|at| at.and_utc()),
            no_end: row.no_end,
            gone: row.gone_at.is_some(),
            terms: AgreementInvoicing {
                billing_cycle: row.billing_cycle,
                next_invoice: row.next_invoice,
                prorates: row.prorates,
                parent: row.parent_id,
                currency: row.currency,
                last_invoice: row.last_invoice,
                unbilled_periods: row.unbilled_periods,
            },
        }
    }
}

impl From<AdditionRow> for Addition {
    fn from(row: AdditionRow) -> Self {
        Self {
            id: row.id,
            agreement_id: row.agreement_id,
            product_identifier: row.product_identifier,
            description: row.description,
            quantity: row.quantity,
            cancelled_at: row.cancelled_at.map(|at| at.and_utc()),
            gone: row.gone_at.is_some(),
            terms: AdditionInvoicing {
                less_included: row.less_included,
                bill_customer: row.bill_customer,
                unit_price: row.unit_price,
                effective: row.effective,
            },
        }
    }
}

/// The quantity that an addition has in ConnectWise now.
pub struct AdditionQuantity {
    pub id: CwAdditionId,
    pub quantity: Quantity,
}

row_update! { AdditionQuantity; cw_additions where id set quantity }

impl Tx<'_> {
    /// The given name keys that more than one ConnectWise company has.
    pub fn twin_company_names(&mut self, names: &[String]) -> Result<HashSet<String>> {
        let mut several = HashSet::new();
        for chunk in chunks(names) {
            let scoped = self
                .scoped(cw_companies::table)
                .filter(cw_companies::deleted.eq(false))
                .filter(cw_companies::gone_at.is_null())
                .filter(cw_companies::name_key.in_list(chunk));
            let rows: Vec<(String, i64)> = scoped
                .group_by(cw_companies::name_key)
                .select((cw_companies::name_key, diesel::dsl::count_star()))
                .load(self.conn)?;
            several.extend(rows.into_iter().filter(|(_, companies)| *companies > 1).map(|(name, _)| name));
        }
        Ok(several)
    }

    /// A page of the ConnectWise companies that can be chosen, which are neither deleted nor gone.
    pub fn cw_companies(
        &mut self,
        filter: &CwCompanyFilter,
        page: &PageRequest<CwCompanySort>,
    ) -> Result<Page<CwCompany>> {
        let of_filter = |tx: &Self| {
            let mut query = tx
                .scoped(cw_companies::table)
                .filter(cw_companies::deleted.eq(false))
                .filter(cw_companies::gone_at.is_null())
                .into_boxed();
            if let Some(text) = &filter.search {
                let pattern = like_pattern(text);
                let name = cw_companies::name_key.like(pattern.clone()).escape('\\');
                query = query.filter(name.or(cw_companies::identifier_key.like(pattern).escape('\\')));
            }
            if let Some(identifier) = &filter.identifier {
                query = query.filter(cw_companies::identifier_key.eq(fold(identifier)));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let id = diesel::dsl::sql::<diesel::sql_types::Text>("CAST(id AS TEXT)");
        let query = match page.sort {
            CwCompanySort::Identifier => keyset!(query, page, cw_companies::identifier_key, id.clone()),
            CwCompanySort::Name => keyset!(query, page, cw_companies::name_key, id.clone()),
        };
        let rows = query.limit(page.fetch()).select(CwCompanyRow::as_select()).load(self.conn)?;
        let rows = page.page(rows, |row: &CwCompanyRow| {
            let key = match page.sort {
                CwCompanySort::Identifier => row.identifier_key.clone(),
                CwCompanySort::Name => row.name_key.clone(),
            };
            (key, row.id.to_string())
        });
        Ok(rows.map(CwCompany::from).with_total(total))
    }

    /// ConnectWise companies by id, or all that were ever read. Deleted ones are included.
    pub fn cw_companies_by_id(&mut self, ids: Option<&[CwCompanyId]>) -> Result<Vec<CwCompany>> {
        let scoped = self.scoped(cw_companies::table);
        let mut rows: Vec<CwCompanyRow> = Vec::new();
        match ids {
            None => rows = scoped.select(CwCompanyRow::as_select()).load(self.conn)?,
            Some(ids) => {
                for chunk in chunks(ids) {
                    let some = scoped.clone().filter(cw_companies::id.in_list(chunk));
                    rows.extend::<Vec<CwCompanyRow>>(run_fixed!(self, some.select(CwCompanyRow::as_select()), load)?);
                }
            }
        }
        Ok(rows.into_iter().map(CwCompany::from).collect())
    }

    /// The ConnectWise company with an identifier, ignoring case, unless it is deleted.
    pub fn cw_company_identified(&mut self, identifier: &str) -> Result<Option<CwCompany>> {
        let rows: Vec<CwCompanyRow> = self
            .scoped(cw_companies::table)
            .filter(cw_companies::identifier_key.eq(fold(identifier)))
            .select(CwCompanyRow::as_select())
            .load(self.conn)?;
        Ok(rows.into_iter().map(CwCompany::from).find(|company| !company.deleted))
    }

    /// The agreements of the given ConnectWise companies, or of all. Includes those that no longer exist in
    /// ConnectWise.
    pub fn agreements_of(&mut self, companies: Option<&[CwCompanyId]>) -> Result<Vec<AgreementRow>> {
        let scoped = self.scoped(cw_agreements::table);
        let Some(ids) = companies else {
            return Ok(scoped.order(cw_agreements::id).select(AgreementRow::as_select()).load(self.conn)?);
        };
        let mut rows: Vec<AgreementRow> = Vec::new();
        for chunk in chunks(ids) {
            let some = scoped.clone().filter(cw_agreements::company_id.in_list(chunk)).order(cw_agreements::id);
            rows.extend(some.select(AgreementRow::as_select()).load(self.conn)?);
        }
        Ok(rows)
    }

    /// Agreements by id. Includes those that no longer exist in ConnectWise.
    pub fn agreements_by_id(&mut self, ids: &[CwAgreementId]) -> Result<Vec<AgreementRow>> {
        let mut rows: Vec<AgreementRow> = Vec::new();
        for chunk in chunks(ids) {
            let some = self.scoped(cw_agreements::table).filter(cw_agreements::id.in_list(chunk));
            rows.extend::<Vec<AgreementRow>>(run_fixed!(self, some.select(AgreementRow::as_select()), load)?);
        }
        Ok(rows)
    }

    /// The given agreements that still exist and whose additions were last read before `moment`, or never.
    pub fn agreements_with_additions_older_than(
        &mut self,
        ids: &[CwAgreementId],
        moment: Timestamp,
    ) -> Result<Vec<CwAgreementId>> {
        let mut old: Vec<CwAgreementId> = Vec::new();
        for chunk in chunks(ids) {
            let before = cw_agreements::additions_read_at.lt(moment.naive_utc());
            let some = self
                .scoped(cw_agreements::table)
                .filter(cw_agreements::id.in_list(chunk))
                .filter(cw_agreements::gone_at.is_null())
                .filter(cw_agreements::additions_read_at.is_null().or(before));
            old.extend(some.select(cw_agreements::id).load::<CwAgreementId>(self.conn)?);
        }
        Ok(old)
    }

    /// The additions of the given agreements, or of all. Includes those that no longer exist in ConnectWise.
    pub fn additions_of(&mut self, agreements: Option<&[CwAgreementId]>) -> Result<Vec<Addition>> {
        let scoped = self.scoped(cw_additions::table);
        let mut rows: Vec<AdditionRow> = Vec::new();
        match agreements {
            None => rows = scoped.order(cw_additions::id).select(AdditionRow::as_select()).load(self.conn)?,
            Some(ids) => {
                for chunk in chunks(ids) {
                    let some = scoped.clone().filter(cw_additions::agreement_id.in_list(chunk)).order(cw_additions::id);
                    rows.extend(some.select(AdditionRow::as_select()).load(self.conn)?);
                }
            }
        }
        Ok(rows.into_iter().map(Addition::from).collect())
    }

    /// Additions by id. Includes those that no longer exist in ConnectWise.
    pub fn additions_by_id(&mut self, ids: &[CwAdditionId]) -> Result<Vec<Addition>> {
        Ok(self.addition_rows(ids)?.into_iter().map(Addition::from).collect())
    }

    pub(in crate::db) fn addition_rows(&mut self, ids: &[CwAdditionId]) -> Result<Vec<AdditionRow>> {
        let mut rows: Vec<AdditionRow> = Vec::new();
        for chunk in chunks(ids) {
            let some = self.scoped(cw_additions::table).filter(cw_additions::id.in_list(chunk));
            rows.extend::<Vec<AdditionRow>>(run_fixed!(self, some.select(AdditionRow::as_select()), load)?);
        }
        Ok(rows)
    }

    /// Stores the quantities of additions that were just read from or written to ConnectWise.
    pub fn set_addition_quantities(&mut self, quantities: &[AdditionQuantity]) -> Result<()> {
        self.update_rows(quantities).map(drop)
    }

    /// Marks an agreement as no longer existing in ConnectWise.
    pub fn mark_agreement_gone(&mut self, id: CwAgreementId, now: Timestamp) -> Result<()> {
        let row =
            self.scoped(cw_agreements::table).filter(cw_agreements::id.eq(id)).filter(cw_agreements::gone_at.is_null());
        diesel::update(row).set(cw_agreements::gone_at.eq(now.naive_utc())).execute(self.conn)?;
        self.renew_generation()
    }

    /// The numbers of stored companies and agreements that still exist in ConnectWise.
    pub fn cw_counts(&mut self) -> Result<(i64, i64)> {
        let companies = self.scoped(cw_companies::table).filter(cw_companies::gone_at.is_null());
        let agreements = self.scoped(cw_agreements::table).filter(cw_agreements::gone_at.is_null());
        Ok((companies.count().get_result(self.conn)?, agreements.count().get_result(self.conn)?))
    }

    /// Whether any ConnectWise data is stored: a record, even a deleted one, or a company's match.
    pub fn has_connectwise_data(&mut self) -> Result<bool> {
        let matched = self.scoped(companies::table).filter(companies::connectwise_company_id.is_not_null());
        let (companies, agreements) = (self.scoped(cw_companies::table), self.scoped(cw_agreements::table));
        let additions = self.scoped(cw_additions::table);
        Ok(diesel::select(diesel::dsl::exists(companies)).get_result(self.conn)?
            || diesel::select(diesel::dsl::exists(agreements)).get_result(self.conn)?
            || diesel::select(diesel::dsl::exists(additions)).get_result(self.conn)?
            || diesel::select(diesel::dsl::exists(matched)).get_result(self.conn)?)
    }

    /// Deletes all records that were read from ConnectWise, and the state of refreshes.
    pub fn delete_connectwise_records(&mut self) -> Result<()> {
        diesel::delete(self.scoped(cw_companies::table)).execute(self.conn)?;
        diesel::delete(self.scoped(cw_agreements::table)).execute(self.conn)?;
        diesel::delete(self.scoped(cw_additions::table)).execute(self.conn)?;
        diesel::delete(self.scoped(cw_refreshes::table)).execute(self.conn)?;
        self.renew_generation()
    }

    /// The state of the running or last refresh, if there was one.
    pub fn refresh(&mut self) -> Result<Option<RefreshRow>> {
        let scoped = self.scoped(cw_refreshes::table);
        Ok(scoped.select(RefreshRow::as_select()).first(self.conn).optional()?)
    }

    /// Stores the state of the refresh.
    pub fn put_refresh(&mut self, row: &RefreshRow) -> Result<()> {
        insert_scoped!(self, cw_refreshes, std::slice::from_ref(row), .on_conflict(cw_refreshes::tenant_id)
            .do_update()
            .set(row))?;
        Ok(())
    }
}

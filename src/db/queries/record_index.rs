//! The record index: the stored ConnectWise records, indexed for resolving and cached in memory until they change.
//!
//! Every change sets a new generation for the tenant, a UUID that is never reused. A record index built in one
//! generation is valid in every transaction that reads the same generation.

use std::sync::Arc;

use chrono::NaiveDate;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::cw_generations;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::{CwAgreementId, CwCompanyId, TenantId};
use crate::domain::mappings::RecordIndex;

#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = cw_generations, check_for_backend(MultiBackend))]
pub(in crate::db) struct Generation {
    pub(in crate::db) tenant_id: TenantId,
    generation: String,
}

impl Tx<'_> {
    /// The record index for a day. It covers at least the companies in `scope`, or all companies without a scope. If
    /// the index is not cached, only the records of the companies in `scope` are loaded.
    pub fn record_index(&mut self, scope: Option<&[CwCompanyId]>, today: NaiveDate) -> Result<Arc<RecordIndex>> {
        // A missing row is a generation too: it lasts until the first change, which adds the row.
        let generation: Option<String> =
            self.scoped(cw_generations::table).select(cw_generations::generation).first(self.conn).optional()?;
        let generation = generation.unwrap_or_default();
        if let Some(record_index) = self.record_indexes.get(self.tenant(), &generation, today) {
            return Ok(record_index);
        }
        let record_index = Arc::new(self.load_record_index(scope, today)?);
        if scope.is_none() {
            self.record_indexes.put(self.tenant(), generation, today, record_index.clone());
        }
        Ok(record_index)
    }

    fn load_record_index(&mut self, scope: Option<&[CwCompanyId]>, today: NaiveDate) -> Result<RecordIndex> {
        let companies = self.cw_companies_by_id(scope)?;
        let gone = companies.into_iter().filter(|company| company.deleted).map(|company| company.id);
        let agreements = self.agreements_of(scope)?;
        let read: Vec<CwAgreementId> =
            agreements.iter().filter(|row| row.additions_read_at.is_some()).map(|row| row.id).collect();
        let additions = self.additions_of(scope.map(|_| read.as_slice()))?;
        Ok(RecordIndex::new(today, gone, agreements.into_iter().map(Into::into), additions, read))
    }

    /// Sets a new generation. Must be called whenever the stored ConnectWise records change.
    pub(in crate::db) fn renew_generation(&mut self) -> Result<()> {
        let generation = uuid::Uuid::now_v7().to_string();
        let row = Generation { tenant_id: self.tenant().clone(), generation };
        insert_scoped!(self, cw_generations, std::slice::from_ref(&row), .on_conflict(cw_generations::tenant_id)
            .do_update()
            .set(&row))?;
        Ok(())
    }
}

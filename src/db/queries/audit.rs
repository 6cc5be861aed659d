//! The audit log: who changed what. Rows are only added.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, keyset, total};
use crate::db::engine::schema::audit_log;
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{ApiKeyId, AuditId, TenantId};
use crate::domain::string_enum::string_enum;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = audit_log, check_for_backend(MultiBackend))]
pub struct AuditEntry {
    pub id: AuditId,
    pub tenant_id: TenantId,
    pub at: NaiveDateTime,
    /// The name of the API key, or an internal one such as `schedule`.
    pub actor: String,
    pub api_key_id: Option<ApiKeyId>,
    pub request_id: Option<String>,
    pub action: AuditAction,
    /// The id of the record that was changed.
    pub subject_id: Option<String>,
    /// The record's name at that time.
    pub subject_name: Option<String>,
    /// The value before the change, as JSON.
    pub old: Option<String>,
    /// The value after the change, as JSON.
    pub new: Option<String>,
    /// The person for whom the actor acted, as the request said.
    pub acting_user: Option<String>,
}

string_enum! {
    /// The sort keys of the audit log.
    AuditSort {
        /// By time, in the order in which the entries were written.
        At = "at",
    }
}

/// The filter of the audit log.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By action: one of these, if there are any.
    pub actions: Vec<AuditAction>,
    /// Only changes by this API key or process.
    pub actor: Option<String>,
    /// Only changes on behalf of this person.
    pub acting_user: Option<String>,
    /// Only changes of the record with this id.
    pub subject_id: Option<String>,
    /// Only changes that the request with this id made.
    pub request_id: Option<String>,
    /// At or after this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

impl Tx<'_> {
    /// Adds entries to the audit log.
    pub fn insert_audit(&mut self, rows: &[AuditEntry]) -> Result<()> {
        insert_many!(self, audit_log, rows);
        Ok(())
    }

    /// A page of the audit log.
    pub fn audit(&mut self, filter: &AuditFilter, page: &PageRequest<AuditSort>) -> Result<Page<AuditEntry>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(audit_log::table).into_boxed();
            if !filter.actions.is_empty() {
                query = query.filter(audit_log::action.in_list(&filter.actions));
            }
            if let Some(actor) = &filter.actor {
                query = query.filter(audit_log::actor.eq(actor.clone()));
            }
            if let Some(user) = &filter.acting_user {
                query = query.filter(audit_log::acting_user.eq(user.clone()));
            }
            if let Some(id) = &filter.subject_id {
                query = query.filter(audit_log::subject_id.eq(id.clone()));
            }
            if let Some(id) = &filter.request_id {
                query = query.filter(audit_log::request_id.eq(id.clone()));
            }
            if let Some(from) = filter.from {
                query = query.filter(audit_log::at.ge(from.naive_utc()));
            }
            if let Some(to) = filter.to {
                query = query.filter(audit_log::at.lt(to.naive_utc()));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let query = keyset!(query, page, audit_log::id, audit_log::id);
        let rows = query.limit(page.fetch()).select(AuditEntry::as_select()).load(self.conn)?;
        Ok(page.page(rows, |row: &AuditEntry| (row.id.to_string(), row.id.to_string())).with_total(total))
    }
}

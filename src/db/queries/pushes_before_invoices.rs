//! The agreements that are invoiced soon, and the invoices before which they were pushed.

use std::collections::HashSet;

use chrono::{NaiveDate, NaiveDateTime};
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{billing_lines, cw_agreements, push_invoice_runs};
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::{BillingLineId, CwAgreementId, PushBeforeInvoiceId, PushJobId, TenantId};
use crate::domain::mapping_status::MappingStatus;

/// An invoice before which an agreement was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = push_invoice_runs, check_for_backend(MultiBackend))]
pub struct PushBeforeInvoice {
    pub id: PushBeforeInvoiceId,
    pub tenant_id: TenantId,
    /// The agreement that is invoiced: the parent of child agreements.
    pub agreement_id: CwAgreementId,
    pub invoice_on: NaiveDate,
    pub job_id: PushJobId,
    pub created_at: NaiveDateTime,
}

/// An agreement's own invoice date, and the parent agreement with which it is invoiced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct InvoiceDate {
    pub agreement_id: CwAgreementId,
    pub next_invoice: Option<NaiveDate>,
    pub parent_id: Option<CwAgreementId>,
}

impl Tx<'_> {
    /// The agreements whose own next invoice date is between two days, inclusive. A child agreement counts by its own
    /// date, although it is invoiced with its parent.
    pub fn invoiced_between(&mut self, from: NaiveDate, until: NaiveDate) -> Result<Vec<InvoiceDate>> {
        let scoped = self
            .scoped(cw_agreements::table)
            .filter(cw_agreements::next_invoice.assume_not_null().between(from, until))
            .filter(cw_agreements::gone_at.is_null());
        let columns = (cw_agreements::id, cw_agreements::next_invoice, cw_agreements::parent_id);
        Ok(scoped.order(cw_agreements::id).select(columns).load(self.conn)?)
    }

    /// The invoice dates of all agreements.
    pub fn invoice_dates(&mut self) -> Result<Vec<InvoiceDate>> {
        let scoped = self.scoped(cw_agreements::table).filter(cw_agreements::gone_at.is_null());
        Ok(scoped.select((cw_agreements::id, cw_agreements::next_invoice, cw_agreements::parent_id)).load(self.conn)?)
    }

    /// The child agreements of the given agreements, which are invoiced with them, each with its parent.
    pub fn children_of(&mut self, parents: &[CwAgreementId]) -> Result<Vec<(CwAgreementId, CwAgreementId)>> {
        let mut found = Vec::new();
        for chunk in chunks(parents) {
            let scoped = self.scoped(cw_agreements::table).filter(cw_agreements::parent_id.in_list(chunk));
            let columns = (cw_agreements::id, cw_agreements::parent_id.assume_not_null());
            found.extend(scoped.select(columns).load::<(CwAgreementId, CwAgreementId)>(self.conn)?);
        }
        Ok(found)
    }

    /// The lines that bill to one of the given agreements, each with its agreement.
    pub fn lines_of_agreements(&mut self, agreements: &[CwAgreementId]) -> Result<Vec<(BillingLineId, CwAgreementId)>> {
        let mut found = Vec::new();
        for chunk in chunks(agreements) {
            let scoped = self
                .scoped(billing_lines::table)
                .filter(billing_lines::agreement_id.in_list(chunk))
                .filter(billing_lines::agreement_status.eq(MappingStatus::Resolved));
            let columns = (billing_lines::id, billing_lines::agreement_id.assume_not_null());
            found.extend(scoped.select(columns).load::<(BillingLineId, CwAgreementId)>(self.conn)?);
        }
        Ok(found)
    }

    /// The agreement that each line bills to; `None` if it is not resolved or has become stale.
    pub fn agreements_of_lines(&mut self) -> Result<Vec<(BillingLineId, Option<CwAgreementId>)>> {
        let columns = (billing_lines::id, billing_lines::agreement_id, billing_lines::agreement_status);
        let rows: Vec<(BillingLineId, Option<CwAgreementId>, MappingStatus)> =
            self.scoped(billing_lines::table).select(columns).load(self.conn)?;
        let resolved = |status| status == MappingStatus::Resolved;
        Ok(rows.into_iter().map(|(line, agreement, status)| (line, agreement.filter(|_| resolved(status)))).collect())
    }

    /// The invoices before which the given agreements were pushed.
    pub fn pushes_before_invoices(
        &mut self,
        agreements: &[CwAgreementId],
    ) -> Result<HashSet<(CwAgreementId, NaiveDate)>> {
        let mut found = HashSet::new();
        for chunk in chunks(agreements) {
            let scoped = self.scoped(push_invoice_runs::table).filter(push_invoice_runs::agreement_id.in_list(chunk));
            let columns = (push_invoice_runs::agreement_id, push_invoice_runs::invoice_on);
            found.extend(scoped.select(columns).load::<(CwAgreementId, NaiveDate)>(self.conn)?);
        }
        Ok(found)
    }

    /// Records that agreements were pushed before their invoices. An index rejects a second record.
    pub fn insert_pushes_before_invoices(&mut self, rows: &[PushBeforeInvoice]) -> Result<()> {
        insert_many!(self, push_invoice_runs, rows);
        Ok(())
    }
}

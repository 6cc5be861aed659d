//! Saves records read from ConnectWise, writing only the differences. A record that no longer exists there is marked as
//! gone, not deleted.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::cw_records::{AdditionRow, AgreementRow, CwCompanyRow};
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{cw_additions, cw_agreements, cw_companies};
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::records::{Addition, Agreement, CwCompany};
use crate::domain::text::fold;

row_update! {
    CwCompanyRow; cw_companies
    where id
    set identifier, identifier_key, name, name_key, status, deleted, gone_at
}
row_update! {
    AgreementRow; cw_agreements
    where id
    set company_id, name, name_key, type_name, status, cancelled, cancelled_at, ends_at, no_end, gone_at, additions_read_at,
        billing_cycle, next_invoice, prorates, parent_id, currency, last_invoice, unbilled_periods
}
row_update! {
    AdditionRow; cw_additions
    where id
    set agreement_id, product_identifier, description, quantity, cancelled_at, gone_at, less_included,
        bill_customer, unit_price, effective
}

/// The number of rows that a save added, changed, and marked as gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaveCounts {
    pub added: usize,
    pub changed: usize,
    pub gone: usize,
}

impl SaveCounts {
    /// The number of rows that were written.
    pub fn written(self) -> usize {
        self.added + self.changed + self.gone
    }
}

impl Tx<'_> {
    /// Saves companies: adds new ones and updates changed ones. If `all` is set, also marks as gone the stored
    /// companies that were not read.
    pub fn save_cw_companies(&mut self, read: Vec<CwCompany>, all: bool, now: Timestamp) -> Result<SaveCounts> {
        let tenant = self.tenant().clone();
        let mut query = self.scoped(cw_companies::table).into_boxed();
        if !all {
            query = query.filter(cw_companies::id.in_list(read.iter().map(|company| company.id)));
        }
        let known: Vec<CwCompanyRow> = query.select(CwCompanyRow::as_select()).load(self.conn)?;
        let known: HashMap<CwCompanyId, CwCompanyRow> = known.into_iter().map(|row| (row.id, row)).collect();
        let rows = read.into_iter().map(|company| CwCompanyRow {
            tenant_id: tenant.clone(),
            id: company.id,
            identifier_key: fold(&company.identifier),
            identifier: company.identifier,
            name_key: fold(&company.name),
            name: company.name,
            status: company.status,
            deleted: company.deleted,
            gone_at: None,
        });
        let (new, changed, gone) = difference(rows, &known, |row| row.id, |row| row.gone_at.is_some());
        insert_many!(self, cw_companies, new);
        self.update_rows(&changed)?;
        for chunk in chunks(&gone) {
            let gone = self.scoped(cw_companies::table).filter(cw_companies::id.in_list(chunk));
            diesel::update(gone).set(cw_companies::gone_at.eq(now.naive_utc())).execute(self.conn)?;
        }
        self.saved(new.len(), changed.len(), gone.len())
    }

    /// Saves all agreements of the given companies, or of all companies. Stored ones that were not read are marked as
    /// gone.
    pub fn save_agreements(
        &mut self,
        of: Option<&[CwCompanyId]>,
        read: Vec<Agreement>,
        now: Timestamp,
    ) -> Result<SaveCounts> {
        let tenant = self.tenant().clone();
        let mut known = self.agreements_of(of)?;
        if of.is_some() {
            // An agreement that moved here from another company is stored under that company.
            known.extend(self.agreements_by_id(&read.iter().map(|agreement| agreement.id).collect::<Vec<_>>())?);
        }
        let known: HashMap<CwAgreementId, AgreementRow> = known.into_iter().map(|row| (row.id, row)).collect();
        let rows = read.into_iter().map(|agreement| AgreementRow {
            tenant_id: tenant.clone(),
            id: agreement.id,
            company_id: agreement.company_id,
            name_key: fold(&agreement.name),
            name: agreement.name,
            type_name: agreement.type_name,
            status: agreement.status,
            cancelled: agreement.cancelled,
            cancelled_at: agreement.cancelled_at.map(|at| at.naive_utc()),
            ends_at: agreement.ends_at.map(|at| at.naive_utc()),
            no_end: agreement.no_end,
            gone_at: None,
            additions_read_at: known.get(&agreement.id).and_then(|row| row.additions_read_at),
            // Only the agreement recap has these two, and not every read includes it.
            last_invoice: agreement.terms.last_invoice.or_else(|| known.get(&agreement.id)?.last_invoice),
            unbilled_periods: agreement.terms.unbilled_periods.or_else(|| known.get(&agreement.id)?.unbilled_periods),
            billing_cycle: agreement.terms.billing_cycle,
            next_invoice: agreement.terms.next_invoice,
            prorates: agreement.terms.prorates,
            parent_id: agreement.terms.parent,
            currency: agreement.terms.currency,
        });
        let (new, changed, gone) = difference(rows, &known, |row| row.id, |row| row.gone_at.is_some());
        insert_many!(self, cw_agreements, new);
        self.update_rows(&changed)?;
        for chunk in chunks(&gone) {
            let gone = self.scoped(cw_agreements::table).filter(cw_agreements::id.in_list(chunk));
            diesel::update(gone).set(cw_agreements::gone_at.eq(now.naive_utc())).execute(self.conn)?;
        }
        self.saved(new.len(), changed.len(), gone.len())
    }

    /// Saves all additions of the given agreements, and the time at which they were read. Stored ones that were not
    /// read are marked as gone.
    pub fn save_additions(&mut self, of: &[CwAgreementId], read: Vec<Addition>, now: Timestamp) -> Result<SaveCounts> {
        let tenant = self.tenant().clone();
        let read_ids: Vec<CwAdditionId> = read.iter().map(|addition| addition.id).collect();
        let mut known: Vec<AdditionRow> = self
            .scoped(cw_additions::table)
            .filter(cw_additions::agreement_id.in_list(of))
            .select(AdditionRow::as_select())
            .load(self.conn)?;
        // An addition that moved here from another agreement is stored under that agreement.
        known.extend(self.addition_rows(&read_ids)?);
        let known: HashMap<CwAdditionId, AdditionRow> = known.into_iter().map(|row| (row.id, row)).collect();
        let rows = read.into_iter().map(|addition| AdditionRow {
            tenant_id: tenant.clone(),
            id: addition.id,
            agreement_id: addition.agreement_id,
            product_identifier: addition.product_identifier,
            description: addition.description,
            quantity: addition.quantity,
            cancelled_at: addition.cancelled_at.map(|at| at.naive_utc()),
            gone_at: None,
            less_included: addition.terms.less_included,
            bill_customer: addition.terms.bill_customer,
            unit_price: addition.terms.unit_price,
            effective: addition.terms.effective,
        });
        let (new, changed, gone) = difference(rows, &known, |row| row.id, |row| row.gone_at.is_some());
        insert_many!(self, cw_additions, new);
        self.update_rows(&changed)?;
        for chunk in chunks(&gone) {
            let gone = self.scoped(cw_additions::table).filter(cw_additions::id.in_list(chunk));
            diesel::update(gone).set(cw_additions::gone_at.eq(now.naive_utc())).execute(self.conn)?;
        }
        let scoped = self.scoped(cw_agreements::table);
        let scoped = scoped.filter(cw_agreements::id.in_list(of));
        let unread = scoped.clone().filter(cw_agreements::additions_read_at.is_null()).count();
        if unread.get_result::<i64>(self.conn)? > 0 {
            // Resolving distinguishes "has no additions" from "additions were never read".
            self.renew_generation()?;
        }
        diesel::update(scoped).set(cw_agreements::additions_read_at.eq(now.naive_utc())).execute(self.conn)?;
        self.saved(new.len(), changed.len(), gone.len())
    }
}

impl Tx<'_> {
    fn saved(&mut self, added: usize, changed: usize, gone: usize) -> Result<SaveCounts> {
        if added + changed + gone > 0 {
            self.renew_generation()?;
        }
        Ok(SaveCounts { added, changed, gone })
    }
}

/// Compares the rows read with the stored ones. Returns the new rows, the changed rows, and the ids that were not read
/// and are not marked as gone yet.
fn difference<Id: Copy + Eq + std::hash::Hash, Row: PartialEq>(
    read: impl Iterator<Item = Row>,
    known: &HashMap<Id, Row>,
    id: impl Fn(&Row) -> Id,
    is_gone: impl Fn(&Row) -> bool,
) -> (Vec<Row>, Vec<Row>, Vec<Id>) {
    let (mut new, mut changed, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for row in read {
        // ConnectWise's pages repeat a record that moves from one page to a later one.
        if !seen.insert(id(&row)) {
            continue;
        }
        match known.get(&id(&row)) {
            None => new.push(row),
            Some(before) if *before != row => changed.push(row),
            Some(_) => {}
        }
    }
    let gone = known.iter().filter(|(id, row)| !seen.contains(id) && !is_gone(row)).map(|(id, _)| *id).collect();
    (new, changed, gone)
}

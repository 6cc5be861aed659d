//! Pairs of a company's lines: one of a base product, and one of its overage product.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{billing_lines, products, push_lines};
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushJobId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::{PushLineState, PushReason};

/// The part of a line on which the other line of its pair depends.
#[derive(Debug, Clone, Queryable)]
pub struct PairedLine {
    pub id: BillingLineId,
    pub product_id: ProductId,
    pub company_id: CompanyId,
    pub push_enabled: bool,
    pub agreement_status: MappingStatus,
    pub addition_status: MappingStatus,
    pub last_push_state: Option<PushLineState>,
    pub last_push_reason: Option<PushReason>,
}

impl PairedLine {
    /// Whether the quantity in ConnectWise may differ from the one that the last push computed: the line was held,
    /// failed, is unverified, or was skipped because its invoice has been made.
    pub fn quantity_may_be_unwritten(&self) -> bool {
        let needs_attention = self.last_push_state.is_some_and(|state| PushLineState::NEEDS_ATTENTION.contains(&state));
        needs_attention || self.last_push_reason == Some(PushReason::AlreadyInvoiced)
    }

    /// Whether pushes can write it.
    pub fn is_pushable(&self) -> bool {
        let statuses = [self.agreement_status, self.addition_status];
        self.push_enabled && statuses.iter().all(|status| *status == MappingStatus::Resolved)
    }
}

impl Tx<'_> {
    /// The lines of some products for some companies.
    pub fn paired_lines(&mut self, products: &[ProductId], companies: &[CompanyId]) -> Result<Vec<PairedLine>> {
        use billing_lines as l;
        let mut found = Vec::new();
        for chunk in chunks(companies) {
            let scoped = self.scoped(l::table).filter(l::product_id.in_list(products));
            let scoped = scoped.filter(l::company_id.in_list(chunk)).select((
                l::id,
                l::product_id,
                l::company_id,
                l::push_enabled,
                l::agreement_status,
                l::addition_status,
                l::last_push_state,
                l::last_push_reason,
            ));
            found.extend(scoped.load::<PairedLine>(self.conn)?);
        }
        Ok(found)
    }

    /// The id and code of the overage product of each given product that has one, by the id of the given product.
    pub fn overage_products(&mut self, of: &[ProductId]) -> Result<HashMap<ProductId, (ProductId, String)>> {
        let scoped = self.scoped(products::table).filter(products::overage_of.in_list(of));
        let columns = (products::overage_of.assume_not_null(), products::id, products::code);
        let rows = scoped.select(columns).load::<(ProductId, ProductId, String)>(self.conn)?;
        Ok(rows.into_iter().map(|(of, id, code)| (of, (id, code))).collect())
    }

    /// The given billing lines that a job has not pushed yet, each with the earliest time at which it may be pushed.
    pub fn open_in_job(
        &mut self,
        job: &PushJobId,
        lines: &[BillingLineId],
    ) -> Result<HashMap<BillingLineId, Option<NaiveDateTime>>> {
        let mut found = HashMap::new();
        for chunk in chunks(lines) {
            let open = self
                .scoped(push_lines::table)
                .filter(push_lines::job_id.eq(job.clone()))
                .filter(push_lines::state.eq_any([PushLineState::Pending, PushLineState::Working]))
                .filter(push_lines::billing_line_id.in_list(chunk));
            let columns = (push_lines::billing_line_id, push_lines::not_before);
            found.extend(open.select(columns).load::<(BillingLineId, Option<NaiveDateTime>)>(self.conn)?);
        }
        Ok(found)
    }

    /// Whether the last push of any line of a product left a quantity other than 0.
    pub fn has_pushed_quantities(&mut self, product: &ProductId) -> Result<bool> {
        use billing_lines as l;
        let scoped = self.scoped(l::table).filter(l::product_id.eq(product.clone()));
        let billed = scoped.filter(l::last_push_quantity.is_not_null()).filter(l::last_push_quantity.ne("0"));
        Ok(diesel::select(diesel::dsl::exists(billed.select(l::id))).get_result(self.conn)?)
    }
}

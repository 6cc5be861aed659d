//! The data that a reconciliation needs about all lines of a tenant: few columns, in a number of queries that does not
//! depend on the number of lines.

use std::collections::{HashMap, HashSet};

use diesel::dsl::exists;
use diesel::prelude::*;

use super::line_settings::{self, LineSettings};
use super::push_written::written;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{billing_lines, companies, cw_additions, cw_companies, push_jobs, push_lines};
use crate::db::engine::scope::{or_empty, scoped_joined_from};
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::mapping_status::{MappingReason, MappingStatus};
use crate::domain::push::PushKind;
use crate::domain::quantity::Quantity;

/// The data that a reconciliation needs about a line.
#[derive(Debug, Clone, Queryable)]
pub struct ReconciledLine {
    pub id: BillingLineId,
    pub product_id: ProductId,
    pub push_enabled: bool,
    pub settings: LineSettings,
    pub agreement_status: MappingStatus,
    pub agreement_reason: Option<MappingReason>,
    pub agreement_id: Option<CwAgreementId>,
    pub addition_status: MappingStatus,
    pub addition_id: Option<CwAdditionId>,
}

/// The company of a line.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct ReconciledCompany {
    pub id: CompanyId,
    pub external_id: String,
    pub name: String,
    pub name_key: String,
    pub connectwise_company_id: Option<CwCompanyId>,
}

impl Tx<'_> {
    /// The given company, or all companies of the tenant.
    pub fn reconciled_companies(&mut self, company: Option<&CompanyId>) -> Result<Vec<ReconciledCompany>> {
        use companies as c;
        let mut query = self.scoped(c::table).into_boxed();
        if let Some(id) = company {
            query = query.filter(c::id.eq(id.clone()));
        }
        Ok(query.select((c::id, c::external_id, c::name, c::name_key, c::connectwise_company_id)).load(self.conn)?)
    }

    /// All lines: of a product, of a company, or of the tenant.
    pub fn reconciled_lines(
        &mut self,
        product: Option<&ProductId>,
        company: Option<&CompanyId>,
    ) -> Result<Vec<ReconciledLine>> {
        use billing_lines as l;
        let mut query = self.scoped(l::table).into_boxed();
        if let Some(id) = product {
            query = query.filter(l::product_id.eq(id.clone()));
        }
        if let Some(id) = company {
            query = query.filter(l::company_id.eq(id.clone()));
        }
        let columns = (
            l::id,
            l::product_id,
            l::push_enabled,
            line_settings::COLUMNS,
            l::agreement_status,
            l::agreement_reason,
            l::agreement_id,
            l::addition_status,
            l::addition_id,
        );
        Ok(query.select(columns).load(self.conn)?)
    }

    /// The additions to which a line bills.
    pub fn billed_additions(&mut self) -> Result<HashSet<CwAdditionId>> {
        let scoped =
            self.scoped(billing_lines::table).filter(billing_lines::addition_status.eq(MappingStatus::Resolved));
        let ids = scoped.select(billing_lines::addition_id).load::<Option<CwAdditionId>>(self.conn)?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// The lines that bill to one of the given additions, and whether pushes write them.
    pub fn lines_of_additions(
        &mut self,
        additions: &[CwAdditionId],
    ) -> Result<Vec<(BillingLineId, CwAdditionId, bool)>> {
        let mut found = Vec::new();
        for chunk in chunks(additions) {
            let scoped = self
                .scoped(billing_lines::table)
                .filter(billing_lines::addition_status.eq(MappingStatus::Resolved))
                .filter(billing_lines::addition_id.in_list(chunk));
            let columns =
                (billing_lines::id, billing_lines::addition_id.assume_not_null(), billing_lines::push_enabled);
            found.extend(scoped.select(columns).load::<(BillingLineId, CwAdditionId, bool)>(self.conn)?);
        }
        Ok(found)
    }

    /// The quantity of each given addition, or of all additions, when it was last read or written.
    pub fn addition_quantities(
        &mut self,
        additions: Option<&[CwAdditionId]>,
    ) -> Result<HashMap<CwAdditionId, Option<Quantity>>> {
        let mut found = HashMap::new();
        let parts = additions.map_or_else(|| vec![None], |ids| chunks(ids).into_iter().map(Some).collect());
        for part in parts {
            let mut scoped = self.scoped(cw_additions::table).filter(cw_additions::gone_at.is_null()).into_boxed();
            if let Some(ids) = part {
                scoped = scoped.filter(cw_additions::id.in_list(ids));
            }
            let columns = (cw_additions::id, cw_additions::quantity);
            found.extend(scoped.select(columns).load::<(CwAdditionId, Option<Quantity>)>(self.conn)?);
        }
        Ok(found)
    }

    /// The ConnectWise companies that share their name with another one.
    pub fn twin_companies(&mut self) -> Result<HashSet<CwCompanyId>> {
        let names: Vec<String> = self
            .scoped(cw_companies::table)
            .filter(cw_companies::deleted.eq(false))
            .filter(cw_companies::gone_at.is_null())
            .group_by(cw_companies::name_key)
            .having(diesel::dsl::count_star().gt(1))
            .select(cw_companies::name_key)
            .load(self.conn)?;
        let mut found = HashSet::new();
        for chunk in chunks(&names) {
            let scoped = self.scoped(cw_companies::table).filter(cw_companies::name_key.in_list(chunk));
            found.extend(scoped.select(cw_companies::id).load::<CwCompanyId>(self.conn)?);
        }
        Ok(found)
    }

    /// The lines that were pushed for a later month, so ConnectWise has that month's quantity now.
    pub fn pushed_after(&mut self, month: BillingMonth) -> Result<HashSet<BillingLineId>> {
        // The end of the index of months. PostgreSQL would read all lines to find that none bills a later month.
        let of_a_month = self.scoped(push_lines::table).filter(push_lines::billing_month.is_not_null());
        let last = of_a_month.order(push_lines::billing_month.desc()).select(push_lines::billing_month);
        let last: Option<Option<BillingMonth>> = last.first(self.conn).optional()?;
        if last.flatten().is_none_or(|last| last <= month) {
            return Ok(HashSet::new());
        }
        let later = written!(self).filter(push_lines::billing_month.gt(month));
        let of_line = later.filter(push_lines::billing_line_id.eq(billing_lines::id));
        // One lookup in the index of lines and months for each line, however many pushes it has. Without order and limit,
        // PostgreSQL could read all pushes of each line, or compare each line with all pushes.
        let of_line = of_line.order(push_lines::billing_month.desc()).limit(1);
        let scoped = self.scoped(billing_lines::table).filter(exists(of_line.select(push_lines::id)));
        Ok(scoped.select(billing_lines::id).load::<BillingLineId>(self.conn)?.into_iter().collect())
    }
}

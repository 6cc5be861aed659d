//! Billing lines (company x product) with their mappings: the rows of the consolidated billing page.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::line_filter::{LineFilter, filtered};
use super::line_settings::LineSettings;
use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{chunks, without_nul};
use crate::db::engine::schema::{billing_lines, companies};
use crate::db::engine::scope::{insert_many, scoped_joined};
use crate::db::engine::tx::Tx;
use crate::db::queries::companies::Company;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{
    BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId, PushJobId, TenantId,
};
use crate::domain::line_need::LineNeed;
use crate::domain::line_quantity::Adjustment;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{AdditionMapping, AgreementMapping, Candidate, Mapping};
use crate::domain::push::{PushLineState, PushReason};
use crate::domain::quantity::{BlockSize, IncludedQuantity, MinimumQuantity, Quantity};
use crate::domain::records::{Addition, Agreement, CwCompany};
use crate::domain::{Error, Result};

/// A billing line.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = billing_lines, check_for_backend(MultiBackend))]
pub struct BillingLine {
    pub id: BillingLineId,
    pub tenant_id: TenantId,
    pub company_id: CompanyId,
    pub product_id: ProductId,
    pub push_enabled: bool,
    /// Overrides the product's block size.
    pub block_size: Option<BlockSize>,
    /// Overrides the product's minimum.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// Overrides the product's included quantity.
    pub included_quantity: Option<IncludedQuantity>,
    pub adjustment: Option<Adjustment>,
    pub agreement_status: MappingStatus,
    pub agreement_source: Option<MappingSource>,
    pub agreement_id: Option<CwAgreementId>,
    pub agreement_reason: Option<MappingReason>,
    /// A JSON array of [`Candidate`]s.
    pub agreement_candidates: Option<String>,
    pub agreement_changed_at: Option<NaiveDateTime>,
    pub agreement_changed_by: Option<String>,
    pub addition_status: MappingStatus,
    pub addition_source: Option<MappingSource>,
    pub addition_id: Option<CwAdditionId>,
    pub addition_reason: Option<MappingReason>,
    /// A JSON array of [`Candidate`]s.
    pub addition_candidates: Option<String>,
    pub addition_changed_at: Option<NaiveDateTime>,
    pub addition_changed_by: Option<String>,
    pub last_push_job_id: Option<PushJobId>,
    pub last_push_state: Option<PushLineState>,
    pub last_push_reason: Option<PushReason>,
    pub last_push_at: Option<NaiveDateTime>,
    pub last_push_quantity: Option<Quantity>,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

impl BillingLine {
    /// The settings that determine the line's quantity, besides its usage and its product.
    pub fn settings(&self) -> LineSettings {
        LineSettings {
            company_id: self.company_id.clone(),
            block_size: self.block_size,
            minimum_quantity: self.minimum_quantity,
            included_quantity: self.included_quantity,
            adjustment: self.adjustment.clone(),
        }
    }

    /// Creates a line that is not resolved yet.
    pub fn new(tenant: &TenantId, company: &Company, product: &ProductId, now: Timestamp) -> Self {
        let is_matched = company.connectwise_company_id.is_some();
        Self {
            id: BillingLineId::new(),
            tenant_id: tenant.clone(),
            company_id: company.id.clone(),
            product_id: product.clone(),
            push_enabled: false,
            block_size: None,
            minimum_quantity: None,
            included_quantity: None,
            adjustment: None,
            agreement_status: MappingStatus::Unresolved,
            agreement_source: None,
            agreement_id: None,
            agreement_reason: Some(if is_matched { MappingReason::NoRule } else { MappingReason::CompanyNotSet }),
            agreement_candidates: None,
            agreement_changed_at: None,
            agreement_changed_by: None,
            addition_status: MappingStatus::Unresolved,
            addition_source: None,
            addition_id: None,
            addition_reason: Some(MappingReason::AgreementNotResolved),
            addition_candidates: None,
            addition_changed_at: None,
            addition_changed_by: None,
            last_push_job_id: None,
            last_push_state: None,
            last_push_reason: None,
            last_push_at: None,
            last_push_quantity: None,
            version: 1,
            created_at: now.naive_utc(),
            updated_at: now.naive_utc(),
        }
    }

    /// The agreement mapping.
    pub fn agreement(&self) -> AgreementMapping {
        Mapping {
            status: self.agreement_status,
            source: self.agreement_source,
            target: self.agreement_id,
            reason: self.agreement_reason,
            candidates: candidates(self.agreement_candidates.as_deref()),
        }
    }

    /// The action that a person must take before the line can be billed.
    pub fn need(&self) -> Option<LineNeed> {
        LineNeed::of((self.agreement_status, self.agreement_reason), self.addition_status, self.last_push_state)
    }

    /// The addition mapping.
    pub fn addition(&self) -> AdditionMapping {
        Mapping {
            status: self.addition_status,
            source: self.addition_source,
            target: self.addition_id,
            reason: self.addition_reason,
            candidates: candidates(self.addition_candidates.as_deref()),
        }
    }
}

pub(in crate::db) fn candidates(json: Option<&str>) -> Vec<Candidate> {
    json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

pub(in crate::db) fn to_json(candidates: &[Candidate]) -> Option<String> {
    if candidates.is_empty() { None } else { serde_json::to_string(candidates).ok() }
}

/// A line with the records that it refers to.
#[derive(Debug, Clone)]
pub struct BillingLineView {
    pub line: BillingLine,
    pub company: Company,
    pub cw_company: Option<CwCompany>,
    pub agreement: Option<Agreement>,
    pub addition: Option<Addition>,
}

impl Tx<'_> {
    /// All lines that match a filter, with their companies, by company name.
    pub fn all_lines(&mut self, filter: &LineFilter) -> Result<Vec<(BillingLine, Company)>> {
        let Some(ids) = &filter.ids else { return self.lines_filtered(filter) };
        let mut rows = Vec::with_capacity(ids.len());
        for chunk in chunks(&without_nul(ids)) {
            rows.extend(self.lines_filtered(&LineFilter { ids: Some(chunk), ..filter.clone() })?);
        }
        rows.sort_by(|(a, one), (b, two)| (&one.name_key, &a.id).cmp(&(&two.name_key, &b.id)));
        Ok(rows)
    }

    /// The product and the company of each of the given lines that exist.
    pub fn product_and_company_of_lines(
        &mut self,
        ids: &[BillingLineId],
    ) -> Result<HashMap<BillingLineId, (ProductId, CompanyId)>> {
        let mut found = HashMap::new();
        for chunk in chunks(&without_nul(ids)) {
            let scoped = self.scoped(billing_lines::table).filter(billing_lines::id.in_list(chunk));
            let columns = (billing_lines::id, billing_lines::product_id, billing_lines::company_id);
            let rows: Vec<(BillingLineId, ProductId, CompanyId)> = scoped.select(columns).load(self.conn)?;
            found.extend(rows.into_iter().map(|(id, product, company)| (id, (product, company))));
        }
        Ok(found)
    }

    fn lines_filtered(&mut self, filter: &LineFilter) -> Result<Vec<(BillingLine, Company)>> {
        let query = scoped_joined!(self, billing_lines, companies).into_boxed();
        let query = filtered!(self, query, filter).order((companies::name_key, billing_lines::id));
        Ok(query.select((BillingLine::as_select(), Company::as_select())).load(self.conn)?)
    }

    /// The line with an id and its records, or a not-found error.
    pub fn billing_line(&mut self, id: &BillingLineId) -> Result<BillingLineView> {
        let filter = LineFilter { ids: Some(vec![id.clone()]), ..LineFilter::default() };
        let rows = self.all_lines(&filter)?;
        self.with_records(rows)?.pop().ok_or_else(|| Error::not_found("billing line", id))
    }

    /// Adds to each line the records that it refers to. Keeps the order.
    pub fn with_records(&mut self, rows: Vec<(BillingLine, Company)>) -> Result<Vec<BillingLineView>> {
        let wanted: Vec<CwCompanyId> = rows.iter().filter_map(|(_, company)| company.connectwise_company_id).collect();
        let companies: HashMap<_, _> =
            self.cw_companies_by_id(Some(&wanted))?.into_iter().map(|row| (row.id, row)).collect();
        let wanted: Vec<CwAgreementId> = rows.iter().filter_map(|(line, _)| line.agreement_id).collect();
        let agreements: HashMap<_, Agreement> =
            self.agreements_by_id(&wanted)?.into_iter().map(|row| (row.id, row.into())).collect();
        let wanted: Vec<CwAdditionId> = rows.iter().filter_map(|(line, _)| line.addition_id).collect();
        let additions: HashMap<_, _> = self.additions_by_id(&wanted)?.into_iter().map(|row| (row.id, row)).collect();
        let view = |(line, company): (BillingLine, Company)| BillingLineView {
            cw_company: company.connectwise_company_id.and_then(|id| companies.get(&id).cloned()),
            agreement: line.agreement_id.and_then(|id| agreements.get(&id).cloned()),
            addition: line.addition_id.and_then(|id| additions.get(&id).cloned()),
            line,
            company,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// The subset of the given additions to which more than one enabled, resolved line bills.
    pub fn additions_shared_by_lines(&mut self, additions: &[CwAdditionId]) -> Result<HashSet<CwAdditionId>> {
        let mut shared = HashSet::new();
        for chunk in chunks(additions) {
            let scoped = self
                .scoped(billing_lines::table)
                .filter(billing_lines::push_enabled.eq(true))
                .filter(billing_lines::addition_status.eq(MappingStatus::Resolved))
                .filter(billing_lines::addition_id.in_list(chunk));
            let rows: Vec<(Option<CwAdditionId>, i64)> = scoped
                .group_by(billing_lines::addition_id)
                .select((billing_lines::addition_id, diesel::dsl::count_star()))
                .load(self.conn)?;
            shared.extend(rows.into_iter().filter(|(_, lines)| *lines > 1).filter_map(|(id, _)| id));
        }
        Ok(shared)
    }

    /// Adds lines.
    pub fn insert_billing_lines(&mut self, rows: &[BillingLine]) -> Result<()> {
        insert_many!(self, billing_lines, rows);
        Ok(())
    }
}

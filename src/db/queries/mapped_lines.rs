//! The columns of billing lines that resolving needs, read and written for many lines at a time.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::line_filter::{LineFilter, filtered};
use crate::db::engine::page::{chunks, without_nul};
use crate::db::engine::schema::{billing_lines, companies};
use crate::db::engine::scope::scoped_joined;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::db::queries::billing_lines::{candidates, to_json};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::line_quantity::Adjustment;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{AdditionMapping, AgreementMapping, Mapping};
use crate::domain::quantity::{BlockSize, IncludedQuantity, MinimumQuantity};

/// The mappings and settings of a line, with its company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedLine {
    /// The line's id.
    pub id: BillingLineId,
    /// The product's id.
    pub product_id: ProductId,
    /// The company's id.
    pub company_id: CompanyId,
    /// The company's name.
    pub company_name: String,
    /// The ConnectWise company that the company is matched to.
    pub cw_company: Option<CwCompanyId>,
    /// Whether pushes include the line.
    pub push_enabled: bool,
    /// The line's own block size, which overrides the product's.
    pub block_size: Option<BlockSize>,
    /// The line's own minimum, which overrides the product's.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The line's own included quantity, which overrides the product's.
    pub included_quantity: Option<IncludedQuantity>,
    /// The line's agreed exception.
    pub adjustment: Option<Adjustment>,
    /// The agreement mapping.
    pub agreement: AgreementMapping,
    /// When the agreement mapping last changed, and who changed it.
    pub agreement_changed: Changed,
    /// The addition mapping.
    pub addition: AdditionMapping,
    /// When the addition mapping last changed, and who changed it.
    pub addition_changed: Changed,
    /// The version, for optimistic locking.
    pub version: i64,
}

/// When something last changed, and who changed it; `None` before its first change.
pub type Changed = (Option<NaiveDateTime>, Option<String>);

type Part<Id> = (MappingStatus, Option<MappingSource>, Option<Id>, Option<MappingReason>, Option<String>);
type Settings = (bool, Option<BlockSize>, Option<MinimumQuantity>, Option<IncludedQuantity>, Option<Adjustment>);
type Row = (
    (BillingLineId, ProductId, i64),
    Settings,
    (Part<CwAgreementId>, Changed),
    (Part<CwAdditionId>, Changed),
    (CompanyId, String, Option<CwCompanyId>),
);

fn mapping<Id>((status, source, target, reason, json): Part<Id>) -> Mapping<Id> {
    Mapping { status, source, target, reason, candidates: candidates(json.as_deref()) }
}

impl From<Row> for MappedLine {
    fn from(((id, product_id, version), settings, agreement, addition, company): Row) -> Self {
        let (push_enabled, block_size, minimum_quantity, included_quantity, adjustment) = settings;
        let (company_id, company_name, cw_company) = company;
        let ((agreement, agreement_changed), (addition, addition_changed)) = (agreement, addition);
        Self {
            id,
            product_id,
            company_id,
            company_name,
            cw_company,
            push_enabled,
            block_size,
            minimum_quantity,
            included_quantity,
            adjustment,
            agreement: mapping(agreement),
            agreement_changed,
            addition: mapping(addition),
            addition_changed,
            version,
        }
    }
}

/// The columns that resolving and edits change.
struct LineUpdate {
    id: BillingLineId,
    push_enabled: bool,
    block_size: Option<BlockSize>,
    minimum_quantity: Option<MinimumQuantity>,
    included_quantity: Option<IncludedQuantity>,
    adjustment: Option<Adjustment>,
    agreement_status: MappingStatus,
    agreement_source: Option<MappingSource>,
    agreement_id: Option<CwAgreementId>,
    agreement_reason: Option<MappingReason>,
    agreement_candidates: Option<String>,
    agreement_changed_at: Option<NaiveDateTime>,
    agreement_changed_by: Option<String>,
    addition_status: MappingStatus,
    addition_source: Option<MappingSource>,
    addition_id: Option<CwAdditionId>,
    addition_reason: Option<MappingReason>,
    addition_candidates: Option<String>,
    addition_changed_at: Option<NaiveDateTime>,
    addition_changed_by: Option<String>,
    version: i64,
    updated_at: NaiveDateTime,
}

row_update! {
    LineUpdate; billing_lines
    where id
    set push_enabled, block_size, minimum_quantity, included_quantity, adjustment, agreement_status, agreement_source,
        agreement_id, agreement_reason, agreement_candidates, agreement_changed_at, agreement_changed_by, addition_status, addition_source,
        addition_id, addition_reason, addition_candidates, addition_changed_at, addition_changed_by, version, updated_at
}

impl LineUpdate {
    fn new(line: MappedLine, now: NaiveDateTime) -> Self {
        Self {
            id: line.id,
            push_enabled: line.push_enabled,
            block_size: line.block_size,
            minimum_quantity: line.minimum_quantity,
            included_quantity: line.included_quantity,
            adjustment: line.adjustment,
            agreement_status: line.agreement.status,
            agreement_source: line.agreement.source,
            agreement_id: line.agreement.target,
            agreement_reason: line.agreement.reason,
            agreement_candidates: to_json(&line.agreement.candidates),
            agreement_changed_at: line.agreement_changed.0,
            agreement_changed_by: line.agreement_changed.1,
            addition_status: line.addition.status,
            addition_source: line.addition.source,
            addition_id: line.addition.target,
            addition_reason: line.addition.reason,
            addition_candidates: to_json(&line.addition.candidates),
            addition_changed_at: line.addition_changed.0,
            addition_changed_by: line.addition_changed.1,
            version: line.version + 1,
            updated_at: now,
        }
    }
}

impl Tx<'_> {
    /// All lines that match a filter, in order of company name unless the filter has many ids.
    pub fn mapped_lines(&mut self, filter: &LineFilter) -> Result<Vec<MappedLine>> {
        let mut rows = Vec::new();
        match (&filter.ids, &filter.company_ids) {
            (None, None) => return self.mapped_lines_filtered(filter),
            (Some(ids), _) => {
                for chunk in chunks(&without_nul(ids)) {
                    rows.extend(self.mapped_lines_filtered(&LineFilter { ids: Some(chunk), ..filter.clone() })?);
                }
            }
            (None, Some(companies)) => {
                for chunk in chunks(&without_nul(companies)) {
                    let some = LineFilter { company_ids: Some(chunk), ..filter.clone() };
                    rows.extend(self.mapped_lines_filtered(&some)?);
                }
            }
        }
        Ok(rows)
    }

    fn mapped_lines_filtered(&mut self, filter: &LineFilter) -> Result<Vec<MappedLine>> {
        use billing_lines as l;
        let query = scoped_joined!(self, l, companies).into_boxed();
        let query = filtered!(self, query, filter).order((companies::name_key, l::id));
        let rows: Vec<Row> = query
            .select((
                (l::id, l::product_id, l::version),
                (l::push_enabled, l::block_size, l::minimum_quantity, l::included_quantity, l::adjustment),
                (
                    (
                        l::agreement_status,
                        l::agreement_source,
                        l::agreement_id,
                        l::agreement_reason,
                        l::agreement_candidates,
                    ),
                    (l::agreement_changed_at, l::agreement_changed_by),
                ),
                (
                    (
                        l::addition_status,
                        l::addition_source,
                        l::addition_id,
                        l::addition_reason,
                        l::addition_candidates,
                    ),
                    (l::addition_changed_at, l::addition_changed_by),
                ),
                (companies::id, companies::name, companies::connectwise_company_id),
            ))
            .load(self.conn)?;
        Ok(rows.into_iter().map(MappedLine::from).collect())
    }

    /// Updates lines that this transaction has read, many in one statement, and increments their versions.
    pub fn save_mapped_lines(&mut self, lines: Vec<MappedLine>, now: Timestamp) -> Result<()> {
        let rows: Vec<LineUpdate> = lines.into_iter().map(|line| LineUpdate::new(line, now.naive_utc())).collect();
        self.update_rows(&rows).map(drop)
    }
}

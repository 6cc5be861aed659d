//! Billing lines as resolving needs them: little of each, many at a time.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::billing_line::{LineFilter, candidates, filtered, to_json};
use super::page::chunks;
use super::pool::Tx;
use super::schema::{billing_lines, companies};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::mapping::{AdditionMapping, AgreementMapping, Mapping};
use crate::domain::quantity::BlockSize;
use crate::domain::words::{MappingReason, MappingSource, MappingStatus};

/// What of a line a person or a rule decides, with the company that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedLine {
    /// The line.
    pub id: BillingLineId,
    /// Its product.
    pub product_id: ProductId,
    /// Its company.
    pub company_id: CompanyId,
    /// The company's name.
    pub company_name: String,
    /// The ConnectWise company that it is matched to.
    pub cw_company: Option<CwCompanyId>,
    /// Whether it is pushed.
    pub push_enabled: bool,
    /// Its own block size.
    pub block_size: Option<BlockSize>,
    /// What its agreement resolved to.
    pub agreement: AgreementMapping,
    /// What its addition resolved to.
    pub addition: AdditionMapping,
    /// Its version.
    pub version: i64,
}

type Part<Id> = (MappingStatus, Option<MappingSource>, Option<Id>, Option<MappingReason>, Option<String>);
type Row = (
    (BillingLineId, ProductId, bool, Option<BlockSize>, i64),
    Part<CwAgreementId>,
    Part<CwAdditionId>,
    (CompanyId, String, Option<CwCompanyId>),
);

fn mapping<Id>((status, source, target, reason, json): Part<Id>) -> Mapping<Id> {
    Mapping { status, source, target, reason, candidates: candidates(json.as_deref()) }
}

impl From<Row> for MappedLine {
    fn from(((id, product_id, push_enabled, block_size, version), agreement, addition, company): Row) -> Self {
        let (company_id, company_name, cw_company) = company;
        let (agreement, addition) = (mapping(agreement), mapping(addition));
        Self {
            id,
            product_id,
            company_id,
            company_name,
            cw_company,
            push_enabled,
            block_size,
            agreement,
            addition,
            version,
        }
    }
}

#[derive(AsChangeset)]
#[diesel(table_name = billing_lines, treat_none_as_null = true)]
struct AgreementPart {
    agreement_status: MappingStatus,
    agreement_source: Option<MappingSource>,
    agreement_id: Option<CwAgreementId>,
    agreement_reason: Option<MappingReason>,
    agreement_candidates: Option<String>,
    agreement_changed_at: Option<NaiveDateTime>,
    agreement_changed_by: Option<String>,
}

#[derive(AsChangeset)]
#[diesel(table_name = billing_lines, treat_none_as_null = true)]
struct AdditionPart {
    addition_status: MappingStatus,
    addition_source: Option<MappingSource>,
    addition_id: Option<CwAdditionId>,
    addition_reason: Option<MappingReason>,
    addition_candidates: Option<String>,
    addition_changed_at: Option<NaiveDateTime>,
    addition_changed_by: Option<String>,
}

#[derive(AsChangeset)]
#[diesel(table_name = billing_lines, treat_none_as_null = true)]
struct OwnPart {
    push_enabled: bool,
    block_size: Option<BlockSize>,
    version: i64,
    updated_at: NaiveDateTime,
}

impl Tx<'_> {
    /// All lines that a filter finds, by company name.
    pub fn mapped_lines(&mut self, filter: &LineFilter) -> Result<Vec<MappedLine>> {
        let mut rows = Vec::new();
        match (&filter.ids, &filter.company_ids) {
            (None, None) => return self.mapped_lines_filtered(filter),
            (Some(ids), _) => {
                for chunk in chunks(ids) {
                    rows.extend(self.mapped_lines_filtered(&LineFilter { ids: Some(chunk), ..filter.clone() })?);
                }
            }
            (None, Some(companies)) => {
                for chunk in chunks(companies) {
                    let some = LineFilter { company_ids: Some(chunk), ..filter.clone() };
                    rows.extend(self.mapped_lines_filtered(&some)?);
                }
            }
        }
        Ok(rows)
    }

    fn mapped_lines_filtered(&mut self, filter: &LineFilter) -> Result<Vec<MappedLine>> {
        use billing_lines as l;
        let query = l::table.inner_join(companies::table).filter(l::tenant_id.eq(self.tenant().clone())).into_boxed();
        let query = filtered!(query, filter).order((companies::name_key, l::id));
        let rows: Vec<Row> = query
            .select((
                (l::id, l::product_id, l::push_enabled, l::block_size, l::version),
                (
                    l::agreement_status,
                    l::agreement_source,
                    l::agreement_id,
                    l::agreement_reason,
                    l::agreement_candidates,
                ),
                (l::addition_status, l::addition_source, l::addition_id, l::addition_reason, l::addition_candidates),
                (companies::id, companies::name, companies::connectwise_company_id),
            ))
            .load(self.conn)?;
        Ok(rows.into_iter().map(MappedLine::from).collect())
    }

    /// Saves what changed of a line since `before`, which raises its version.
    pub fn save_mapped_line(&mut self, before: &MappedLine, line: &MappedLine, now: Instant, by: &str) -> Result<()> {
        let (at, by) = (now.naive_utc(), by.to_owned());
        let own = OwnPart {
            push_enabled: line.push_enabled,
            block_size: line.block_size,
            version: line.version + 1,
            updated_at: at,
        };
        let agreement = (before.agreement != line.agreement).then(|| AgreementPart {
            agreement_status: line.agreement.status,
            agreement_source: line.agreement.source,
            agreement_id: line.agreement.target,
            agreement_reason: line.agreement.reason,
            agreement_candidates: to_json(&line.agreement.candidates),
            agreement_changed_at: Some(at),
            agreement_changed_by: Some(by.clone()),
        });
        let addition = (before.addition != line.addition).then(|| AdditionPart {
            addition_status: line.addition.status,
            addition_source: line.addition.source,
            addition_id: line.addition.target,
            addition_reason: line.addition.reason,
            addition_candidates: to_json(&line.addition.candidates),
            addition_changed_at: Some(at),
            addition_changed_by: Some(by),
        });
        let row = billing_lines::table
            .filter(billing_lines::id.eq(&line.id))
            .filter(billing_lines::tenant_id.eq(self.tenant().clone()));
        // One shape of statement for each case, so that each is prepared once however many lines there are.
        match (agreement, addition) {
            (Some(agreement), Some(addition)) => {
                diesel::update(row).set((own, agreement, addition)).execute(self.conn)?
            }
            (Some(agreement), None) => diesel::update(row).set((own, agreement)).execute(self.conn)?,
            (None, Some(addition)) => diesel::update(row).set((own, addition)).execute(self.conn)?,
            (None, None) => diesel::update(row).set(own).execute(self.conn)?,
        };
        Ok(())
    }
}

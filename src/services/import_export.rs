//! Exports and imports company matches and line settings as tables.

use std::collections::{HashMap, HashSet};

use super::companies;
use super::context::AppContext;
use crate::connectwise::RetryPolicy;
use crate::db::{BillingLineView, Company, LineFilter, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::company_match::MatchSource;
use crate::domain::ids::{CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::mapping_status::MappingSource;
use crate::domain::quantity::{BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::records::CwCompany;
use crate::domain::text::fold;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::mappings::edit;
use crate::services::mappings::line_edit::{Bulk, Edit, EditRejection, EditResults, LineEdit};
use crate::services::mappings::missing_additions;
use crate::services::mappings::resolve;
use crate::services::quantities::compute::{BilledMonths, LineWithQuantity, compute_with_invoices};
use crate::services::quantities::invoice_effects::LineInvoice;
use crate::services::quantities::monthly_usage::ComputedQuantity;
use crate::services::remote::refresh;
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::Audit;

/// An exported company with its match.
#[derive(Debug, Clone)]
pub struct ExportedMatch {
    /// The company.
    pub company: Company,
    /// The ConnectWise company; `None` if the company is Not Set or the record is not stored.
    pub cw_company: Option<CwCompany>,
}

/// Returns every company with its match, ordered by name.
pub fn export_matches(tx: &mut Tx<'_>) -> Result<Vec<ExportedMatch>> {
    let known: HashMap<CwCompanyId, CwCompany> =
        tx.cw_companies_by_id(None)?.into_iter().map(|company| (company.id, company)).collect();
    let mut rows = tx.all_companies()?;
    rows.sort_by(|a, b| (&a.name_key, &a.id).cmp(&(&b.name_key, &b.id)));
    let out = |company: Company| ExportedMatch {
        cw_company: company.connectwise_company_id.and_then(|id| known.get(&id).cloned()),
        company,
    };
    Ok(rows.into_iter().map(out).collect())
}

/// The match of a company in an import.
#[derive(Debug, Clone)]
pub struct MatchRow {
    /// The vendor's id of the company.
    pub external_id: String,
    /// ConnectWise's id. If this and `identifier` are both `None`, the company is set to Not Set.
    pub id: Option<CwCompanyId>,
    /// ConnectWise's identifier, in any letter case.
    pub identifier: Option<String>,
    /// Whether other companies may be matched to the same ConnectWise company.
    pub shared: bool,
}

/// A company's match before and after an import.
#[derive(Debug, Clone)]
pub struct ImportedMatch {
    /// The company before the import.
    pub company: Company,
    /// The new match; `None` means Not Set.
    pub target: Option<CwCompanyId>,
}

impl ImportedMatch {
    /// Returns whether the match changes.
    pub fn changes(&self) -> bool {
        self.company.connectwise_company_id != self.target
    }
}

/// The result of an import of matches.
#[derive(Debug, Default)]
pub struct MatchImport {
    /// The outcome of each row, in order.
    pub outcomes: Vec<Result<ImportedMatch, EditRejection>>,
    /// The resulting changes to billing lines.
    pub resolved: resolve::Resolved,
}

/// Matches many companies. Where a match changes, the mappings of the old match are cleared and the lines are resolved
/// again.
pub async fn import_matches(ctx: &AppContext, actor: &Actor, rows: Vec<MatchRow>, bulk: Bulk) -> Result<MatchImport> {
    refresh::ensure_fresh(ctx, &actor.tenant, RetryPolicy::Interactive).await?;
    let audit = Audit::new(actor, ctx.clock.now());
    let mut done = ctx.db.write(&actor.tenant, move |tx| rematch(tx, &rows, bulk, &audit)).await?;
    done.resolved = missing_additions::with_additions(ctx, actor, LineFilter::default(), done.resolved).await;
    Ok(done)
}

fn rematch(tx: &mut Tx<'_>, rows: &[MatchRow], bulk: Bulk, audit: &Audit) -> Result<MatchImport> {
    let (now, by) = (audit.now(), audit.by());
    let companies = tx.all_companies()?;
    let known = tx.cw_companies_by_id(None)?;
    let mut outcomes = targets(rows, &companies, &known);
    reject_taken(rows, &companies, &mut outcomes);
    let (mut moved, mut entries) = (Vec::new(), Vec::new());
    if bulk.should_save(outcomes.iter().all(Result::is_ok)) {
        for one in outcomes.iter().flatten().filter(|one| one.changes()) {
            let mut company = one.company.clone();
            company.set_match(one.target.map(|id| (id, MatchSource::Manual)), now, by);
            entries.extend(companies::match_entry(tx, audit, &one.company, &company));
            moved.push(company);
        }
    }
    tx.save_matches(&mut moved)?;
    tx.insert_audit(&entries)?;
    let moved: Vec<CompanyId> = moved.into_iter().map(|company| company.id).collect();
    let resolved = if moved.is_empty() {
        resolve::Resolved::default()
    } else {
        let filter = LineFilter { company_ids: Some(moved), ..LineFilter::default() };
        resolve::re_resolve(tx, &filter, audit)?
    };
    Ok(MatchImport { outcomes, resolved })
}

/// Returns the new match of each row, or why the row is rejected.
fn targets(rows: &[MatchRow], companies: &[Company], known: &[CwCompany]) -> Vec<Result<ImportedMatch, EditRejection>> {
    let companies: HashMap<&str, &Company> = companies.iter().map(|row| (row.external_id.as_str(), row)).collect();
    let identifiers: HashMap<CwCompanyId, &str> =
        known.iter().map(|company| (company.id, company.identifier.as_str())).collect();
    let live = || known.iter().filter(|company| !company.deleted);
    let by_id: HashMap<CwCompanyId, &CwCompany> = live().map(|company| (company.id, company)).collect();
    let by_identifier: HashMap<String, CwCompanyId> =
        live().map(|company| (fold(&company.identifier), company.id)).collect();
    let mut named = HashSet::new();
    let target = |row: &MatchRow, company: &Company| -> Result<Option<CwCompanyId>, EditRejection> {
        // An unchanged match is not validated, even if ConnectWise has deleted the company in the meantime.
        if let Some(id) = row.id.filter(|id| Some(*id) == company.connectwise_company_id) {
            let its = identifiers.get(&id);
            if row.identifier.as_ref().is_none_or(|given| its.is_some_and(|its| fold(its) == fold(given))) {
                return Ok(Some(id));
            }
        }
        let found = row.identifier.as_ref().map(|identifier| {
            by_identifier.get(&fold(identifier)).copied().ok_or_else(|| {
                let error = Error::not_found("ConnectWise company with the identifier", identifier);
                EditRejection::new("connectwise_identifier", error)
            })
        });
        match (row.id, found.transpose()?) {
            (Some(id), Some(other)) if id != other => {
                let detail = format!("ConnectWise company {id} has a different identifier: leave one of the two blank");
                Err(EditRejection::new("connectwise_identifier", Error::conflict(ConflictCode::Contradiction, detail)))
            }
            (Some(id), _) if !by_id.contains_key(&id) => {
                Err(EditRejection::new("connectwise_company_id", Error::not_found("ConnectWise company", id)))
            }
            (id, found) => Ok(id.or(found)),
        }
    };
    let outcome = |row: &MatchRow| {
        let company = companies.get(row.external_id.as_str()).ok_or_else(|| {
            EditRejection::new("external_id", Error::not_found("company with the external id", &row.external_id))
        })?;
        if !named.insert(row.external_id.clone()) {
            let detail = format!("company {} appears more than once", row.external_id);
            return Err(EditRejection::new("external_id", Error::conflict(ConflictCode::NamedTwice, detail)));
        }
        Ok(ImportedMatch { company: (*company).clone(), target: target(row, company)? })
    };
    rows.iter().map(outcome).collect()
}

/// Rejects rows that would match two companies to one ConnectWise company, unless `shared` is set. Only the final
/// matches count, so two companies can swap their matches.
fn reject_taken(rows: &[MatchRow], companies: &[Company], outcomes: &mut [Result<ImportedMatch, EditRejection>]) {
    loop {
        let mut after: HashMap<&CompanyId, Option<CwCompanyId>> =
            companies.iter().map(|row| (&row.id, row.connectwise_company_id)).collect();
        for one in outcomes.iter().flatten() {
            if let Some(target) = after.get_mut(&one.company.id) {
                *target = one.target;
            }
        }
        let mut claims: HashMap<CwCompanyId, usize> = HashMap::new();
        after.values().flatten().for_each(|target| *claims.entry(*target).or_default() += 1);
        let contested = |one: &ImportedMatch| {
            one.target.filter(|target| one.changes() && claims.get(target).is_some_and(|count| *count > 1))
        };
        let mut rejected = false;
        let alone = rows.iter().zip(outcomes.iter_mut()).filter(|(row, _)| !row.shared);
        for (_, outcome) in alone {
            if let Some(target) = outcome.as_ref().ok().and_then(contested) {
                let detail = format!(
                    "another company is, or would be, matched to ConnectWise company {target}; two companies would \
                     write to the same additions. If this is intended, set the column shared to true"
                );
                let error = Error::conflict(ConflictCode::ConnectwiseCompanyTaken, detail);
                *outcome = Err(EditRejection::new("connectwise_company_id", error));
                rejected = true;
            }
        }
        // A rejected row keeps its old match, which may be the new match of another row: check again.
        if !rejected {
            return;
        }
    }
}

/// An exported billing line with its usage and quantity.
#[derive(Debug, Clone)]
pub struct ExportedLine {
    /// The line with its company, agreement and addition.
    pub view: BillingLineView,
    /// The usage and quantity of the exported month.
    pub computed: ComputedQuantity,
    /// Whether a push would write a different quantity from the last push of the same month.
    pub out_of_date: bool,
    /// How the quantity is invoiced; `None` if the line bills to no addition.
    pub invoice: Option<LineInvoice>,
    /// The product's code.
    pub product_code: String,
}

impl From<LineWithQuantity> for ExportedLine {
    fn from(line: LineWithQuantity) -> Self {
        let LineWithQuantity { view, computed, product, out_of_date, invoice } = line;
        Self { view, computed, out_of_date, invoice, product_code: product.code }
    }
}

impl ExportedLine {
    /// Returns the manually chosen agreement, if any.
    pub fn manual_agreement(&self) -> Option<CwAgreementId> {
        self.view.line.agreement_id.filter(|_| self.view.line.agreement_source == Some(MappingSource::Manual))
    }

    /// Returns the manually chosen addition, if any.
    pub fn manual_addition(&self) -> Option<CwAdditionId> {
        self.view.line.addition_id.filter(|_| self.view.line.addition_source == Some(MappingSource::Manual))
    }
}

/// Returns the lines that match a filter, with their quantities for these months, ordered by company name.
pub fn export_lines(
    tx: &mut Tx<'_>,
    filter: &LineFilter,
    months: &BilledMonths,
    now: Timestamp,
) -> Result<Vec<ExportedLine>> {
    if let Some(id) = &filter.product_id {
        tx.product(id).map_err(|error| error.at("product_id"))?;
    }
    let rows = tx.all_lines(filter)?;
    let views = tx.with_records(rows)?;
    let lines = compute_with_invoices(tx, views, months, now)?;
    Ok(lines.into_iter().map(ExportedLine::from).collect())
}

/// The settings of a line in an import; `None` leaves a setting unchanged.
#[derive(Debug, Clone)]
pub struct LineRow {
    /// The vendor's id of the company.
    pub company: String,
    /// The product's code.
    pub product: String,
    /// Whether pushes write the line's quantity.
    pub push_enabled: Option<bool>,
    /// The line's own block size; `Some(None)` means the product's.
    pub block_size: Option<Option<BlockSize>>,
    /// The line's own minimum; `Some(None)` means the product's.
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The line's own included quantity; `Some(None)` means the product's.
    pub included_quantity: Option<Option<IncludedQuantity>>,
    /// The manually chosen agreement; `Some(None)` means the rule's.
    pub agreement: Option<Option<CwAgreementId>>,
    /// The manually chosen addition; `Some(None)` means the rule's.
    pub addition: Option<Option<CwAdditionId>>,
}

/// Imports the settings of many lines, found by the company's external id and the product's code.
pub async fn import_lines(ctx: &AppContext, actor: &Actor, rows: Vec<LineRow>, bulk: Bulk) -> Result<EditResults> {
    let found = ctx.db.read(&actor.tenant, move |tx| find_edits(tx, &rows)).await?;
    let all_found = found.iter().all(Result::is_ok);
    let mut edits = Vec::new();
    // The rejections of unknown lines are inserted among the outcomes below, each at the index of its row.
    let mut unknown = Vec::new();
    for (place, one) in found.into_iter().enumerate() {
        match one {
            Ok(edit) => edits.push(edit),
            Err(rejected) => unknown.push((place, rejected)),
        }
    }
    let bulk = Bulk { dry_run: !bulk.should_save(all_found), ..bulk };
    let mut applied = edit::edit(ctx, actor, edits, bulk).await?;
    for rejected in applied.outcomes.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
        rejected.member = column(rejected.member);
    }
    for (place, rejected) in unknown {
        applied.outcomes.insert(place, Err(rejected));
    }
    Ok(applied)
}

/// Returns the table column of a member of an edit.
fn column(member: &'static str) -> &'static str {
    match member {
        "billing_line_id" => "company_external_id",
        "agreement_id" => "manual_agreement_id",
        "addition_id" => "manual_addition_id",
        other => other,
    }
}

fn find_edits(tx: &mut Tx<'_>, rows: &[LineRow]) -> Result<Vec<Result<Edit, EditRejection>>> {
    let named: Vec<String> = rows.iter().map(|row| row.company.clone()).collect();
    let companies = tx.companies_by_external_id(&named)?;
    let codes: Vec<String> = rows.iter().map(|row| row.product.clone()).collect();
    let products = tx.products_by_code(&codes)?;
    let of_named = LineFilter { company_ids: Some(companies.values().cloned().collect()), ..LineFilter::default() };
    let lines: HashMap<(CompanyId, ProductId), _> = tx
        .mapped_lines(&of_named)?
        .into_iter()
        .map(|line| ((line.company_id.clone(), line.product_id.clone()), line))
        .collect();
    let find = |row: &LineRow| {
        let unknown = |member, what, id: &str| EditRejection::new(member, Error::not_found(what, id));
        let company = companies
            .get(&row.company)
            .ok_or_else(|| unknown("company_external_id", "company with the external id", &row.company))?;
        let product =
            products.get(&row.product).ok_or_else(|| unknown("product_code", "product with the code", &row.product))?;
        let line = lines
            .get(&(company.clone(), product.clone()))
            .ok_or_else(|| unknown("company_external_id", "billing line of company", &row.company))?;
        // A blank means "by the rule": without a manual choice there is nothing to clear.
        let agreement = row.agreement.filter(|to| to.is_some() || line.agreement.manual_target().is_some());
        let addition = row.addition.filter(|to| to.is_some() || line.addition.manual_target().is_some());
        let change = LineEdit {
            push_enabled: row.push_enabled,
            block_size: row.block_size,
            minimum_quantity: row.minimum_quantity,
            included_quantity: row.included_quantity,
            agreement,
            addition,
            adjustment: None,
        };
        Ok(Edit { line: line.id.clone(), change, if_match: IfMatch::default() })
    };
    Ok(rows.iter().map(find).collect())
}

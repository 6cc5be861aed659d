//! Companies and their matches to ConnectWise companies.

pub mod batch;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::context::AppContext;
use super::idempotency::{IdempotentWrite, RenderedResponse};
use super::remote::client;
use crate::connectwise::RetryPolicy;
use crate::db::{AuditEntry, BillingLine, Company, LineFilter, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::company_match::{MatchOutcome, MatchSource, Proposal, UnmatchedCompany, propose};
use crate::domain::ids::{CompanyId, CwCompanyId};
use crate::domain::records::CwCompany;
use crate::domain::text::fold;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::mappings::missing_additions;
use crate::services::mappings::resolve::{self, re_resolve, resolve_lines};
use crate::services::remote::refresh;
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::{Audit, Subject};

/// Number of companies whose billing lines are inserted at once.
const COMPANIES_PER_INSERT: usize = 500;

/// A company to create.
#[derive(Debug, Clone)]
pub struct NewCompany {
    /// The vendor's id of the company, unique in the tenant.
    pub external_id: String,
    /// The company's name.
    pub name: String,
}

/// Changes to a company; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct CompanyChange {
    /// The vendor's new id of the company.
    pub external_id: Option<String>,
    /// The new name.
    pub name: Option<String>,
}

/// Creates a company with a billing line for every product.
pub async fn create<R>(
    ctx: &AppContext,
    actor: &Actor,
    new: NewCompany,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(Company) -> Result<RenderedResponse> + Send + 'static,
{
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let added = add(tx, vec![new], &audit)?.pop();
        added.ok_or_else(|| Error::internal("no company was added"))
    };
    once.run(ctx, &actor.tenant, work).await
}

fn subject(company: &Company) -> Subject {
    Subject::new(&company.id, &company.name)
}

/// A company as the audit log records it.
fn audited(company: &Company) -> Value {
    json!({"external_id": company.external_id, "name": company.name})
}

/// A company's match as the audit log records it.
fn audited_match(company: &Company) -> Value {
    json!({"connectwise_company_id": company.connectwise_company_id, "match_source": company.match_source})
}

/// The audit log entry for a changed company match.
pub(super) fn match_entry(tx: &Tx<'_>, audit: &Audit, before: &Company, after: &Company) -> Option<AuditEntry> {
    let (old, new) = (Some(audited_match(before)), Some(audited_match(after)));
    audit.entry(tx, AuditAction::CompanyMatched, subject(after), old, new)
}

/// Creates companies in the caller's transaction, each with a billing line for every product.
pub fn add(tx: &mut Tx<'_>, new: Vec<NewCompany>, audit: &Audit) -> Result<Vec<Company>> {
    let now = audit.now();
    for company in &new {
        ensure_unique(tx, &company.external_id, None)?;
    }
    let rows: Vec<Company> = new.into_iter().map(|new| new_row(tx, new, now)).collect();
    insert(tx, &rows, now)?;
    let created = |row: &Company| audit.entry(tx, AuditAction::CompanyCreated, subject(row), None, Some(audited(row)));
    let entries: Vec<AuditEntry> = rows.iter().filter_map(created).collect();
    tx.insert_audit(&entries)?;
    Ok(rows)
}

/// The audit log entry for a company with a changed name or external id.
pub(super) fn update_entry(tx: &Tx<'_>, audit: &Audit, before: &Company, after: &Company) -> Option<AuditEntry> {
    let (old, new) = (Some(audited(before)), Some(audited(after)));
    audit.entry(tx, AuditAction::CompanyUpdated, subject(after), old, new)
}

/// A company that is not stored yet.
pub(super) fn new_row(tx: &Tx<'_>, NewCompany { external_id, name }: NewCompany, now: Timestamp) -> Company {
    Company {
        id: CompanyId::new(),
        tenant_id: tx.tenant().clone(),
        external_id,
        name_key: fold(&name),
        name,
        connectwise_company_id: None,
        match_source: None,
        matched_at: None,
        matched_by: None,
        version: 1,
        created_at: now.naive_utc(),
        updated_at: now.naive_utc(),
    }
}

/// Stores new companies, each with a billing line for every product.
pub(super) fn insert(tx: &mut Tx<'_>, rows: &[Company], now: Timestamp) -> Result<()> {
    tx.insert_companies(rows)?;
    let products = tx.all_products()?;
    let tenant = tx.tenant().clone();
    for rows in rows.chunks(COMPANIES_PER_INSERT) {
        let lines: Vec<BillingLine> = rows
            .iter()
            .flat_map(|company| products.iter().map(|product| BillingLine::new(&tenant, company, &product.id, now)))
            .collect();
        tx.insert_billing_lines(&lines)?;
    }
    Ok(())
}

fn ensure_unique(tx: &mut Tx<'_>, external_id: &str, except: Option<&CompanyId>) -> Result<()> {
    match tx.company_by_external_id(external_id)? {
        Some(other) if Some(&other.id) != except => {
            let detail = format!("company {} already has the external id \"{external_id}\"", other.id);
            Err(Error::conflict(ConflictCode::ExternalIdTaken, detail).at("/external_id"))
        }
        _ => Ok(()),
    }
}

/// Changes a company's external id or name.
pub async fn update(
    ctx: &AppContext,
    actor: &Actor,
    id: CompanyId,
    change: CompanyChange,
    if_match: IfMatch,
) -> Result<Company> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| apply(tx, &id, change, &if_match, &audit)).await
}

fn apply(tx: &mut Tx<'_>, id: &CompanyId, change: CompanyChange, if_match: &IfMatch, audit: &Audit) -> Result<Company> {
    let mut row = tx.company(id)?;
    if_match.check(row.version)?;
    let before = row.clone();
    if let Some(external_id) = change.external_id {
        ensure_unique(tx, &external_id, Some(id))?;
        row.external_id = external_id;
    }
    if let Some(name) = change.name {
        row.name_key = fold(&name);
        row.name = name;
    }
    // A no-op update must not bump the version: that would make other callers' ETags stale.
    if row != before {
        row.updated_at = audit.now().naive_utc();
        tx.update_company(&mut row)?;
        let entry = update_entry(tx, audit, &before, &row);
        tx.insert_audit(entry.as_slice())?;
    }
    Ok(row)
}

/// Deletes a company with its lines and usage. Its push history is kept.
pub async fn delete(ctx: &AppContext, actor: &Actor, id: CompanyId, if_match: IfMatch) -> Result<()> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| remove(tx, &id, &if_match, &audit)).await
}

fn remove(tx: &mut Tx<'_>, id: &CompanyId, if_match: &IfMatch, audit: &Audit) -> Result<()> {
    let company = tx.company(id)?;
    if_match.check(company.version)?;
    reject_while_pushing(tx)?;
    audit.record(tx, AuditAction::CompanyDeleted, subject(&company), Some(audited(&company)), None)?;
    tx.delete_companies(std::slice::from_ref(id))
}

/// Refuses to delete companies whose lines a push job may be writing.
pub(super) fn reject_while_pushing(tx: &mut Tx<'_>) -> Result<()> {
    if tx.has_open_push_job()? {
        return Err(Error::conflict(
            ConflictCode::PushJobRunning,
            "a push job is running: wait until it ends, or cancel it",
        ));
    }
    Ok(())
}

/// Identifies the ConnectWise company to match.
#[derive(Debug, Clone)]
pub enum CompanyReference {
    /// By ConnectWise's id.
    Id(CwCompanyId),
    /// By ConnectWise's identifier, in any letter case.
    Identifier(String),
}

/// A company after a change of its match, with the effect on its lines.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The company with its new match.
    pub company: Company,
    /// The mappings that were cleared or resolved.
    pub resolved: resolve::Resolved,
}

/// Matches a company, or sets it to Not Set if `choice` is `None`. If the match changes, the mappings of the old match
/// are cleared. The lines are resolved again. Unless `shared` is set, rejects a ConnectWise company that is matched to
/// another company.
pub async fn choose(
    ctx: &AppContext,
    actor: &Actor,
    id: &CompanyId,
    choice: Option<CompanyReference>,
    shared: bool,
    if_match: IfMatch,
) -> Result<Matched> {
    let target = match choice {
        Some(choice) => Some(find(ctx, actor, id, choice).await?.id),
        None => None,
    };
    let (audit, id) = (Audit::new(actor, ctx.clock.now()), id.clone());
    let company_id = id.clone();
    let work = move |tx: &mut Tx<'_>| {
        let mut company = tx.company(&id)?;
        if_match.check(company.version)?;
        if let Some(target) = target.filter(|_| !shared) {
            reject_taken(tx, target, &id)?;
        }
        let moved = company.connectwise_company_id != target;
        let (now, by) = (audit.now(), audit.by());
        if moved || company.match_source == Some(MatchSource::Auto) {
            let before = company.clone();
            company.set_match(target.map(|id| (id, MatchSource::Manual)), now, by);
            tx.update_company(&mut company)?;
            let entry = match_entry(tx, &audit, &before, &company);
            tx.insert_audit(entry.as_slice())?;
        }
        let filter = LineFilter { company_ids: Some(vec![id]), ..LineFilter::default() };
        // Mappings of the old match are cleared, including manual choices.
        let resolved = if moved { re_resolve(tx, &filter, &audit)? } else { resolve_lines(tx, &filter, now, by)? };
        Ok(Matched { company, resolved })
    };
    let mut matched = ctx.db.write(&actor.tenant, work).await?;
    let filter = LineFilter { company_ids: Some(vec![company_id]), ..LineFilter::default() };
    matched.resolved = missing_additions::with_additions(ctx, actor, filter, matched.resolved).await;
    Ok(matched)
}

fn reject_taken(tx: &mut Tx<'_>, target: CwCompanyId, except: &CompanyId) -> Result<()> {
    match tx.companies_matched_to(target)?.into_iter().find(|other| other.id != *except) {
        None => Ok(()),
        Some(other) => {
            let detail = format!(
                "ConnectWise company {target} is already matched to company {} ({}); two companies would write to the \
                 same additions. If this is intended, send \"shared\": true",
                other.id, other.name
            );
            Err(Error::conflict(ConflictCode::ConnectwiseCompanyTaken, detail))
        }
    }
}

/// Finds the ConnectWise company that is chosen for the company `of`, in the stored records. An unknown identifier is
/// looked up in ConnectWise, because the company may be new.
async fn find(ctx: &AppContext, actor: &Actor, of: &CompanyId, choice: CompanyReference) -> Result<CwCompany> {
    let (stored, of) = (choice.clone(), of.clone());
    let find = move |tx: &mut Tx<'_>| {
        tx.company(&of)?;
        find_stored(tx, &stored)
    };
    let known = ctx.db.read(&actor.tenant, find).await?;
    match (known, choice) {
        (Some(company), _) => Ok(company),
        (None, CompanyReference::Id(id)) => Err(Error::not_found("ConnectWise company", id).at("/id")),
        (None, CompanyReference::Identifier(identifier)) => {
            let client = client::for_tenant(ctx, &actor.tenant).await?;
            let wanted = fold(&identifier);
            let found = client.companies_identified(&identifier).await?;
            let found = found.into_iter().find(|company| !company.deleted && fold(&company.identifier) == wanted);
            let unknown = || Error::not_found("ConnectWise company with the identifier", &identifier).at("/identifier");
            let company = found.ok_or_else(unknown)?;
            let agreements = client.agreements_of(&[company.id], RetryPolicy::Interactive).await?;
            let (now, saved) = (ctx.clock.now(), company.clone());
            let save = move |tx: &mut Tx<'_>| {
                tx.save_agreements(Some(&[saved.id]), agreements, now)?;
                tx.save_cw_companies(vec![saved], false, now).map(drop)
            };
            ctx.db.write(&actor.tenant, save).await?;
            Ok(company)
        }
    }
}

fn find_stored(tx: &mut Tx<'_>, choice: &CompanyReference) -> Result<Option<CwCompany>> {
    match choice {
        CompanyReference::Id(id) => {
            Ok(tx.cw_companies_by_id(Some(&[*id]))?.into_iter().find(|company| !company.deleted))
        }
        CompanyReference::Identifier(identifier) => tx.cw_company_identified(identifier),
    }
}

/// The result of auto-match.
#[derive(Debug, Clone)]
pub struct AutoMatched {
    /// One proposal for each company that was Not Set.
    pub proposals: Vec<NamedProposal>,
    /// The changes that the applied matches made to lines; empty in a dry run.
    pub resolved: resolve::Resolved,
}

/// A proposal with the records that a person needs to judge it.
#[derive(Debug, Clone)]
pub struct NamedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// The company to match.
    pub company: Company,
    /// The candidate ConnectWise companies.
    pub candidates: Vec<CwCompany>,
}

/// Proposes matches for every company that is Not Set. Applies the unique ones unless `dry_run` is set.
pub async fn auto_match(ctx: &AppContext, actor: &Actor, dry_run: bool) -> Result<AutoMatched> {
    refresh::ensure_fresh(ctx, &actor.tenant, RetryPolicy::Interactive).await?;
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let (now, by) = (audit.now(), audit.by());
        let mut proposals = proposals(tx)?;
        let (mut applied, mut entries) = (Vec::new(), Vec::new());
        for named in proposals.iter_mut().filter(|named| named.proposal.outcome == MatchOutcome::Proposed) {
            if let (false, Some(target)) = (dry_run, named.proposal.candidates.first()) {
                let before = named.company.clone();
                named.company.set_match(Some((*target, MatchSource::Auto)), now, by);
                entries.extend(match_entry(tx, &audit, &before, &named.company));
                applied.push(named.company.clone());
            }
        }
        tx.save_matches(&mut applied)?;
        tx.insert_audit(&entries)?;
        let applied: Vec<CompanyId> = applied.into_iter().map(|company| company.id).collect();
        let resolved = if applied.is_empty() {
            resolve::Resolved::default()
        } else {
            resolve_lines(tx, &LineFilter { company_ids: Some(applied), ..LineFilter::default() }, now, by)?
        };
        Ok(AutoMatched { proposals, resolved })
    };
    let mut matched = ctx.db.write(&actor.tenant, work).await?;
    matched.resolved = missing_additions::with_additions(ctx, actor, LineFilter::default(), matched.resolved).await;
    Ok(matched)
}

fn proposals(tx: &mut Tx<'_>) -> Result<Vec<NamedProposal>> {
    let companies = tx.all_companies()?;
    let offered: Vec<CwCompany> = tx.cw_companies_by_id(None)?.into_iter().filter(CwCompany::can_be_offered).collect();
    let matched_to: HashSet<CwCompanyId> = companies.iter().filter_map(|row| row.connectwise_company_id).collect();
    let open: HashMap<CompanyId, Company> = companies
        .into_iter()
        .filter(|row| row.connectwise_company_id.is_none())
        .map(|row| (row.id.clone(), row))
        .collect();
    let mut unmatched: Vec<UnmatchedCompany> = open
        .values()
        .map(|row| UnmatchedCompany {
            id: row.id.clone(),
            external_id: row.external_id.clone(),
            name: row.name.clone(),
        })
        .collect();
    unmatched.sort_by(|a, b| (fold(&a.name), &a.id).cmp(&(fold(&b.name), &b.id)));
    let by_id: HashMap<CwCompanyId, &CwCompany> = offered.iter().map(|company| (company.id, company)).collect();
    let named = propose(&unmatched, &offered, &matched_to).into_iter().filter_map(|proposal| {
        let company = open.get(&proposal.company_id)?.clone();
        let candidates = proposal.candidates.iter().filter_map(|id| by_id.get(id).map(|c| (*c).clone())).collect();
        Some(NamedProposal { proposal, company, candidates })
    });
    Ok(named.collect())
}

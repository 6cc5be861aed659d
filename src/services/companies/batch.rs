//! Creates, renames and deletes many companies at once, by the vendor's ids.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::db::{Company, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::ids::CompanyId;
use crate::domain::string_enum::string_enum;
use crate::domain::text::fold;
use crate::domain::{ConflictCode, Error, FieldError, Result};
use crate::services::companies::{self, NewCompany};
use crate::services::context::AppContext;
use crate::services::idempotency::{IdempotentWrite, RenderedResponse};
use crate::services::mappings::line_edit::BulkMode;
use crate::services::security::actor::Actor;
use crate::services::security::audit::{Audit, MAX_NAMED, Subject};

string_enum! {
    /// The outcome of a batch for one company.
    BatchOutcome {
        /// The company is new.
        Created = "created",
        /// The company was renamed.
        Updated = "updated",
        /// The company had this name already.
        Unchanged = "unchanged",
        /// The company was deleted.
        Deleted = "deleted",
        /// Nothing was changed; `error` has the reason.
        Rejected = "rejected",
    }
}

/// The results of a batch, in request order: each company with its outcome, or the error with its position in the
/// request.
pub type BatchResult = Vec<Result<(CompanyId, BatchOutcome), FieldError>>;

/// Creates the companies whose external ids are new, each with a billing line for every product, and renames the
/// others.
pub async fn upsert<R>(
    ctx: &AppContext,
    actor: &Actor,
    new: Vec<NewCompany>,
    mode: BulkMode,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(BatchResult) -> Result<RenderedResponse> + Send + 'static,
{
    let (audit, rows) = (Audit::new(actor, ctx.clock.now()), new.len());
    let work = move |tx: &mut Tx<'_>| {
        let results = upsert_all(tx, new, mode, &audit)?;
        let count = |wanted| results.iter().flatten().filter(|(_, outcome)| *outcome == wanted).count();
        let created = count(BatchOutcome::Created);
        if created > 0 {
            audit.record(tx, AuditAction::CompaniesCreated, Subject::NONE, None, Some(json!({"created": created})))?;
        }
        Ok(results)
    };
    let answer = once.run(ctx, &actor.tenant, work).await?;
    ctx.after_growth(rows).await;
    Ok(answer)
}

/// Deletes the companies with these external ids, with their lines and usage. Their push history is kept.
pub async fn delete<R>(
    ctx: &AppContext,
    actor: &Actor,
    external_ids: Vec<String>,
    mode: BulkMode,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(BatchResult) -> Result<RenderedResponse> + Send + 'static,
{
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let results = delete_all(tx, &external_ids, mode)?;
        let deleted: Vec<&String> =
            external_ids.iter().zip(&results).filter_map(|(id, result)| result.is_ok().then_some(id)).collect();
        if !deleted.is_empty() {
            let first: Vec<&&String> = deleted.iter().take(MAX_NAMED).collect();
            let old = json!({"deleted": deleted.len(), "external_ids": first});
            audit.record(tx, AuditAction::CompaniesDeleted, Subject::NONE, Some(old), None)?;
        }
        Ok(results)
    };
    once.run(ctx, &actor.tenant, work).await
}

fn upsert_all(tx: &mut Tx<'_>, new: Vec<NewCompany>, mode: BulkMode, audit: &Audit) -> Result<BatchResult> {
    let now = audit.now();
    let ids: Vec<String> = new.iter().map(|new| new.external_id.clone()).collect();
    let known = known(tx, &ids)?;
    let (mut seen, mut to_create, mut to_rename) = (HashSet::new(), Vec::new(), Vec::new());
    let (mut results, mut entries) = (Vec::with_capacity(new.len()), Vec::new());
    for (index, NewCompany { external_id, name }) in new.into_iter().enumerate() {
        let place = format!("/companies/{index}/external_id");
        results.push(reject_second(&mut seen, &external_id, place).map(|()| match known.get(&external_id) {
            Some(company) if company.name == name => (company.id.clone(), BatchOutcome::Unchanged),
            Some(company) => {
                let renamed = Company { name_key: fold(&name), name, updated_at: now.naive_utc(), ..company.clone() };
                entries.extend(companies::update_entry(tx, audit, company, &renamed));
                to_rename.push(renamed);
                (company.id.clone(), BatchOutcome::Updated)
            }
            None => {
                let company = companies::new_row(tx, NewCompany { external_id, name }, now);
                let id = company.id.clone();
                to_create.push(company);
                (id, BatchOutcome::Created)
            }
        }));
    }
    ensure_none_rejected(&results, mode)?;
    tx.rename_companies(to_rename)?;
    tx.insert_audit(&entries)?;
    companies::insert(tx, &to_create, now)?;
    Ok(results)
}

fn delete_all(tx: &mut Tx<'_>, external_ids: &[String], mode: BulkMode) -> Result<BatchResult> {
    companies::reject_while_pushing(tx)?;
    let known = known(tx, external_ids)?;
    let mut seen = HashSet::new();
    let delete = |(index, id): (usize, &String)| {
        let place = format!("/external_ids/{index}");
        reject_second(&mut seen, id, place.clone())?;
        match known.get(id) {
            Some(company) => Ok((company.id.clone(), BatchOutcome::Deleted)),
            None => Err(rejected(place, &Error::not_found("company with the external id", id))),
        }
    };
    let results: BatchResult = external_ids.iter().enumerate().map(delete).collect();
    ensure_none_rejected(&results, mode)?;
    let ids: Vec<CompanyId> = results.iter().flatten().map(|(id, _)| id.clone()).collect();
    tx.delete_companies(&ids)?;
    Ok(results)
}

fn known(tx: &mut Tx<'_>, external_ids: &[String]) -> Result<HashMap<String, Company>> {
    let rows = tx.companies_with_external_ids(external_ids)?;
    Ok(rows.into_iter().map(|row| (row.external_id.clone(), row)).collect())
}

fn reject_second(seen: &mut HashSet<String>, external_id: &str, place: String) -> Result<(), FieldError> {
    if seen.insert(external_id.to_owned()) {
        return Ok(());
    }
    let detail = format!("company {external_id} appears more than once in the request");
    Err(rejected(place, &Error::conflict(ConflictCode::NamedTwice, detail)))
}

fn rejected(place: String, error: &Error) -> FieldError {
    FieldError::new(place, error.field_code(), error.to_string())
}

/// In all-or-nothing mode, errors with the rejected companies if there are any.
fn ensure_none_rejected(results: &BatchResult, mode: BulkMode) -> Result<()> {
    let rejected: Vec<FieldError> = results.iter().filter_map(|result| result.as_ref().err()).cloned().collect();
    if mode == BulkMode::AllOrNothing && !rejected.is_empty() { Err(Error::Invalid(rejected)) } else { Ok(()) }
}

//! Billing lines: block sizes, push flags, and choices by hand.

use super::{Actor, IfMatch, Services, refresh, resolve, schedule};
use crate::db::{BillingLine, BillingLineView, LineFilter, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId};
use crate::domain::mapping::Mapping;
use crate::domain::quantity::BlockSize;
use crate::domain::words::{MappingReason, MappingSource, MappingStatus};
use crate::domain::{Error, FieldError, Result};

/// What is to be changed of a line.
#[derive(Debug, Clone, Default)]
pub struct LineEdit {
    /// Whether it is pushed.
    pub push_enabled: Option<bool>,
    /// Its own block size; `Some(None)` goes back to the product's.
    pub block_size: Option<Option<BlockSize>>,
}

/// Changes one line.
pub fn update(
    tx: &mut Tx<'_>,
    id: &BillingLineId,
    edit: &LineEdit,
    if_match: &IfMatch,
    now: Instant,
) -> Result<BillingLineView> {
    let mut view = tx.billing_line(id)?;
    if_match.check(view.line.version)?;
    apply(tx, &mut view.line, edit, now)?;
    Ok(view)
}

/// Changes many lines, all or none: an unknown id changes nothing.
pub fn update_many(tx: &mut Tx<'_>, ids: &[BillingLineId], edit: &LineEdit, now: Instant) -> Result<usize> {
    let filter = LineFilter { ids: Some(ids.to_vec()), ..LineFilter::default() };
    let mut rows = tx.all_lines(&filter)?;
    let unknown: Vec<FieldError> = ids
        .iter()
        .enumerate()
        .filter(|(_, id)| !rows.iter().any(|(line, _)| line.id == **id))
        .map(|(index, id)| {
            FieldError::new(format!("/ids/{index}"), "not_found", format!("there is no billing line {id}"))
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    let mut changed = 0;
    for (line, _) in &mut rows {
        changed += usize::from(apply(tx, line, edit, now)?);
    }
    Ok(changed)
}

fn apply(tx: &mut Tx<'_>, line: &mut BillingLine, edit: &LineEdit, now: Instant) -> Result<bool> {
    let before = (line.push_enabled, line.block_size);
    line.push_enabled = edit.push_enabled.unwrap_or(line.push_enabled);
    line.block_size = edit.block_size.unwrap_or(line.block_size);
    let changed = before != (line.push_enabled, line.block_size);
    if changed {
        tx.update_billing_line(line, now)?;
    }
    Ok(changed)
}

/// Chooses a line's agreement by hand, or gives it back to the rule.
pub async fn choose_agreement(
    services: &Services,
    actor: &Actor,
    id: &BillingLineId,
    choice: Option<CwAgreementId>,
    if_match: IfMatch,
) -> Result<BillingLineView> {
    let (now, by, line_id) = (services.clock.now(), actor.name.clone(), id.clone());
    let work = move |tx: &mut Tx<'_>| {
        let mut view = tx.billing_line(&line_id)?;
        if_match.check(view.line.version)?;
        let mapping = match choice {
            Some(agreement) => {
                check_agreement(tx, &view, agreement, now)?;
                Mapping::resolved(MappingSource::Manual, agreement)
            }
            // What the rule found is looked for anew; what was found before does not count.
            None => Mapping::unresolved(MappingReason::NoneMatched),
        };
        if view.line.agreement() != mapping {
            view.line.set_agreement(mapping, now, &by);
            tx.update_billing_line(&mut view.line, now)?;
        }
        resolve_line(tx, &line_id, now, &by)
    };
    let view = services.db.write(&actor.tenant, work).await?;
    if view.line.addition_reason == Some(MappingReason::AdditionsNotRead) {
        resolve::follow_up(services, actor, one_line(id)).await?;
        let id = id.clone();
        return services.db.read(&actor.tenant, move |tx| tx.billing_line(&id)).await;
    }
    Ok(view)
}

fn one_line(id: &BillingLineId) -> LineFilter {
    LineFilter { ids: Some(vec![id.clone()]), ..LineFilter::default() }
}

fn resolve_line(tx: &mut Tx<'_>, id: &BillingLineId, now: Instant, by: &str) -> Result<BillingLineView> {
    resolve::lines(tx, &one_line(id), now, by)?;
    tx.billing_line(id)
}

fn check_agreement(tx: &mut Tx<'_>, view: &BillingLineView, agreement: CwAgreementId, now: Instant) -> Result<()> {
    let Some(company) = view.company.connectwise_company_id else {
        let detail = "the company is matched to no ConnectWise company: match it first";
        return Err(Error::conflict("company_not_set", detail));
    };
    let choices = format!("GET /api/v1/connectwise/companies/{company}/agreements lists the choices");
    let row = tx.agreements_by_id(&[agreement])?.pop().filter(|row| row.company_id == company);
    let Some(row) = row else {
        let detail = format!("agreement {agreement} is none of ConnectWise company {company}: {choices}");
        return Err(Error::conflict("not_a_choice", detail));
    };
    match crate::domain::agreement::Agreement::from(row).dead_because(schedule::today(tx, now)?) {
        None => Ok(()),
        Some(reason) => Err(Error::conflict("not_live", format!("agreement {agreement} is {reason}: {choices}"))),
    }
}

/// Chooses a line's addition by hand, or gives it back to the rule.
pub async fn choose_addition(
    services: &Services,
    actor: &Actor,
    id: &BillingLineId,
    choice: Option<CwAdditionId>,
    if_match: IfMatch,
) -> Result<BillingLineView> {
    let line_id = id.clone();
    let view = services.db.read(&actor.tenant, move |tx| tx.billing_line(&line_id)).await?;
    if let (Some(_), Some(agreement)) = (choice, resolved_agreement(&view)) {
        // The choices must be those that ConnectWise has, even where nobody asked for them before.
        refresh::additions_of(services, actor, agreement).await?;
    }
    let (now, by, id) = (services.clock.now(), actor.name.clone(), id.clone());
    let work = move |tx: &mut Tx<'_>| {
        let mut view = tx.billing_line(&id)?;
        if_match.check(view.line.version)?;
        let mapping = match choice {
            Some(addition) => {
                check_addition(tx, &view, addition, now)?;
                Mapping::resolved(MappingSource::Manual, addition)
            }
            None => Mapping::unresolved(MappingReason::NoneMatched),
        };
        if view.line.addition() != mapping {
            view.line.set_addition(mapping, now, &by);
            tx.update_billing_line(&mut view.line, now)?;
        }
        resolve_line(tx, &id, now, &by)
    };
    services.db.write(&actor.tenant, work).await
}

fn resolved_agreement(view: &BillingLineView) -> Option<CwAgreementId> {
    view.line.agreement_id.filter(|_| view.line.agreement_status == MappingStatus::Resolved)
}

fn check_addition(tx: &mut Tx<'_>, view: &BillingLineView, addition: CwAdditionId, now: Instant) -> Result<()> {
    let Some(agreement) = resolved_agreement(view) else {
        let detail = "the line's agreement is not resolved: choose the agreement first";
        return Err(Error::conflict("agreement_not_resolved", detail));
    };
    let choices = format!("GET /api/v1/connectwise/agreements/{agreement}/additions lists the choices");
    let found = tx.additions_by_id(&[addition])?.pop().filter(|row| row.agreement_id == agreement);
    let Some(found) = found else {
        let detail =
            format!("addition {addition} is none of agreement {agreement}: create it in ConnectWise first; {choices}");
        return Err(Error::conflict("not_a_choice", detail));
    };
    match found.dead_because(schedule::today(tx, now)?) {
        None => Ok(()),
        Some(reason) => Err(Error::conflict("not_live", format!("addition {addition} is {reason}: {choices}"))),
    }
}

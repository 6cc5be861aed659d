//! Edits of billing lines: block sizes, push flags and manual choices, for one line or many.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;

use super::history::{ChangeRecorder, line_entry};
use super::line_edit::{Bulk, Edit, EditRejection, EditResults, EditedLine, LineEdit, NewAdjustment};
use super::resolve::{self, ChangedLine, Resolved, Rules};
use crate::connectwise::RetryPolicy;
use crate::db::{BillingLineView, LineFilter, MappedLine, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CwAgreementId, ProductId};
use crate::domain::line_quantity::Adjustment;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{AgreementMapping, Mapping, RecordIndex};
use crate::domain::{ConflictCode, Error, FieldCode, FieldError, Result};
use crate::services::context::AppContext;
use crate::services::mappings::missing_additions;
use crate::services::quantities::compute::{BilledMonths, LineWithQuantity, compute_one, compute_with_invoices};
use crate::services::quantities::overage;
use crate::services::remote::additions;
use crate::services::schedule::billing_calendar;
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::Audit;

/// The records that edits are computed from.
struct EditContext {
    lines: HashMap<BillingLineId, MappedLine>,
    rules: HashMap<ProductId, Rules>,
    record_index: std::sync::Arc<RecordIndex>,
    /// The first day of the month that a push would bill now, by product; empty unless an edit needs it.
    billed_from: HashMap<ProductId, NaiveDate>,
    /// The products whose overage another product bills; empty unless an edit needs them.
    with_overage: HashSet<ProductId>,
}

impl EditContext {
    fn load(tx: &mut Tx<'_>, edits: &[Edit], now: Timestamp) -> Result<Self> {
        let ids = edits.iter().map(|edit| edit.line.clone()).collect();
        let filter = LineFilter { ids: Some(ids), ..LineFilter::default() };
        let rows = tx.mapped_lines(&filter)?;
        // Edits that only set flags and block sizes need no records from ConnectWise.
        let (record_index, rules) = if edits.iter().any(|edit| edit.change.changes_choice()) {
            (resolve::record_index(tx, &rows, &filter, now)?, resolve::rules(tx, None)?)
        } else {
            Default::default()
        };
        let billed_from = if edits.iter().any(|edit| edit.change.sets_adjustment_without_first_day()) {
            billed_from(tx, &rows, now)?
        } else {
            HashMap::new()
        };
        let with_overage = if edits.iter().any(|edit| edit.change.sets_included_quantity()) {
            let of: HashSet<ProductId> = rows.iter().map(|line| line.product_id.clone()).collect();
            tx.overage_products(&Vec::from_iter(of))?.into_keys().collect()
        } else {
            HashSet::new()
        };
        Ok(Self {
            billed_from,
            with_overage,
            lines: rows.into_iter().map(|line| (line.id.clone(), line)).collect(),
            rules,
            record_index,
        })
    }

    /// Returns the line after an edit.
    fn edited(&self, before: &MappedLine, change: &LineEdit) -> Result<MappedLine, EditRejection> {
        let mut line = before.clone();
        line.push_enabled = change.push_enabled.unwrap_or(line.push_enabled);
        line.block_size = change.block_size.unwrap_or(line.block_size);
        line.minimum_quantity = change.minimum_quantity.unwrap_or(line.minimum_quantity);
        if change.sets_included_quantity() && !self.with_overage.contains(&line.product_id) {
            let error = overage::overage_not_billed();
            return Err(EditRejection::new("included_quantity", error));
        }
        line.included_quantity = change.included_quantity.unwrap_or(line.included_quantity);
        if let Some(new) = &change.adjustment {
            line.adjustment = new.as_ref().map(|new| self.adjustment(before, new)).transpose()?;
        }
        if !change.changes_choice() {
            return Ok(line);
        }
        line.agreement = self.agreement(before, change)?;
        let none = Rules::default();
        let rules = self.rules.get(&line.product_id).unwrap_or(&none);
        match change.addition {
            None => {}
            Some(None) => line.addition = Mapping::unresolved(MappingReason::NoneMatched),
            Some(Some(id)) if line.addition.manual_target() == Some(&id) => {}
            Some(Some(id)) => {
                let agreement = resolve::resolve_mappings(&self.record_index, rules, &line).0;
                self.record_index
                    .may_choose_addition(&agreement, id)
                    .map_err(|rejection| EditRejection::choice("addition_id", rejection))?;
                line.addition = Mapping::resolved(MappingSource::Manual, id);
            }
        }
        (line.agreement, line.addition) = resolve::resolve_mappings(&self.record_index, rules, &line);
        Ok(line)
    }

    /// The adjustment to set. Days that are not given are kept from the line's adjustment. Without one, the new
    /// adjustment begins with the month that a push would bill now, and has no end.
    fn adjustment(&self, before: &MappedLine, new: &NewAdjustment) -> Result<Adjustment, EditRejection> {
        let known = before.adjustment.as_ref();
        let from = new.from.or(known.map(|known| known.from));
        let from = from.or_else(|| self.billed_from.get(&before.product_id).copied()).unwrap_or(NaiveDate::MIN);
        let until = new.until.unwrap_or_else(|| known.and_then(|known| known.until));
        if until.is_some_and(|until| until < from) {
            let message = format!("must not be before the first day, {from}: it would never apply");
            let error = Error::invalid("/adjustment/until", FieldCode::Contradiction, message);
            return Err(EditRejection::new("adjustment", error));
        }
        Ok(Adjustment { amount: new.amount, from, until, reason: new.reason.clone() })
    }

    fn agreement(&self, before: &MappedLine, change: &LineEdit) -> Result<AgreementMapping, EditRejection> {
        Ok(match change.agreement {
            None => before.agreement.clone(),
            // The rule is applied again; its earlier result is discarded.
            Some(None) => Mapping::unresolved(MappingReason::NoneMatched),
            Some(Some(id)) if before.agreement.manual_target() == Some(&id) => before.agreement.clone(),
            Some(Some(id)) => {
                self.record_index
                    .may_choose_agreement(before.cw_company, id)
                    .map_err(|rejection| EditRejection::choice("agreement_id", rejection))?;
                Mapping::resolved(MappingSource::Manual, id)
            }
        })
    }

    /// Returns the line before and after an edit.
    fn outcome(&self, edit: &Edit) -> Result<EditedLine, EditRejection> {
        let before = self.lines.get(&edit.line);
        let before = before
            .ok_or_else(|| EditRejection::new("billing_line_id", Error::not_found("billing line", &edit.line)))?;
        edit.if_match.check(before.version).map_err(|error| EditRejection::new("version", error))?;
        Ok(EditedLine { before: before.clone(), after: self.edited(before, &edit.change)? })
    }
}

/// The first day of the month that a push would bill now, for each line's product.
fn billed_from(tx: &mut Tx<'_>, lines: &[MappedLine], now: Timestamp) -> Result<HashMap<ProductId, NaiveDate>> {
    let current = billing_calendar::load(tx)?.month_of(now);
    let products: HashSet<ProductId> = lines.iter().map(|line| line.product_id.clone()).collect();
    let products = tx.products_by_id(&products.into_iter().collect::<Vec<_>>())?;
    Ok(products
        .into_iter()
        .map(|product| (product.id.clone(), product.billing_period().billed_month(current).first_day()))
        .collect())
}

/// Applies edits. A rejected edit changes nothing; its outcome is the reason.
pub fn apply(tx: &mut Tx<'_>, edits: &[Edit], bulk: Bulk, audit: &Audit) -> Result<EditResults> {
    let (now, by) = (audit.now(), audit.by());
    let context = EditContext::load(tx, edits, now)?;
    let mut named = HashSet::new();
    let outcomes: Vec<Result<EditedLine, EditRejection>> = edits
        .iter()
        .map(|edit| {
            if named.insert(&edit.line) {
                return context.outcome(edit);
            }
            let detail = format!("billing line {} appears more than once", edit.line);
            Err(EditRejection::new("billing_line_id", Error::conflict(ConflictCode::NamedTwice, detail)))
        })
        .collect();
    let mut resolved = Resolved::default();
    if bulk.should_save(outcomes.iter().all(Result::is_ok)) {
        let mut recorder = ChangeRecorder::new(&context.record_index, now, by);
        let mut entries = Vec::new();
        for edited in outcomes.iter().flatten().filter(|edited| edited.changes()) {
            recorder.add(tx, &edited.before, &edited.after)?;
            entries.extend(line_entry(tx, audit, &edited.before, &edited.after));
        }
        recorder.save(tx)?;
        tx.insert_audit(&entries)?;
    }
    for EditedLine { before, after } in outcomes.iter().flatten() {
        resolved.count(after);
        resolved.changes.extend(ChangedLine::new(&context.record_index, before.clone(), after.clone()));
    }
    Ok(EditResults { outcomes, resolved })
}

/// Changes one line, without reading from ConnectWise. Returns the line with its quantity.
pub async fn update(ctx: &AppContext, actor: &Actor, edit: Edit) -> Result<LineWithQuantity> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let view = change(tx, edit, &audit)?;
        compute_one(tx, view, &BilledMonths::Now, audit.now())
    };
    ctx.db.write(&actor.tenant, work).await
}

fn change(tx: &mut Tx<'_>, edit: Edit, audit: &Audit) -> Result<BillingLineView> {
    let id = edit.line.clone();
    let applied = apply(tx, &[edit], Bulk::ALL_OR_NOTHING, audit)?;
    applied.outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(EditRejection::into_body_error))?;
    tx.billing_line(&id)
}

/// Makes the same change to many lines, or to none if an id is unknown or a line has another version. Returns the
/// number of lines that changed, and the first `shown` lines with their quantities.
pub async fn update_many(
    ctx: &AppContext,
    actor: &Actor,
    lines: Vec<(BillingLineId, IfMatch)>,
    change: LineEdit,
    shown: usize,
) -> Result<(usize, Vec<LineWithQuantity>)> {
    let now = ctx.clock.now();
    let audit = Audit::new(actor, now);
    let first = lines.iter().take(shown).map(|(id, _)| id.clone()).collect();
    let changed = ctx.db.write(&actor.tenant, move |tx| change_many(tx, lines, &change, &audit)).await?;
    // Read after the write, so that other writes do not wait for it.
    let read = move |tx: &mut Tx<'_>| {
        let rows = tx.all_lines(&LineFilter { ids: Some(first), ..LineFilter::default() })?;
        let views = tx.with_records(rows)?;
        compute_with_invoices(tx, views, &BilledMonths::Now, now)
    };
    Ok((changed, ctx.db.read(&actor.tenant, read).await?))
}

fn change_many(
    tx: &mut Tx<'_>,
    lines: Vec<(BillingLineId, IfMatch)>,
    change: &LineEdit,
    audit: &Audit,
) -> Result<usize> {
    let mut named = HashSet::new();
    let (places, edits): (Vec<usize>, Vec<Edit>) = lines
        .into_iter()
        .enumerate()
        .filter(|(_, (id, _))| named.insert(id.clone()))
        .map(|(place, (line, if_match))| (place, Edit { line, change: change.clone(), if_match }))
        .unzip();
    let applied = apply(tx, &edits, Bulk::ALL_OR_NOTHING, audit)?;
    let rejected: Vec<FieldError> = applied
        .outcomes
        .iter()
        .zip(places)
        .filter_map(|(outcome, place)| Some((place, outcome.as_ref().err()?)))
        .map(|(place, rejected)| {
            FieldError::new(format!("/ids/{place}"), rejected.error.field_code(), rejected.error.to_string())
        })
        .collect();
    if rejected.is_empty() { Ok(applied.changed()) } else { Err(Error::Invalid(rejected)) }
}

/// Same as [`apply`], but first reads from ConnectWise the additions that manual choices need.
pub async fn edit(ctx: &AppContext, actor: &Actor, edits: Vec<Edit>, bulk: Bulk) -> Result<EditResults> {
    read_additions(ctx, actor, &edits).await?;
    let audit = Audit::new(actor, ctx.clock.now());
    let ids: Vec<BillingLineId> = edits.iter().map(|edit| edit.line.clone()).collect();
    let mut applied = ctx.db.write(&actor.tenant, move |tx| apply(tx, &edits, bulk, &audit)).await?;
    if !bulk.dry_run {
        let filter = LineFilter { ids: Some(ids), ..LineFilter::default() };
        applied.resolved = missing_additions::with_additions(ctx, actor, filter, applied.resolved).await;
    }
    Ok(applied)
}

/// Same as [`edit`] for one line. Returns the line with its quantity, and the resulting changes to mappings.
pub async fn edit_one(ctx: &AppContext, actor: &Actor, edit: Edit) -> Result<(LineWithQuantity, Resolved)> {
    let id = edit.line.clone();
    let applied = self::edit(ctx, actor, vec![edit], Bulk::ALL_OR_NOTHING).await?;
    applied.outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(EditRejection::into_body_error))?;
    let now = ctx.clock.now();
    let read = move |tx: &mut Tx<'_>| {
        let view = tx.billing_line(&id)?;
        compute_one(tx, view, &BilledMonths::Now, now)
    };
    Ok((ctx.db.read(&actor.tenant, read).await?, applied.resolved))
}

/// Reads the additions of agreements from which an addition is chosen, so that the choice is checked against current
/// data.
async fn read_additions(ctx: &AppContext, actor: &Actor, edits: &[Edit]) -> Result<()> {
    let choosing: Vec<Edit> =
        edits.iter().filter(|edit| matches!(edit.change.addition, Some(Some(_)))).cloned().collect();
    if choosing.is_empty() {
        return Ok(());
    }
    let now = ctx.clock.now();
    let older_than = now - ctx.settings.refresh_max_age;
    let wanted = move |tx: &mut Tx<'_>| {
        let context = EditContext::load(tx, &choosing, now)?;
        let agreements: HashSet<CwAgreementId> = choosing
            .iter()
            .map(|edit| Edit { change: LineEdit { addition: None, ..edit.change.clone() }, ..edit.clone() })
            .filter_map(|edit| context.outcome(&edit).ok())
            .filter(|edited| edited.after.agreement.status == MappingStatus::Resolved)
            .filter_map(|edited| edited.after.agreement.target)
            .collect();
        tx.agreements_with_additions_older_than(&agreements.into_iter().collect::<Vec<_>>(), older_than)
    };
    let wanted = ctx.db.read(&actor.tenant, wanted).await?;
    additions::read(ctx, &actor.tenant, wanted, RetryPolicy::Interactive).await
}

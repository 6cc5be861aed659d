//! Edits of billing lines: block sizes, push flags and manual choices, for one line or many.

use std::collections::{HashMap, HashSet};

use super::complete;
use super::history::{ChangeRecorder, line_entry};
use super::resolve::{self, LineChange, Resolved, Rules};
use crate::connectwise::RetryPolicy;
use crate::db::{BillingLineView, LineFilter, MappedLine, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId, ProductId};
use crate::domain::mapping::{AgreementMapping, Catalog, ChoiceError, Mapping};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::quantity::BlockSize;
use crate::domain::string_enum::string_enum;
use crate::domain::{ConflictCode, Error, FieldError, Result};
use crate::services::actor::{Actor, IfMatch};
use crate::services::audit::Audit;
use crate::services::billed_lines::{BilledLine, BilledMonths, billed_line, compared_lines};
use crate::services::context::AppContext;
use crate::services::remote::additions;

string_enum! {
    /// What happens to the other edits of a request if one is rejected.
    BulkMode {
        /// No edit is made.
        AllOrNothing = "all_or_nothing",
        /// The other edits are made.
        Each = "each",
    }
}

impl BulkMode {
    /// What applies if a request says nothing.
    pub const fn all_or_nothing() -> Self {
        Self::AllOrNothing
    }
}

/// Changes to a line; `None` leaves a setting unchanged.
#[derive(Debug, Clone, Default)]
pub struct LineEdit {
    /// Whether pushes write the line's quantity.
    pub push_enabled: Option<bool>,
    /// The line's own block size; `Some(None)` goes back to the product's.
    pub block_size: Option<Option<BlockSize>>,
    /// The manually chosen agreement; `Some(None)` goes back to the rule.
    pub agreement: Option<Option<CwAgreementId>>,
    /// The manually chosen addition; `Some(None)` goes back to the rule.
    pub addition: Option<Option<CwAdditionId>>,
}

impl LineEdit {
    /// Returns whether the edit makes or clears a manual choice.
    fn chooses(&self) -> bool {
        self.agreement.is_some() || self.addition.is_some()
    }
}

/// An edit of one line.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The line.
    pub line: BillingLineId,
    /// The changes.
    pub change: LineEdit,
    /// The versions of the line to which the edit may be applied.
    pub if_match: IfMatch,
}

/// Why an edit was rejected, and which member is invalid.
#[derive(Debug)]
pub struct EditRejection {
    /// The invalid member of the edit.
    pub member: &'static str,
    /// Why it was rejected.
    pub error: Error,
}

impl EditRejection {
    /// Rejects an edit because of one of its members.
    pub fn new(member: &'static str, error: Error) -> Self {
        Self { member, error }
    }

    fn choice(member: &'static str, refusal: ChoiceError) -> Self {
        Self::new(member, Error::conflict(refusal.code(), refusal.to_string()))
    }

    /// Converts the rejection to the error of a request that changes one line: its address names the line, its body the
    /// other members.
    fn of_the_body(self) -> Error {
        match self.member {
            "agreement_id" => self.error.at("/agreement_id"),
            "addition_id" => self.error.at("/addition_id"),
            _ => self.error,
        }
    }

    /// Converts the rejection to an invalid field of a request, where `place` is the JSON pointer of the edit.
    pub fn field(&self, place: &str) -> FieldError {
        FieldError::new(format!("{place}/{}", self.member), self.error.field_code(), self.error.to_string())
    }
}

/// A line before and after an edit.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The line before the edit.
    pub before: MappedLine,
    /// The line after the edit; in a dry run, as it would be.
    pub after: MappedLine,
}

impl Edited {
    /// Returns whether the edit changes the line.
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

/// The result of many edits.
#[derive(Debug, Default)]
pub struct Applied {
    /// For each edit, in order: the line before and after, or why it was rejected.
    pub outcomes: Vec<Result<Edited, EditRejection>>,
    /// The resulting changes to mappings.
    pub resolved: Resolved,
}

impl Applied {
    /// Converts the rejections to invalid fields of a request, where `place` returns the JSON pointer of the edit at an
    /// index.
    pub fn fields(&self, place: impl Fn(usize) -> String) -> Vec<FieldError> {
        let refused = self.outcomes.iter().enumerate().filter_map(|(index, one)| Some((index, one.as_ref().err()?)));
        refused.map(|(index, refused)| refused.field(&place(index))).collect()
    }

    /// Returns the number of edits that change their line.
    pub fn changed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(Edited::changes)).count()
    }
}

/// The options of many edits.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// What happens if one of them is rejected.
    pub mode: BulkMode,
    /// Whether the edits are only computed, and nothing is saved.
    pub dry_run: bool,
}

impl Bulk {
    /// All edits, or none.
    pub const TOGETHER: Self = Self { mode: BulkMode::AllOrNothing, dry_run: false };

    /// Returns whether valid edits are saved; `all_can` is whether every edit is valid.
    pub fn writes(self, all_can: bool) -> bool {
        !self.dry_run && (self.mode == BulkMode::Each || all_can)
    }
}

/// The records that edits are computed from.
struct EditContext {
    lines: HashMap<BillingLineId, MappedLine>,
    rules: HashMap<ProductId, Rules>,
    catalog: std::sync::Arc<Catalog>,
}

impl EditContext {
    fn load(tx: &mut Tx<'_>, edits: &[Edit], now: Instant) -> Result<Self> {
        let ids = edits.iter().map(|edit| edit.line.clone()).collect();
        let filter = LineFilter { ids: Some(ids), ..LineFilter::default() };
        let rows = tx.mapped_lines(&filter)?;
        // Edits that only set flags and block sizes need no records from ConnectWise.
        let (catalog, rules) = if edits.iter().any(|edit| edit.change.chooses()) {
            (resolve::catalog(tx, &rows, &filter, now)?, resolve::rules(tx, None)?)
        } else {
            Default::default()
        };
        Ok(Self { lines: rows.into_iter().map(|line| (line.id.clone(), line)).collect(), rules, catalog })
    }

    /// Returns the line as an edit leaves it.
    fn edited(&self, before: &MappedLine, change: &LineEdit) -> Result<MappedLine, EditRejection> {
        let mut line = before.clone();
        line.push_enabled = change.push_enabled.unwrap_or(line.push_enabled);
        line.block_size = change.block_size.unwrap_or(line.block_size);
        if !change.chooses() {
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
                let agreement = resolve::decide(&self.catalog, rules, &line).0;
                self.catalog
                    .may_choose_addition(&agreement, id)
                    .map_err(|refusal| EditRejection::choice("addition_id", refusal))?;
                line.addition = Mapping::resolved(MappingSource::Manual, id);
            }
        }
        (line.agreement, line.addition) = resolve::decide(&self.catalog, rules, &line);
        Ok(line)
    }

    fn agreement(&self, before: &MappedLine, change: &LineEdit) -> Result<AgreementMapping, EditRejection> {
        Ok(match change.agreement {
            None => before.agreement.clone(),
            // The rule is applied again; its earlier result is discarded.
            Some(None) => Mapping::unresolved(MappingReason::NoneMatched),
            Some(Some(id)) if before.agreement.manual_target() == Some(&id) => before.agreement.clone(),
            Some(Some(id)) => {
                self.catalog
                    .may_choose_agreement(before.cw_company, id)
                    .map_err(|refusal| EditRejection::choice("agreement_id", refusal))?;
                Mapping::resolved(MappingSource::Manual, id)
            }
        })
    }

    /// Returns the line before and after an edit.
    fn outcome(&self, edit: &Edit) -> Result<Edited, EditRejection> {
        let before = self.lines.get(&edit.line);
        let before = before
            .ok_or_else(|| EditRejection::new("billing_line_id", Error::not_found("billing line", &edit.line)))?;
        edit.if_match.check(before.version).map_err(|error| EditRejection::new("version", error))?;
        Ok(Edited { before: before.clone(), after: self.edited(before, &edit.change)? })
    }
}

/// Makes edits. A rejected edit changes nothing, and its outcome is the reason.
pub fn apply(tx: &mut Tx<'_>, edits: &[Edit], bulk: Bulk, audit: &Audit) -> Result<Applied> {
    let (now, by) = (audit.now(), audit.by());
    let ground = EditContext::load(tx, edits, now)?;
    let mut named = HashSet::new();
    let outcomes: Vec<Result<Edited, EditRejection>> = edits
        .iter()
        .map(|edit| {
            if named.insert(&edit.line) {
                return ground.outcome(edit);
            }
            let detail = format!("billing line {} occurs twice", edit.line);
            Err(EditRejection::new("billing_line_id", Error::conflict(ConflictCode::NamedTwice, detail)))
        })
        .collect();
    let mut resolved = Resolved::default();
    if bulk.writes(outcomes.iter().all(Result::is_ok)) {
        let mut book = ChangeRecorder::new(&ground.catalog, now, by);
        let mut entries = Vec::new();
        for edited in outcomes.iter().flatten().filter(|edited| edited.changes()) {
            book.save(tx, &edited.before, &edited.after)?;
            entries.extend(line_entry(tx, audit, &edited.before, &edited.after));
        }
        book.close(tx)?;
        tx.insert_audit(&entries)?;
    }
    for Edited { before, after } in outcomes.iter().flatten() {
        resolved.count(after);
        resolved.changes.extend(LineChange::new(&ground.catalog, before.clone(), after.clone()));
    }
    Ok(Applied { outcomes, resolved })
}

/// Changes one line, without reading from ConnectWise. Returns what it bills.
pub async fn update(ctx: &AppContext, actor: &Actor, edit: Edit) -> Result<BilledLine> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let view = change(tx, edit, &audit)?;
        billed_line(tx, view, &BilledMonths::Now, audit.now())
    };
    ctx.db.write(&actor.tenant, work).await
}

fn change(tx: &mut Tx<'_>, edit: Edit, audit: &Audit) -> Result<BillingLineView> {
    let id = edit.line.clone();
    let applied = apply(tx, &[edit], Bulk::TOGETHER, audit)?;
    applied.outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(EditRejection::of_the_body))?;
    tx.billing_line(&id)
}

/// Makes the same change to many lines, or to none if an id is unknown or a line has another version. Returns the number of lines that changed, and what
/// the first `shown` lines bill.
pub async fn update_many(
    ctx: &AppContext,
    actor: &Actor,
    lines: Vec<(BillingLineId, IfMatch)>,
    change: LineEdit,
    shown: usize,
) -> Result<(usize, Vec<BilledLine>)> {
    let now = ctx.clock.now();
    let audit = Audit::new(actor, now);
    let first = lines.iter().take(shown).map(|(id, _)| id.clone()).collect();
    let changed = ctx.db.write(&actor.tenant, move |tx| change_many(tx, lines, &change, &audit)).await?;
    // Read after the write, so that other writes do not wait for it.
    let read = move |tx: &mut Tx<'_>| {
        let rows = tx.all_lines(&LineFilter { ids: Some(first), ..LineFilter::default() })?;
        let views = tx.with_records(rows)?;
        compared_lines(tx, views, &BilledMonths::Now, now)
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
    let applied = apply(tx, &edits, Bulk::TOGETHER, audit)?;
    let refused: Vec<FieldError> = applied
        .outcomes
        .iter()
        .zip(places)
        .filter_map(|(outcome, place)| Some((place, outcome.as_ref().err()?)))
        .map(|(place, refused)| {
            FieldError::new(format!("/ids/{place}"), refused.error.field_code(), refused.error.to_string())
        })
        .collect();
    if refused.is_empty() { Ok(applied.changed()) } else { Err(Error::Invalid(refused)) }
}

/// Same as [`apply`], but first reads from ConnectWise the additions that manual choices need.
pub async fn edit(ctx: &AppContext, actor: &Actor, edits: Vec<Edit>, bulk: Bulk) -> Result<Applied> {
    read_additions(ctx, actor, &edits).await?;
    let audit = Audit::new(actor, ctx.clock.now());
    let ids: Vec<BillingLineId> = edits.iter().map(|edit| edit.line.clone()).collect();
    let mut applied = ctx.db.write(&actor.tenant, move |tx| apply(tx, &edits, bulk, &audit)).await?;
    if !bulk.dry_run {
        let filter = LineFilter { ids: Some(ids), ..LineFilter::default() };
        applied.resolved = complete::with_additions(ctx, actor, filter, applied.resolved).await;
    }
    Ok(applied)
}

/// Same as [`edit`] for one line. Returns what the line bills, and the resulting changes to mappings.
pub async fn edit_one(ctx: &AppContext, actor: &Actor, edit: Edit) -> Result<(BilledLine, Resolved)> {
    let id = edit.line.clone();
    let applied = self::edit(ctx, actor, vec![edit], Bulk::TOGETHER).await?;
    applied.outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(EditRejection::of_the_body))?;
    let now = ctx.clock.now();
    let read = move |tx: &mut Tx<'_>| {
        let view = tx.billing_line(&id)?;
        billed_line(tx, view, &BilledMonths::Now, now)
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
        let ground = EditContext::load(tx, &choosing, now)?;
        let agreements: HashSet<CwAgreementId> = choosing
            .iter()
            .map(|edit| Edit { change: LineEdit { addition: None, ..edit.change.clone() }, ..edit.clone() })
            .filter_map(|edit| ground.outcome(&edit).ok())
            .filter(|edited| edited.after.agreement.status == MappingStatus::Resolved)
            .filter_map(|edited| edited.after.agreement.target)
            .collect();
        tx.agreements_with_additions_older_than(&agreements.into_iter().collect::<Vec<_>>(), older_than)
    };
    let wanted = ctx.db.read(&actor.tenant, wanted).await?;
    additions::read(ctx, &actor.tenant, wanted, RetryPolicy::Interactive).await
}

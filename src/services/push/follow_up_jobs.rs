//! Creates jobs from another job's lines: to push a dry run, to revert, or to retry one of these.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use super::job_audit::record_job_created;
use crate::db::{PushJob, PushLine, Tx};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CompanyId, ProductId, PushJobId};
use crate::domain::push::{JobState, PushLineState};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::{ConflictCode, Error, Result};
use crate::services::push::later_jobs::LaterLinesOfJob;
use crate::services::schedule::billing_calendar;
use crate::services::security::audit::Audit;

/// Maximum number of later jobs that an error lists, newest first.
const NAMED_JOBS: usize = 5;

/// Creates a job that pushes the quantities of a dry run. A line is written only if ConnectWise still has the quantity
/// that the dry run found.
pub fn from_dry_run(tx: &mut Tx<'_>, id: &PushJobId, audit: &Audit) -> Result<PushJob> {
    let job = tx.push_job(id)?;
    if job.kind != PushKind::DryRun {
        return Err(Error::conflict(ConflictCode::NotADryRun, "this push job is not a dry run"));
    }
    if !matches!(job.state, JobState::Succeeded | JobState::CompletedWithFailures) {
        let detail = format!("the dry run is {}: use one that has completed", job.state);
        return Err(Error::conflict(ConflictCode::DryRunNotFinished, detail));
    }
    let shown = tx.all_push_lines(id, Some(PushLineState::WouldPush))?;
    let line = |line: &PushLine| PushLine { expected_from: line.from_quantity, ..fresh_copy(line) };
    let (shown, blocking) = not_superseded(tx, id, shown)?;
    flag_usage_since(tx, &job, &shown)?;
    derive(tx, &job, PushTrigger::FromDryRun, shown.iter().map(line).collect(), &blocking, audit)
}

/// Flags usage that arrived after a dry run computed the quantities to push, which do not include it.
fn flag_usage_since(tx: &mut Tx<'_>, dry_run: &PushJob, lines: &[PushLine]) -> Result<()> {
    let calendar = billing_calendar::load(tx)?;
    let names = tx.product_names()?;
    // Overage is computed from the usage of the base product.
    let measured: HashMap<ProductId, ProductId> =
        names.into_iter().filter_map(|product| Some((product.id, product.overage_of?))).collect();
    let mut companies: BTreeMap<(ProductId, BillingMonth), Vec<CompanyId>> = BTreeMap::new();
    for line in lines {
        let month = line.billing_month.unwrap_or(dry_run.billing_month);
        let product = measured.get(&line.product_id).unwrap_or(&line.product_id);
        companies.entry((product.clone(), month)).or_default().push(line.company_id.clone());
    }
    for ((product, month), companies) in companies {
        tx.flag_late_usage(&product, &companies, calendar.bounds(month), dry_run.created_at)?;
    }
    Ok(())
}

/// Returns the lines that no later job wrote or found unchanged, and the later jobs of the other lines. A quantity that
/// a later job wrote or found belongs to that job, even if this job would write the same number.
fn not_superseded(
    tx: &mut Tx<'_>,
    id: &PushJobId,
    mut lines: Vec<PushLine>,
) -> Result<(Vec<PushLine>, BTreeSet<PushJobId>)> {
    let later = LaterLinesOfJob::load(tx, id, &lines)?;
    let blocking = later.retain(tx, &mut lines, LaterLinesOfJob::superseding)?;
    Ok((lines, blocking))
}

/// Creates a job that restores the quantity that each line had before a job. A line is written only if ConnectWise
/// still has the quantity that the job wrote. A line is left out if a later job changed its addition, or bills another
/// month.
pub fn revert(tx: &mut Tx<'_>, id: &PushJobId, audit: &Audit) -> Result<PushJob> {
    let job = tx.push_job(id)?;
    if job.kind != PushKind::Push {
        return Err(Error::conflict(ConflictCode::NothingToRevert, "a dry run writes nothing"));
    }
    if !job.state.is_final() {
        return Err(Error::conflict(
            ConflictCode::PushJobRunning,
            "the push job has not ended yet: wait, or cancel it",
        ));
    }
    let mut pushed = tx.all_push_lines(id, Some(PushLineState::Pushed))?;
    pushed.extend(tx.all_push_lines(id, Some(PushLineState::Unverified))?);
    let later = LaterLinesOfJob::load(tx, id, &pushed)?;
    let blocking = later.retain(tx, &mut pushed, |later, line| {
        later.blocking_revert(line, line.billing_month.unwrap_or(job.billing_month))
    })?;
    let line = |line: &PushLine| PushLine {
        expected_from: line.to_quantity,
        to_quantity: line.from_quantity,
        usage_amount: None,
        usage_through: None,
        usage_records: None,
        block_size: None,
        adjustment: None,
        minimum_quantity: None,
        included_quantity: None,
        ..fresh_copy(line)
    };
    let lines = pushed.iter().filter(|line| line.from_quantity.is_some()).map(line).collect();
    derive(tx, &job, PushTrigger::Revert, lines, &blocking, audit)
}

/// Creates a job that retries lines of a job that pushes a dry run or reverts: with the same quantities, under the same
/// condition.
pub(super) fn retry_same_quantities(
    tx: &mut Tx<'_>,
    of: &PushJob,
    failed: &[PushLine],
    audit: &Audit,
) -> Result<PushJob> {
    let line = |line: &PushLine| PushLine { expected_from: line.expected_from, ..fresh_copy(line) };
    derive(tx, of, of.trigger, failed.iter().map(line).collect(), &BTreeSet::new(), audit)
}

/// Rejects a job that was stored for an earlier connection: its ids and quantities may belong to another ConnectWise.
pub(super) fn same_connectwise(tx: &mut Tx<'_>, job: &PushJob) -> Result<()> {
    match tx.connection()? {
        Some(connection) if connection.created_at <= job.created_at => Ok(()),
        _ => {
            let detail = "the connection to ConnectWise was deleted or recreated after this push job";
            Err(Error::conflict(ConflictCode::ConnectionChanged, detail))
        }
    }
}

/// Returns a line of a new job for the same billing line, addition and quantity.
fn fresh_copy(line: &PushLine) -> PushLine {
    PushLine {
        from_quantity: None,
        state: PushLineState::Pending,
        reason: None,
        detail: None,
        attempts: 0,
        failures: 0,
        lease_owner: None,
        lease_until: None,
        fence: 0,
        not_before: None,
        expected_from: None,
        approved: false,
        approved_for: None,
        decided_by: None,
        decided_at: None,
        started_at: None,
        finished_at: None,
        ..line.clone()
    }
}

fn derive(
    tx: &mut Tx<'_>,
    of: &PushJob,
    trigger: PushTrigger,
    mut lines: Vec<PushLine>,
    blocking: &BTreeSet<PushJobId>,
    audit: &Audit,
) -> Result<PushJob> {
    same_connectwise(tx, of)?;
    if lines.is_empty() {
        return Err(nothing_left(of, trigger, blocking));
    }
    let ids = tx.later_push_ids()?;
    let job = PushJob {
        id: ids.next_id().into(),
        kind: PushKind::Push,
        trigger,
        state: JobState::Queued,
        detail: None,
        parent_job_id: Some(of.id.clone()),
        requested_by: audit.by().to_owned(),
        cancel_requested: false,
        line_count: i64::try_from(lines.len()).map_err(Error::internal)?,
        created_at: audit.now().naive_utc(),
        started_at: None,
        finished_at: None,
        final_counts: None,
        ..of.clone()
    };
    for line in &mut lines {
        (line.id, line.job_id) = (ids.next_id().into(), job.id.clone());
    }
    tx.insert_push_job(&job, &lines)?;
    record_job_created(tx, audit, &job, json!({}))?;
    Ok(job)
}

/// Returns why there is no line to push, retry or revert, and lists the later jobs that prevent it.
fn nothing_left(of: &PushJob, trigger: PushTrigger, blocking: &BTreeSet<PushJobId>) -> Error {
    let (code, none) = match trigger {
        PushTrigger::Revert => (ConflictCode::NothingToRevert, "wrote no line with a known former quantity"),
        _ => (ConflictCode::NothingToPush, "has no lines to push"),
    };
    if blocking.is_empty() {
        return Error::conflict(code, format!("push job {} {none}", of.id));
    }
    let named: Vec<String> = blocking.iter().rev().take(NAMED_JOBS).map(ToString::to_string).collect();
    let more = blocking.len().saturating_sub(NAMED_JOBS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let detail = format!("later push jobs wrote the lines of push job {}: {}{more}", of.id, named.join(", "));
    Error::conflict(code, detail)
}

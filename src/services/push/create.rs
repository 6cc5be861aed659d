//! Creates push jobs with their lines and quantities, and marks lines that cannot be pushed.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::alerts;
use super::job_audit::record_job_created;
use super::jobs::finish_if_done;
use crate::db::{BillingLine, LineFilter, PushJob, PushLine, Tx};
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, ProductId, PushJobId, PushLineId};
use crate::domain::mapping_status::{MappingReason, MappingStatus};
use crate::domain::push::{JobState, PushLineEvent, PushLineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::{ConflictCode, Error, FieldCode, FieldError, Result};
use crate::services::quantities::compute::{BilledMonths, LineWithQuantity, compute_quantities, compute_with_invoices};
use crate::services::quantities::monthly_usage::ComputedQuantity;
use crate::services::schedule::billing_calendar;
use crate::services::security::audit::{Audit, MAX_NAMED};

/// A push job to create.
#[derive(Debug, Clone)]
pub struct NewPush {
    /// Whether to write, or only to show what would be written.
    pub kind: PushKind,
    /// What starts the job.
    pub trigger: PushTrigger,
    /// Only lines of this product; `None` means all products.
    pub product_id: Option<ProductId>,
    /// Only lines of these companies; `None` means all companies.
    pub company_ids: Option<Vec<CompanyId>>,
    /// Only these lines; `None` means all.
    pub billing_line_ids: Option<Vec<BillingLineId>>,
    /// Only lines that are out of date.
    pub out_of_date_only: bool,
    /// The month that each line bills. With [`BilledMonths::PerLine`], only the lines in it are pushed.
    pub months: BilledMonths,
    /// The job that is retried.
    pub parent: Option<PushJobId>,
}

impl NewPush {
    /// Creates a push of all enabled lines.
    pub fn everything(trigger: PushTrigger) -> Self {
        Self {
            kind: PushKind::Push,
            trigger,
            product_id: None,
            company_ids: None,
            billing_line_ids: None,
            out_of_date_only: false,
            months: BilledMonths::Now,
            parent: None,
        }
    }
}

/// Creates a job with every line in its scope. Lines that cannot be pushed are included with the reason. Workers
/// process the job later.
pub fn create(tx: &mut Tx<'_>, new: &NewPush, audit: &Audit) -> Result<PushJob> {
    let (now, by) = (audit.now(), audit.by());
    if tx.connection()?.is_none() {
        let detail = "no ConnectWise connection is set; PUT /api/v1/connection first";
        return Err(Error::conflict(ConflictCode::NotConnected, detail));
    }
    if let Some(id) = &new.product_id {
        // A retry request does not name a product.
        tx.product(id).map_err(|error| if new.parent.is_none() { error.at("/product_id") } else { error })?;
    }
    reject_unknown_companies(tx, new)?;
    reject_unknown_lines(tx, new)?;
    let current = billing_calendar::load(tx)?.month_of(now);
    if let BilledMonths::Named(month) = new.months
        && month > current
    {
        let message = format!("{month} has not started: there is nothing to bill yet");
        return Err(Error::invalid("/billing_month", FieldCode::OutOfRange, message));
    }
    let computed = quantities_of(tx, new, now)?;
    let ids = tx.later_push_ids()?;
    let job_id = PushJobId::from(ids.next_id());
    let additions: Vec<CwAdditionId> = computed.iter().filter_map(|line| line.view.line.addition_id).collect();
    let shared = tx.additions_shared_by_lines(&additions)?;
    let lines = computed
        .iter()
        .map(|line| self::line(&job_id, ids.next_id().into(), line, &shared, now))
        .collect::<Result<Vec<_>>>()?;
    let job = PushJob {
        id: job_id.clone(),
        tenant_id: tx.tenant().clone(),
        kind: new.kind,
        trigger: new.trigger,
        state: JobState::Queued,
        detail: None,
        product_id: new.product_id.clone(),
        parent_job_id: new.parent.clone(),
        billing_month: month_of_job(new, current),
        requested_by: by.to_owned(),
        cancel_requested: false,
        line_count: i64::try_from(lines.len()).map_err(Error::internal)?,
        created_at: now.naive_utc(),
        started_at: None,
        finished_at: None,
        final_counts: None,
    };
    tx.insert_push_job(&job, &lines)?;
    alerts::record_stored(tx, &job, &lines, now)?;
    record_job_created(tx, audit, &job, scope(new))?;
    finish_if_done(tx, &job_id, now)?;
    tx.push_job(&job_id)
}

/// The limits of a job's scope, for the audit log.
fn scope(new: &NewPush) -> Value {
    let mut scope = Map::new();
    if let Some(ids) = &new.company_ids {
        scope.insert("company_ids".to_owned(), json!(ids.iter().take(MAX_NAMED).collect::<Vec<_>>()));
    }
    if let Some(ids) = &new.billing_line_ids {
        scope.insert("billing_line_ids".to_owned(), json!(ids.iter().take(MAX_NAMED).collect::<Vec<_>>()));
    }
    if new.out_of_date_only {
        scope.insert("out_of_date".to_owned(), json!(true));
    }
    Value::Object(scope)
}

fn quantities_of(tx: &mut Tx<'_>, new: &NewPush, now: Timestamp) -> Result<Vec<LineWithQuantity>> {
    let ids = match &new.months {
        BilledMonths::PerLine(months) => Some(months.keys().cloned().collect()),
        _ => new.billing_line_ids.clone(),
    };
    let filter = LineFilter {
        product_id: new.product_id.clone(),
        company_ids: new.company_ids.clone(),
        ids,
        ..LineFilter::default()
    };
    let rows = tx.all_lines(&filter)?;
    let views = tx.with_records(rows)?;
    if !new.out_of_date_only {
        return compute_quantities(tx, views, &new.months, now);
    }
    let mut lines = compute_with_invoices(tx, views, &new.months, now)?;
    lines.retain(|line| line.out_of_date);
    Ok(lines)
}

/// Returns the month of a job: the requested or scheduled one, or else the current one. Each line has its own billing
/// month.
fn month_of_job(new: &NewPush, current: BillingMonth) -> BillingMonth {
    match &new.months {
        BilledMonths::Named(month) | BilledMonths::ScheduledRun(month) => *month,
        BilledMonths::Now | BilledMonths::PerLine(_) => current,
    }
}

fn reject_unknown_companies(tx: &mut Tx<'_>, new: &NewPush) -> Result<()> {
    let Some(ids) = &new.company_ids else { return Ok(()) };
    let known = tx.existing_companies(ids)?;
    let unknown = |(index, id): (usize, &CompanyId)| {
        FieldError::new(format!("/company_ids/{index}"), FieldCode::NotFound, format!("there is no company {id}"))
    };
    let unknown: Vec<FieldError> = ids.iter().enumerate().filter(|(_, id)| !known.contains(id)).map(unknown).collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::Invalid(unknown)) }
}

fn reject_unknown_lines(tx: &mut Tx<'_>, new: &NewPush) -> Result<()> {
    let Some(ids) = &new.billing_line_ids else { return Ok(()) };
    let known = tx.product_and_company_of_lines(ids)?;
    let companies: Option<HashSet<&CompanyId>> = new.company_ids.as_ref().map(|ids| ids.iter().collect());
    let rejection = |id: &BillingLineId| {
        let Some((product, company)) = known.get(id) else {
            return Some((FieldCode::NotFound, format!("there is no billing line {id}")));
        };
        let of_product = new.product_id.as_ref().is_none_or(|wanted| wanted == product);
        let of_company = companies.as_ref().is_none_or(|wanted| wanted.contains(company));
        let message = format!("billing line {id} does not belong to the product and companies in the request");
        (!of_product || !of_company).then_some((FieldCode::Contradiction, message))
    };
    let rejected = ids.iter().enumerate().filter_map(|(index, id)| {
        let (code, message) = rejection(id)?;
        Some(FieldError::new(format!("/billing_line_ids/{index}"), code, message))
    });
    let rejected: Vec<FieldError> = rejected.collect();
    if rejected.is_empty() { Ok(()) } else { Err(Error::Invalid(rejected)) }
}

fn line(
    job: &PushJobId,
    id: PushLineId,
    line: &LineWithQuantity,
    shared: &HashSet<CwAdditionId>,
    now: Timestamp,
) -> Result<PushLine> {
    let LineWithQuantity { view, computed, product, .. } = line;
    let skipped = reason_to_skip(&view.line, computed, shared);
    let (state, reason, detail) = match skipped {
        None => (PushLineState::Pending, None, None),
        Some((reason, detail)) => {
            let event =
                if reason == PushReason::QuantityNotStorable { PushLineEvent::Fail } else { PushLineEvent::Skip };
            (PushLineState::Pending.after(event).map_err(Error::internal)?, Some(reason), detail)
        }
    };
    Ok(PushLine {
        id,
        tenant_id: view.line.tenant_id.clone(),
        job_id: job.clone(),
        billing_line_id: view.line.id.clone(),
        company_id: view.company.id.clone(),
        company_name: view.company.name.clone(),
        product_id: view.line.product_id.clone(),
        product_code: product.code.clone(),
        agreement_id: view.line.agreement_id,
        agreement_name: view.agreement.as_ref().map(|agreement| agreement.name.clone()),
        addition_id: view.line.addition_id,
        addition_name: view.addition.as_ref().map(crate::domain::records::Addition::label),
        usage_amount: computed.amount(),
        block_size: Some(computed.block_size),
        adjustment: computed.adjustment.clone(),
        minimum_quantity: computed.minimum_quantity,
        included_quantity: computed.included_quantity,
        from_quantity: None,
        to_quantity: computed.quantity,
        state,
        reason,
        detail,
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
        billing_month: Some(computed.month),
        month_closed: Some(computed.month_closed),
        usage_through: computed.usage.map(|usage| usage.through.naive_utc()),
        usage_records: Some(computed.usage.map_or(0, |usage| usage.records)),
        decided_at: None,
        started_at: None,
        finished_at: state.is_final().then(|| now.naive_utc()),
    })
}

/// Returns why a line cannot be pushed. The causes are checked in the order in which a user would fix them.
fn reason_to_skip(
    line: &BillingLine,
    computed: &ComputedQuantity,
    shared: &HashSet<CwAdditionId>,
) -> Option<(PushReason, Option<String>)> {
    if !line.push_enabled {
        return Some((PushReason::Disabled, None));
    }
    let mappings = [
        ("agreement", line.agreement_status, line.agreement_reason),
        ("addition", line.addition_status, line.addition_reason),
    ];
    for (what, status, reason) in mappings {
        let why = reason.map(|reason| format!("{what}: {reason}"));
        match (status, reason) {
            (MappingStatus::Resolved, _) => {}
            (_, Some(MappingReason::CompanyNotSet)) => return Some((PushReason::CompanyNotSet, None)),
            (MappingStatus::Unresolved, _) => return Some((PushReason::Unresolved, why)),
            (MappingStatus::Ambiguous, _) => return Some((PushReason::Ambiguous, why)),
            (MappingStatus::Stale, _) => return Some((PushReason::Stale, why)),
        }
    }
    if line.addition_id.is_some_and(|id| shared.contains(&id)) {
        let detail =
            "several enabled billing lines resolve to this addition: give each its own, or disable all but one";
        return Some((PushReason::AdditionShared, Some(detail.to_owned())));
    }
    computed.without_quantity().map(|reason| (reason, computed.problem.clone()))
}

fn nothing_to_retry(failed: usize, changed_since: usize) -> String {
    if failed == 0 {
        return "no line of the push job failed or was left unverified".to_owned();
    }
    if failed == changed_since {
        return format!(
            "ConnectWise no longer has the quantity that {failed} failed lines expected; check who changed it, and push again"
        );
    }
    let pushed = failed - changed_since;
    let others = if changed_since > 0 {
        format!("; {changed_since} other lines were changed in ConnectWise")
    } else {
        String::new()
    };
    format!("{pushed} failed lines have since been pushed again{others}")
}

/// Creates a job that retries the failed and unverified lines of a job. Their quantities are computed again for the
/// same months, unless the job pushes a dry run or reverts: then they stay the same.
pub fn retry(tx: &mut Tx<'_>, id: &PushJobId, audit: &Audit) -> Result<PushJob> {
    let job = tx.push_job(id)?;
    if !job.state.is_final() {
        return Err(Error::conflict(ConflictCode::PushJobRunning, "the push job has not ended yet"));
    }
    let mut failed = tx.all_push_lines(id, Some(PushLineState::Failed))?;
    failed.extend(tx.all_push_lines(id, Some(PushLineState::Unverified))?);
    // A quantity that was changed in ConnectWise must be checked by a person; a retry must not overwrite it.
    let of_all = failed.len();
    failed.retain(|line| line.reason != Some(PushReason::ChangedSince));
    let changed_since = of_all - failed.len();
    // A line that a later job has pushed must not go back to this job's month.
    let later = crate::services::push::later_jobs::LaterLinesOfJob::load(tx, id, &failed)?;
    failed.retain(|line| later.superseding(line).is_empty());
    if failed.is_empty() {
        return Err(Error::conflict(ConflictCode::NothingToRetry, nothing_to_retry(of_all, changed_since)));
    }
    if matches!(job.trigger, PushTrigger::FromDryRun | PushTrigger::Revert) {
        return crate::services::push::follow_up_jobs::retry_same_quantities(tx, &job, &failed, audit);
    }
    let months = failed
        .into_iter()
        .map(|line| (line.billing_line_id, line.billing_month.unwrap_or(job.billing_month)))
        .collect();
    let new = NewPush {
        kind: job.kind,
        product_id: job.product_id,
        months: BilledMonths::PerLine(months),
        parent: Some(job.id),
        ..NewPush::everything(PushTrigger::Retry)
    };
    create(tx, &new, audit)
}

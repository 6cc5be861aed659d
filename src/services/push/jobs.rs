//! Lists, reads, cancels and finishes push jobs.

use super::progress::{Progress, progress};
use crate::db::{JobFilter, Page, PageRequest, PushSort, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{PushJobId, TenantId};
use crate::domain::push::{JobEvent, JobState, PushLineState};
use crate::domain::webhooks::EventType;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::context::AppContext;
use crate::services::security::actor::Actor;
use crate::services::security::audit::{Audit, Subject};
use crate::services::webhooks::{self, Event};

/// Returns a page of jobs, each with its progress.
pub fn list(
    tx: &mut Tx<'_>,
    filter: &JobFilter,
    page: &PageRequest<PushSort>,
    at: Timestamp,
) -> Result<Page<Progress>> {
    let Page { items, next, total } = tx.push_jobs(filter, page)?;
    let mut counts = tx.push_line_counts(&items)?;
    let items = items.into_iter().map(|job| {
        let counts = counts.remove(&job.id).unwrap_or_default();
        Progress::new(job, counts, at)
    });
    Ok(Page { items: items.collect(), next, total })
}

/// Cancels a job between lines. Lines that were already written stay written. If the response to a write was lost, the
/// job ends only after a worker has read the quantity back from ConnectWise.
pub async fn cancel(ctx: &AppContext, actor: &Actor, id: PushJobId) -> Result<Progress> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| cancel_job(tx, &id, &audit)).await
}

fn cancel_job(tx: &mut Tx<'_>, id: &PushJobId, audit: &Audit) -> Result<Progress> {
    let now = audit.now();
    let job = tx.push_job(id)?;
    if job.state.is_final() {
        return Err(Error::conflict(ConflictCode::PushJobFinished, format!("the push job is already {}", job.state)));
    }
    tx.cancel_push_job(id, now)?;
    if !job.cancel_requested {
        audit.record(tx, AuditAction::PushJobCancelled, Subject::new(id, job.kind.as_str()), None, None)?;
    }
    finish_if_done(tx, id, now)?;
    progress(tx, id, now)
}

/// Ends a job without open lines, or makes it wait for approval if lines are held.
pub fn finish_if_done(tx: &mut Tx<'_>, id: &PushJobId, now: Timestamp) -> Result<()> {
    let job = tx.push_job(id)?;
    if job.state.is_final() || tx.has_open_lines(id)? {
        return Ok(());
    }
    let Progress { counts, .. } = progress(tx, id, now)?;
    let has = |state| counts.contains_key(&state);
    let event = if job.cancel_requested {
        JobEvent::Cancel
    } else if has(PushLineState::Held) {
        JobEvent::WaitForApproval
    } else if has(PushLineState::Failed) || has(PushLineState::Unverified) {
        JobEvent::CompleteWithFailures
    } else {
        JobEvent::Succeed
    };
    if (job.state, event) == (JobState::WaitingForApproval, JobEvent::WaitForApproval) {
        return Ok(());
    }
    advance(tx, id, event, None, now)
}

/// Changes the state of a job, and notifies webhooks when it ends.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    id: &PushJobId,
    event: JobEvent,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    if !tx.advance_job(id, event, detail, now)?.is_final() {
        return Ok(());
    }
    webhooks::record_if_wanted(tx, EventType::PushJobFinished, now, |tx| {
        let Progress { job, counts, .. } = progress(tx, id, now)?;
        Ok(Event::PushJobFinished {
            push_job_id: job.id,
            kind: job.kind,
            state: job.state,
            detail: job.detail,
            trigger: job.trigger,
            requested_by: job.requested_by,
            product_id: job.product_id,
            billing_month: job.billing_month,
            lines: counts.into_iter().collect(),
            finished_at: now,
        })
    })
}

/// Returns the progress of a job.
pub async fn get(ctx: &AppContext, tenant: &TenantId, id: &PushJobId) -> Result<Progress> {
    let (id, now) = (id.clone(), ctx.clock.now());
    ctx.db.read(tenant, move |tx| progress(tx, &id, now)).await
}

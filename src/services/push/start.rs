//! Starts push jobs on request.

use super::create::{NewPush, create, retry};
use super::derive::{from_dry_run, revert};
use super::progress::{Progress, progress};
use crate::db::PushJob;
use crate::db::Tx;
use crate::domain::Result;
use crate::domain::audit::AuditAction;
use crate::domain::ids::PushJobId;
use crate::services::actor::Actor;
use crate::services::audit::{Audit, Subject};
use crate::services::context::AppContext;
use crate::services::idempotency::{Answer, Once};
use serde_json::json;

/// What to push.
#[derive(Debug, Clone)]
pub enum PushRequest {
    /// The quantities of billing lines, computed now.
    New(NewPush),
    /// The quantities of a dry run.
    FromDryRun(PushJobId),
    /// The failed lines of a job.
    Retry(PushJobId),
    /// The quantities that a job's lines had before the job.
    Revert(PushJobId),
}

/// Creates a job with all its lines, and wakes the workers.
pub async fn start<R>(ctx: &AppContext, actor: &Actor, request: PushRequest, once: Once<R>) -> Result<Answer>
where
    R: FnOnce(Progress) -> Result<Answer> + Send + 'static,
{
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let (now, by) = (audit.now(), audit.by());
        let job = match request {
            PushRequest::New(new) => create(tx, &new, now, by)?,
            PushRequest::FromDryRun(id) => from_dry_run(tx, &id, now, by).map_err(|error| error.at("/from_dry_run"))?,
            PushRequest::Retry(id) => retry(tx, &id, now, by)?,
            PushRequest::Revert(id) => revert(tx, &id, now, by)?,
        };
        created(tx, &audit, &job)?;
        progress(tx, &job.id, now)
    };
    let answer = once.run(ctx, &actor.tenant, work).await?;
    ctx.wake_worker();
    Ok(answer)
}

/// Records in the audit log that a job was created.
pub(super) fn created(tx: &mut Tx<'_>, audit: &Audit, job: &PushJob) -> Result<()> {
    let new = json!({
        "kind": job.kind, "started_by": job.started_by, "product_id": job.product_id,
        "parent_job_id": job.parent_job_id, "billing_month": job.billing_month, "lines": job.line_count,
    });
    audit.record(tx, AuditAction::PushJobCreated, Subject::new(&job.id, job.kind.as_str()), None, Some(new))
}

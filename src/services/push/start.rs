//! Starts push jobs on request.

use super::create::{NewPush, create, retry};
use super::progress::{Progress, progress};
use crate::db::Tx;
use crate::domain::Result;
use crate::domain::ids::PushJobId;
use crate::services::context::AppContext;
use crate::services::idempotency::{IdempotentWrite, RenderedResponse};
use crate::services::push::follow_up_jobs::{from_dry_run, revert};
use crate::services::security::actor::Actor;
use crate::services::security::audit::Audit;

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
pub async fn start<R>(
    ctx: &AppContext,
    actor: &Actor,
    request: PushRequest,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(Progress) -> Result<RenderedResponse> + Send + 'static,
{
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let job = match request {
            PushRequest::New(new) => create(tx, &new, &audit)?,
            PushRequest::FromDryRun(id) => from_dry_run(tx, &id, &audit).map_err(|error| error.at("/from_dry_run"))?,
            PushRequest::Retry(id) => retry(tx, &id, &audit)?,
            PushRequest::Revert(id) => revert(tx, &id, &audit)?,
        };
        progress(tx, &job.id, audit.now())
    };
    let answer = once.run(ctx, &actor.tenant, work).await?;
    ctx.wake_worker();
    Ok(answer)
}

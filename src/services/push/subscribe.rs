//! Watching jobs: one query for each job and interval, regardless of the number of subscribers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::progress::{Progress, progress};
use crate::domain::Result;
use crate::domain::ids::{PushJobId, TenantId};
use crate::domain::push::JobState;
use crate::services::context::{AppContext, WatchedKey};

/// How often a watched job is read.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often a watched job is read while it waits for approval, which may take days.
const INTERVAL_WHILE_WAITING: Duration = Duration::from_secs(2);

/// Subscribes to a job's progress, which is published whenever it changes.
pub async fn subscribe(ctx: &AppContext, tenant: &TenantId, id: &PushJobId) -> Result<watch::Receiver<Progress>> {
    let key = (tenant.clone(), id.clone());
    if let Some(receiver) = ctx.watched.join(&key) {
        return Ok(receiver);
    }
    let first = super::jobs::get(ctx, tenant, id).await?;
    let (sender, receiver) = watch::channel(first);
    let sender = Arc::new(sender);
    ctx.watched.add(key.clone(), sender.clone());
    tokio::spawn(poll_progress(ctx.clone(), key, sender));
    Ok(receiver)
}

async fn poll_progress(ctx: AppContext, key: WatchedKey, sender: Arc<watch::Sender<Progress>>) {
    loop {
        let ended = sender.borrow().job.state.is_final();
        if ctx.watched.leave(&key, &sender, ended || ctx.shutdown.is_cancelled()) {
            return;
        }
        let waits = sender.borrow().job.state == JobState::WaitingForApproval;
        tokio::time::sleep(if waits { INTERVAL_WHILE_WAITING } else { INTERVAL }).await;
        let (id, now) = (key.1.clone(), ctx.clock.now());
        match ctx.db.read(&key.0, move |tx| progress(tx, &id, now)).await {
            Ok(now) => {
                sender.send_if_modified(|before| {
                    let (was, is) = (&before.job, &now.job);
                    let changed = before.counts != now.counts || (was.state, &was.detail) != (is.state, &is.detail);
                    *before = now;
                    changed
                });
            }
            Err(error) => {
                tracing::warn!(push_job = %key.1, cause = %error.chain(), "failed to read a watched push job")
            }
        }
    }
}

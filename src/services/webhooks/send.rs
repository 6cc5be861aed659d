//! Sends deliveries: claimed by lease, fairly among the tenants.

use std::collections::HashMap;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::manage::{audited, subject};
use crate::db::{Tx, Webhook, WebhookDelivery};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{TenantId, WebhookId};
use crate::domain::webhooks::{DISABLED_AFTER, DeliveryEvent, DisabledReason, pause_after, retry_wait};
use crate::domain::{Error, Result};
use crate::outgoing::{Attempt, DeliveryHeaders, Secret, WebhookUrl};
use crate::services::context::{AppContext, StepResult, Turn};
use crate::services::security::audit::Audit;

/// Maximum number of deliveries to one webhook that a process sends at the same time. The tenant's other webhooks have
/// their deliveries in the same claim, so a slow webhook delays them by at most one request.
const DELIVERIES_PER_WEBHOOK: i64 = 3;
/// How long a claim lasts: several times as long as a request may take.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// Failures that are further apart than this belong to different outages. No delivery waits this long for its next
/// attempt.
const STREAK_ENDS_AFTER: TimeDelta = TimeDelta::days(2);
/// How long an ended delivery is kept.
const RETENTION: TimeDelta = TimeDelta::days(30);

/// Sends some due deliveries of the tenant whose turn it is.
pub async fn deliver_one(ctx: &AppContext, owner: &str) -> Result<StepResult> {
    if ctx.delivery_turns.needs_poll() && !find_work(ctx).await? {
        return Ok(StepResult::Idle);
    }
    loop {
        // One claim of each tenant at a time: slow addresses of one tenant don't take all loops.
        let Some(turn) = ctx.delivery_turns.next(1, |_| true) else { return Ok(StepResult::Idle) };
        if deliver(ctx, owner, &turn).await? {
            return Ok(StepResult::Worked);
        }
        turn.nothing_due();
    }
}

/// Looks for due deliveries, and wakes a loop if there are any.
pub async fn poll(ctx: &AppContext) -> Result<()> {
    if find_work(ctx).await? {
        ctx.wake_deliveries.notify_one();
    }
    Ok(())
}

async fn find_work(ctx: &AppContext) -> Result<bool> {
    let now = ctx.clock.now();
    let waiting = ctx.db.query_system(move |tx| tx.tenants_with_due_deliveries(now)).await?;
    let found = !waiting.is_empty();
    ctx.delivery_turns.set_waiting(waiting);
    Ok(found)
}

/// Returns whether there was a delivery.
async fn deliver(ctx: &AppContext, owner: &str, turn: &Turn) -> Result<bool> {
    let (owner, now) = (owner.to_owned(), ctx.clock.now());
    let claim = move |tx: &mut Tx<'_>| {
        let deliveries = tx.claim_deliveries(&owner, DELIVERIES_PER_WEBHOOK, now, now + LEASE)?;
        let webhooks = if deliveries.is_empty() { Vec::new() } else { tx.webhooks()? };
        Ok((deliveries, webhooks))
    };
    let (deliveries, webhooks) = ctx.db.write(turn.tenant(), claim).await?;
    if deliveries.is_empty() {
        return Ok(false);
    }
    // Other tenants may also have deliveries.
    ctx.wake_deliveries.notify_one();
    let webhooks: HashMap<WebhookId, Webhook> = webhooks.into_iter().map(|row| (row.id.clone(), row)).collect();
    let attempts = deliveries.into_iter().filter_map(|delivery| {
        // Deleting a webhook also deletes its deliveries.
        let webhook = webhooks.get(&delivery.webhook_id)?;
        Some(async move {
            let attempt = attempt(ctx, webhook, &delivery).await;
            AttemptedDelivery { delivery, webhook_version: webhook.version, attempt }
        })
    });
    let attempts = join_all(attempts).await;
    for attempted in &attempts {
        let outcome = if attempted.attempt.failure.is_none() { "delivered" } else { "failed" };
        metrics::counter!("webhook_attempts_total", "outcome" => outcome).increment(1);
    }
    let now = ctx.clock.now();
    ctx.db.write(turn.tenant(), move |tx| store(tx, attempts, now)).await?;
    Ok(true)
}

/// A delivery with its latest attempt.
struct AttemptedDelivery {
    delivery: WebhookDelivery,
    /// The version of the webhook that it was sent to.
    webhook_version: i64,
    attempt: Attempt,
}

/// Sends a delivery once.
async fn attempt(ctx: &AppContext, webhook: &Webhook, delivery: &WebhookDelivery) -> Attempt {
    let now = ctx.clock.now();
    let Ok(secrets) = secrets(ctx, webhook, now) else {
        return Attempt::failed("the webhook's secret cannot be decrypted with the current encryption key: rotate it");
    };
    let url = match WebhookUrl::parse(&webhook.url, ctx.webhooks.allows_private()) {
        Ok(url) => url,
        Err(error) => return Attempt::failed(format!("the address is no longer allowed: {error}")),
    };
    match DeliveryHeaders::new(delivery.message_id.as_str(), now.timestamp(), &delivery.payload, &secrets) {
        Ok(signed) => ctx.webhooks.send(&url, &signed, delivery.payload.clone(), now).await,
        Err(error) => Attempt::failed(error.to_string()),
    }
}

/// The secrets that sign a delivery: the current one and, for a while after a rotation, the former one.
fn secrets(ctx: &AppContext, webhook: &Webhook, now: Timestamp) -> Result<Vec<Secret>> {
    let is_valid = webhook.old_secret_until.is_some_and(|until| now < until.and_utc());
    let old = webhook.old_secret.as_ref().filter(|_| is_valid);
    let open = |sealed: &String| {
        let text = ctx.vault.open(&webhook.tenant_id, sealed)?;
        Secret::parse(&text).map_err(Error::internal)
    };
    // If the former secret cannot be decrypted, that is why it was replaced.
    let former = old.and_then(|sealed| open(sealed).ok());
    Ok(std::iter::once(open(&webhook.secret)?).chain(former).collect())
}

/// Records attempts, and the resulting health of their webhooks.
fn store(tx: &mut Tx<'_>, attempts: Vec<AttemptedDelivery>, now: Timestamp) -> Result<()> {
    let mut by_webhook: HashMap<(WebhookId, i64), Vec<Attempt>> = HashMap::new();
    let mut rows = Vec::with_capacity(attempts.len());
    for AttemptedDelivery { delivery, webhook_version, attempt } in attempts {
        rows.push(after_attempt(delivery.clone(), &attempt, now)?);
        by_webhook.entry((delivery.webhook_id, webhook_version)).or_default().push(attempt);
    }
    tx.save_deliveries(&rows)?;
    for webhook in tx.webhooks()? {
        // Attempts at a former address say nothing about the current one.
        if let Some(attempts) = by_webhook.get(&(webhook.id.clone(), webhook.version)) {
            store_health(tx, webhook, attempts, now)?;
        }
    }
    Ok(())
}

/// The delivery after an attempt.
fn after_attempt(mut row: WebhookDelivery, attempt: &Attempt, now: Timestamp) -> Result<WebhookDelivery> {
    row.attempts += 1;
    row.response_status = attempt.status.map(i64::from);
    row.detail = attempt.failure.clone();
    row.attempted_at = Some(now.naive_utc());
    (row.lease_owner, row.lease_until) = (None, None);
    let random = getrandom::u32().unwrap_or_default();
    let wait = retry_wait(row.attempts, attempt.retry_after, random);
    let event = match (&attempt.failure, wait) {
        (None, _) => DeliveryEvent::Deliver,
        (Some(_), Some(wait)) => {
            row.not_before = (now + wait).naive_utc();
            DeliveryEvent::Retry
        }
        (Some(_), None) => DeliveryEvent::Fail,
    };
    row.state = row.state.after(event).map_err(Error::internal)?;
    row.finished_at = (event != DeliveryEvent::Retry).then(|| now.naive_utc());
    Ok(row)
}

/// Records whether a webhook works. A failing webhook is paused. It is disabled after [`DISABLED_AFTER`], or when its
/// address reports that it is gone.
fn store_health(tx: &mut Tx<'_>, webhook: Webhook, attempts: &[Attempt], now: Timestamp) -> Result<()> {
    let before = webhook.clone();
    let mut row = webhook;
    if row.disabled_reason.is_some() {
        return Ok(());
    }
    if attempts.iter().any(|attempt| attempt.failure.is_none()) {
        (row.failures, row.failing_since, row.paused_until) = (0, None, None);
    } else {
        if row.paused_until.is_none_or(|paused| now - paused.and_utc() >= STREAK_ENDS_AFTER) {
            // No attempt was made for longer than any delivery waits, so earlier failures say nothing about the current
            // state.
            (row.failures, row.failing_since) = (0, None);
        }
        row.failures += 1;
        row.failing_since = row.failing_since.or(Some(now.naive_utc()));
        let asked_for = attempts.iter().filter_map(|attempt| attempt.retry_after).max();
        let until = now + pause_after(row.failures, asked_for);
        row.paused_until = Some(until.naive_utc());
        tx.postpone_deliveries(&row.id, until)?;
    }
    let lasts = row.failing_since.is_some_and(|since| now - since.and_utc() >= DISABLED_AFTER);
    if attempts.iter().any(Attempt::is_gone) {
        row.disabled_reason = Some(DisabledReason::Gone);
    } else if lasts {
        row.disabled_reason = Some(DisabledReason::Failing);
    }
    if let Some(reason) = row.disabled_reason {
        disable(tx, &before, &mut row, reason, now)?;
    }
    if row != before { tx.update_webhook(&row) } else { Ok(()) }
}

fn disable(tx: &mut Tx<'_>, before: &Webhook, row: &mut Webhook, reason: DisabledReason, now: Timestamp) -> Result<()> {
    tx.cancel_deliveries(&row.id, "the webhook was disabled, because its deliveries failed", now)?;
    row.version += 1;
    row.updated_at = now.naive_utc();
    let tenant: TenantId = tx.tenant().clone();
    tracing::warn!(%tenant, webhook = %row.id, reason = reason.as_str(), "disabled a webhook whose deliveries failed");
    let audit = Audit::internal(&tenant, "webhooks", now);
    audit.record(tx, AuditAction::WebhookUpdated, subject(row), Some(audited(before)), Some(audited(row)))
}

/// Deletes deliveries that ended long ago. Returns their number.
pub async fn delete_old(ctx: &AppContext) -> Result<usize> {
    let before = ctx.clock.now() - RETENTION;
    ctx.db.write_system(move |tx| tx.delete_old_deliveries(before)).await
}

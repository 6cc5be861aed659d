//! Creates, changes and deletes webhooks, and sends deliveries again.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::events::{Event, delivery, payload};
use crate::db::{Tx, Webhook, WebhookDelivery};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{DeliveryId, MessageId, WebhookId};
use crate::domain::webhooks::{DeliveryEvent, DisabledReason, EventType, EventTypes};
use crate::domain::{ConflictCode, Error, FieldCode, Result};
use crate::outgoing::{Secret, WebhookUrl};
use crate::services::context::AppContext;
use crate::services::idempotency::{IdempotentWrite, RenderedResponse};
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::{Audit, Subject};

/// Maximum number of webhooks of a tenant.
const MAX_WEBHOOKS: usize = 20;

/// A webhook to create.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where to send events.
    pub url: String,
    /// The purpose of the webhook.
    pub description: Option<String>,
    /// Which events to send.
    pub events: EventTypes,
}

/// Changes to a webhook; `None` leaves a value unchanged.
#[derive(Debug, Clone, Default)]
pub struct WebhookChange {
    /// Where to send events.
    pub url: Option<String>,
    /// The purpose of the webhook; `Some(None)` clears it.
    pub description: Option<Option<String>>,
    /// Which events to send.
    pub events: Option<EventTypes>,
    /// Whether events are sent.
    pub enabled: Option<bool>,
}

/// A webhook with its new secret, which is shown once.
pub struct WithSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// The secret's text.
    pub secret: SecretString,
}

/// Creates a webhook with a new secret.
pub async fn create(ctx: &AppContext, actor: &Actor, new: NewWebhook) -> Result<WithSecret> {
    let url = checked_url(ctx, &new.url)?;
    let secret = new_secret()?;
    let audit = Audit::new(actor, ctx.clock.now());
    let sealed = ctx.vault.seal(&actor.tenant, secret.expose_secret())?;
    let work = move |tx: &mut Tx<'_>| {
        if tx.webhooks()?.len() >= MAX_WEBHOOKS {
            let detail = format!("there are {MAX_WEBHOOKS} webhooks already: delete one first");
            return Err(Error::conflict(ConflictCode::TooManyWebhooks, detail));
        }
        let now = audit.now().naive_utc();
        let row = Webhook {
            id: WebhookId::new(),
            tenant_id: tx.tenant().clone(),
            url,
            description: new.description,
            events: new.events,
            disabled_reason: None,
            secret: sealed,
            old_secret: None,
            old_secret_until: None,
            failures: 0,
            failing_since: None,
            paused_until: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        tx.insert_webhook(&row)?;
        audit.record(tx, AuditAction::WebhookCreated, subject(&row), None, Some(audited(&row)))?;
        Ok(row)
    };
    let webhook = ctx.db.write(&actor.tenant, work).await?;
    Ok(WithSecret { webhook, secret })
}

/// Changes a webhook. A disabled webhook gets no events, and its pending deliveries are cancelled.
pub async fn update(
    ctx: &AppContext,
    actor: &Actor,
    id: WebhookId,
    change: WebhookChange,
    if_match: IfMatch,
) -> Result<Webhook> {
    let url = change.url.as_deref().map(|url| checked_url(ctx, url)).transpose()?;
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let before = tx.webhook(&id)?;
        if_match.check(before.version)?;
        let mut row = before.clone();
        row.url = url.unwrap_or(row.url);
        row.description = change.description.unwrap_or(row.description);
        row.events = change.events.unwrap_or(row.events);
        match change.enabled {
            Some(true) => row.disabled_reason = None,
            Some(false) => row.disabled_reason = row.disabled_reason.or(Some(DisabledReason::ByHand)),
            None => {}
        }
        if row == before {
            return Ok(row);
        }
        if row.url != before.url || row.disabled_reason != before.disabled_reason {
            // Earlier failures concerned another address, or were corrected.
            (row.failures, row.failing_since, row.paused_until) = (0, None, None);
        }
        if row.url != before.url {
            tx.make_deliveries_due(&row.id, audit.now())?;
        }
        if row.disabled_reason.is_some() && before.disabled_reason.is_none() {
            tx.cancel_deliveries(&row.id, "the webhook was disabled", audit.now())?;
        }
        row.version += 1;
        row.updated_at = audit.now().naive_utc();
        tx.update_webhook(&row)?;
        audit.record(tx, AuditAction::WebhookUpdated, subject(&row), Some(audited(&before)), Some(audited(&row)))?;
        Ok(row)
    };
    ctx.db.write(&actor.tenant, work).await
}

/// Deletes a webhook with its deliveries.
pub async fn delete(ctx: &AppContext, actor: &Actor, id: WebhookId, if_match: IfMatch) -> Result<()> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let row = tx.webhook(&id)?;
        if_match.check(row.version)?;
        tx.delete_webhook(&id)?;
        audit.record(tx, AuditAction::WebhookDeleted, subject(&row), Some(audited(&row)), None)
    };
    ctx.db.write(&actor.tenant, work).await
}

/// Gives a webhook a new secret. For the time `overlap`, deliveries are also signed with the former secret.
pub async fn rotate_secret(
    ctx: &AppContext,
    actor: &Actor,
    id: WebhookId,
    overlap: TimeDelta,
    if_match: IfMatch,
) -> Result<WithSecret> {
    let secret = new_secret()?;
    let audit = Audit::new(actor, ctx.clock.now());
    let sealed = ctx.vault.seal(&actor.tenant, secret.expose_secret())?;
    let work = move |tx: &mut Tx<'_>| {
        let mut row = tx.webhook(&id)?;
        if_match.check(row.version)?;
        let until = audit.now() + overlap;
        row.old_secret = Some(std::mem::replace(&mut row.secret, sealed));
        row.old_secret_until = Some(until.naive_utc());
        row.version += 1;
        row.updated_at = audit.now().naive_utc();
        tx.update_webhook(&row)?;
        let new = json!({"old_secret_until": until});
        audit.record(tx, AuditAction::WebhookSecretRotated, subject(&row), None, Some(new))?;
        Ok(row)
    };
    let webhook = ctx.db.write(&actor.tenant, work).await?;
    Ok(WithSecret { webhook, secret })
}

/// Sends a test event to one webhook. Errors if it is disabled.
pub async fn send_test<R>(
    ctx: &AppContext,
    actor: &Actor,
    id: WebhookId,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(WebhookDelivery) -> Result<RenderedResponse> + Send + 'static,
{
    let now = ctx.clock.now();
    let work = move |tx: &mut Tx<'_>| {
        let row = tx.webhook(&id)?;
        reject_disabled(&row)?;
        let body = payload(&Event::Test { webhook_id: id.clone() }, now)?;
        let delivery = delivery(tx, &id, EventType::Test, MessageId::new(), body, now);
        tx.insert_deliveries(std::slice::from_ref(&delivery))?;
        Ok(delivery)
    };
    let answer = once.run(ctx, &actor.tenant, work).await?;
    ctx.wake_deliveries();
    Ok(answer)
}

/// Sends an ended delivery again, with the same id and body. Errors if it is pending, or if its webhook is disabled.
pub async fn resend(ctx: &AppContext, actor: &Actor, id: DeliveryId) -> Result<WebhookDelivery> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let mut row = tx.delivery(&id)?;
        let webhook = tx.webhook(&row.webhook_id)?;
        reject_disabled(&webhook)?;
        row.state = row.state.after(DeliveryEvent::Resend).map_err(|_| {
            Error::conflict(ConflictCode::DeliveryPending, "the delivery is still pending and will be sent anyway")
        })?;
        (row.attempts, row.finished_at, row.not_before) = (0, None, audit.now().naive_utc());
        tx.save_deliveries(std::slice::from_ref(&row))?;
        let new = json!({"webhook_id": row.webhook_id, "event_type": row.event_type});
        audit.record(
            tx,
            AuditAction::WebhookDeliveryResent,
            Subject::new(&row.id, host_of(&webhook.url)),
            None,
            Some(new),
        )?;
        Ok(row)
    };
    let delivery = ctx.db.write(&actor.tenant, work).await?;
    ctx.wake_deliveries();
    Ok(delivery)
}

fn reject_disabled(webhook: &Webhook) -> Result<()> {
    match webhook.disabled_reason {
        None => Ok(()),
        Some(_) => Err(Error::conflict(ConflictCode::WebhookDisabled, "the webhook is disabled: enable it first")),
    }
}

fn checked_url(ctx: &AppContext, url: &str) -> Result<String> {
    let parsed = WebhookUrl::parse(url, ctx.webhooks.allows_private());
    parsed.map(|url| url.to_string()).map_err(|error| Error::invalid("/url", FieldCode::BadValue, error.to_string()))
}

fn new_secret() -> Result<SecretString> {
    Ok(Secret::random().map_err(Error::internal)?.text())
}

pub(super) fn subject(row: &Webhook) -> Subject {
    Subject::new(&row.id, host_of(&row.url))
}

/// The scheme and host of an address. The path may contain a secret, as in the webhook URLs of chats.
fn host_of(url: &str) -> String {
    let end = url.find("://").and_then(|scheme| Some(scheme + 3 + url.get(scheme + 3..)?.find('/')?));
    end.map_or_else(|| url.to_owned(), |end| format!("{}/…", &url[..end]))
}

/// A short one-way hash that distinguishes the URLs of one host.
fn fingerprint(url: &str) -> String {
    Sha256::digest(url.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A webhook as the audit log records it, without its secret and the path of its address.
pub(super) fn audited(row: &Webhook) -> Value {
    json!({
        "url": host_of(&row.url), "url_fingerprint": fingerprint(&row.url), "description": row.description, "events": row.events.to_string(),
        "enabled": row.disabled_reason.is_none(), "disabled_reason": row.disabled_reason,
    })
}

//! Webhooks: URLs that receive events.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::webhooks;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::ids::{TenantId, WebhookId};
use crate::domain::webhooks::{DisabledReason, EventType, EventTypes};
use crate::domain::{Error, Result};

/// A URL that receives events.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
#[diesel(table_name = webhooks, check_for_backend(MultiBackend))]
pub struct Webhook {
    pub id: WebhookId,
    pub tenant_id: TenantId,
    pub url: String,
    pub description: Option<String>,
    pub events: EventTypes,
    /// `None` while it is enabled.
    pub disabled_reason: Option<DisabledReason>,
    /// The secret that signs deliveries, encrypted.
    pub secret: String,
    /// The former secret, encrypted.
    pub old_secret: Option<String>,
    /// The time until which deliveries are also signed with the former secret.
    pub old_secret_until: Option<NaiveDateTime>,
    /// The number of consecutive claims of its deliveries in which every attempt failed.
    pub failures: i64,
    /// When the first of these failed.
    pub failing_since: Option<NaiveDateTime>,
    /// The time until which nothing is sent, because attempts failed.
    pub paused_until: Option<NaiveDateTime>,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

impl Tx<'_> {
    /// All webhooks, oldest first.
    pub fn webhooks(&mut self) -> Result<Vec<Webhook>> {
        let scoped = self.scoped(webhooks::table).order(webhooks::id);
        Ok(scoped.select(Webhook::as_select()).load(self.conn)?)
    }

    /// The enabled webhooks that receive an event.
    pub fn webhooks_for(&mut self, event: EventType) -> Result<Vec<Webhook>> {
        let scoped = self.scoped(webhooks::table).filter(webhooks::disabled_reason.is_null()).order(webhooks::id);
        let mut rows: Vec<Webhook> = scoped.select(Webhook::as_select()).load(self.conn)?;
        rows.retain(|row| row.events.contains(event));
        Ok(rows)
    }

    /// The webhook with an id, or a not-found error.
    pub fn webhook(&mut self, id: &WebhookId) -> Result<Webhook> {
        let scoped = self.scoped(webhooks::table).filter(webhooks::id.eq(id));
        let row = scoped.select(Webhook::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("webhook", id))
    }

    /// Adds a webhook.
    pub fn insert_webhook(&mut self, row: &Webhook) -> Result<()> {
        insert_scoped!(self, webhooks, std::slice::from_ref(row))?;
        Ok(())
    }

    /// Saves a webhook.
    pub fn update_webhook(&mut self, row: &Webhook) -> Result<()> {
        let scoped = self.scoped(webhooks::table).filter(webhooks::id.eq(row.id.clone()));
        diesel::update(scoped).set(row).execute(self.conn)?;
        Ok(())
    }

    /// Deletes a webhook with its deliveries.
    pub fn delete_webhook(&mut self, id: &WebhookId) -> Result<()> {
        diesel::delete(self.scoped(webhooks::table).filter(webhooks::id.eq(id))).execute(self.conn)?;
        Ok(())
    }
}

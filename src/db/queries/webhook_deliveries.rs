//! Deliveries of events to webhooks: stored with the event, sent by workers, which share them by lease.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, keyset, total};
use crate::db::engine::schema::webhook_deliveries;
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DeliveryId, MessageId, TenantId, WebhookId};
use crate::domain::string_enum::string_enum;
use crate::domain::webhooks::{DeliveryEvent, DeliveryState, EventType};
use crate::domain::{Error, Result};

/// One event's delivery to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = webhook_deliveries, check_for_backend(MultiBackend))]
pub struct WebhookDelivery {
    pub id: DeliveryId,
    pub tenant_id: TenantId,
    pub webhook_id: WebhookId,
    /// The id of the event, the same for every webhook.
    pub message_id: MessageId,
    pub event_type: EventType,
    /// The body, as it is signed and sent.
    pub payload: String,
    pub state: DeliveryState,
    /// The number of attempts since the event, or since somebody sent it again.
    pub attempts: i64,
    /// The status of the last response; `None` if the last attempt got none.
    pub response_status: Option<i64>,
    /// Why the last attempt failed.
    pub detail: Option<String>,
    pub lease_owner: Option<String>,
    pub lease_until: Option<NaiveDateTime>,
    /// A fencing token: only the worker with the latest claim may record a result.
    pub fence: i64,
    /// When the next attempt may be made.
    pub not_before: NaiveDateTime,
    pub created_at: NaiveDateTime,
    /// When the last attempt was made.
    pub attempted_at: Option<NaiveDateTime>,
    pub finished_at: Option<NaiveDateTime>,
}

row_update! {
    WebhookDelivery; webhook_deliveries
    where id, fence
    set state, attempts, response_status, detail, lease_owner, lease_until, not_before, attempted_at, finished_at
}

string_enum! {
    /// The sort keys of deliveries.
    DeliverySort {
        /// By the time of the event.
        CreatedAt = "created_at",
    }
}

/// The filter of deliveries.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only deliveries to this webhook.
    pub webhook_id: Option<WebhookId>,
    /// Only deliveries in one of these states, if there are any.
    pub states: Vec<DeliveryState>,
    /// Only deliveries of one of these events, if there are any.
    pub events: Vec<EventType>,
}

impl Tx<'_> {
    /// A page of deliveries.
    pub fn deliveries(
        &mut self,
        filter: &DeliveryFilter,
        page: &PageRequest<DeliverySort>,
    ) -> Result<Page<WebhookDelivery>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(webhook_deliveries::table).into_boxed();
            if let Some(id) = &filter.webhook_id {
                query = query.filter(webhook_deliveries::webhook_id.eq(id.clone()));
            }
            if !filter.states.is_empty() {
                query = query.filter(webhook_deliveries::state.in_list(&filter.states));
            }
            if !filter.events.is_empty() {
                query = query.filter(webhook_deliveries::event_type.in_list(&filter.events));
            }
            query
        };
        let total = total!(page, of_filter(self), self.conn);
        let query = keyset!(of_filter(self), page, webhook_deliveries::id, webhook_deliveries::id);
        let rows = query.limit(page.fetch()).select(WebhookDelivery::as_select()).load(self.conn)?;
        Ok(page.page(rows, |row: &WebhookDelivery| (row.id.to_string(), row.id.to_string())).with_total(total))
    }

    /// The delivery with an id, or a not-found error.
    pub fn delivery(&mut self, id: &DeliveryId) -> Result<WebhookDelivery> {
        let scoped = self.scoped(webhook_deliveries::table).filter(webhook_deliveries::id.eq(id));
        let row = scoped.select(WebhookDelivery::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("webhook delivery", id))
    }

    /// Adds deliveries.
    pub fn insert_deliveries(&mut self, rows: &[WebhookDelivery]) -> Result<()> {
        insert_many!(self, webhook_deliveries, rows);
        Ok(())
    }

    /// Claims by lease the deliveries that have been due longest, at most `limit` for each webhook. Runs one query for
    /// each webhook with due deliveries, of which a tenant has few.
    pub fn claim_deliveries(
        &mut self,
        owner: &str,
        limit: i64,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<WebhookDelivery>> {
        let at = now.naive_utc();
        let due = |tx: &Self| {
            let is_free = webhook_deliveries::lease_until.is_null().or(webhook_deliveries::lease_until.lt(at));
            tx.scoped(webhook_deliveries::table)
                .filter(webhook_deliveries::finished_at.is_null())
                .filter(webhook_deliveries::not_before.le(at))
                .filter(is_free)
        };
        let waiting: Vec<WebhookId> = due(self).select(webhook_deliveries::webhook_id).distinct().load(self.conn)?;
        let mut rows: Vec<WebhookDelivery> = Vec::new();
        for webhook in waiting {
            let first = due(self)
                .filter(webhook_deliveries::webhook_id.eq(webhook))
                .order((webhook_deliveries::not_before, webhook_deliveries::id))
                .limit(limit);
            rows.extend(first.select(WebhookDelivery::as_select()).load::<WebhookDelivery>(self.conn)?);
        }
        let ids: Vec<DeliveryId> = rows.iter().map(|row| row.id.clone()).collect();
        let claimed = self.scoped(webhook_deliveries::table).filter(webhook_deliveries::id.in_list(ids));
        diesel::update(claimed)
            .set((
                webhook_deliveries::lease_owner.eq(owner),
                webhook_deliveries::lease_until.eq(lease_until.naive_utc()),
                webhook_deliveries::fence.eq(webhook_deliveries::fence + 1),
            ))
            .execute(self.conn)?;
        for row in &mut rows {
            row.fence += 1;
        }
        Ok(rows)
    }

    /// Saves deliveries, except those that another worker has claimed since. Returns how many were saved.
    pub fn save_deliveries(&mut self, rows: &[WebhookDelivery]) -> Result<usize> {
        self.update_rows(rows)
    }

    /// Postpones the pending deliveries of a webhook that are due earlier.
    pub fn postpone_deliveries(&mut self, webhook: &WebhookId, until: Timestamp) -> Result<()> {
        let earlier = self
            .scoped(webhook_deliveries::table)
            .filter(webhook_deliveries::webhook_id.eq(webhook))
            .filter(webhook_deliveries::finished_at.is_null())
            .filter(webhook_deliveries::not_before.lt(until.naive_utc()));
        diesel::update(earlier).set(webhook_deliveries::not_before.eq(until.naive_utc())).execute(self.conn)?;
        Ok(())
    }

    /// Makes the pending deliveries of a webhook due, because its address was corrected.
    pub fn make_deliveries_due(&mut self, webhook: &WebhookId, now: Timestamp) -> Result<()> {
        let later = self
            .scoped(webhook_deliveries::table)
            .filter(webhook_deliveries::webhook_id.eq(webhook))
            .filter(webhook_deliveries::finished_at.is_null())
            .filter(webhook_deliveries::not_before.gt(now.naive_utc()));
        diesel::update(later).set(webhook_deliveries::not_before.eq(now.naive_utc())).execute(self.conn)?;
        Ok(())
    }

    /// Ends the pending deliveries of a webhook, because it is disabled. A worker that is sending one records nothing.
    pub fn cancel_deliveries(&mut self, webhook: &WebhookId, why: &str, now: Timestamp) -> Result<()> {
        let state = DeliveryState::Pending.after(DeliveryEvent::Cancel).map_err(Error::internal)?;
        let pending = self
            .scoped(webhook_deliveries::table)
            .filter(webhook_deliveries::webhook_id.eq(webhook))
            .filter(webhook_deliveries::finished_at.is_null());
        diesel::update(pending)
            .set((
                webhook_deliveries::state.eq(state),
                webhook_deliveries::detail.eq(why),
                webhook_deliveries::lease_owner.eq(None::<String>),
                webhook_deliveries::lease_until.eq(None::<NaiveDateTime>),
                webhook_deliveries::fence.eq(webhook_deliveries::fence + 1),
                webhook_deliveries::finished_at.eq(now.naive_utc()),
            ))
            .execute(self.conn)?;
        Ok(())
    }
}

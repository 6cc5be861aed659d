//! The events, and their deliveries.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use crate::db::{Tx, WebhookDelivery};
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{
    BillingLineId, CompanyId, DeliveryId, MessageId, ProductId, PushJobId, PushLineId, WebhookId,
};
use crate::domain::mapping_status::MappingReason;
use crate::domain::push::{JobState, PushKind, PushLineState, PushReason, PushTrigger};
use crate::domain::quantity::Quantity;
use crate::domain::rules::Target;
use crate::domain::webhooks::{DeliveryState, EventType};
use crate::domain::{Error, Result};

/// Maximum number of lines that one event names.
const LINES_PER_EVENT: usize = 100;

/// An event. Its fields become the `data` of the payload; `http/resources/webhooks/payloads.rs` documents them.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// A push job ended.
    PushJobFinished {
        push_job_id: PushJobId,
        kind: PushKind,
        state: JobState,
        detail: Option<String>,
        trigger: PushTrigger,
        requested_by: String,
        product_id: Option<ProductId>,
        billing_month: BillingMonth,
        /// The number of lines in each state.
        lines: BTreeMap<PushLineState, i64>,
        finished_at: Timestamp,
    },
    /// Push lines were held.
    PushLinesHeld { push_job_id: PushJobId, lines: Vec<EventPushLine> },
    /// Push lines failed, or are unverified.
    PushLinesFailed { push_job_id: PushJobId, lines: Vec<EventPushLine> },
    /// The targets of lines are no longer live.
    MappingsStale { lines: Vec<EventMapping> },
    /// Several targets match the rules for lines.
    MappingsAmbiguous { lines: Vec<EventMapping> },
    /// Enabled lines whose usage has stopped since the last check, at most [`LINES_PER_EVENT`] in one event.
    UsageMissing { lines: Vec<MissingUsage> },
    /// The connection fails.
    ConnectionFailing { push_job_id: PushJobId, cause: String },
    /// A test.
    Test { webhook_id: WebhookId },
}

/// A push line in an event.
#[derive(Debug, Clone, Serialize)]
pub struct EventPushLine {
    pub push_line_id: PushLineId,
    pub billing_line_id: BillingLineId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub product_id: ProductId,
    pub product_code: String,
    pub state: PushLineState,
    pub reason: Option<PushReason>,
    pub detail: Option<String>,
    pub from: Option<Quantity>,
    pub to: Option<Quantity>,
}

/// A billing line in an event about mappings.
#[derive(Debug, Clone, Serialize)]
pub struct EventMapping {
    pub billing_line_id: BillingLineId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub product_id: ProductId,
    /// The mapping that the event is about.
    pub target: Target,
    pub reason: Option<MappingReason>,
}

/// A billing line whose usage stopped.
#[derive(Debug, Clone, Serialize)]
pub struct MissingUsage {
    pub billing_line_id: BillingLineId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub product_id: ProductId,
    pub product_code: String,
    /// When the newest usage was measured.
    pub last_measured_at: Timestamp,
}

impl Event {
    /// The type of the event.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::PushJobFinished { .. } => EventType::PushJobFinished,
            Self::PushLinesHeld { .. } => EventType::PushLineHeld,
            Self::PushLinesFailed { .. } => EventType::PushLineFailed,
            Self::MappingsStale { .. } => EventType::MappingStale,
            Self::MappingsAmbiguous { .. } => EventType::MappingAmbiguous,
            Self::UsageMissing { .. } => EventType::UsageMissing,
            Self::ConnectionFailing { .. } => EventType::ConnectionFailing,
            Self::Test { .. } => EventType::Test,
        }
    }

    /// The number of lines that the event names; `None` if it is not about lines.
    fn lines(&self) -> Option<usize> {
        match self {
            Self::PushLinesHeld { lines, .. } | Self::PushLinesFailed { lines, .. } => Some(lines.len()),
            Self::MappingsStale { lines } | Self::MappingsAmbiguous { lines } => Some(lines.len()),
            Self::UsageMissing { lines } => Some(lines.len()),
            Self::PushJobFinished { .. } | Self::ConnectionFailing { .. } | Self::Test { .. } => None,
        }
    }

    /// The event in parts that each name at most [`LINES_PER_EVENT`] lines; none if it names no line.
    fn parts(self) -> Vec<Self> {
        fn chunks<T: Clone>(lines: &[T]) -> impl Iterator<Item = Vec<T>> {
            lines.chunks(LINES_PER_EVENT).map(<[T]>::to_vec)
        }
        match self {
            Self::PushLinesHeld { push_job_id, lines } => {
                chunks(&lines).map(|lines| Self::PushLinesHeld { push_job_id: push_job_id.clone(), lines }).collect()
            }
            Self::PushLinesFailed { push_job_id, lines } => {
                chunks(&lines).map(|lines| Self::PushLinesFailed { push_job_id: push_job_id.clone(), lines }).collect()
            }
            Self::MappingsStale { lines } => chunks(&lines).map(|lines| Self::MappingsStale { lines }).collect(),
            Self::MappingsAmbiguous { lines } => {
                chunks(&lines).map(|lines| Self::MappingsAmbiguous { lines }).collect()
            }
            Self::UsageMissing { lines } => chunks(&lines).map(|lines| Self::UsageMissing { lines }).collect(),
            Self::PushJobFinished { .. } | Self::ConnectionFailing { .. } | Self::Test { .. } => vec![self],
        }
    }
}

/// Stores the deliveries of an event to the enabled webhooks that subscribe to it, in the transaction in which it
/// happens. An event type that lists lines is not sent if it has no lines.
pub fn record(tx: &mut Tx<'_>, event: Event, now: Timestamp) -> Result<()> {
    match event.lines() {
        Some(0) => Ok(()),
        _ => record_if_wanted(tx, event.event_type(), now, |_| Ok(event)),
    }
}

/// Same as [`record`], for an event that needs more queries: they run only if a webhook subscribes to it.
pub fn record_if_wanted(
    tx: &mut Tx<'_>,
    event_type: EventType,
    now: Timestamp,
    event: impl FnOnce(&mut Tx<'_>) -> Result<Event>,
) -> Result<()> {
    let webhooks = tx.webhooks_for(event_type)?;
    if webhooks.is_empty() {
        return Ok(());
    }
    let mut deliveries = Vec::new();
    for part in event(tx)?.parts() {
        let (message, payload) = (MessageId::new(), payload(&part, now)?);
        for webhook in &webhooks {
            let mut delivery = delivery(tx, &webhook.id, part.event_type(), message.clone(), payload.clone(), now);
            delivery.not_before = webhook.paused_until.map_or(delivery.not_before, |at| at.max(delivery.not_before));
            deliveries.push(delivery);
        }
    }
    tx.insert_deliveries(&deliveries)
}

/// The body of an event's deliveries.
pub(super) fn payload(event: &Event, now: Timestamp) -> Result<String> {
    let body = json!({"type": event.event_type(), "timestamp": now, "data": event});
    serde_json::to_string(&body).map_err(Error::internal)
}

/// A delivery that is due now.
pub(super) fn delivery(
    tx: &Tx<'_>,
    webhook: &WebhookId,
    event_type: EventType,
    message_id: MessageId,
    payload: String,
    now: Timestamp,
) -> WebhookDelivery {
    WebhookDelivery {
        id: DeliveryId::new(),
        tenant_id: tx.tenant().clone(),
        webhook_id: webhook.clone(),
        message_id,
        event_type,
        payload,
        state: DeliveryState::Pending,
        attempts: 0,
        response_status: None,
        detail: None,
        lease_owner: None,
        lease_until: None,
        fence: 0,
        not_before: now.naive_utc(),
        created_at: now.naive_utc(),
        attempted_at: None,
        finished_at: None,
    }
}

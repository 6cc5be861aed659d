//! Webhooks: sends events to addresses that the tenant chooses.
//!
//! An event is stored as one delivery for each webhook in the transaction in which it happens (`events`). Workers send
//! the deliveries (`send`), which may send one twice if a process dies in between: the receiver recognises it by its
//! id.

mod events;
mod manage;
mod missing_usage;
mod send;

pub use events::{Event, EventMapping, EventPushLine, record, record_if_wanted};
pub use manage::{NewWebhook, WebhookChange, WithSecret, create, delete, resend, rotate_secret, send_test, update};
pub use missing_usage::find as find_stopped_usage;
pub use send::{delete_old, deliver_one, poll};

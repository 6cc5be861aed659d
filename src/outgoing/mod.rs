//! Requests to addresses that tenants choose: which addresses are allowed, and the sender of webhooks.

mod address;
mod sender;
mod signature;
mod webhook_url;

pub(crate) use address::{PrivateAddress, PublicOnly, is_public, private_address, root_cause};
pub use sender::{Attempt, WebhookSender};
pub use signature::{DeliveryHeaders, Secret};
pub use webhook_url::WebhookUrl;

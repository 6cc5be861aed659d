//! The use cases, which combine the database, ConnectWise and the rules of the domain.
//!
//! Functions that take a transaction never wait for the network. Functions that take [`AppContext`] may: they read,
//! call ConnectWise, and then save the results, each step in its own transaction.

pub mod companies;
mod context;
pub mod idempotency;
pub mod import_export;
pub mod mappings;
pub mod matching_rules;
pub mod products;
pub mod push;
pub mod quantities;
pub mod reconciliation;
pub mod remote;
pub mod schedule;
pub mod security;
pub mod usage;
pub mod webhooks;

pub use context::{AppContext, LoopCount, RunningLoop, Settings, StepResult};
pub use security::actor::{Actor, IfMatch};

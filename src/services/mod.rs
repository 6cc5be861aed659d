//! The use cases, which combine the database, ConnectWise and the rules of the domain.
//!
//! Functions that take a transaction never wait for the network. Functions that take [`AppContext`] may: they read,
//! call ConnectWise, and then save the results, each step in its own transaction.

mod actor;
pub mod api_keys;
pub mod audit;
pub mod billed_lines;
pub mod billing_calendar;
pub mod companies;
pub mod company_batch;
pub mod connection;
mod context;
pub mod encryption;
mod errors;
pub mod idempotency;
pub mod import_export;
pub mod invoice_dates;
pub mod invoice_effects;
pub mod line_summary;
pub mod mapping;
pub mod matching_rules;
pub mod monthly_usage;
mod overage;
pub mod products;
pub mod push;
pub mod reconciliation;
pub mod refresh;
pub mod remote;
pub mod schedule;
pub mod statement;
pub mod usage;
pub mod usage_totals;
pub mod webhooks;

pub use actor::{Actor, IfMatch};
pub use context::{AppContext, LoopCount, RunningLoop, Settings, StepResult};

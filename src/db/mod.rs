//! Everything kept: diesel, on SQLite or PostgreSQL, and nowhere else.
//!
//! [`Db`] hands out transactions: [`Tx`] sees one tenant, [`SystemTx`] is for the few questions that are no tenant's.
//! Queries are methods and functions over them, one file a subject; they never call the network.

mod backup;
mod billing_line;
mod budget;
mod catalog;
mod catalog_cache;
mod company;
mod conn;
mod connection;
mod connectwise;
mod connectwise_save;
mod copy;
mod error;
mod file;
mod idempotency;
mod line_change;
mod mapped_line;
mod migrate;
mod page;
mod pool;
mod product;
mod push;
mod push_claim;
mod push_history;
mod push_steps;
mod push_written;
mod rule;
mod schedule;
mod schema;
mod scope;
mod sole_use;
mod statistics;
mod system;
mod tenant;
mod turns;
mod tx;
mod types;
mod url;
mod usage;

pub use backup::backup;
pub use billing_line::{BillingLine, BillingLineSort, BillingLineView, LineFilter};
pub use budget::Place;
pub use company::{Company, CompanyFilter, CompanySort};
pub use connection::Connection;
pub use connectwise::{ConnectWiseFilter, CwCompanySort, RefreshRow};
pub use copy::copy;
pub use idempotency::StoredAnswer;
pub use line_change::LineChangeRow;
pub use mapped_line::MappedLine;
pub use page::{Page, PageRequest};
pub use pool::Db;
pub use product::{Product, ProductFilter, ProductSort};
pub use push::{LineCount, LineResult, PushJob, PushLine};
pub use push_history::{JobFilter, PushLineFilter, PushSort};
pub use push_steps::LineEnd;
pub use push_written::LaterLine;
pub use rule::{MatchingRule, RuleFilter};
pub use schedule::{BillingTimeZone, PushSchedule, ScheduleRun};
pub use sole_use::SoleUse;
pub use tenant::{ApiKey, Tenant};
pub use turns::Turns;
pub use tx::{SystemTx, Tx};
pub use url::DatabaseUrl;
pub use usage::{UsageFilter, UsageRecord, UsageSort};

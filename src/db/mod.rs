//! The database: SQLite or PostgreSQL, through diesel. No other module uses diesel.
//!
//! [`Db`] runs transactions: [`Tx`] is scoped to one tenant, [`SystemTx`] is for the few queries across tenants.
//! Queries are methods of these, one file per subject. They never call the network.

mod engine;
mod queries;
mod tools;

pub use engine::instance_lock::InstanceLock;
pub use engine::keyed_locks::KeyedLocks;
pub use engine::page::{ListName, Page, PageRequest};
pub use engine::pool::Db;
pub use engine::tx::{SystemTx, Tx};
pub use engine::url::DatabaseUrl;
pub use queries::audit::{AuditEntry, AuditFilter, AuditSort};
pub use queries::billing_lines::{BillingLine, BillingLineView};
pub use queries::billing_page::BillingLineSort;
pub use queries::companies::{Company, CompanyFilter, CompanySort};
pub use queries::counted_usage::{CompanySelection, CountedByCompany, UsageToRead};
pub use queries::cw_connection::{Connection, ConnectionFailure};
pub use queries::cw_records::{AdditionQuantity, CwCompanyFilter, CwCompanySort, RefreshRow};
pub use queries::idempotency::StoredResponse;
pub use queries::leased_lines::CurrentTarget;
pub use queries::line_changes::LineChangeRow;
pub use queries::line_counts::BillingLineCounts;
pub use queries::line_filter::LineFilter;
pub use queries::line_settings::LineSettings;
pub use queries::mapped_lines::MappedLine;
pub use queries::matching_rules::{MatchingRule, RuleFilter};
pub use queries::missing_usage::NewestUsage;
pub use queries::overage_pair::PairedLine;
pub use queries::products::{Product, ProductFilter, ProductName, ProductSort};
pub use queries::push_claim::{LINES_PER_TRANSACTION, OpenJob};
pub use queries::push_history::{JobFilter, PushLineFilter, PushSort};
pub use queries::push_jobs::{LineResult, PushJob, PushLine};
pub use queries::push_transitions::PushLineEnd;
pub use queries::push_written::{LaterLine, PushedQuantity};
pub use queries::pushes_before_invoices::{InvoiceDate, PushBeforeInvoice};
pub use queries::reconciled_lines::{ReconciledCompany, ReconciledLine};
pub use queries::reconciliation_snapshot::ReconciliationSnapshot;
pub use queries::request_budget::RateReservation;
pub use queries::schedule::{BillingTimeZone, PushSchedule, ScheduleRun};
pub use queries::tenants::{ApiKey, Tenant};
pub use queries::usage::{SupersededUsage, UsageFilter, UsageRecord, UsageSort};
pub use queries::usage_totals::{TotalsKey, UsageTotalsRow};
pub use queries::webhook_deliveries::{DeliveryFilter, DeliverySort, WebhookDelivery};
pub use queries::webhooks::Webhook;
pub use tools::backup::backup;
pub use tools::copy::copy;

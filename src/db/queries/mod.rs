//! The queries: methods of transactions, one file per subject.

pub(super) mod audit;
pub(super) mod billing_line;
pub(super) mod billing_page;
pub(super) mod catalog;
pub(super) mod company;
pub(super) mod cw_connection;
pub(super) mod cw_records;
pub(super) mod cw_records_save;
pub(super) mod idempotency;
pub(super) mod last_push;
pub(super) mod leased_lines;
pub(super) mod line_change;
pub(super) mod mapped_line;
pub(super) mod product;
pub(super) mod push_claim;
pub(super) mod push_history;
pub(super) mod push_job;
pub(super) mod push_steps;
pub(super) mod push_written;
pub(super) mod request_budget;
pub(super) mod rule;
pub(super) mod schedule;
pub(super) mod system;
pub(super) mod tenant;
pub(super) mod usage;
pub(super) mod usage_totals;

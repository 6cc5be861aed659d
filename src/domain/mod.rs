//! The terms and decisions of billing: no database, no network, and no side effects but reading the time in `clock`.
//!
//! Everything here can be tested with values alone. Other layers call into this one; it calls none of them.

pub mod audit;
pub mod calendar;
pub mod change_guard;
pub mod clock;
mod codes;
pub mod company_match;
pub mod error;
pub mod exact_sum;
pub mod ids;
pub mod invoice_terms;
pub mod invoices;
pub mod line_need;
pub mod line_quantity;
pub mod mapping_status;
pub mod mappings;
pub mod push;
pub mod push_counts;
pub mod quantity;
pub mod reconciliation;
pub mod records;
pub mod rules;
pub mod schedule;
pub mod statement;
pub mod string_enum;
pub mod text;
pub mod usage;
pub mod usage_totals;
pub mod webhooks;

pub use codes::{ConflictCode, ConnectWiseCode, ErrorCode, FieldCode};
pub use error::{Error, FieldError, Result};

//! The quantities of billing lines: the usage that counts, the included quantity and overage, what invoices charge, and
//! the statement that explains it to a customer.

pub mod compute;
pub mod invoice_effects;
pub mod monthly_usage;
pub(super) mod overage;
pub mod statement;

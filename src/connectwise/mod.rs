//! The client for ConnectWise PSA's REST API. Only this module and `outgoing` use reqwest.
//!
//! [`Client`] belongs to one connection. It finds the API's address, authenticates, reads all pages, respects the
//! connection's rate limit, retries what is safe to retry, and classifies failures by what to do next ([`CwError`]).
//! It does not use our database, and treats the real ConnectWise and the sandbox alike.

mod body;
mod check;
mod client;
mod conditions;
mod custom_fields;
mod error;
mod limiter;
mod operations;
mod pages;
mod parse;
mod site;

pub use check::{Check, CheckStep};
pub use client::{Client, Credentials, RetryPolicy, Settings};
pub use custom_fields::CustomFields;
pub use error::{CwError, Fault};
pub use limiter::{Admission, CircuitStatus, RateLimit, SharedBudget};
pub use operations::WriteError;
pub use site::Site;

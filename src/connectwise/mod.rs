//! The client for ConnectWise PSA's REST API. Only this module and `outgoing` use reqwest.
//!
//! [`Client`] belongs to one connection. It finds the API's address, authenticates, reads all pages, respects the
//! connection's rate limit, retries what is safe to retry, and classifies failures by what to do next ([`CwError`]).
//! It does not use our database, and treats the real ConnectWise and the sandbox alike.

mod body;
mod client;
mod conditions;
mod connection_test;
mod custom_fields;
mod error;
mod http_clients;
mod limiter;
mod list_budget;
mod operations;
mod record_parsing;
mod record_stream;
mod site;
mod timed_body;
mod whole_lists;

pub use client::{Client, Credentials, RetryPolicy, Settings};
pub use connection_test::{Check, CheckStep};
pub use custom_fields::CustomFields;
pub use error::{ConnectionFault, CwError};
pub use http_clients::HttpClients;
pub use limiter::{Admission, CircuitStatus, RateLimit, SharedBudget};
pub use list_budget::ListBudget;
pub use operations::WriteError;
pub use site::Site;

//! ConnectWise PSA's REST API: reqwest, and nowhere else.
//!
//! [`Client`] belongs to one connection. It finds the API's address, authenticates, reads all pages, keeps to the
//! connection's rate limit, retries what is safe to retry, and classifies failures by what to do next ([`CwError`]).
//! It knows neither our database nor whether the other side is really ConnectWise.

mod address;
mod check;
mod client;
mod conditions;
mod error;
mod limiter;
mod operations;
mod pages;
mod parse;
mod site;

pub use check::CheckStep;
pub use client::{Client, Credentials, RetryPolicy, Settings};
pub use error::{CwError, Fault};
pub use limiter::{Admission, CircuitStatus, RateLimit, SharedBudget};
pub use operations::WriteError;
pub use site::Site;

//! ConnectWise PSA's REST API: reqwest, and nowhere else.
//!
//! [`Client`] speaks for one connection. It finds the API's address, signs requests, reads all pages, keeps to the
//! connection's budget of requests, repeats what is safe to repeat, and tells failures apart by what to do next
//! ([`CwError`]). It knows neither our database nor whether the other side is really ConnectWise.

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

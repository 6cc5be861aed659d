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
mod gate;
mod operations;
mod pages;
mod parse;
mod site;

pub use check::CheckStep;
pub use client::{Client, Credentials, Patience, Settings};
pub use error::{CwError, Fault};
pub use gate::{CircuitStatus, Pace, SharedBudget, Turn};
pub use operations::WriteError;
pub use site::Site;

//! A stand-in for ConnectWise PSA, for the demo and the tests. It serves HTTP on loopback addresses only.
//!
//! It reproduces the documented and observed behaviour of ConnectWise (see docs/ARCHITECTURE.md): authentication,
//! `clientId`, the conditions grammar, paging with `Link`, `fields`, omitted null members, the pitfalls of PATCH, error
//! bodies, and throttling. Its control paths under `/_sandbox/` make it fail in the ways that ConnectWise can, and
//! return a ledger of the requests. It shares no code with the client that is tested against it.

mod addition_patch;
mod conditions;
mod control;
mod endpoints;
mod faults;
mod invoices;
mod ledger;
mod list;
mod request;
mod response;
pub mod sample;
mod server;
mod state;
mod store;

pub use faults::{Fault, FaultKind};
pub use invoices::Charge;
pub use ledger::{Entry, Ledger, Write};
pub use server::Sandbox;
pub use state::{Behavior, Identity};
pub use store::{Kind, Store};

//! A stand-in for ConnectWise PSA, for the demo and the tests: real HTTP over a socket, on loopback only.
//!
//! It behaves as ConnectWise is documented or was seen to (see docs/ARCHITECTURE.md): authentication, `clientId`, the
//! conditions grammar, paging with `Link`, `fields`, null members left out, PATCH with its pitfalls, error bodies,
//! throttling. Over its own control path `/_sandbox/` it can be told to fail in the ways that ConnectWise can, and it
//! keeps a ledger of what it was asked. It shares no code with the client that is tested against it.

mod api;
mod conditions;
mod control;
mod faults;
mod ledger;
mod list;
mod patch;
mod request;
mod response;
pub mod sample;
mod server;
mod state;
mod store;

pub use faults::{Fault, FaultKind};
pub use ledger::{Entry, Ledger, Write};
pub use server::Sandbox;
pub use state::{Behavior, Identity};
pub use store::{Kind, Store};

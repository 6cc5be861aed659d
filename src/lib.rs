//! `connectwise-billing` turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.
//!
//! The layers, each in its folder: `domain` decides and depends on nothing; `db` stores (diesel), `connectwise` calls
//! the API (reqwest), and the two don't know each other; `services` join them; `http` (actix, utoipa) and `worker`
//! stand on services; `app` wires all. `sandbox` is a stand-in for ConnectWise that shares no code with the rest.
//! docs/ARCHITECTURE.md draws this, and a test checks it.

pub mod app;
mod connectwise;
mod db;
pub mod domain;
mod http;
pub mod sandbox;
mod services;
mod worker;

//! `connectwise-billing` turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.
//!
//! Each layer has its folder. `domain` makes the decisions and depends on no other layer. `db` stores data (diesel) and
//! `connectwise` calls the API (reqwest); they do not depend on each other. `outgoing` sends webhooks. `services`
//! combines them. `http` (actix, utoipa) and `worker` are built on services. `app` wires everything together. `sandbox`
//! is a stand-in for ConnectWise that shares no code with the rest. docs/ARCHITECTURE.md shows the layers, and a test
//! checks them.

pub mod app;
mod connectwise;
mod db;
pub mod domain;
mod http;
mod outgoing;
pub mod sandbox;
mod services;
mod worker;

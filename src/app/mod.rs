//! Wiring: settings, start and stop, and the binary's commands.

mod application;
mod cli;
mod config;
mod demo;
mod demo_examples;
mod demo_products;
mod demo_table;
mod demo_tenant;
mod maintenance;
mod startup;
mod telemetry;

pub use application::{Application, WorkerHandle};
pub use cli::run;
pub use config::{Config, EncryptionKey, Role};

pub use crate::db::DatabaseUrl;
pub use crate::http::document as openapi_document;

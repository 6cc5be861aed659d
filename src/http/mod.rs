//! The REST interface. This is the only module that uses actix and utoipa.
//!
//! A handler parses the request, calls one service or one query, and renders the response. `kit` has what all handlers
//! use, `resources` has the handlers, and `views` has the parts of responses that several resources share.

mod console;
mod kit;
mod openapi;
mod resources;
mod routes;
mod server;
mod views;

pub use kit::example_ids::{ExampleIds, ExampleRecord};
pub use kit::extract::body_limits::{BodyLimits, LARGEST_BODY};
pub use kit::settings::{HttpSettings, RenderMetrics};
pub use openapi::document;
pub use server::Server;

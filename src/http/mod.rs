//! The REST interface: actix and utoipa, and nowhere else.
//!
//! A handler parses, calls one service or one query, and renders. `kit` has what all handlers use, `resources` the
//! handlers, and `views` the parts of answers that several resources share.

mod kit;
mod openapi;
mod resources;
mod routes;
mod server;
mod views;

pub use kit::extract::body_limits::{BodyLimits, LARGEST_BODY};
pub use kit::settings::{HttpSettings, RenderMetrics};
pub use openapi::document;
pub use server::Server;

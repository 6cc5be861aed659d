//! The REST interface: actix and utoipa, and nowhere else.
//!
//! A handler parses, calls one service or one query, and renders. What a handler needs of a request comes through
//! extractors that already answer problem+json: [`body::Body`], [`headers::Match`], [`headers::Idempotency`].

mod api_keys;
mod auth;
mod billing_lines;
mod body;
mod body_limits;
mod bulk_choices;
mod companies;
mod company_matches;
mod connection;
mod connectwise;
mod csv;
mod document;
mod events;
mod headers;
mod health;
mod list;
mod mapping;
mod mappings;
mod matching_rules;
mod params;
mod problem;
mod products;
mod push_actions;
mod push_history;
mod push_jobs;
mod push_lines;
mod push_schedule;
mod reply;
mod request_id;
mod routes;
mod schema;
mod server;
mod story;
mod tenants;
mod transfer;
mod unread;
mod usage;

pub use body_limits::{BodyLimits, LARGEST_BODY};
pub use document::document;
pub use server::{HttpSettings, RenderMetrics, Server};

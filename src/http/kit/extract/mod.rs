//! What a handler needs of a request. An extractor that refuses answers with problem+json.

pub mod body_limits;
pub mod csv;
pub mod headers;
pub mod json;
pub mod query;

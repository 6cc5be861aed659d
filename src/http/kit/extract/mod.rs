//! Extractors: what handlers read from a request. An extractor rejects an invalid request with problem+json.

pub mod body_limits;
pub mod csv;
pub mod csv_writer;
pub mod formula;
pub mod headers;
pub mod idempotent;
pub mod json;
pub mod query;
pub mod records;
mod schema_errors;
pub mod table_query;

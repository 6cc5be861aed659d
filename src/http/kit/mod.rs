//! What all resources use: authentication, problems, responses, lists and extractors. It depends on no resource.

pub mod auth;
pub mod browsers;
pub mod current_request;
pub mod deprecation_headers;
pub mod document_format;
pub mod etag;
pub mod example_ids;
pub mod extract;
pub mod fallback;
pub mod list;
pub mod params;
pub mod problem;
pub mod problem_code;
pub mod request_id;
pub mod response;
pub mod served_document;
pub mod settings;
pub mod unread_bodies;
pub mod unused_input;
pub mod value_schemas;

//! The resources of the API, each in a file or folder with its handlers, request bodies and responses.

pub mod api_keys;
pub mod audit_log;
pub mod billing_lines;
pub mod companies;
pub mod connection;
pub mod connectwise;
pub mod health;
pub mod import_export;
pub mod mappings;
pub mod matching_rules;
pub mod problem_pages;
pub mod products;
pub mod push_jobs;
pub mod push_schedule;
pub mod reconciliation;
pub mod tenants;
pub mod usage;
pub mod webhooks;

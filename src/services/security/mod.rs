//! Who may do what, and who did it: callers, API keys, encrypted secrets and the audit log.

pub mod actor;
pub mod api_keys;
pub mod audit;
pub mod encryption;

//! The agreements and additions that billing lines bill to: resolved by rules, chosen manually, recorded and explained.

pub mod complete;
pub mod edit;
pub mod explain;
pub mod history;
pub mod line_edit;
pub mod resolve;
pub mod summary;

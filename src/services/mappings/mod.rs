//! The agreements and additions that billing lines bill to: resolved by rules, chosen manually, recorded and explained.

pub mod edit;
pub mod explain;
pub mod history;
pub mod line_edit;
pub mod missing_additions;
pub mod resolve;
pub mod summary;

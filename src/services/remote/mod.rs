//! Access to ConnectWise: clients, their budget, and additions read on demand.

pub mod additions;
mod budget;
pub mod client;

//! What is asked of ConnectWise while somebody waits: clients, their budget, and additions.

pub mod additions;
mod budget;
pub mod client;

//! Access to ConnectWise: the tenant's connection, clients and their budget, and what is read from it, in a refresh or
//! on demand.

pub mod additions;
mod budget;
pub mod client;
pub mod connection;
mod connectwise_errors;
pub mod refresh;

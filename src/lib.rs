//! `connectwise-billing` turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.

mod connectwise;
mod db;
pub mod domain;
mod http;
mod services;

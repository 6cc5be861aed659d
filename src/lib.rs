//! `connectwise-billing` turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.

mod db;
pub mod domain;

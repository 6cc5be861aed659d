//! Tests that send HTTP requests to the real application, on a real database, with the sandbox as ConnectWise.
//!
//! Tests that use the database run on SQLite and on PostgreSQL: `scripts/test` starts a temporary PostgreSQL and sets
//! `CWB_TEST_POSTGRES_URL`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test that panics is a test that fails"
)]

#[macro_use]
mod support;

mod architecture;
mod attention;
mod audit;
mod auth;
mod backup_and_copy;
mod billing_period;
mod browser;
mod browsers;
mod client_limits;
mod companies;
mod company_batch;
mod compatibility;
mod connectwise;
mod console;
mod cost;
mod crash_recovery;
mod crud;
mod deployment;
mod differential;
mod documentation;
mod endless_list;
mod errors;
mod fairness;
mod file_failures;
mod guard_and_revert;
mod invoices;
mod isolation;
mod late_usage;
mod manual_mapping;
mod migrations;
mod openapi;
mod overage;
mod pages;
mod plans;
mod postgres;
mod process;
mod provenance;
mod push;
mod push_groups;
mod push_interruptions;
mod push_outcomes;
mod quantity_settings;
mod reconciliation;
mod rules;
mod sandbox;
mod schedule;
mod service;
mod simulation;
mod usage;
mod usage_formats;
mod usage_totals;
mod webhooks;

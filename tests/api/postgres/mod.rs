//! Tests that need PostgreSQL: several processes on one database, and the same tables as on SQLite.

mod failures;
mod replicas;
mod schema;

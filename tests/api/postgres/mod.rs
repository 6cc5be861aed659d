//! What only PostgreSQL can show: several processes on one database, and that its tables are SQLite's.

mod failures;
mod replicas;
mod schema;

//! The query planner's statistics.

use diesel::connection::SimpleConnection;

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;

/// The tables of which a request may add so many rows that what the planner knows of them is no longer true.
const GROWING: &str = "companies, billing_lines, push_lines";

impl Db {
    /// Updates SQLite's statistics of tables that have grown. Without them, SQLite may read all lines of a tenant to
    /// return one page. PostgreSQL maintains its own.
    pub async fn optimize(&self) -> Result<()> {
        if self.is_shared() {
            return Ok(());
        }
        self.with_writer(update_statistics).await
    }

    /// Updates the statistics after many rows were added at once. PostgreSQL would do so within some minutes.
    pub async fn optimize_after_growth(&self) -> Result<()> {
        self.with_writer(update_statistics).await
    }
}

fn update_statistics(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => conn.batch_execute("PRAGMA optimize = 0x10012")?,
        Conn::Postgres(conn) => conn.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {GROWING}"))?,
    }
    Ok(())
}

//! The query planner's statistics. PostgreSQL maintains them by itself.

use diesel::connection::SimpleConnection;

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;

impl Db {
    /// Updates SQLite's statistics of tables that have grown. Without them, SQLite may read all lines of a tenant to
    /// return one page.
    pub async fn optimize(&self) -> Result<()> {
        if self.is_shared() {
            return Ok(());
        }
        let optimize = |conn: &mut Conn| Ok(conn.batch_execute("PRAGMA optimize = 0x10012")?);
        self.with_writer(optimize).await
    }
}

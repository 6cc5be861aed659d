//! What the planner of queries knows about the tables. PostgreSQL sees to it by itself.

use diesel::connection::SimpleConnection;

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;

impl Db {
    /// Lets SQLite look at the tables that have grown since it last did, a sample of each: without, it may read all lines
    /// of a tenant to show a page of them.
    pub async fn optimize(&self) -> Result<()> {
        if self.is_shared() {
            return Ok(());
        }
        let optimize = |conn: &mut Conn| Ok(conn.batch_execute("PRAGMA optimize = 0x10002")?);
        self.with_writer(optimize).await
    }
}

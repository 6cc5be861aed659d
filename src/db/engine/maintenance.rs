//! The query planner's statistics.

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl};

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;

/// The tables that have changed so much since their last analysis that the planner may choose badly. PostgreSQL itself waits
/// for up to some minutes.
const CHANGED_TABLES: &str = "SELECT relname::text AS name FROM pg_stat_user_tables \
    WHERE schemaname = current_schema() AND n_mod_since_analyze > 1000 + n_live_tup / 3";

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

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
        Conn::Postgres(conn) => {
            for Table { name } in diesel::sql_query(CHANGED_TABLES).load::<Table>(conn)? {
                conn.batch_execute(&format!("ANALYZE (SKIP_LOCKED) \"{name}\""))?;
            }
        }
    }
    Ok(())
}

//! The query planner's statistics.

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{OptionalExtension, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;

/// The PostgreSQL tables that have changed so much since their last analysis that the planner may choose a bad plan.
/// PostgreSQL itself analyses them only after some minutes. It also counts changes late, up to a second after they were
/// committed, so tables that have grown are found by their size in pages.
const CHANGED_TABLES: &str = "SELECT c.relname::text AS text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid \
    WHERE c.relkind = 'r' AND n.nspname = current_schema() \
    AND (s.n_mod_since_analyze > 1000 + s.n_live_tup / 3 \
    OR pg_relation_size(c.oid) / current_setting('block_size')::bigint > 10 + c.relpages + c.relpages / 3)";

/// SQLite's statistics as one text; no row before the first analysis.
const STATISTICS: &str = "SELECT group_concat(tbl || coalesce(idx, '') || stat) AS text FROM sqlite_stat1";

/// Makes every connection to an SQLite database reload the schema, and the statistics with it. Otherwise, only the
/// connection that updated the statistics uses the new ones.
const RELOAD_STATISTICS: &str = "BEGIN IMMEDIATE; CREATE TABLE new_statistics (x); DROP TABLE new_statistics; COMMIT";

#[derive(QueryableByName, PartialEq, Eq)]
struct Found {
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
}

impl Db {
    /// Updates the statistics of tables that have changed much. Without them, the database may read all lines of a
    /// tenant to return one page.
    pub async fn optimize(&self) -> Result<()> {
        if self.is_shared() {
            // The size of a table is not known while another process alters it. Writers do not wait for that.
            return self.blocking(update_statistics).await;
        }
        self.with_writer(update_statistics).await
    }
}

fn update_statistics(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => update_sqlite(conn),
        Conn::Postgres(conn) => update_postgres(conn),
    }
}

fn update_sqlite(conn: &mut SqliteConnection) -> Result<()> {
    // Without the table there are no statistics. Creating it changes the schema, so all connections reload it.
    let before = statistics(conn);
    conn.batch_execute("PRAGMA optimize = 0x10012")?;
    if before.is_some() && statistics(conn) != before {
        conn.batch_execute(RELOAD_STATISTICS)?;
    }
    Ok(())
}

fn statistics(conn: &mut SqliteConnection) -> Option<Found> {
    diesel::sql_query(STATISTICS).get_result(conn).optional().ok().flatten()
}

fn update_postgres(conn: &mut PgConnection) -> Result<()> {
    for Found { text } in diesel::sql_query(CHANGED_TABLES).load::<Found>(conn)? {
        let table = text.unwrap_or_default();
        conn.batch_execute(&format!("ANALYZE (SKIP_LOCKED) \"{table}\""))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel::Connection;

    use super::*;

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// The index that a connection uses to find a row.
    fn index(conn: &mut SqliteConnection) -> String {
        // Explaining a query does not detect that the schema has changed; running one does.
        conn.batch_execute("SELECT z FROM t WHERE x = 7 AND y = 3").unwrap();
        let plan = diesel::sql_query("EXPLAIN QUERY PLAN SELECT z FROM t WHERE x = 1 AND y = 5").load::<Step>(conn);
        plan.unwrap().remove(0).detail
    }

    #[test]
    fn every_connection_uses_new_statistics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statistics.db").display().to_string();
        let mut first = SqliteConnection::establish(&path).unwrap();
        let rows = |from: u32, to: u32, x: &str, y: &str| {
            format!(
                "INSERT INTO t (x, y) WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
                SELECT {x}, {y} FROM n"
            )
        };
        first
            .batch_execute(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, y INT, z TEXT); \
                 CREATE INDEX by_x ON t (x); CREATE INDEX by_y ON t (y);",
            )
            .unwrap();
        first.batch_execute(&rows(1, 500, "i", "1")).unwrap();
        update_sqlite(&mut first).unwrap();
        let mut second = SqliteConnection::establish(&path).unwrap();
        assert!(index(&mut second).contains("by_x"));
        first.batch_execute(&format!("DELETE FROM t; {}", rows(1, 50_000, "1", "i"))).unwrap();
        update_sqlite(&mut first).unwrap();
        assert!(index(&mut first).contains("by_y"));
        assert!(index(&mut second).contains("by_y"), "also a connection that was open before");
    }
}

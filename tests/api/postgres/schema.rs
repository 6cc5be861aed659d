//! The two migration trees make the same tables.

use connectwise_billing::app::Application;
use connectwise_billing::domain::clock::Clock;
use diesel::sql_types::{Bool, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};

use crate::support::{Backend, TestDatabase, test_config};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
}

async fn columns(backend: Backend) -> Vec<Column> {
    let database = TestDatabase::new(backend);
    Application::build(&test_config(&database), Clock::system()).await.unwrap();
    let mut columns: Vec<Column> = match backend {
        Backend::Sqlite => {
            let mut conn = SqliteConnection::establish(database.text().trim_start_matches("sqlite:")).unwrap();
            diesel::sql_query(
                "SELECT t.name AS table_name, c.name AS column_name, upper(c.type) AS kind, c.\"notnull\" = 0 AS nullable \
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '\\_%' ESCAPE '\\'",
            )
            .load(&mut conn)
            .unwrap()
        }
        Backend::Postgres => {
            let mut conn = PgConnection::establish(database.text()).unwrap();
            diesel::sql_query(
                "SELECT table_name::text, column_name::text, CASE data_type WHEN 'timestamp without time zone' THEN 'TIMESTAMP' \
                 ELSE upper(data_type) END AS kind, is_nullable = 'YES' AS nullable FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'",
            )
            .load(&mut conn)
            .unwrap()
        }
    };
    columns.sort();
    columns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_columns_types_and_nullability_are_equal() {
    let (sqlite, postgres) = (columns(Backend::Sqlite).await, columns(Backend::Postgres).await);
    assert!(sqlite.len() > 100, "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}

//! The rows of pushes, read on a separate connection, without the application.

use std::sync::{Arc, Mutex};

use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};

#[derive(QueryableByName, Debug, Clone)]
#[expect(dead_code, reason = "some members are only shown when a seed fails")]
pub struct Line {
    #[diesel(sql_type = Text)]
    pub id: String,
    #[diesel(sql_type = Text)]
    pub tenant_id: String,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = Text)]
    pub state: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub detail: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub addition_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub from_quantity: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub to_quantity: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub attempts: i64,
    #[diesel(sql_type = Nullable<Timestamp>)]
    pub lease_until: Option<NaiveDateTime>,
    #[diesel(sql_type = Nullable<Timestamp>)]
    pub finished_at: Option<NaiveDateTime>,
}

impl Line {
    pub fn from(&self) -> Option<f64> {
        self.from_quantity.as_ref().map(|text| text.parse().unwrap())
    }

    pub fn to(&self) -> Option<f64> {
        self.to_quantity.as_ref().map(|text| text.parse().unwrap())
    }

    /// Whether it writes an addition.
    pub fn writes(&self, tenant: &str, addition: i64) -> bool {
        self.kind == "push" && self.tenant_id == tenant && self.addition_id == Some(addition)
    }
}

#[derive(QueryableByName, Debug, Clone)]
pub struct Job {
    #[diesel(sql_type = Text)]
    pub tenant_id: String,
    #[diesel(sql_type = Text)]
    pub state: String,
    #[diesel(sql_type = Text)]
    pub started_by: String,
    #[diesel(sql_type = Text)]
    pub billing_month: String,
}

enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A connection that only reads. Clones share it.
#[derive(Clone)]
pub struct Rows(Arc<Mutex<Conn>>);

impl Rows {
    pub fn of(url: &str) -> Self {
        let conn = match url.strip_prefix("sqlite:") {
            Some(path) => {
                let mut conn = SqliteConnection::establish(path).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
                Conn::Sqlite(conn)
            }
            None => Conn::Postgres(PgConnection::establish(url).unwrap()),
        };
        Self(Arc::new(Mutex::new(conn)))
    }

    /// All push lines, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.lines_where("")
    }

    /// The push lines that write an addition, of any tenant.
    pub fn lines_of(&self, addition: i64) -> Vec<Line> {
        self.lines_where(&format!("WHERE l.addition_id = {addition}"))
    }

    fn lines_where(&self, filter: &str) -> Vec<Line> {
        let query = format!(
            "SELECT l.id, l.tenant_id, j.kind, l.state, l.detail, l.addition_id, l.from_quantity, l.to_quantity, \
                     l.attempts, l.lease_until, l.finished_at \
                     FROM push_lines l JOIN push_jobs j ON j.id = l.job_id {filter} ORDER BY l.id"
        );
        match &mut *self.0.lock().unwrap() {
            Conn::Sqlite(conn) => diesel::sql_query(query).load(conn).unwrap(),
            Conn::Postgres(conn) => diesel::sql_query(query).load(conn).unwrap(),
        }
    }

    /// All push jobs, oldest first.
    pub fn jobs(&self) -> Vec<Job> {
        let query = "SELECT tenant_id, state, started_by, billing_month FROM push_jobs ORDER BY id";
        match &mut *self.0.lock().unwrap() {
            Conn::Sqlite(conn) => diesel::sql_query(query).load(conn).unwrap(),
            Conn::Postgres(conn) => diesel::sql_query(query).load(conn).unwrap(),
        }
    }
}

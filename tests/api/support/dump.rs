//! All rows of all tables, read without the application's code, in a form that does not depend on the database.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use serde_json::{Value, json};

/// Each table's rows, sorted.
pub type Dump = BTreeMap<String, Vec<Value>>;

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    in_table: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    row: String,
}

/// Runs a statement that the application cannot run. Returns how many rows it changed.
pub fn execute(url: &str, statement: &str) -> usize {
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path).unwrap();
            conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
            diesel::sql_query(statement).execute(&mut conn).unwrap()
        }
        None => diesel::sql_query(statement).execute(&mut PgConnection::establish(url).unwrap()).unwrap(),
    }
}

/// Reads a database.
pub fn dump(url: &str) -> Dump {
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path).unwrap();
            // An application that has just ended may still be writing its log into the file with its last connection.
            conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
            let columns = "SELECT m.name AS in_table, c.name, c.type AS kind FROM sqlite_master m, \
                           pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1, c.cid";
            let columns: Vec<Column> = diesel::sql_query(columns).load(&mut conn).unwrap();
            read(columns, |table, names| {
                let pairs: Vec<String> = names.iter().map(|name| format!("'{name}', \"{name}\"")).collect();
                let rows = format!("SELECT json_object({}) AS row FROM \"{table}\"", pairs.join(", "));
                diesel::sql_query(rows).load(&mut conn).unwrap()
            })
        }
        None => {
            let mut conn = PgConnection::establish(url).unwrap();
            let columns = "SELECT table_name::text AS in_table, column_name::text AS name, data_type::text AS kind \
                           FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position";
            let columns: Vec<Column> = diesel::sql_query(columns).load(&mut conn).unwrap();
            read(columns, |table, _| {
                let rows = format!("SELECT row_to_json(t)::text AS row FROM \"{table}\" t");
                diesel::sql_query(rows).load(&mut conn).unwrap()
            })
        }
    }
}

fn read(columns: Vec<Column>, mut rows: impl FnMut(&str, &[String]) -> Vec<Row>) -> Dump {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for column in columns.into_iter().filter(|column| !column.in_table.starts_with("__")) {
        tables.entry(column.in_table).or_default().insert(column.name, column.kind.to_lowercase());
    }
    let all = |(table, kinds): (String, BTreeMap<String, String>)| {
        let names: Vec<String> = kinds.keys().cloned().collect();
        let mut found: Vec<Value> = rows(&table, &names).iter().map(|row| plain(&row.row, &kinds)).collect();
        found.sort_by_cached_key(Value::to_string);
        (table, found)
    };
    tables.into_iter().map(all).collect()
}

/// A row with all booleans and times in one format.
fn plain(row: &str, kinds: &BTreeMap<String, String>) -> Value {
    let mut row: Value = serde_json::from_str(row).unwrap();
    for (name, value) in row.as_object_mut().unwrap() {
        if value.is_null() {
            continue;
        }
        if kinds[name].starts_with("timestamp") {
            let text = value.as_str().unwrap().replace(' ', "T");
            let time: NaiveDateTime = text.parse().unwrap_or_else(|_| panic!("{name} is {text}"));
            *value = json!(time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string());
        } else if kinds[name] == "boolean" {
            *value = json!(*value == json!(true) || *value == json!(1));
        }
    }
    row
}

//! A copy of an SQLite file while it is in use.

use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::db::engine::conn::Conn;
use crate::db::engine::url::DatabaseUrl;
use crate::domain::{ConflictCode, Error, Result};

/// Copies one consistent state of the database to a new file, atomically. Writers do not wait for it, and it does not
/// wait for writers. Errors if the target exists, and on PostgreSQL, which has its own tools.
pub fn backup(url: &DatabaseUrl, to: &Path) -> Result<()> {
    let Some(file) = url.file() else {
        return Err(Error::conflict(ConflictCode::NotSqlite, "a PostgreSQL database is backed up with pg_dump"));
    };
    if !file.exists() {
        return Err(Error::conflict(ConflictCode::NoDatabase, format!("there is no database at {url}")));
    }
    if to.exists() {
        return Err(Error::conflict(ConflictCode::AlreadyExists, format!("{} exists already", to.display())));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let text = partial.to_str().ok_or_else(|| Error::internal("the file's name is no text"))?;
    let _ = std::fs::remove_file(partial);
    let mut conn = url.connect().map_err(|error| Error::Unavailable(Box::new(error)))?;
    let Conn::Sqlite(conn) = &mut conn else { return Err(Error::internal("an SQLite file is no SQLite database")) };
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text).execute(conn)?;
    whole(text)?;
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(Error::internal)?;
    std::fs::rename(partial, to).map_err(Error::internal)
}

/// Reads all of a file and errors where it is damaged.
fn whole(path: &str) -> Result<()> {
    let mut conn = SqliteConnection::establish(path).map_err(|error| Error::Unavailable(Box::new(error)))?;
    let found: String =
        diesel::select(diesel::dsl::sql::<Text>("(SELECT integrity_check FROM pragma_integrity_check)"))
            .get_result(&mut conn)?;
    if found == "ok" { Ok(()) } else { Err(Error::internal(format!("the copy is damaged: {found}"))) }
}

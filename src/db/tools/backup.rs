//! Backs up an SQLite file while it is in use.

use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::db::engine::conn::Conn;
use crate::db::engine::url::DatabaseUrl;
use crate::domain::{Error, Result};

/// Copies a consistent snapshot of the database to a new file, atomically. The backup and writers do not wait for each
/// other. Errors if the target exists, and on PostgreSQL, which has its own tools.
pub fn backup(url: &DatabaseUrl, to: &Path) -> Result<()> {
    let Some(file) = url.file() else {
        return Err(Error::Tool("use pg_dump to back up a PostgreSQL database".to_owned()));
    };
    if !file.exists() {
        return Err(Error::Tool(format!("there is no database at {url}")));
    }
    if to.exists() {
        return Err(Error::Tool(format!("{} exists already", to.display())));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let text = partial.to_str().ok_or_else(|| Error::internal("the file name is not valid UTF-8"))?;
    let _ = std::fs::remove_file(partial);
    let mut conn = url.connect().map_err(|error| Error::Unavailable(Box::new(error)))?;
    let Conn::Sqlite(conn) = &mut conn else { return Err(Error::internal("not an SQLite connection")) };
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text).execute(conn)?;
    whole(text)?;
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(Error::internal)?;
    std::fs::rename(partial, to).map_err(Error::internal)
}

/// Checks the integrity of an SQLite file, and errors if it is damaged.
fn whole(path: &str) -> Result<()> {
    let mut conn = SqliteConnection::establish(path).map_err(|error| Error::Unavailable(Box::new(error)))?;
    let found: String =
        diesel::select(diesel::dsl::sql::<Text>("(SELECT integrity_check FROM pragma_integrity_check)"))
            .get_result(&mut conn)?;
    if found == "ok" { Ok(()) } else { Err(Error::internal(format!("the copy is damaged: {found}"))) }
}

//! The file of an SQLite database: whether it is there, and whether it can be written.

use std::path::Path;

use diesel::connection::SimpleConnection;

use super::conn::Conn;
use crate::domain::{Error, Result};

/// Errors if the file that was opened has been removed: what is written to it then is lost with the process.
pub(in crate::db) fn ensure_file_exists(file: Option<&Path>) -> Result<(), &'static str> {
    if file.is_none_or(Path::exists) { Ok(()) } else { Err("the database's file is gone") }
}

/// A write that changes nothing, on SQLite, where writes can fail while reads go on.
pub(in crate::db) fn try_to_write(conn: &mut Conn) -> Result<()> {
    if let Conn::Sqlite(conn) = conn {
        let tried = conn.batch_execute("PRAGMA busy_timeout = 500; BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT");
        if tried.is_err() {
            // Where it had begun.
            let _ = conn.batch_execute("ROLLBACK");
        }
        conn.batch_execute("PRAGMA busy_timeout = 5000")?;
        tried?;
    }
    Ok(())
}

/// Writes a small file beside the database's, and removes it. On a full disk the log may still have room for the one page
/// of [`try_to_write`], and for none of the writes that the service is there for.
pub(in crate::db) fn try_to_grow(file: Option<&Path>) -> Result<()> {
    const PROBE_BYTES: usize = 64 * 1024;
    let Some(file) = file else { return Ok(()) };
    let mut probe = file.as_os_str().to_owned();
    probe.push("-probe");
    let written = std::fs::write(&probe, [0; PROBE_BYTES]);
    // Another probe may have removed it.
    let _ = std::fs::remove_file(&probe);
    written.map_err(|cause| Error::Unavailable(Box::new(cause)))
}

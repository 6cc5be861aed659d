//! Checks on the file of an SQLite database: whether it exists and whether it is writable.

use std::path::Path;

use diesel::connection::SimpleConnection;

use super::conn::Conn;
use crate::domain::{Error, Result};

/// Errors if the opened file has been removed: anything written to it now is lost when the process ends.
pub(in crate::db) fn ensure_file_exists(file: Option<&Path>) -> Result<(), &'static str> {
    if file.is_none_or(Path::exists) { Ok(()) } else { Err("the database file no longer exists") }
}

/// On SQLite, runs a write that changes nothing, because writes can fail while reads still succeed.
pub(in crate::db) fn try_to_write(conn: &mut Conn) -> Result<()> {
    if let Conn::Sqlite(conn) = conn {
        let tried = conn.batch_execute("PRAGMA busy_timeout = 500; BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT");
        if tried.is_err() {
            // In case the transaction had begun.
            let _ = conn.batch_execute("ROLLBACK");
        }
        conn.batch_execute("PRAGMA busy_timeout = 5000")?;
        tried?;
    }
    Ok(())
}

/// Writes a small file beside the database file, and removes it. On a full disk the write-ahead log may still have room
/// for the one page of [`try_to_write`], but not for real writes.
pub(in crate::db) fn try_to_grow(file: Option<&Path>) -> Result<()> {
    const PROBE_BYTES: usize = 64 * 1024;
    let Some(file) = file else { return Ok(()) };
    let mut probe = file.as_os_str().to_owned();
    probe.push("-probe");
    let written = std::fs::write(&probe, [0; PROBE_BYTES]);
    // A concurrent probe may have removed the file already.
    let _ = std::fs::remove_file(&probe);
    written.map_err(|cause| Error::Unavailable(Box::new(cause)))
}

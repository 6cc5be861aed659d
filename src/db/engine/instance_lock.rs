//! Ensures that only one process at a time uses an SQLite file. Two processes would take over each other's work.

use std::fs::{File, OpenOptions, TryLockError};

use super::url::DatabaseUrl;
use crate::domain::{Error, Result};

/// While this lock is held, no other process can serve from the file. It is released when the process ends, even if
/// killed.
#[derive(Debug)]
pub struct InstanceLock {
    _lock: Option<File>,
}

impl InstanceLock {
    /// Takes the lock, or errors if another process holds it. A PostgreSQL database may be shared and needs no lock.
    pub fn take(url: &DatabaseUrl) -> Result<Self> {
        let Some(file) = url.file() else { return Ok(Self { _lock: None }) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(Error::internal)?;
        }
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = opened.map_err(|cause| {
            let detail = format!("{} cannot be written: {cause}", std::path::Path::new(&path).display());
            Error::Tool(detail)
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                let detail = format!("another process serves from {url}: stop it first, or use PostgreSQL for several");
                Err(Error::Tool(detail))
            }
            Err(TryLockError::Error(error)) => Err(Error::internal(error)),
        }
    }
}

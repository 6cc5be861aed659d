//! The database URL, as operators write it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::conn::{Conn, Counts, DatabaseTarget};
use crate::domain::Result;

/// A database URL: `sqlite:PATH` or `postgres://…`. `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(DatabaseTarget);

/// The error for a database URL that names neither database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a database URL begins with sqlite: (followed by a file path) or postgres://, for example sqlite:data/billing.db"
)]
pub struct BadDatabaseUrl;

impl FromStr for DatabaseUrl {
    type Err = BadDatabaseUrl;
    fn from_str(text: &str) -> Result<Self, BadDatabaseUrl> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(DatabaseTarget::Postgres(text.to_owned())));
        }
        let path = text.strip_prefix("sqlite:").unwrap_or_default();
        let path = path.strip_prefix("//").unwrap_or(path);
        // With ":memory:", each pooled connection would have a database of its own.
        if path.is_empty() || path.starts_with(':') {
            return Err(BadDatabaseUrl);
        }
        Ok(Self(DatabaseTarget::Sqlite(path.to_owned())))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            DatabaseTarget::Sqlite(path) => write!(f, "sqlite:{path}"),
            DatabaseTarget::Postgres(url) => match url::Url::parse(url) {
                Ok(mut url) => {
                    let hidden = url.password().is_some() && url.set_password(Some("***")).is_ok();
                    url.set_query(None);
                    write!(f, "{url}{}", if hidden { "" } else { " (no password)" })
                }
                Err(_) => f.write_str("postgres://***"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseUrl {
    /// Connects to an existing database.
    pub(in crate::db) fn connect(&self) -> diesel::ConnectionResult<Conn> {
        self.0.connect()
    }

    /// Connects to an existing database, and counts the connection's statements.
    pub(in crate::db) fn connect_counted(&self, counts: &Arc<Counts>) -> diesel::ConnectionResult<Conn> {
        self.0.connect_counted(counts)
    }

    /// Connects, and creates a missing SQLite file.
    pub(in crate::db) fn connect_or_create(&self) -> diesel::ConnectionResult<Conn> {
        self.0.connect_or_create()
    }

    /// The path of the SQLite file; `None` for PostgreSQL.
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.0 {
            DatabaseTarget::Sqlite(path) => Some(std::path::Path::new(path)),
            DatabaseTarget::Postgres(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclear_url_is_rejected() {
        for bad in ["", "billing.db", "host=db password=x", "sqlite:", "sqlite::memory:", "mysql://x", "Postgres://x"] {
            assert_eq!(bad.parse::<DatabaseUrl>().unwrap_err(), BadDatabaseUrl, "{bad}");
        }
        let url: DatabaseUrl = "sqlite:data/x.db".parse().unwrap();
        assert_eq!(url.file(), Some(std::path::Path::new("data/x.db")));
    }

    #[test]
    fn only_connect_or_create_creates_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.db", "a name?mode=memory", "100%25#1.db", "file:y.db"] {
            let url: DatabaseUrl = format!("sqlite:{}", folder.path().join(name).display()).parse().unwrap();
            let file = url.file().unwrap();
            assert!(url.connect().is_err() && !file.exists(), "{name}");
            url.connect_or_create().unwrap();
            assert!(file.exists(), "{name}");
            url.connect().unwrap();
        }
        let url: DatabaseUrl = format!("sqlite:///{}/z.db", folder.path().display()).parse().unwrap();
        url.connect_or_create().unwrap();
        assert!(folder.path().join("z.db").exists());
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://u:hunter2@db/billing?password=hunter2".parse().unwrap();
        assert_eq!(format!("{url:?}"), "postgres://u:***@db/billing");
    }
}

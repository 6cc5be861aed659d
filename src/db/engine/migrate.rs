//! Schema migrations, applied by one process at a time.

use diesel::connection::SimpleConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::conn::{Conn, POSTGRES_SET_UP};
use crate::domain::{Error, Result};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// An arbitrary number, which must be the same in every version of the program.
const ADVISORY_LOCK_KEY: i64 = 0x6377_6269_6c6c;

/// Applies pending migrations and returns their names.
pub(in crate::db) fn up(conn: &mut Conn) -> Result<Vec<String>> {
    let applied = match conn {
        Conn::Sqlite(c) => c.run_pending_migrations(SQLITE).map(|done| names(&done)),
        Conn::Postgres(c) => {
            // Replicas that start together queue here. The later ones find nothing to do.
            c.batch_execute(&format!(
                "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"
            ))?;
            let done = c.run_pending_migrations(POSTGRES).map(|done| names(&done));
            c.batch_execute(&format!("SELECT pg_advisory_unlock({ADVISORY_LOCK_KEY}); {POSTGRES_SET_UP}"))?;
            done
        }
    };
    applied.map_err(Error::Internal)
}

/// Whether every migration is applied.
pub(in crate::db) fn is_current(conn: &mut Conn) -> Result<bool> {
    let pending = match conn {
        Conn::Sqlite(c) => c.has_pending_migration(SQLITE),
        Conn::Postgres(c) => c.has_pending_migration(POSTGRES),
    };
    pending.map(|pending| !pending).map_err(Error::Internal)
}

fn names<T: std::fmt::Display>(done: &[T]) -> Vec<String> {
    done.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::engine::conn::DatabaseTarget;

    fn revert_all(conn: &mut Conn) {
        match conn {
            Conn::Sqlite(c) => c.revert_all_migrations(SQLITE).map(drop).unwrap(),
            Conn::Postgres(c) => c.revert_all_migrations(POSTGRES).map(drop).unwrap(),
        }
    }

    #[test]
    fn up_down_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        migrate_down_and_up(&DatabaseTarget::Sqlite(folder.path().join("test.db").display().to_string()));
    }

    mod postgres {
        use super::*;

        #[test]
        fn up_down_and_up_again() {
            let server = std::env::var("CWB_TEST_POSTGRES_URL").expect("scripts/test starts a PostgreSQL");
            let name = format!("migrated_{}", uuid::Uuid::now_v7().simple());
            let mut admin = DatabaseTarget::Postgres(format!("{server}/postgres?sslmode=disable")).connect().unwrap();
            admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
            migrate_down_and_up(&DatabaseTarget::Postgres(format!("{server}/{name}?sslmode=disable")));
        }
    }

    fn migrate_down_and_up(place: &DatabaseTarget) {
        let mut conn = place.connect_or_create().unwrap();
        let all = migrations("sqlite").len();
        assert_eq!(up(&mut conn).unwrap().len(), all);
        assert!(is_current(&mut conn).unwrap());
        revert_all(&mut conn);
        assert!(!is_current(&mut conn).unwrap());
        assert_eq!(up(&mut conn).unwrap().len(), all);
    }

    fn migrations(tree: &str) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> = std::fs::read_dir(format!("{}/migrations/{tree}", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn both_trees_have_the_same_migrations() {
        assert_eq!(migrations("sqlite"), migrations("postgres"));
    }
}

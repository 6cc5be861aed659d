//! Transactions. Queries are their methods.

use diesel::RunQueryDsl;

use super::catalog_cache::Catalogs;
use super::conn::Conn;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// A transaction that sees one tenant.
pub struct Tx<'c> {
    pub(in crate::db) conn: &'c mut Conn,
    pub(in crate::db) catalogs: &'c Catalogs,
    tenant: TenantId,
}

impl Tx<'_> {
    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// A transaction of the service itself: keys, tenants, and the worker's search for work.
pub struct SystemTx<'c> {
    pub(in crate::db) conn: &'c mut Conn,
    pub(in crate::db) catalogs: &'c Catalogs,
}

impl SystemTx<'_> {
    /// Waits until no other transaction holds the lock of this name. SQLite has one writer at a time anyway; on
    /// PostgreSQL this gives each tenant the same, so that what a transaction read is still so when it writes.
    pub fn lock(&mut self, name: &str) -> Result<()> {
        if let Conn::Postgres(conn) = &mut *self.conn {
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind::<diesel::sql_types::Text, _>(name)
                .execute(conn)?;
        }
        Ok(())
    }

    /// The same transaction, seeing one tenant.
    pub fn of(&mut self, tenant: &TenantId) -> Tx<'_> {
        Tx { conn: self.conn, catalogs: self.catalogs, tenant: tenant.clone() }
    }
}

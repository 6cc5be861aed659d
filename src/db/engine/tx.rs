//! Transactions. Queries are methods of these types.

use diesel::RunQueryDsl;

use super::conn::Conn;
use super::record_index_cache::RecordIndexes;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// A transaction that is scoped to one tenant.
pub struct Tx<'c> {
    pub(in crate::db) conn: &'c mut Conn,
    pub(in crate::db) record_indexes: &'c RecordIndexes,
    tenant: TenantId,
}

impl Tx<'_> {
    /// The tenant that the transaction is scoped to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// A transaction across tenants: for API keys, tenants, and the worker's search for work.
pub struct SystemTx<'c> {
    pub(in crate::db) conn: &'c mut Conn,
    pub(in crate::db) record_indexes: &'c RecordIndexes,
}

impl SystemTx<'_> {
    /// Takes the lock with this name until the transaction ends. SQLite has one writer at a time anyway. On PostgreSQL
    /// this gives each tenant one writer at a time, so that what a transaction has read is still true when it writes.
    pub fn lock(&mut self, name: &str) -> Result<()> {
        if let Conn::Postgres(conn) = &mut *self.conn {
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind::<diesel::sql_types::Text, _>(name)
                .execute(conn)?;
        }
        Ok(())
    }

    /// The same transaction, scoped to one tenant.
    pub fn for_tenant(&mut self, tenant: &TenantId) -> Tx<'_> {
        Tx { conn: self.conn, record_indexes: self.record_indexes, tenant: tenant.clone() }
    }
}

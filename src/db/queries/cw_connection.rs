//! A tenant's connection to ConnectWise. Secrets are encrypted before they reach the database layer.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::connections;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// A stored connection to ConnectWise.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = connections, check_for_backend(MultiBackend))]
pub struct Connection {
    pub tenant_id: TenantId,
    pub site: String,
    pub company_id: String,
    pub client_id: String,
    /// The public and private API keys, encrypted.
    pub secrets: String,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

impl Tx<'_> {
    /// The tenant's connection, if there is one.
    pub fn connection(&mut self) -> Result<Option<Connection>> {
        let own = self.scoped(connections::table);
        Ok(own.select(Connection::as_select()).first(self.conn).optional()?)
    }

    /// Adds or replaces the tenant's connection.
    pub fn put_connection(&mut self, row: &Connection) -> Result<()> {
        insert_scoped!(self, connections, std::slice::from_ref(row), .on_conflict(connections::tenant_id)
            .do_update()
            .set(row))?;
        Ok(())
    }

    /// Deletes the tenant's connection.
    pub fn delete_connection(&mut self) -> Result<()> {
        diesel::delete(self.scoped(connections::table)).execute(self.conn)?;
        Ok(())
    }
}

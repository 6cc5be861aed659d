//! A tenant's connection to ConnectWise. Secrets are encrypted before they reach the database layer.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::{connection_failures, connections};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::TenantId;

/// A stored connection to ConnectWise.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true, table_name = connections, check_for_backend(MultiBackend))]
pub struct Connection {
    pub tenant_id: TenantId,
    pub site: String,
    pub company_id: String,
    pub client_id: String,
    /// The public and private API keys, encrypted.
    pub secrets: String,
    /// The caption of the custom field of additions in which each push writes its id and date.
    pub provenance_field: Option<String>,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

/// A lasting failure of the connection: a push found it, and ConnectWise has not answered since.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = connection_failures, check_for_backend(MultiBackend))]
pub struct ConnectionFailure {
    pub tenant_id: TenantId,
    pub since: NaiveDateTime,
    pub cause: String,
}

impl Tx<'_> {
    /// The tenant's connection, if there is one.
    pub fn connection(&mut self) -> Result<Option<Connection>> {
        let scoped = self.scoped(connections::table);
        Ok(scoped.select(Connection::as_select()).first(self.conn).optional()?)
    }

    /// The tenant's connection, if there is one, and whether it is known to fail. One statement.
    pub fn connection_with_failure(&mut self) -> Result<(Option<Connection>, bool)> {
        let fails = diesel::dsl::exists(self.scoped(connection_failures::table).select(connection_failures::tenant_id));
        let scoped = self.scoped(connections::table).select((Connection::as_select(), fails));
        let row: Option<(Connection, bool)> = scoped.first(self.conn).optional()?;
        Ok(row.map_or((None, false), |(connection, fails)| (Some(connection), fails)))
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

    /// The connection's current failure, if there is one.
    pub fn connection_failure(&mut self) -> Result<Option<ConnectionFailure>> {
        let scoped = self.scoped(connection_failures::table);
        Ok(scoped.select(ConnectionFailure::as_select()).first(self.conn).optional()?)
    }

    /// Records that the connection fails. Returns whether it is a new failure.
    pub fn set_connection_failure(&mut self, cause: &str, now: Timestamp) -> Result<bool> {
        let row =
            ConnectionFailure { tenant_id: self.tenant().clone(), since: now.naive_utc(), cause: cause.to_owned() };
        let added = insert_scoped!(self, connection_failures, std::slice::from_ref(&row), .on_conflict_do_nothing())?;
        Ok(added > 0)
    }

    /// Clears the recorded failure, because the connection works or was changed.
    pub fn clear_connection_failure(&mut self) -> Result<()> {
        diesel::delete(self.scoped(connection_failures::table)).execute(self.conn)?;
        Ok(())
    }
}

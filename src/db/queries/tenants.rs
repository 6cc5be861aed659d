//! Tenants and their API keys.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::{api_keys, tenants};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{ApiKeyId, TenantId};
use crate::domain::{Error, Result};

/// A tenant: one MSP.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = tenants, check_for_backend(MultiBackend))]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub created_at: NaiveDateTime,
}

/// The stored part of an API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = api_keys, check_for_backend(MultiBackend))]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub tenant_id: TenantId,
    pub name: String,
    /// The key's first characters, by which it is looked up and recognised.
    pub prefix: String,
    /// SHA-256 of the whole key, in hexadecimal.
    pub hash: String,
    pub created_at: NaiveDateTime,
    pub revoked_at: Option<NaiveDateTime>,
}

impl Tx<'_> {
    /// Adds a key.
    pub fn insert_api_key(&mut self, key: &ApiKey) -> Result<()> {
        insert_scoped!(self, api_keys, std::slice::from_ref(key))?;
        Ok(())
    }

    /// The tenant's keys, oldest first, including revoked ones.
    pub fn api_keys(&mut self) -> Result<Vec<ApiKey>> {
        let scoped = self.scoped(api_keys::table);
        Ok(scoped.order(api_keys::id).select(ApiKey::as_select()).load(self.conn)?)
    }

    /// Revokes a key. Returns it as it was before; it may have been revoked already. Errors if there is no such key.
    pub fn revoke_api_key(&mut self, id: &ApiKeyId, at: Timestamp) -> Result<ApiKey> {
        let scoped = self.scoped(api_keys::table).filter(api_keys::id.eq(id));
        let before: Option<ApiKey> = scoped.clone().select(ApiKey::as_select()).first(self.conn).optional()?;
        let before = before.ok_or_else(|| Error::not_found("API key", id))?;
        diesel::update(scoped.filter(api_keys::revoked_at.is_null()))
            .set(api_keys::revoked_at.eq(at.naive_utc()))
            .execute(self.conn)?;
        Ok(before)
    }
}

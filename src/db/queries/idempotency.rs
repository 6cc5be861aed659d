//! The stored responses of idempotency keys.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::idempotency_keys;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// A response, to be repeated for the same request with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = idempotency_keys, check_for_backend(MultiBackend))]
pub struct StoredResponse {
    pub tenant_id: TenantId,
    pub key: String,
    pub request_hash: String,
    pub status: i64,
    pub location: Option<String>,
    pub body: String,
    pub created_at: NaiveDateTime,
}

impl Tx<'_> {
    /// The stored response of a key, if there is one.
    pub fn stored_response(&mut self, key: &str) -> Result<Option<StoredResponse>> {
        let scoped = self.scoped(idempotency_keys::table).filter(idempotency_keys::key.eq(key.to_owned()));
        Ok(scoped.select(StoredResponse::as_select()).first(self.conn).optional()?)
    }

    /// Stores a response.
    pub fn store_response(&mut self, answer: &StoredResponse) -> Result<()> {
        insert_scoped!(self, idempotency_keys, std::slice::from_ref(answer))?;
        Ok(())
    }
}

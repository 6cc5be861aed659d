//! The answers given under Idempotency-Keys.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::conn::MultiBackend;
use super::pool::{SystemTx, Tx};
use super::schema::idempotency_keys;
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::TenantId;

/// An answer that is given again to the same request under the same key.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = idempotency_keys, check_for_backend(MultiBackend))]
pub struct StoredAnswer {
    pub tenant_id: TenantId,
    pub key: String,
    pub request_hash: String,
    pub status: i64,
    pub location: Option<String>,
    pub body: String,
    pub created_at: NaiveDateTime,
}

impl Tx<'_> {
    /// The answer given under a key, if any.
    pub fn stored_answer(&mut self, key: &str) -> Result<Option<StoredAnswer>> {
        let own = idempotency_keys::table.find((self.tenant().clone(), key.to_owned()));
        Ok(own.select(StoredAnswer::as_select()).first(self.conn).optional()?)
    }

    /// Keeps an answer.
    pub fn store_answer(&mut self, answer: &StoredAnswer) -> Result<()> {
        diesel::insert_into(idempotency_keys::table).values(answer).execute(self.conn)?;
        Ok(())
    }
}

impl SystemTx<'_> {
    /// Forgets the answers given before a moment.
    pub fn forget_answers(&mut self, before: Instant) -> Result<usize> {
        let old = idempotency_keys::table.filter(idempotency_keys::created_at.lt(before.naive_utc()));
        Ok(diesel::delete(old).execute(self.conn)?)
    }
}

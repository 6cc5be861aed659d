//! Idempotency keys: a request that is repeated with the same key runs once and gets the same response.

use chrono::TimeDelta;

use super::context::AppContext;
use crate::db::{StoredResponse, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::ids::TenantId;
use crate::domain::{Error, FieldCode, FieldError, Result};

/// How long a response is stored.
const RETENTION: TimeDelta = TimeDelta::hours(48);

/// The caller's idempotency key, with the hash of the request.
#[derive(Debug, Clone)]
pub struct Key {
    key: String,
    request_hash: String,
}

impl Key {
    /// Validates a key: 1 to 255 visible ASCII characters. `request_hash` detects a different request with the same
    /// key.
    pub fn parse(key: &str, request_hash: String) -> Result<Self> {
        if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self { key: key.to_owned(), request_hash });
        }
        let message = "an Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID";
        Err(Error::Invalid(vec![FieldError::new("Idempotency-Key", FieldCode::BadHeader, message)]))
    }
}

/// The response to a write.
#[derive(Debug, Clone)]
pub struct RenderedResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The `Location` header, if a resource was created.
    pub location: Option<String>,
    /// The JSON body.
    pub body: String,
    /// Whether this is the stored response of an earlier request.
    pub replayed: bool,
}

/// Renders the response to a write, and stores it under the caller's key if one was sent.
#[derive(Debug)]
pub struct IdempotentWrite<R> {
    key: Option<Key>,
    render: R,
}

impl<R> IdempotentWrite<R> {
    /// Takes the key that the caller sent, if any, and the function that renders the response.
    pub fn new(key: Option<Key>, render: R) -> Self {
        Self { key, render }
    }

    /// Runs `work` and renders its response in one transaction, or returns the stored response. Errors with
    /// [`Error::IdempotencyMismatch`] if the key was used for a different request.
    pub async fn run<T>(
        self,
        ctx: &AppContext,
        tenant: &TenantId,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<RenderedResponse>
    where
        R: FnOnce(T) -> Result<RenderedResponse> + Send + 'static,
    {
        let (Self { key, render }, now) = (self, ctx.clock.now());
        ctx.db.write(tenant, move |tx| once(tx, key.as_ref(), now, |tx| render(work(tx)?))).await
    }
}

fn once(
    tx: &mut Tx<'_>,
    key: Option<&Key>,
    now: Timestamp,
    work: impl FnOnce(&mut Tx<'_>) -> Result<RenderedResponse>,
) -> Result<RenderedResponse> {
    let Some(key) = key else { return work(tx) };
    if let Some(stored) = tx.stored_response(&key.key)? {
        if stored.request_hash != key.request_hash {
            return Err(Error::IdempotencyMismatch);
        }
        let status = u16::try_from(stored.status).map_err(Error::internal)?;
        return Ok(RenderedResponse { status, location: stored.location, body: stored.body, replayed: true });
    }
    let answer = work(tx)?;
    tx.store_response(&StoredResponse {
        tenant_id: tx.tenant().clone(),
        key: key.key.clone(),
        request_hash: key.request_hash.clone(),
        status: i64::from(answer.status),
        location: answer.location.clone(),
        body: answer.body.clone(),
        created_at: now.naive_utc(),
    })?;
    Ok(answer)
}

/// Deletes the expired responses of all tenants. Returns their number.
pub async fn delete_expired(ctx: &AppContext) -> Result<usize> {
    let before = ctx.clock.now() - RETENTION;
    ctx.db.write_system(move |tx| tx.delete_expired_responses(before)).await
}

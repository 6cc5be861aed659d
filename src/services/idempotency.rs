//! The same request under the same Idempotency-Key gets the same answer, and is done once.

use chrono::TimeDelta;

use super::context::AppContext;
use crate::db::{StoredResponse, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::TenantId;
use crate::domain::{Error, FieldError, Result};

/// For how long an answer is given again.
const RETENTION: TimeDelta = TimeDelta::hours(48);

/// A key as given by the caller, with what it stands for.
#[derive(Debug, Clone)]
pub struct Key {
    key: String,
    request_hash: String,
}

impl Key {
    /// Checks a key: 1 to 255 visible ASCII characters. `request_hash` distinguishes requests.
    pub fn parse(key: &str, request_hash: String) -> Result<Self> {
        if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self { key: key.to_owned(), request_hash });
        }
        let message = "an Idempotency-Key is 1 to 255 visible ASCII characters, such as a UUID";
        Err(Error::Invalid(vec![FieldError::new("Idempotency-Key", "bad_header", message)]))
    }
}

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Location` of what was made.
    pub location: Option<String>,
    /// The JSON.
    pub body: String,
    /// Given before, and now given again.
    pub replayed: bool,
}

/// How an effect becomes an answer, which is stored under the caller's key where one was sent.
#[derive(Debug)]
pub struct Once<R> {
    key: Option<Key>,
    render: R,
}

impl<R> Once<R> {
    /// For a caller who sent this key, or none. `render` gives the answer.
    pub fn new(key: Option<Key>, render: R) -> Self {
        Self { key, render }
    }

    /// Does the work and renders its answer in one transaction, or gives the answer of the first time again.
    pub async fn run<T>(
        self,
        ctx: &AppContext,
        tenant: &TenantId,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<Answer>
    where
        R: FnOnce(T) -> Result<Answer> + Send + 'static,
    {
        let (Self { key, render }, now) = (self, ctx.clock.now());
        ctx.db.write(tenant, move |tx| once(tx, key.as_ref(), now, |tx| render(work(tx)?))).await
    }
}

fn once(
    tx: &mut Tx<'_>,
    key: Option<&Key>,
    now: Instant,
    work: impl FnOnce(&mut Tx<'_>) -> Result<Answer>,
) -> Result<Answer> {
    let Some(key) = key else { return work(tx) };
    if let Some(stored) = tx.stored_response(&key.key)? {
        if stored.request_hash != key.request_hash {
            return Err(Error::IdempotencyMismatch);
        }
        let status = u16::try_from(stored.status).map_err(Error::internal)?;
        return Ok(Answer { status, location: stored.location, body: stored.body, replayed: true });
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

/// Forgets old answers.
pub async fn delete_expired(ctx: &AppContext) -> Result<usize> {
    let before = ctx.clock.now() - RETENTION;
    ctx.db.write_system(move |tx| tx.delete_expired_responses(before)).await
}

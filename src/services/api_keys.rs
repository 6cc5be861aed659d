//! API keys: random, stored hashed, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::actor::Actor;
use super::context::AppContext;
use crate::db::{ApiKey, SystemTx, Tenant, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::{ApiKeyId, TenantId};
use crate::domain::{Error, Result};

/// The prefix of every key, by which people and secret scanners recognise one.
const KEY_PREFIX: &str = "cwb_";
/// Number of characters that are stored readable, to find and recognise a key: 48 of its 256 random bits.
const READABLE_LENGTH: usize = KEY_PREFIX.len() + 8;

/// A new key, whose secret is shown once and never stored.
pub struct NewKey {
    /// The stored part.
    pub row: ApiKey,
    /// The key.
    pub plain: String,
}

/// Makes a key of 256 random bits for the tenant and stores its hash.
pub async fn create(ctx: &AppContext, tenant: &TenantId, name: String) -> Result<NewKey> {
    let now = ctx.clock.now();
    ctx.db.write(tenant, move |tx| add(tx, &name, now)).await
}

/// The same in a transaction.
pub fn add(tx: &mut Tx<'_>, name: &str, now: Instant) -> Result<NewKey> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let plain = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let row = ApiKey {
        id: ApiKeyId::new(),
        tenant_id: tx.tenant().clone(),
        name: name.to_owned(),
        prefix: plain.chars().take(READABLE_LENGTH).collect(),
        hash: hash(&plain),
        created_at: now.naive_utc(),
        revoked_at: None,
    };
    tx.insert_api_key(&row)?;
    Ok(NewKey { row, plain })
}

/// Revokes a key of the caller's tenant. It stops working at once.
pub async fn revoke(ctx: &AppContext, actor: &Actor, id: ApiKeyId) -> Result<()> {
    let now = ctx.clock.now();
    ctx.db.write(&actor.tenant, move |tx| tx.revoke_api_key(&id, now)).await
}

/// Adds a tenant with its first key.
pub async fn create_tenant(ctx: &AppContext, name: String) -> Result<(Tenant, NewKey)> {
    let now = ctx.clock.now();
    ctx.db.write_system(move |tx| add_tenant(tx, &name, now)).await
}

fn add_tenant(tx: &mut SystemTx<'_>, name: &str, now: Instant) -> Result<(Tenant, NewKey)> {
    let tenant = Tenant { id: TenantId::new(), name: name.to_owned(), created_at: now.naive_utc() };
    tx.insert_tenant(&tenant)?;
    let key = add(&mut tx.of(&tenant.id), "first key", now)?;
    Ok((tenant, key))
}

/// Adds a tenant with a key if the database is empty, and returns the key.
pub async fn bootstrap_tenant(ctx: &AppContext) -> Result<Option<NewKey>> {
    let now = ctx.clock.now();
    let make = move |tx: &mut SystemTx<'_>| {
        // Replicas that start together make one tenant.
        tx.lock("first start")?;
        if tx.has_tenants()? { Ok(None) } else { add_tenant(tx, "default", now).map(|(_, key)| Some(key)) }
    };
    ctx.db.write_system(make).await
}

/// The actor that a key belongs to; `None` if the key is not valid.
pub async fn authenticate(ctx: &AppContext, presented: &str) -> Result<Option<Actor>> {
    if !presented.starts_with(KEY_PREFIX) || presented.len() > 100 || !presented.is_ascii() {
        return Ok(None);
    }
    let prefix: String = presented.chars().take(READABLE_LENGTH).collect();
    let found = ctx.db.read_system(move |tx| tx.api_key_by_prefix(&prefix)).await?;
    let hash = hash(presented);
    Ok(found
        .filter(|key| bool::from(key.hash.as_bytes().ct_eq(hash.as_bytes())))
        .map(|key| Actor { tenant: key.tenant_id, name: key.name }))
}

/// Whether a presented key is the operator's, in constant time.
pub fn is_operator(operator_key: &str, presented: &str) -> bool {
    bool::from(hash(operator_key).as_bytes().ct_eq(hash(presented).as_bytes()))
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

//! API keys: random, stored hashed, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::actor::Actor;
use super::audit::{Audit, Subject};
use crate::db::{ApiKey, SystemTx, Tenant, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{ApiKeyId, TenantId};
use crate::domain::{Error, Result};
use crate::services::context::AppContext;

/// Prefix of every key, so that people and secret scanners recognise it.
const KEY_PREFIX: &str = "cwb_";
/// Number of leading characters stored in plain text, to look up and recognise a key: the prefix and 48 of the 256
/// random bits.
const READABLE_LENGTH: usize = KEY_PREFIX.len() + 8;

/// A new key. Its plain text is returned once and never stored.
pub struct NewKey {
    /// The stored row, with the hash of the key.
    pub row: ApiKey,
    /// The key in plain text.
    pub plain: String,
}

/// Creates a key of 256 random bits for the tenant and stores its hash.
pub async fn create(ctx: &AppContext, actor: &Actor, name: String) -> Result<NewKey> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| add(tx, &name, &audit)).await
}

/// Same as [`create`], in the caller's transaction.
pub fn add(tx: &mut Tx<'_>, name: &str, audit: &Audit) -> Result<NewKey> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let plain = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let row = ApiKey {
        id: ApiKeyId::new(),
        tenant_id: tx.tenant().clone(),
        name: name.to_owned(),
        prefix: plain.chars().take(READABLE_LENGTH).collect(),
        hash: hash(&plain),
        created_at: audit.now().naive_utc(),
        revoked_at: None,
    };
    tx.insert_api_key(&row)?;
    let new = json!({"name": row.name, "prefix": row.prefix});
    audit.record(tx, AuditAction::ApiKeyCreated, Subject::new(&row.id, &row.name), None, Some(new))?;
    Ok(NewKey { row, plain })
}

/// Revokes a key of the caller's tenant. The key stops working at once; in other processes, within a second.
pub async fn revoke(ctx: &AppContext, actor: &Actor, id: ApiKeyId) -> Result<()> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let key = tx.revoke_api_key(&id, audit.now())?;
        if key.revoked_at.is_some() {
            return Ok(());
        }
        audit.record(tx, AuditAction::ApiKeyRevoked, Subject::new(&key.id, &key.name), None, None)
    };
    // Spawned as a task: a caller that disconnects must not leave the key remembered.
    let (ctx, tenant) = (ctx.clone(), actor.tenant.clone());
    let task = tokio::spawn(async move {
        let revoked = ctx.db.write(&tenant, work).await;
        // Also after an error, because the write may have been committed.
        ctx.known_keys.forget();
        revoked
    });
    task.await.map_err(Error::internal)?
}

/// Creates a tenant with its first API key.
pub async fn create_tenant(ctx: &AppContext, name: String) -> Result<(Tenant, NewKey)> {
    let now = ctx.clock.now();
    ctx.db.write_system(move |tx| add_tenant(tx, &name, now)).await
}

fn add_tenant(tx: &mut SystemTx<'_>, name: &str, now: Timestamp) -> Result<(Tenant, NewKey)> {
    let tenant = Tenant { id: TenantId::new(), name: name.to_owned(), created_at: now.naive_utc() };
    tx.insert_tenant(&tenant)?;
    let key = add(&mut tx.for_tenant(&tenant.id), "first key", &Audit::internal(&tenant.id, "operator", now))?;
    Ok((tenant, key))
}

/// Creates a tenant with an API key if there is no tenant yet, and returns the key.
pub async fn bootstrap_tenant(ctx: &AppContext) -> Result<Option<NewKey>> {
    let now = ctx.clock.now();
    let make = move |tx: &mut SystemTx<'_>| {
        // Of several replicas that start at the same time, only one creates the tenant.
        tx.lock("first start")?;
        if tx.has_tenants()? { Ok(None) } else { add_tenant(tx, "default", now).map(|(_, key)| Some(key)) }
    };
    ctx.db.write_system(make).await
}

/// Returns the caller that a key belongs to; `None` if the key is invalid or revoked.
pub async fn authenticate(ctx: &AppContext, presented: &str, request_id: Option<String>) -> Result<Option<Actor>> {
    if !presented.starts_with(KEY_PREFIX) || presented.len() > 100 || !presented.is_ascii() {
        return Ok(None);
    }
    let Some(key) = find(ctx, presented).await? else { return Ok(None) };
    let hash = hash(presented);
    let is_right = bool::from(key.hash.as_bytes().ct_eq(hash.as_bytes()));
    if is_right && key.revoked_at.is_none() {
        let actor = Actor { key_id: Some(key.id), ..Actor::internal(key.tenant_id, &key.name) };
        return Ok(Some(actor));
    }
    rejected(ctx, key, request_id, is_right).await;
    Ok(None)
}

/// Finds the stored key that may match a presented key, by its plain-text prefix.
async fn find(ctx: &AppContext, presented: &str) -> Result<Option<ApiKey>> {
    let prefix: String = presented.chars().take(READABLE_LENGTH).collect();
    let lookup = match ctx.known_keys.get(&prefix) {
        Ok(key) => return Ok(Some(key)),
        Err(lookup) => lookup,
    };
    let found = ctx.db.query_system(move |tx| tx.api_key_by_prefix(&prefix)).await?;
    if let Some(key) = &found {
        ctx.known_keys.put(lookup, key);
    }
    Ok(found)
}

/// Records that a key was rejected, at most once a minute for each key: a caller without access must not fill the log.
async fn rejected(ctx: &AppContext, key: ApiKey, request_id: Option<String>, is_revoked: bool) {
    let now = ctx.clock.now();
    if !ctx.rejected_keys.may_record(&key.id, now) {
        return;
    }
    let actor = Actor { request_id, ..Actor::internal(key.tenant_id.clone(), "unknown") };
    let audit = Audit::new(&actor, now);
    let reason = if is_revoked { "revoked" } else { "wrong" };
    let work = move |tx: &mut Tx<'_>| {
        let subject = Subject::new(&key.id, &key.name);
        audit.record(tx, AuditAction::ApiKeyRejected, subject, None, Some(json!({"reason": reason})))
    };
    // The request is rejected, whether this can be recorded or not.
    if let Err(error) = ctx.db.write(&actor.tenant, work).await {
        tracing::warn!(tenant = %actor.tenant, cause = %error.chain(), "failed to record a rejected API key");
    }
}

/// Returns whether a presented key is the operator's. Compares in constant time.
pub fn is_operator(operator_key: &str, presented: &str) -> bool {
    bool::from(hash(operator_key).as_bytes().ct_eq(hash(presented).as_bytes()))
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

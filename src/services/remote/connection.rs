//! A tenant's connection to ConnectWise: stored with encrypted keys, tested on demand.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::refresh;
use crate::connectwise::Check;
use crate::db::{Connection, LineFilter, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::ids::TenantId;
use crate::domain::{ConflictCode, Error, FieldCode, Result};
use crate::services::companies;
use crate::services::context::AppContext;
use crate::services::mappings::resolve;
use crate::services::remote::client::{self, parse_site};
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::{Audit, Subject};
use crate::services::security::encryption::Vault;

/// The new content of a connection.
pub struct NewConnection {
    /// The ConnectWise site as the user entered it, such as `na.myconnectwise.net`.
    pub site: String,
    /// The company id with which the MSP logs in to ConnectWise.
    pub company_id: String,
    /// The integration's client id for the ConnectWise API.
    pub client_id: String,
    /// The public and the private API key; `None` keeps the stored keys.
    pub keys: Option<(SecretString, SecretString)>,
    /// The custom field of additions in which each push writes its id and date, by its caption.
    pub provenance_field: Option<String>,
    /// Whether a changed site is known to be the same ConnectWise at another address, such as the demo's sandbox.
    pub same_records: bool,
}

/// Creates or replaces the tenant's connection. Rejects a different ConnectWise while data of the old one are stored.
pub async fn put(ctx: &AppContext, actor: &Actor, new: NewConnection, if_match: IfMatch) -> Result<Connection> {
    let site = parse_site(ctx, &new.site)?.to_string();
    let (vault, now) = (ctx.vault.clone(), ctx.clock.now());
    let audit = Audit::new(actor, now);
    let work = move |tx: &mut Tx<'_>| {
        let before = tx.connection()?;
        if_match.check(before.as_ref().map_or(0, |row| row.version))?;
        if !new.same_records {
            reject_other_site(tx, before.as_ref(), &site, &new.company_id)?;
        }
        let row = Connection {
            tenant_id: tx.tenant().clone(),
            secrets: sealed_keys(tx.tenant(), &vault, before.as_ref(), &site, &new)?,
            site,
            company_id: new.company_id,
            client_id: new.client_id,
            provenance_field: new.provenance_field,
            version: before.as_ref().map_or(1, |row| row.version + 1),
            created_at: before.as_ref().map_or(now.naive_utc(), |row| row.created_at),
            updated_at: now.naive_utc(),
        };
        tx.put_connection(&row)?;
        if before.as_ref().is_some_and(|before| before.site != row.site || before.company_id != row.company_id) {
            refresh::forget_recap_list(tx)?;
        }
        let keys_changed = before.as_ref().is_none_or(|before| before.secrets != row.secrets);
        let (old, mut new) = (before.as_ref().map(audited), audited(&row));
        if keys_changed {
            new["keys"] = json!("set");
        }
        audit.record(tx, AuditAction::ConnectionSet, Subject::NONE, old, Some(new))?;
        // It is unknown whether the new connection works.
        tx.clear_connection_failure()?;
        // Lines that wait for the connection are retried at once with the new one.
        tx.make_pending_lines_due()?;
        // Waits of the former connection do not apply to the new one.
        tx.delete_request_budget()?;
        Ok(row)
    };
    let row = ctx.db.write(&actor.tenant, work).await?;
    ctx.clients.forget(&actor.tenant);
    ctx.wake_worker();
    Ok(row)
}

fn reject_other_site(tx: &mut Tx<'_>, before: Option<&Connection>, site: &str, company_id: &str) -> Result<()> {
    let place = |site: &str| {
        let url = url::Url::parse(site).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()))
    };
    let moved = before.is_some_and(|row| row.company_id != company_id || place(&row.site) != place(site));
    if moved && tx.has_connectwise_data()? {
        let detail = "a different host, port or company id means a different ConnectWise with different record ids: \
                      DELETE /api/v1/connection first, which also clears company matches and mappings";
        return Err(Error::conflict(ConflictCode::OtherConnectwise, detail));
    }
    Ok(())
}

fn sealed_keys(
    tenant: &TenantId,
    vault: &Vault,
    before: Option<&Connection>,
    site: &str,
    new: &NewConnection,
) -> Result<String> {
    let same_site = |row: &&Connection| row.site == site && row.company_id == new.company_id;
    match (&new.keys, before.filter(same_site)) {
        (Some((public_key, private_key)), _) => client::seal_keys(vault, tenant, public_key, private_key),
        (None, Some(row)) => Ok(row.secrets.clone()),
        // Stored keys must never be sent to a site or company id other than the one they were entered for.
        (None, None) => {
            let message = "enter public_key and private_key; omit them only if site and company_id do not change";
            Err(Error::invalid("/private_key", FieldCode::Required, message))
        }
    }
}

/// Deletes the connection and everything that was read through it, and clears all company matches and mappings.
/// Rejected while a push job is open.
pub async fn delete(ctx: &AppContext, actor: &Actor, if_match: IfMatch) -> Result<()> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let (now, by) = (audit.now(), audit.by());
        let Some(row) = tx.connection()? else { return Err(Error::not_found("connection", "of this tenant")) };
        if_match.check(row.version)?;
        if tx.has_open_push_job()? {
            let detail = "a push job is running: wait until it ends, or cancel it";
            return Err(Error::conflict(ConflictCode::PushJobRunning, detail));
        }
        let (mut unmatched, mut entries) = (Vec::new(), Vec::new());
        for before in tx.all_companies()?.into_iter().filter(|row| row.connectwise_company_id.is_some()) {
            let mut company = before.clone();
            company.set_match(None, now, by);
            entries.extend(companies::match_entry(tx, &audit, &before, &company));
            unmatched.push(company);
        }
        tx.save_matches(&mut unmatched)?;
        tx.delete_connectwise_records()?;
        tx.delete_connection()?;
        tx.clear_connection_failure()?;
        audit.record(tx, AuditAction::ConnectionDeleted, Subject::NONE, Some(audited(&row)), None)?;
        tx.insert_audit(&entries)?;
        resolve::re_resolve(tx, &LineFilter::default(), &audit).map(drop)
    };
    ctx.db.write(&actor.tenant, work).await
}

/// A connection as the audit log records it, without its keys.
fn audited(row: &Connection) -> Value {
    json!({
        "site": row.site, "company_id": row.company_id, "client_id": row.client_id,
        "provenance_field": row.provenance_field,
    })
}

/// Records that ConnectWise answered, which ends a failure that pushes found.
pub async fn record_working(ctx: &AppContext, tenant: &TenantId) -> Result<()> {
    if ctx.db.query(tenant, |tx| tx.connection_failure()).await?.is_some() {
        ctx.db.write(tenant, |tx| tx.clear_connection_failure()).await?;
    }
    Ok(())
}

/// Tests the connection and returns the result of each step. Remembers where the site has the agreement recap.
pub async fn test(ctx: &AppContext, actor: &Actor) -> Result<Check> {
    let row = ctx.db.query(&actor.tenant, |tx| tx.connection()).await?.ok_or_else(client::not_connected)?;
    let check = client::for_connection(ctx, &row)?.check(row.provenance_field.as_deref()).await;
    if check.passed() {
        record_working(ctx, &actor.tenant).await?;
        refresh::remember_recap_list(ctx, &actor.tenant, check.recap_list).await?;
    }
    Ok(check)
}

//! A tenant's way into its ConnectWise: kept sealed, tried on demand, one client each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::vault::Vault;
use super::{Actor, IfMatch, Services, budget, companies, resolve};
use crate::connectwise::{CheckStep, CircuitStatus, Client, Credentials, Site};
use crate::db::{Connection, LineFilter, Tx};
use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};

/// The two keys, as they are sealed together.
#[derive(Serialize, Deserialize)]
struct Keys {
    public_key: String,
    private_key: String,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.public_key.zeroize();
        self.private_key.zeroize();
    }
}

/// What a caller sets.
pub struct NewConnection {
    /// Where; as people paste it.
    pub site: String,
    /// The company the MSP logs in with.
    pub company_id: String,
    /// The integration's id.
    pub client_id: String,
    /// Public and private key; `None` keeps those that are there.
    pub keys: Option<(SecretString, SecretString)>,
    /// Whether it is known to be the ConnectWise of before at another address, as the demo's stand-in is.
    pub same_records: bool,
}

/// Clients by tenant, each for one version of the tenant's connection.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<TenantId, (Connection, Arc<Client>)>>);

impl Clients {
    fn get(&self, row: &Connection) -> Option<Arc<Client>> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&row.tenant_id).filter(|(known, _)| known == row).map(|(_, client)| client.clone())
    }

    fn put(&self, row: &Connection, client: Client) -> Arc<Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have made one meanwhile; its budget is the one that counts.
        match clients.get(&row.tenant_id) {
            Some((known, there)) if known == row => there.clone(),
            _ => {
                let client = Arc::new(client);
                clients.insert(row.tenant_id.clone(), (row.clone(), client.clone()));
                client
            }
        }
    }
}

/// Nothing is connected yet.
pub(super) fn not_connected() -> Error {
    Error::conflict("not_connected", "no ConnectWise connection is set; PUT /api/v1/connection first")
}

/// The tenant's client. Errors with `not_connected` where no connection is set.
pub async fn client(services: &Services, tenant: &TenantId) -> Result<Arc<Client>> {
    let row = services.db.read(tenant, |tx| tx.connection()).await?.ok_or_else(not_connected)?;
    client_for(services, &row)
}

/// The client for a connection.
pub(super) fn client_for(services: &Services, row: &Connection) -> Result<Arc<Client>> {
    if let Some(client) = services.clients.get(row) {
        return Ok(client);
    }
    let sealed = services.vault.open(&row.tenant_id, &row.secrets)?;
    let keys: Keys = serde_json::from_str(sealed.expose_secret()).map_err(|_| Error::internal("sealed keys"))?;
    let site = parse_site(services, &row.site)?;
    let credentials = Credentials {
        site,
        company_id: row.company_id.clone(),
        public_key: SecretString::from(keys.public_key.as_str()),
        private_key: SecretString::from(keys.private_key.as_str()),
        client_id: row.client_id.clone(),
    };
    let shared = budget::shared(services, &row.tenant_id);
    let client = Client::new(credentials, services.settings.connectwise.clone(), shared, services.clock.clone())?;
    Ok(services.clients.put(row, client))
}

fn parse_site(services: &Services, text: &str) -> Result<Site> {
    let site = Site::parse(text, services.settings.connectwise.allow_private);
    site.map_err(|error| Error::invalid("/site", "bad_site", error.to_string()))
}

/// Sets the tenant's connection.
pub async fn put(services: &Services, actor: &Actor, new: NewConnection, if_match: IfMatch) -> Result<Connection> {
    let site = parse_site(services, &new.site)?.to_string();
    let (vault, now) = (services.vault.clone(), services.clock.now());
    let work = move |tx: &mut Tx<'_>| {
        let before = tx.connection()?;
        if_match.check(before.as_ref().map_or(0, |row| row.version))?;
        if !new.same_records {
            refuse_other_connectwise(tx, before.as_ref(), &site, &new.company_id)?;
        }
        let row = Connection {
            tenant_id: tx.tenant().clone(),
            secrets: sealed_keys(tx.tenant(), &vault, before.as_ref(), &site, &new)?,
            site,
            company_id: new.company_id,
            client_id: new.client_id,
            version: before.as_ref().map_or(1, |row| row.version + 1),
            created_at: before.map_or(now.naive_utc(), |row| row.created_at),
            updated_at: now.naive_utc(),
        };
        tx.put_connection(&row)?;
        // Lines that wait for the connection to work again are tried with the new one at once.
        tx.wake_pending_lines()?;
        Ok(row)
    };
    let row = services.db.write(&actor.tenant, work).await?;
    services.wake.notify_one();
    Ok(row)
}

fn refuse_other_connectwise(tx: &mut Tx<'_>, before: Option<&Connection>, site: &str, company_id: &str) -> Result<()> {
    let place = |site: &str| {
        let url = url::Url::parse(site).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()))
    };
    let moved = before.is_some_and(|row| row.company_id != company_id || place(&row.site) != place(site));
    if moved && tx.has_connectwise_data()? {
        let detail = "another host, port or company id is another ConnectWise, whose records have other ids: \
                      DELETE /api/v1/connection first, which also clears company matches and mappings";
        return Err(Error::conflict("other_connectwise", detail));
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
    let same_place = |row: &&Connection| row.site == site && row.company_id == new.company_id;
    match (&new.keys, before.filter(same_place)) {
        (Some((public_key, private_key)), _) => {
            let keys = Keys {
                public_key: public_key.expose_secret().to_owned(),
                private_key: private_key.expose_secret().to_owned(),
            };
            let text = Zeroizing::new(serde_json::to_string(&keys).map_err(Error::internal)?);
            vault.seal(tenant, &text)
        }
        (None, Some(row)) => Ok(row.secrets.clone()),
        // Kept keys must never be sent to another place than the one they were entered for.
        (None, None) => {
            let message = "enter public_key and private_key; they may be left out only while site and company_id stay";
            Err(Error::invalid("/private_key", "required", message))
        }
    }
}

/// Removes the connection and all that was read through it: company matches are cleared, and every mapping with them.
pub async fn delete(services: &Services, actor: &Actor, if_match: IfMatch) -> Result<()> {
    let (now, by) = (services.clock.now(), actor.name.clone());
    let work = move |tx: &mut Tx<'_>| {
        let Some(row) = tx.connection()? else { return Err(not_connected()) };
        if_match.check(row.version)?;
        if tx.has_open_push_job()? {
            let detail = "a push job is running: wait for its end, or cancel it";
            return Err(Error::conflict("push_job_running", detail));
        }
        for mut company in tx.all_companies()?.into_iter().filter(|row| row.connectwise_company_id.is_some()) {
            companies::set_match(&mut company, None, now, &by);
            tx.update_company(&mut company)?;
        }
        tx.forget_connectwise()?;
        tx.delete_connection()?;
        resolve::lines_anew(tx, &LineFilter::default(), now, &by).map(drop)
    };
    services.db.write(&actor.tenant, work).await
}

/// Whether requests to the tenant's ConnectWise are let through; closed where no client was needed yet.
pub fn circuit(services: &Services, row: &Connection) -> CircuitStatus {
    services.clients.get(row).map_or(CircuitStatus::Closed, |client| client.circuit())
}

/// Tries the connection, step by step.
pub async fn test(services: &Services, actor: &Actor) -> Result<Vec<CheckStep>> {
    Ok(client(services, &actor.tenant).await?.check().await)
}

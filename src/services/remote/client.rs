//! The client of a tenant's connection, with decrypted keys and the shared budget.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::budget;
use crate::connectwise::{CircuitStatus, Client, Credentials, Site};
use crate::db::Connection;
use crate::domain::ids::TenantId;
use crate::domain::{ConflictCode, Error, FieldCode, Result};
use crate::services::context::AppContext;
use crate::services::security::encryption::Vault;

/// The two keys, which are encrypted together as JSON.
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

/// Encrypts the two keys of a connection.
pub fn seal_keys(vault: &Vault, tenant: &TenantId, public: &SecretString, private: &SecretString) -> Result<String> {
    let keys = Keys { public_key: public.expose_secret().to_owned(), private_key: private.expose_secret().to_owned() };
    let text = Zeroizing::new(serde_json::to_string(&keys).map_err(Error::internal)?);
    vault.seal(tenant, &text)
}

/// The conflict that the tenant has no connection.
pub fn not_connected() -> Error {
    Error::conflict(ConflictCode::NotConnected, "no ConnectWise connection is set; PUT /api/v1/connection first")
}

/// Returns the tenant's client. Errors with `not_connected` if there is no connection.
pub async fn for_tenant(ctx: &AppContext, tenant: &TenantId) -> Result<Arc<Client>> {
    let row = ctx.db.query(tenant, |tx| tx.connection()).await?.ok_or_else(not_connected)?;
    for_connection(ctx, &row)
}

/// Returns the client of a connection, creating it if needed.
pub fn for_connection(ctx: &AppContext, row: &Connection) -> Result<Arc<Client>> {
    if let Some(client) = ctx.clients.get(row) {
        return Ok(client);
    }
    let sealed = ctx.vault.open(&row.tenant_id, &row.secrets)?;
    let keys: Keys = serde_json::from_str(sealed.expose_secret()).map_err(|_| Error::internal("sealed keys"))?;
    let site = parse_site(ctx, &row.site)?;
    let credentials = Credentials {
        site,
        company_id: row.company_id.clone(),
        public_key: SecretString::from(keys.public_key.as_str()),
        private_key: SecretString::from(keys.private_key.as_str()),
        client_id: row.client_id.clone(),
    };
    let shared = budget::shared(ctx, &row.tenant_id);
    let settings = ctx.settings.connectwise.clone();
    let client = Client::new(credentials, settings, &ctx.clients.http, shared, ctx.clock.clone())?;
    Ok(ctx.clients.put(row, client))
}

/// Parses a site as users enter it: with or without scheme, `api-` and path.
pub fn parse_site(ctx: &AppContext, text: &str) -> Result<Site> {
    let site = Site::parse(text, ctx.settings.connectwise.allow_private);
    site.map_err(|error| Error::invalid("/site", FieldCode::BadSite, error.to_string()))
}

/// Returns the state of the connection's circuit breaker; closed if there is no client yet.
pub fn circuit(ctx: &AppContext, row: &Connection) -> CircuitStatus {
    ctx.clients.get(row).map_or(CircuitStatus::Closed, |client| client.circuit())
}

//! The ConnectWise clients of this process, cached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::connectwise::{Client, HttpClients};
use crate::db::Connection;
use crate::domain::ids::TenantId;

/// The clients of this process.
#[derive(Default)]
pub struct Clients {
    /// Clients by tenant. Each is valid for one version of the tenant's connection.
    by_tenant: Mutex<HashMap<TenantId, (Connection, Arc<Client>)>>,
    /// What they send their requests with.
    pub http: HttpClients,
}

impl Clients {
    /// Returns the client of a connection; `None` if there is none or the connection has changed.
    pub fn get(&self, row: &Connection) -> Option<Arc<Client>> {
        let clients = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&row.tenant_id).filter(|(known, _)| known == row).map(|(_, client)| client.clone())
    }

    /// Whether ConnectWise asked this tenant's client to wait longer than a worker waits. `false` if there is no client
    /// yet.
    pub fn is_paused(&self, tenant: &TenantId) -> bool {
        let clients = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(tenant).is_some_and(|(_, client)| client.paused_for().is_some())
    }

    /// Drops a tenant's client, because its connection has changed.
    pub fn forget(&self, tenant: &TenantId) {
        self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }

    /// Stores a client. Returns the client to use, which may be one that another request stored first.
    pub fn put(&self, row: &Connection, client: Client) -> Arc<Client> {
        let mut clients = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have stored a client in the meantime. Use that client, so there is only one request
        // budget.
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

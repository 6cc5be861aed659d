//! Records who changed what, in the transaction of the change.

use serde_json::{Map, Value};

use super::actor::Actor;
use crate::db::{AuditEntry, Tx};
use crate::domain::Result;
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{AuditId, TenantId};

/// Maximum number of records that one entry names; it counts all of them.
pub const MAX_NAMED: usize = 100;

/// The actor and time, which all entries of one request share.
#[derive(Debug, Clone)]
pub struct Audit {
    actor: Actor,
    by: String,
    now: Timestamp,
}

/// The record that an entry is about.
#[derive(Debug, Clone)]
pub struct Subject {
    id: Option<String>,
    name: Option<String>,
}

impl Subject {
    /// A record with its id and its name, for people.
    pub fn new(id: impl ToString, name: impl Into<String>) -> Self {
        Self { id: Some(id.to_string()), name: Some(name.into()) }
    }

    /// No single record.
    pub const NONE: Self = Self { id: None, name: None };
}

impl Audit {
    /// Creates the entries of an internal task, such as the command line.
    pub fn internal(tenant: &TenantId, name: &str, now: Timestamp) -> Self {
        Self::new(&Actor::internal(tenant.clone(), name), now)
    }

    /// Creates the entries of an actor at a time.
    pub fn new(actor: &Actor, now: Timestamp) -> Self {
        Self { actor: actor.clone(), by: actor.shown_name(), now }
    }

    /// When the request is handled: the time of its entries, and of the changes that they record.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The actor's name, as histories record it.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Records an action with the values before and after. For two objects, only the members that differ are recorded,
    /// and nothing if they are equal.
    pub fn record(
        &self,
        tx: &mut Tx<'_>,
        action: AuditAction,
        subject: Subject,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Result<()> {
        let entry = self.entry(tx, action, subject, old, new);
        tx.insert_audit(entry.as_slice())
    }

    /// An entry to be stored with others; `None` if the values before and after are equal.
    pub fn entry(
        &self,
        tx: &Tx<'_>,
        action: AuditAction,
        subject: Subject,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Option<AuditEntry> {
        if old.is_some() && old == new {
            return None;
        }
        let (old, new) = differing(old, new);
        Some(AuditEntry {
            id: AuditId::new(),
            tenant_id: tx.tenant().clone(),
            at: self.now.naive_utc(),
            actor: self.actor.name.clone(),
            acting_user: self.actor.acting_user.clone(),
            api_key_id: self.actor.key_id.clone(),
            request_id: self.actor.request_id.clone(),
            action,
            subject_id: subject.id,
            subject_name: subject.name,
            old: old.map(|value| value.to_string()),
            new: new.map(|value| value.to_string()),
        })
    }
}

/// The members of two objects that differ.
fn differing(old: Option<Value>, new: Option<Value>) -> (Option<Value>, Option<Value>) {
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (&old, &new) else { return (old, new) };
    let changed = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let members = of.iter().filter(|(name, value)| other.get(*name) != Some(value));
        Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    (Some(changed(old, new)), Some(changed(new, old)))
}

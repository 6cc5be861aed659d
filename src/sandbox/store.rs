//! The records: JSON objects by id, saved to a file if one is given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Companies.
    Companies,
    /// Agreements.
    Agreements,
    /// Additions of agreements.
    Additions,
    /// Agreement types.
    Types,
    /// Members of the agreement recap by the agreement's id, besides those that the agreement itself has.
    Recaps,
}

/// All records of the sandbox.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Store {
    records: BTreeMap<Kind, BTreeMap<i64, Map<String, Value>>>,
    /// The additions that reject every change, with the error message.
    rejections: BTreeMap<i64, String>,
    /// The ids of each agreement's additions, so that a large store is as fast as a small one.
    #[serde(skip)]
    by_agreement: BTreeMap<i64, BTreeSet<i64>>,
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Store {
    /// Loads a store from a file, or creates one with `make` if the file does not exist. Saves it to the file.
    pub fn load_or(file: PathBuf, make: impl FnOnce() -> Self) -> std::io::Result<Self> {
        let mut store: Self = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(),
            Err(error) => return Err(error),
        };
        store.file = Some(file);
        let additions: Vec<i64> =
            store.records.get(&Kind::Additions).into_iter().flat_map(BTreeMap::keys).copied().collect();
        additions.into_iter().for_each(|id| store.index(id));
        store.save()?;
        Ok(store)
    }

    /// Writes the file, atomically. Does nothing if the store has no file.
    pub(super) fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = file.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(self).map_err(std::io::Error::other)?)?;
        std::fs::rename(draft, file)
    }

    /// All records of a kind, by id.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Map<String, Value>> {
        self.records.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// The record of a kind with an id, if there is one.
    pub fn get(&self, kind: Kind, id: i64) -> Option<&Map<String, Value>> {
        self.records.get(&kind)?.get(&id)
    }

    /// The additions of an agreement, by id.
    pub(super) fn additions_of(&self, agreement: i64) -> impl Iterator<Item = &Map<String, Value>> {
        let ids = self.by_agreement.get(&agreement).into_iter().flatten();
        ids.filter_map(|id| self.get(Kind::Additions, *id))
    }

    fn parent(&self, addition: i64) -> Option<i64> {
        self.get(Kind::Additions, addition)?.get("agreementId")?.as_i64()
    }

    fn index(&mut self, addition: i64) {
        if let Some(parent) = self.parent(addition) {
            self.by_agreement.entry(parent).or_default().insert(addition);
        }
    }

    /// Removes an addition from the index. Must be called before the addition is changed or removed.
    fn unindex(&mut self, addition: i64) {
        if let Some(ids) = self.parent(addition).and_then(|parent| self.by_agreement.get_mut(&parent)) {
            ids.remove(&addition);
        }
    }

    /// Changes a record, and updates the index of additions.
    fn change(&mut self, kind: Kind, id: i64, change: impl FnOnce(&mut BTreeMap<i64, Map<String, Value>>)) {
        if kind == Kind::Additions {
            self.unindex(id);
        }
        change(self.records.entry(kind).or_default());
        if kind == Kind::Additions {
            self.index(id);
        }
    }

    /// An addition by id, if it belongs to the agreement.
    pub(super) fn addition(&self, agreement: i64, id: i64) -> Option<&Map<String, Value>> {
        self.get(Kind::Additions, id)
            .filter(|record| record.get("agreementId").and_then(Value::as_i64) == Some(agreement))
    }

    /// Adds or replaces a record by its `id` member. Does nothing if there is none.
    pub fn put(&mut self, kind: Kind, record: Value) {
        let Value::Object(record) = record else { return };
        let Some(id) = record.get("id").and_then(Value::as_i64) else { return };
        self.change(kind, id, |records| {
            records.insert(id, record);
        });
    }

    /// Sets some members of a record. Adds the record if it does not exist.
    pub fn merge(&mut self, kind: Kind, id: i64, members: Map<String, Value>) {
        self.change(kind, id, |records| {
            let record = records.entry(id).or_default();
            record.insert("id".to_owned(), id.into());
            record.extend(members);
        });
    }

    /// Removes a record, and an agreement's additions with it. Returns whether the record existed.
    pub fn remove(&mut self, kind: Kind, id: i64) -> bool {
        let mut removed = false;
        self.change(kind, id, |records| removed = records.remove(&id).is_some());
        let orphans = if kind == Kind::Agreements { self.by_agreement.remove(&id) } else { None };
        if let Some(additions) = self.records.get_mut(&Kind::Additions) {
            orphans.into_iter().flatten().for_each(|id| drop(additions.remove(&id)));
        }
        removed
    }

    /// An id for a new record of a kind: one more than the highest.
    pub(super) fn new_id(&self, kind: Kind) -> i64 {
        let last = self.records.get(&kind).and_then(|records| records.last_key_value());
        last.map_or(1, |(id, _)| id + 1)
    }

    /// Makes every change of an addition fail with an error message.
    pub fn reject(&mut self, addition: i64, why: &str) {
        self.rejections.insert(addition, why.to_owned());
    }

    pub(super) fn rejection(&self, addition: i64) -> Option<&str> {
        self.rejections.get(&addition).map(String::as_str)
    }

    /// An addition's quantity.
    pub fn quantity(&self, addition: i64) -> Option<f64> {
        self.get(Kind::Additions, addition)?.get("quantity")?.as_f64()
    }
}

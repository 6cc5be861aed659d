//! The history of billing lines, written in the transaction that changes them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::db::{AuditEntry, LineChangeRow, MappedLine, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::LineChangeId;
use crate::domain::mapping_status::MappingStatus;
use crate::domain::mappings::{LineField, Mapping, MappingSnapshot, RecordIndex};
use crate::domain::rules::Target;
use crate::domain::{Error, Result};
use crate::services::security::audit::{Audit, Subject};
use crate::services::webhooks::{Event, EventMapping, record};

/// Collects changed lines and their history entries, and saves them together.
pub struct ChangeRecorder<'a> {
    record_index: &'a RecordIndex,
    now: Timestamp,
    by: &'a str,
    lines: Vec<MappedLine>,
    entries: Vec<LineChangeRow>,
    /// The mappings that became stale, for webhooks.
    stale: Vec<EventMapping>,
    /// The mappings that became ambiguous, for webhooks.
    ambiguous: Vec<EventMapping>,
}

impl<'a> ChangeRecorder<'a> {
    /// Creates an empty recorder.
    pub fn new(record_index: &'a RecordIndex, now: Timestamp, by: &'a str) -> Self {
        Self { record_index, now, by, lines: Vec::new(), entries: Vec::new(), stale: Vec::new(), ambiguous: Vec::new() }
    }

    /// Records a changed line, which [`Self::save`] saves.
    pub fn add(&mut self, tx: &Tx<'_>, before: &MappedLine, after: &MappedLine) -> Result<()> {
        let mut line = after.clone();
        let changed = || (Some(self.now.naive_utc()), Some(self.by.to_owned()));
        if before.agreement.differs_from(&after.agreement) {
            line.agreement_changed = changed();
        }
        if before.addition.differs_from(&after.addition) {
            line.addition_changed = changed();
        }
        self.lines.push(line);
        self.note_alert(after, Target::Agreement, &before.agreement, &after.agreement);
        self.note_alert(after, Target::Addition, &before.addition, &after.addition);
        if before.agreement.differs_from(&after.agreement) {
            let named = self.record_index.named_agreement(after.agreement.clone());
            self.note(tx, after, LineField::Agreement, &MappingSnapshot::from(named))?;
        }
        if before.addition.differs_from(&after.addition) {
            let named = self.record_index.named_addition(after.addition.clone());
            self.note(tx, after, LineField::Addition, &MappingSnapshot::from(named))?;
        }
        if before.push_enabled != after.push_enabled {
            self.note(tx, after, LineField::PushEnabled, &after.push_enabled)?;
        }
        if before.block_size != after.block_size {
            self.note(tx, after, LineField::BlockSize, &after.block_size)?;
        }
        if before.minimum_quantity != after.minimum_quantity {
            self.note(tx, after, LineField::MinimumQuantity, &after.minimum_quantity)?;
        }
        if before.included_quantity != after.included_quantity {
            self.note(tx, after, LineField::IncludedQuantity, &after.included_quantity)?;
        }
        if before.adjustment != after.adjustment {
            self.note(tx, after, LineField::Adjustment, &after.adjustment)?;
        }
        Ok(())
    }

    /// Notes a mapping that became stale or ambiguous, so a person must choose.
    fn note_alert<Id>(&mut self, line: &MappedLine, target: Target, before: &Mapping<Id>, after: &Mapping<Id>) {
        let lines = match after.status {
            _ if before.status == after.status => return,
            MappingStatus::Stale => &mut self.stale,
            MappingStatus::Ambiguous => &mut self.ambiguous,
            MappingStatus::Resolved | MappingStatus::Unresolved => return,
        };
        lines.push(EventMapping {
            billing_line_id: line.id.clone(),
            company_id: line.company_id.clone(),
            company_name: line.company_name.clone(),
            product_id: line.product_id.clone(),
            target,
            reason: after.reason,
        });
    }

    fn note(&mut self, tx: &Tx<'_>, line: &MappedLine, part: LineField, became: &impl Serialize) -> Result<()> {
        self.entries.push(LineChangeRow {
            id: LineChangeId::new(),
            tenant_id: tx.tenant().clone(),
            billing_line_id: line.id.clone(),
            part,
            became: serde_json::to_string(became).map_err(Error::internal)?,
            changed_at: self.now.naive_utc(),
            changed_by: self.by.to_owned(),
        });
        Ok(())
    }

    /// Saves the recorded lines and their history entries, and notifies webhooks of the lines that now need a choice.
    pub fn save(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.save_mapped_lines(self.lines, self.now)?;
        tx.insert_line_changes(&self.entries)?;
        record(tx, Event::MappingsStale { lines: self.stale }, self.now)?;
        record(tx, Event::MappingsAmbiguous { lines: self.ambiguous }, self.now)
    }
}

/// A mapping as the audit log records it.
fn audited<Id: ToString>(mapping: &Mapping<Id>) -> Value {
    let id = mapping.target.as_ref().map(ToString::to_string);
    json!({"status": mapping.status, "source": mapping.source, "id": id})
}

/// The audit log entry for a line that a person changed; `None` if no recorded field changed.
pub fn line_entry(tx: &Tx<'_>, audit: &Audit, before: &MappedLine, after: &MappedLine) -> Option<AuditEntry> {
    let line = |line: &MappedLine| {
        json!({
            "push_enabled": line.push_enabled, "block_size": line.block_size,
            "minimum_quantity": line.minimum_quantity, "included_quantity": line.included_quantity,
            "adjustment": line.adjustment,
            "agreement": audited(&line.agreement), "addition": audited(&line.addition),
        })
    };
    let subject = Subject::new(&after.id, &after.company_name);
    audit.entry(tx, AuditAction::BillingLineUpdated, subject, Some(line(before)), Some(line(after)))
}

//! The story of a billing line: written whenever something of it changes, told when somebody asks.

use serde::Serialize;

use super::{resolve, schedule};
use crate::db::{BillingLineView, LineChangeRow, MappedLine, MatchingRule, RuleFilter, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::{CwCompanyId, LineChangeId};
use crate::domain::mapping::{Catalog, LinePart, Mapping, Seen};
use crate::domain::words::Target;
use crate::domain::{Error, Result};

/// So many changes are told.
const TOLD: i64 = 100;

/// Saves changed lines and writes down what changed of them, all together at the end.
pub struct Book<'a> {
    catalog: &'a Catalog,
    now: Instant,
    by: &'a str,
    lines: Vec<MappedLine>,
    entries: Vec<LineChangeRow>,
}

impl<'a> Book<'a> {
    /// An empty book.
    pub fn new(catalog: &'a Catalog, now: Instant, by: &'a str) -> Self {
        Self { catalog, now, by, lines: Vec::new(), entries: Vec::new() }
    }

    /// Notes a line that changed.
    pub fn save(&mut self, tx: &Tx<'_>, before: &MappedLine, after: &MappedLine) -> Result<()> {
        let mut line = after.clone();
        let changed = || (Some(self.now.naive_utc()), Some(self.by.to_owned()));
        if before.agreement != after.agreement {
            line.agreement_changed = changed();
        }
        if before.addition != after.addition {
            line.addition_changed = changed();
        }
        self.lines.push(line);
        if told_apart(&before.agreement) != told_apart(&after.agreement) {
            self.note(tx, after, LinePart::Agreement, &self.catalog.remembered_agreement(&after.agreement))?;
        }
        if told_apart(&before.addition) != told_apart(&after.addition) {
            self.note(tx, after, LinePart::Addition, &self.catalog.remembered_addition(&after.addition))?;
        }
        if before.push_enabled != after.push_enabled {
            self.note(tx, after, LinePart::PushEnabled, &after.push_enabled)?;
        }
        if before.block_size != after.block_size {
            self.note(tx, after, LinePart::BlockSize, &after.block_size)?;
        }
        Ok(())
    }

    fn note(&mut self, tx: &Tx<'_>, line: &MappedLine, part: LinePart, became: &impl Serialize) -> Result<()> {
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

    /// Writes all of it.
    pub fn close(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.save_mapped_lines(self.lines, self.now)?;
        tx.insert_line_changes(&self.entries)
    }
}

/// What makes a change worth telling: another reason for nothing is not.
fn told_apart<Id: Copy + PartialEq>(mapping: &Mapping<Id>) -> impl PartialEq + use<Id> {
    (mapping.status, mapping.source, mapping.target)
}

/// How a line came to what it bills to.
#[derive(Debug, Clone)]
pub struct Story {
    /// The agreement rule as it is now.
    pub agreement_rule: Option<MatchingRule>,
    /// The agreements that it sees.
    pub agreements: Vec<Seen>,
    /// The addition rule as it is now.
    pub addition_rule: Option<MatchingRule>,
    /// The additions that it sees.
    pub additions: Vec<Seen>,
    /// What changed, newest first.
    pub changes: Vec<LineChangeRow>,
}

/// Tells the story of a line.
pub fn tell(tx: &mut Tx<'_>, view: &BillingLineView, now: Instant) -> Result<Story> {
    let filter = RuleFilter { product_id: Some(view.line.product_id.clone()), target: None };
    let rows = tx.rules(&filter)?;
    let row = |target| rows.iter().find(|row| row.target == target);
    let (agreement_rule, addition_rule) = (row(Target::Agreement), row(Target::Addition));
    let agreement_parsed = agreement_rule.map(resolve::parsed).transpose()?;
    let addition_parsed = addition_rule.map(resolve::parsed).transpose()?;
    let company = view.company.connectwise_company_id;
    let scope: Vec<CwCompanyId> = company.into_iter().collect();
    let today = schedule::today(tx, now)?;
    let catalog = tx.catalog(Some(&scope), today)?;
    let (agreement, addition) = (view.line.agreement(), view.line.addition());
    Ok(Story {
        agreement_rule: agreement_rule.cloned(),
        agreements: catalog.seen_agreements(company, agreement_parsed.as_ref(), &agreement),
        addition_rule: addition_rule.cloned(),
        additions: catalog.seen_additions(&agreement, addition_parsed.as_ref(), &addition),
        changes: tx.line_changes(&view.line.id, TOLD)?,
    })
}

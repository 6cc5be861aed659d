//! Resolves lines to agreements and additions. The domain decides; this module loads the records and saves the changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::history::{ChangeRecorder, line_entry};
use crate::db::{LineFilter, MappedLine, MatchingRule, RuleFilter, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::mapping_status::{MappingReason, MappingStatus};
use crate::domain::mappings::{AdditionMapping, AgreementMapping, Mapping, NamedMapping, RecordIndex};
use crate::domain::rules::Rule;
use crate::domain::rules::Target;
use crate::domain::{Error, Result};
use crate::services::schedule::billing_calendar;
use crate::services::security::audit::Audit;

/// A line whose mappings changed.
#[derive(Debug, Clone)]
pub struct ChangedLine {
    /// The id of the line.
    pub billing_line_id: BillingLineId,
    /// The id of the line's company.
    pub company_id: CompanyId,
    /// The company's name.
    pub company_name: String,
    /// The id of the line's product.
    pub product_id: ProductId,
    /// The agreement before and after.
    pub agreement: (NamedMapping<CwAgreementId>, NamedMapping<CwAgreementId>),
    /// The addition before and after.
    pub addition: (NamedMapping<CwAdditionId>, NamedMapping<CwAdditionId>),
}

impl ChangedLine {
    /// Creates the change of a line from its states before and after; `None` if nothing changed except the reason of a
    /// mapping.
    pub fn new(record_index: &RecordIndex, before: MappedLine, after: MappedLine) -> Option<Self> {
        let differs = before.agreement.differs_from(&after.agreement) || before.addition.differs_from(&after.addition);
        let agreement = |mapping| record_index.named_agreement(mapping);
        let addition = |mapping| record_index.named_addition(mapping);
        differs.then(|| Self {
            billing_line_id: before.id,
            company_id: before.company_id,
            company_name: before.company_name,
            product_id: before.product_id,
            agreement: (agreement(before.agreement), agreement(after.agreement)),
            addition: (addition(before.addition), addition(after.addition)),
        })
    }
}

/// The number of lines with each status, for one kind of mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusCounts {
    /// Lines with exactly one live target.
    pub resolved: usize,
    /// Lines without a target.
    pub unresolved: usize,
    /// Lines with several candidates.
    pub ambiguous: usize,
    /// Lines whose target was cancelled, ended or deleted.
    pub stale: usize,
}

impl StatusCounts {
    /// Counts one line.
    pub fn count(&mut self, status: MappingStatus) {
        self.add(status, 1);
    }

    /// Counts many lines.
    pub fn add(&mut self, status: MappingStatus, lines: usize) {
        match status {
            MappingStatus::Resolved => self.resolved += lines,
            MappingStatus::Unresolved => self.unresolved += lines,
            MappingStatus::Ambiguous => self.ambiguous += lines,
            MappingStatus::Stale => self.stale += lines,
        }
    }
}

/// The result of resolving.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// The number of lines that were resolved.
    pub lines: usize,
    /// The number of lines by the status of their agreement mapping.
    pub agreements: StatusCounts,
    /// The number of lines by the status of their addition mapping.
    pub additions: StatusCounts,
    /// The number of lines whose agreement's additions have not been read yet.
    pub waiting: usize,
    /// The lines that changed.
    pub changes: Vec<ChangedLine>,
}

impl Resolved {
    /// Counts the result of a line.
    pub(super) fn count(&mut self, line: &MappedLine) {
        self.lines += 1;
        self.agreements.count(line.agreement.status);
        self.additions.count(line.addition.status);
        self.waiting += usize::from(line.addition.reason == Some(MappingReason::AdditionsNotRead));
    }
}

/// A product's two rules, ready to evaluate.
#[derive(Debug, Default, Clone)]
pub struct Rules {
    agreement: Option<Rule>,
    addition: Option<Rule>,
}

impl Rules {
    /// Replaces the rule for a target.
    pub fn set(&mut self, target: Target, rule: Option<Rule>) {
        match target {
            Target::Agreement => self.agreement = rule,
            Target::Addition => self.addition = rule,
        }
    }

    /// The rule for a target.
    pub fn get(&self, target: Target) -> Option<&Rule> {
        match target {
            Target::Agreement => self.agreement.as_ref(),
            Target::Addition => self.addition.as_ref(),
        }
    }
}

/// Loads the rules of one product, or of all products, by product.
pub fn rules(tx: &mut Tx<'_>, product: Option<&ProductId>) -> Result<HashMap<ProductId, Rules>> {
    let filter = RuleFilter { product_id: product.cloned(), target: None };
    let mut by_product: HashMap<ProductId, Rules> = HashMap::new();
    for row in tx.rules(&filter)? {
        by_product.entry(row.product_id.clone()).or_default().set(row.target, Some(parsed(&row)?));
    }
    Ok(by_product)
}

/// Parses a stored rule.
pub fn parsed(row: &MatchingRule) -> Result<Rule> {
    Rule::parse(row.target, &row.expression).map_err(Error::internal)
}

/// Loads the stored ConnectWise records that are needed to resolve some lines.
pub fn record_index(
    tx: &mut Tx<'_>,
    rows: &[MappedLine],
    filter: &LineFilter,
    now: Timestamp,
) -> Result<Arc<RecordIndex>> {
    let today = billing_calendar::today(tx, now)?;
    if filter.company_ids.is_none() && filter.ids.is_none() {
        return tx.record_index(None, today);
    }
    let companies: HashSet<CwCompanyId> = rows.iter().filter_map(|line| line.cw_company).collect();
    let companies: Vec<CwCompanyId> = companies.into_iter().collect();
    tx.record_index(Some(&companies), today)
}

/// Returns the mappings that a line resolves to.
pub fn resolve_mappings(
    record_index: &RecordIndex,
    rules: &Rules,
    line: &MappedLine,
) -> (AgreementMapping, AdditionMapping) {
    let agreement = record_index.resolve_agreement(line.cw_company, rules.agreement.as_ref(), &line.agreement);
    let addition = record_index.resolve_addition(&agreement, rules.addition.as_ref(), &line.addition);
    (agreement, addition)
}

/// Resolves lines with the stored ConnectWise records, and saves the lines that change.
pub fn resolve_lines(tx: &mut Tx<'_>, filter: &LineFilter, now: Timestamp, by: &str) -> Result<Resolved> {
    resolve(tx, filter, now, by, None)
}

/// Same as [`resolve_lines`], but clears all mappings first, including manual choices, which the audit log records.
pub fn re_resolve(tx: &mut Tx<'_>, filter: &LineFilter, audit: &Audit) -> Result<Resolved> {
    resolve(tx, filter, audit.now(), audit.by(), Some(audit))
}

fn resolve(tx: &mut Tx<'_>, filter: &LineFilter, now: Timestamp, by: &str, anew: Option<&Audit>) -> Result<Resolved> {
    let rows = tx.mapped_lines(filter)?;
    let rules = rules(tx, filter.product_id.as_ref())?;
    let record_index = record_index(tx, &rows, filter, now)?;
    let none = Rules::default();
    let (mut resolved, mut entries) = (Resolved::default(), Vec::new());
    let mut recorder = ChangeRecorder::new(&record_index, now, by);
    for before in rows {
        let mut line = before.clone();
        if anew.is_some() {
            line.agreement = Mapping::unresolved(MappingReason::NoneMatched);
            line.addition = Mapping::unresolved(MappingReason::NoneMatched);
        }
        (line.agreement, line.addition) =
            resolve_mappings(&record_index, rules.get(&line.product_id).unwrap_or(&none), &line);
        resolved.count(&line);
        if before != line {
            recorder.add(tx, &before, &line)?;
            if let Some(audit) = anew.filter(|_| has_manual_choice(&before)) {
                entries.extend(line_entry(tx, audit, &before, &line));
            }
            resolved.changes.extend(ChangedLine::new(&record_index, before, line));
        }
    }
    recorder.save(tx)?;
    tx.insert_audit(&entries)?;
    Ok(resolved)
}

fn has_manual_choice(line: &MappedLine) -> bool {
    line.agreement.manual_target().is_some() || line.addition.manual_target().is_some()
}

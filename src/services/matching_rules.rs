//! Matching rules: saved in canonical form, previewed before they are saved.

use serde_json::{Value, json};

use super::context::AppContext;
use super::idempotency::{IdempotentWrite, RenderedResponse};
use crate::db::{LineFilter, MappedLine, MatchingRule, RuleFilter, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, CwAgreementId, ProductId, RuleId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::mappings::NamedMapping;
use crate::domain::rules::Rule;
use crate::domain::rules::Target;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::mappings::missing_additions;
use crate::services::mappings::resolve;
use crate::services::mappings::resolve::{Resolved, Rules, StatusCounts};
use crate::services::security::actor::Actor;
use crate::services::security::actor::IfMatch;
use crate::services::security::audit::{Audit, Subject};

/// Parses the `expression` of a request.
pub fn parse(target: Target, expression: &str) -> Result<Rule> {
    parse_at("/expression", target, expression)
}

fn parse_at(field: &str, target: Target, expression: &str) -> Result<Rule> {
    Rule::parse(target, expression).map_err(|error| Error::Rule { field: field.to_owned(), error: Box::new(error) })
}

/// A saved rule, with the effect on its lines.
#[derive(Debug, Clone)]
pub struct SavedRule {
    /// The rule.
    pub rule: MatchingRule,
    /// The result of resolving the product's lines by the rule.
    pub resolved: Resolved,
}

/// A matching rule to create.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// The product whose lines the rule resolves.
    pub product: ProductId,
    /// Whether the rule selects agreements or additions.
    pub target: Target,
    /// The expression, such as `name contains "Backup"`.
    pub expression: String,
}

/// Creates a product's rule for a target, resolves the product's lines by it, and reads the additions that they need.
pub async fn create<R>(
    ctx: &AppContext,
    actor: &Actor,
    new: NewRule,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(SavedRule) -> Result<RenderedResponse> + Send + 'static,
{
    let (audit, lines) = (Audit::new(actor, ctx.clock.now()), of_product(&new.product));
    let work = move |tx: &mut Tx<'_>| add(tx, &new.product, new.target, &new.expression, &audit);
    let answer = once.run(ctx, &actor.tenant, work).await?;
    missing_additions::fetch_missing_additions(ctx, actor, lines).await;
    Ok(answer)
}

/// Same as [`create`], in the caller's transaction and without reading additions.
pub fn add(tx: &mut Tx<'_>, product: &ProductId, target: Target, expression: &str, audit: &Audit) -> Result<SavedRule> {
    let (now, by) = (audit.now(), audit.by());
    let parsed = parse(target, expression)?;
    tx.product(product).map_err(|error| error.at("/product_id"))?;
    let filter = RuleFilter { product_id: Some(product.clone()), target: Some(target) };
    if let Some(other) = tx.rules(&filter)?.first() {
        let detail = format!("the product already has an {target} rule: change rule {} instead", other.id);
        return Err(Error::conflict(ConflictCode::RuleExists, detail));
    }
    let rule = MatchingRule {
        id: RuleId::new(),
        tenant_id: tx.tenant().clone(),
        product_id: product.clone(),
        target,
        expression: parsed.to_string(),
        version: 1,
        created_at: now.naive_utc(),
        updated_at: now.naive_utc(),
    };
    tx.insert_rule(&rule)?;
    audit.record(tx, AuditAction::MatchingRuleCreated, subject(&rule), None, Some(audited(&rule)))?;
    let resolved = resolve_product(tx, product, now, by)?;
    Ok(SavedRule { rule, resolved })
}

/// Changes a rule's expression, resolves the product's lines by it, and reads the additions that they need.
pub async fn update(
    ctx: &AppContext,
    actor: &Actor,
    id: RuleId,
    expression: String,
    if_match: IfMatch,
) -> Result<SavedRule> {
    let audit = Audit::new(actor, ctx.clock.now());
    let work = move |tx: &mut Tx<'_>| change(tx, &id, &expression, &if_match, &audit);
    let mut saved = ctx.db.write(&actor.tenant, work).await?;
    let lines = of_product(&saved.rule.product_id);
    saved.resolved = missing_additions::with_additions(ctx, actor, lines, saved.resolved).await;
    Ok(saved)
}

fn subject(rule: &MatchingRule) -> Subject {
    Subject::new(&rule.id, format!("{} rule", rule.target))
}

/// A rule as the audit log records it.
fn audited(rule: &MatchingRule) -> Value {
    json!({"product_id": rule.product_id, "target": rule.target, "expression": rule.expression})
}

fn change(tx: &mut Tx<'_>, id: &RuleId, expression: &str, if_match: &IfMatch, audit: &Audit) -> Result<SavedRule> {
    let mut rule = tx.rule(id)?;
    if_match.check(rule.version)?;
    let old = audited(&rule);
    rule.expression = parse(rule.target, expression)?.to_string();
    rule.updated_at = audit.now().naive_utc();
    tx.update_rule(&mut rule)?;
    audit.record(tx, AuditAction::MatchingRuleUpdated, subject(&rule), Some(old), Some(audited(&rule)))?;
    let resolved = resolve_product(tx, &rule.product_id, audit.now(), audit.by())?;
    Ok(SavedRule { rule, resolved })
}

/// Deletes a rule and resolves the product's lines without it.
pub async fn delete(ctx: &AppContext, actor: &Actor, id: RuleId, if_match: IfMatch) -> Result<Resolved> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| remove(tx, &id, &if_match, &audit)).await
}

fn remove(tx: &mut Tx<'_>, id: &RuleId, if_match: &IfMatch, audit: &Audit) -> Result<Resolved> {
    let rule = tx.rule(id)?;
    if_match.check(rule.version)?;
    tx.delete_rule(id)?;
    audit.record(tx, AuditAction::MatchingRuleDeleted, subject(&rule), Some(audited(&rule)), None)?;
    resolve_product(tx, &rule.product_id, audit.now(), audit.by())
}

fn resolve_product(tx: &mut Tx<'_>, product: &ProductId, now: Timestamp, by: &str) -> Result<Resolved> {
    resolve::resolve_lines(tx, &of_product(product), now, by)
}

/// Selects the lines of a product.
fn of_product(product: &ProductId) -> LineFilter {
    LineFilter { product_id: Some(product.clone()), ..LineFilter::default() }
}

/// A line's mappings, now and under the previewed rule.
#[derive(Debug, Clone)]
pub struct PreviewLine {
    /// The line with its current mappings.
    pub line: MappedLine,
    /// The agreement mapping now and under the previewed rules.
    pub agreement: (NamedMapping<CwAgreementId>, NamedMapping<CwAgreementId>),
    /// The addition mapping now and under the previewed rules.
    pub addition: (NamedMapping<CwAdditionId>, NamedMapping<CwAdditionId>),
}

impl PreviewLine {
    /// Returns whether a mapping would change. A different reason alone does not count as a change.
    pub fn changes(&self) -> bool {
        self.agreement.0.mapping.differs_from(&self.agreement.1.mapping)
            || self.addition.0.mapping.differs_from(&self.addition.1.mapping)
    }
}

/// The effect of an unsaved rule.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The rule in canonical form.
    pub expression: String,
    /// The number of lines by the status of their agreement mapping.
    pub agreements: StatusCounts,
    /// The number of lines by the status of their addition mapping.
    pub additions: StatusCounts,
    /// The number of lines that would change.
    pub changed: usize,
    /// The product's lines, ordered by company name.
    pub lines: Vec<PreviewLine>,
}

/// Unsaved rules of a product.
#[derive(Debug, Clone)]
pub struct UnsavedRules {
    /// The product whose lines are previewed.
    pub product: ProductId,
    /// Whether `expression` selects agreements or additions.
    pub target: Target,
    /// The expression for `target`, as a person writes it. It need not be valid.
    pub expression: String,
    /// The expression for the other target; `None` means the saved rule.
    pub other_expression: Option<String>,
}

/// Resolves every line of a product under unsaved rules. Saves nothing.
pub fn preview(tx: &mut Tx<'_>, unsaved: &UnsavedRules, now: Timestamp) -> Result<Preview> {
    let UnsavedRules { product, target, expression, other_expression } = unsaved;
    let rule = parse(*target, expression)?;
    let other =
        other_expression.as_ref().map(|text| parse_at("/other_expression", target.other(), text)).transpose()?;
    tx.product(product).map_err(|error| error.at("/product_id"))?;
    let mut rules: Rules = resolve::rules(tx, Some(product))?.remove(product).unwrap_or_default();
    let expression = rule.to_string();
    rules.set(*target, Some(rule));
    if let Some(other) = other {
        rules.set(target.other(), Some(other));
    }
    let filter = of_product(product);
    let rows = tx.mapped_lines(&filter)?;
    let record_index = resolve::record_index(tx, &rows, &filter, now)?;
    let mut preview = Preview {
        expression,
        agreements: StatusCounts::default(),
        additions: StatusCounts::default(),
        changed: 0,
        lines: Vec::new(),
    };
    for line in rows {
        let (agreement, addition) = resolve::resolve_mappings(&record_index, &rules, &line);
        preview.agreements.count(agreement.status);
        preview.additions.count(addition.status);
        let agreement_now = record_index.named_agreement(line.agreement.clone());
        let addition_now = record_index.named_addition(line.addition.clone());
        let line = PreviewLine {
            line,
            agreement: (agreement_now, record_index.named_agreement(agreement)),
            addition: (addition_now, record_index.named_addition(addition)),
        };
        preview.changed += usize::from(line.changes());
        preview.lines.push(line);
    }
    Ok(preview)
}

/// Selects the lines of a preview to return.
#[derive(Debug, Clone, Copy, Default)]
pub struct PreviewFilter {
    /// Only lines that would change.
    pub changed_only: bool,
    /// Only lines whose mapping for the rule's target would get this status.
    pub status: Option<MappingStatus>,
}

impl Preview {
    /// Returns the lines that match a filter, where `target` is the target of the previewed rule.
    pub fn shown(&self, target: Target, filter: PreviewFilter) -> impl Iterator<Item = &PreviewLine> {
        self.lines.iter().filter(move |line| {
            let status = match target {
                Target::Agreement => line.agreement.1.mapping.status,
                Target::Addition => line.addition.1.mapping.status,
            };
            (!filter.changed_only || line.changes()) && filter.status.is_none_or(|wanted| wanted == status)
        })
    }
}

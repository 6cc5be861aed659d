//! Products: what the vendor bills, and how usage becomes a quantity.

use serde_json::{Value, json};

use super::context::AppContext;
use super::idempotency::{IdempotentWrite, RenderedResponse};
use crate::connectwise::RetryPolicy;
use crate::db::{BillingLine, LineFilter, Product, ProductName, RuleFilter, Tx};
use crate::domain::audit::AuditAction;
use crate::domain::change_guard::ChangeGuard;
use crate::domain::ids::ProductId;
use crate::domain::invoices::WhenInvoiced;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::text::fold;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::domain::{ConflictCode, Error, FieldCode, Result};
use crate::services::mappings::missing_additions;
use crate::services::mappings::resolve::{self, Resolved};
use crate::services::quantities::overage;
use crate::services::remote::refresh;
use crate::services::security::actor::{Actor, IfMatch};
use crate::services::security::audit::{Audit, Subject};

/// A product to create.
#[derive(Debug, Clone)]
pub struct NewProduct {
    /// The vendor's code of the product, unique in the tenant.
    pub code: String,
    /// The product's name.
    pub name: String,
    /// The unit of usage, such as `GB`.
    pub unit: String,
    /// The amount of usage that makes one billed unit.
    pub block_size: BlockSize,
    /// How blocks are rounded.
    pub rounding: Rounding,
    /// How a month's usage becomes one amount.
    pub aggregation: Aggregation,
    /// The largest change that a push makes without approval.
    pub guard: ChangeGuard,
    /// The month that a push bills; `None` means the default of the aggregation.
    pub billing_period: Option<BillingPeriod>,
    /// With the aggregation `last`: how old the newest record may be, in days. An older one is not billed.
    pub max_usage_age_days: i64,
    /// The minimum quantity of each line.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The maximum quantity that each line bills. Another product bills the overage.
    pub included_quantity: Option<IncludedQuantity>,
    /// The product whose overage this one bills.
    pub overage_of: Option<ProductId>,
    /// How a push handles a line whose invoice has already been made.
    pub when_invoiced: WhenInvoiced,
}

/// Changes to a product; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct ProductChange {
    /// The new code.
    pub code: Option<String>,
    /// The new name.
    pub name: Option<String>,
    /// The new unit.
    pub unit: Option<String>,
    /// The new block size.
    pub block_size: Option<BlockSize>,
    /// The new rounding.
    pub rounding: Option<Rounding>,
    /// The new aggregation.
    pub aggregation: Option<Aggregation>,
    /// The largest change without approval, in percent; `Some(None)` removes the limit.
    pub max_change_percent: Option<Option<Amount>>,
    /// The largest change without approval, in units; `Some(None)` removes the limit.
    pub max_change_units: Option<Option<Amount>>,
    /// The month that a push bills; `Some(None)` means the default of the aggregation.
    pub billing_period: Option<Option<BillingPeriod>>,
    /// With the aggregation `last`: the new maximum age of the newest record, in days.
    pub max_usage_age_days: Option<i64>,
    /// The minimum quantity of each line; `Some(None)` removes it.
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The maximum quantity that each line bills; `Some(None)` removes it.
    pub included_quantity: Option<Option<IncludedQuantity>>,
    /// The product whose overage this one bills. It cannot be changed.
    pub overage_of: Option<Option<ProductId>>,
    /// How a push handles a line whose invoice has already been made.
    pub when_invoiced: Option<WhenInvoiced>,
}

/// Creates a product with a billing line for every company.
pub async fn create<R>(
    ctx: &AppContext,
    actor: &Actor,
    new: NewProduct,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(Product) -> Result<RenderedResponse> + Send + 'static,
{
    let audit = Audit::new(actor, ctx.clock.now());
    once.run(ctx, &actor.tenant, move |tx| add(tx, new, &audit)).await
}

fn subject(row: &Product) -> Subject {
    Subject::new(&row.id, &row.name)
}

/// A product as the audit log records it.
fn audited(row: &Product) -> Value {
    json!({
        "code": row.code, "name": row.name, "unit": row.unit, "block_size": row.block_size, "rounding": row.rounding,
        "aggregation": row.aggregation, "max_change_percent": row.max_change_percent,
        "max_change_units": row.max_change_units, "billing_period": row.billing_period,
        "max_usage_age_days": row.max_usage_age_days, "minimum_quantity": row.minimum_quantity,
        "included_quantity": row.included_quantity, "overage_of": row.overage_of, "when_invoiced": row.when_invoiced,
    })
}

/// Same as [`create`], in the caller's transaction.
pub fn add(tx: &mut Tx<'_>, new: NewProduct, audit: &Audit) -> Result<Product> {
    let now = audit.now();
    ensure_unique(tx, &new.code, None)?;
    let mut row = Product {
        id: ProductId::new(),
        tenant_id: tx.tenant().clone(),
        code: new.code,
        name_key: fold(&new.name),
        name: new.name,
        unit: new.unit,
        block_size: new.block_size,
        rounding: new.rounding,
        aggregation: new.aggregation,
        max_change_percent: new.guard.percent,
        max_change_units: new.guard.units,
        billing_period: new.billing_period,
        max_usage_age_days: new.max_usage_age_days,
        minimum_quantity: new.minimum_quantity,
        included_quantity: new.included_quantity,
        overage_of: new.overage_of,
        when_invoiced: new.when_invoiced,
        version: 1,
        created_at: now.naive_utc(),
        updated_at: now.naive_utc(),
    };
    if let Some(of) = row.overage_of.clone() {
        overage::copy_usage_settings(&mut row, &overage::check_new(tx, &of)?);
    }
    overage::check_included(tx, &row)?;
    tx.insert_product(&row)?;
    audit.record(tx, AuditAction::ProductCreated, subject(&row), None, Some(audited(&row)))?;
    let companies = tx.all_companies()?;
    let tenant = tx.tenant().clone();
    let lines: Vec<BillingLine> =
        companies.iter().map(|company| BillingLine::new(&tenant, company, &row.id, now)).collect();
    tx.insert_billing_lines(&lines)?;
    Ok(row)
}

/// Rejects a code that differs from another product's code only in letter case: people and vendors confuse such codes.
fn ensure_unique(tx: &mut Tx<'_>, code: &str, except: Option<&ProductId>) -> Result<()> {
    let wanted = fold(code);
    let is_taken = |other: &ProductName| Some(&other.id) != except && fold(&other.code) == wanted;
    match tx.product_names()?.into_iter().find(is_taken) {
        Some(other) => {
            let detail = format!("product {} already has the code \"{}\"", other.id, other.code);
            Err(Error::conflict(ConflictCode::CodeTaken, detail).at("/code"))
        }
        None => Ok(()),
    }
}

/// Changes a product. The next push writes the changed quantities.
pub async fn update(
    ctx: &AppContext,
    actor: &Actor,
    id: ProductId,
    change: ProductChange,
    if_match: IfMatch,
) -> Result<Product> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| apply(tx, &id, change, &if_match, &audit)).await
}

fn apply(tx: &mut Tx<'_>, id: &ProductId, change: ProductChange, if_match: &IfMatch, audit: &Audit) -> Result<Product> {
    let mut row = tx.product(id)?;
    if_match.check(row.version)?;
    let before = row.clone();
    if let Some(code) = change.code {
        ensure_unique(tx, &code, Some(id))?;
        row.code = code;
    }
    if let Some(name) = change.name {
        row.name_key = fold(&name);
        row.name = name;
    }
    row.unit = change.unit.unwrap_or(row.unit);
    row.block_size = change.block_size.unwrap_or(row.block_size);
    row.rounding = change.rounding.unwrap_or(row.rounding);
    row.aggregation = change.aggregation.unwrap_or(row.aggregation);
    row.max_change_percent = change.max_change_percent.unwrap_or(row.max_change_percent);
    row.max_change_units = change.max_change_units.unwrap_or(row.max_change_units);
    row.billing_period = change.billing_period.unwrap_or(row.billing_period);
    row.max_usage_age_days = change.max_usage_age_days.unwrap_or(row.max_usage_age_days);
    row.minimum_quantity = change.minimum_quantity.unwrap_or(row.minimum_quantity);
    row.when_invoiced = change.when_invoiced.unwrap_or(row.when_invoiced);
    if change.overage_of.is_some_and(|of| of != row.overage_of) {
        let message = "cannot be changed: create another product";
        return Err(Error::invalid("/overage_of", FieldCode::Contradiction, message));
    }
    if let Some(included) = change.included_quantity {
        row.included_quantity = included;
        overage::check_included(tx, &row)?;
    }
    if let Some(of) = &row.overage_of {
        let base = tx.products_by_id(std::slice::from_ref(of))?;
        base.first().into_iter().for_each(|base| overage::copy_usage_settings(&mut row, base));
    }
    save(tx, &before, &mut row, audit)?;
    let counts = |row: &Product| (row.aggregation, row.billing_period, row.max_usage_age_days);
    if counts(&row) != counts(&before)
        && let Some(before) = tx.overage_product(id)?
    {
        let mut other = before.clone();
        overage::copy_usage_settings(&mut other, &row);
        save(tx, &before, &mut other, audit)?;
    }
    Ok(row)
}

fn save(tx: &mut Tx<'_>, before: &Product, row: &mut Product, audit: &Audit) -> Result<()> {
    // A no-op update must not bump the version: that would make other callers' ETags stale.
    if row == before {
        return Ok(());
    }
    row.updated_at = audit.now().naive_utc();
    tx.update_product(row)?;
    let (old, new) = (Some(audited(before)), Some(audited(row)));
    audit.record(tx, AuditAction::ProductUpdated, subject(row), old, new)
}

/// Deletes a product with its rules, lines and usage. Its push history is kept.
pub async fn delete(ctx: &AppContext, actor: &Actor, id: ProductId, if_match: IfMatch) -> Result<()> {
    let audit = Audit::new(actor, ctx.clock.now());
    ctx.db.write(&actor.tenant, move |tx| remove(tx, &id, &if_match, &audit)).await
}

fn remove(tx: &mut Tx<'_>, id: &ProductId, if_match: &IfMatch, audit: &Audit) -> Result<()> {
    let row = tx.product(id)?;
    if_match.check(row.version)?;
    if tx.has_open_push_job()? {
        return Err(Error::conflict(
            ConflictCode::PushJobRunning,
            "a push job is running: wait until it ends, or cancel it",
        ));
    }
    overage::check_deleted(tx, &row)?;
    let rules = tx.rules(&RuleFilter { product_id: Some(id.clone()), target: None })?;
    let rules: Vec<Value> =
        rules.iter().map(|rule| json!({"target": rule.target, "expression": rule.expression})).collect();
    let mut old = audited(&row);
    old["matching_rules"] = json!(rules);
    audit.record(tx, AuditAction::ProductDeleted, subject(&row), Some(old), None)?;
    tx.delete_product(id)
}

/// Resolves a product's lines: reads missing and outdated data from ConnectWise, then resolves agreements, then
/// additions.
pub async fn resolve(ctx: &AppContext, actor: &Actor, product: &ProductId) -> Result<Resolved> {
    let id = product.clone();
    ctx.db.query(&actor.tenant, move |tx| tx.product(&id).map(drop)).await?;
    refresh::ensure_fresh(ctx, &actor.tenant, RetryPolicy::Interactive).await?;
    let filter = LineFilter { product_id: Some(product.clone()), ..LineFilter::default() };
    let now = ctx.clock.now();
    let older_than = now - ctx.settings.refresh_max_age;
    missing_additions::read_additions(ctx, actor, &filter, older_than).await?;
    let by = actor.shown_name();
    ctx.db.write(&actor.tenant, move |tx| resolve::resolve_lines(tx, &filter, now, &by)).await
}

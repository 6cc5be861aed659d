//! Finds enabled billing lines whose usage stopped, and notifies the webhooks that subscribe to this event, once for
//! each line.

use std::collections::HashMap;

use chrono::TimeDelta;

use super::events::{Event, MissingUsage, record};
use crate::db::{LineFilter, NewestUsage, Product, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingCalendar;
use crate::domain::clock::Timestamp;
use crate::domain::ids::CompanyId;
use crate::domain::usage::Aggregation;
use crate::domain::webhooks::EventType;
use crate::services::context::AppContext;
use crate::services::schedule::billing_calendar;

/// How long after the end of a month its usage may arrive before it counts as stopped.
const GRACE: TimeDelta = TimeDelta::days(3);
/// Maximum time that a check looks back, after an outage or if no webhook subscribed before.
const LONGEST_CHECK: TimeDelta = TimeDelta::days(7);

/// Checks the meters of all tenants with webhooks. A failure of one tenant does not affect the others.
pub async fn find(ctx: &AppContext) -> Result<()> {
    let now = ctx.clock.now();
    for tenant in ctx.db.query_system(|tx| tx.tenants_with_webhooks()).await? {
        if let Err(error) = ctx.db.write(&tenant, move |tx| check(tx, now)).await {
            tracing::warn!(%tenant, cause = %error.chain(), "failed to check for stopped usage");
        }
    }
    Ok(())
}

/// Checks the time since the last check, which is stored in the same transaction, so each line is reported once.
fn check(tx: &mut Tx<'_>, now: Timestamp) -> Result<()> {
    if tx.webhooks_for(EventType::UsageMissing)?.is_empty() {
        return Ok(());
    }
    let since = tx.usage_checked_until()?.unwrap_or(now).max(now - LONGEST_CHECK);
    let calendar = billing_calendar::load(tx)?;
    let mut lines = Vec::new();
    for product in tx.all_products()? {
        lines.extend(stopped(tx, &product, &calendar, since, now)?);
    }
    record(tx, Event::UsageMissing { lines }, now)?;
    tx.set_usage_checked_until(now.max(since))
}

/// The enabled lines of a product whose usage stopped after `since`, until `now`.
fn stopped(
    tx: &mut Tx<'_>,
    product: &Product,
    calendar: &BillingCalendar,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<MissingUsage>> {
    let mut found: HashMap<CompanyId, Timestamp> = HashMap::new();
    for newest in windows(product, calendar, since, now) {
        found.extend(tx.companies_by_newest_usage(&product.id, newest)?);
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let filter = LineFilter {
        product_id: Some(product.id.clone()),
        company_ids: Some(found.keys().cloned().collect()),
        ..LineFilter::default()
    };
    let enabled = tx.mapped_lines(&filter)?.into_iter().filter(|line| line.push_enabled);
    let meter = enabled.filter_map(|line| {
        Some(MissingUsage {
            last_measured_at: *found.get(&line.company_id)?,
            billing_line_id: line.id,
            company_id: line.company_id,
            company_name: line.company_name,
            product_id: product.id.clone(),
            product_code: product.code.clone(),
        })
    });
    Ok(meter.collect())
}

/// The companies whose usage stopped in a period. With the aggregation `last`, usage stops when the newest record
/// becomes too old. With `max` and `sum`, it stops if a month had records and the next one had none, three days after
/// the latter has ended.
fn windows(product: &Product, calendar: &BillingCalendar, since: Timestamp, now: Timestamp) -> Vec<NewestUsage> {
    if product.aggregation == Aggregation::Last {
        let age = TimeDelta::try_days(product.max_usage_age_days).unwrap_or(TimeDelta::MAX);
        let times = since.checked_sub_signed(age).zip(now.checked_sub_signed(age));
        return times.map(|(after, until)| NewestUsage::NewestBetween(after, until)).into_iter().collect();
    }
    let mut month = calendar.month_of(since - GRACE).previous();
    let mut windows = Vec::new();
    loop {
        let reported_at = calendar.bounds(month).1 + GRACE;
        if reported_at > now {
            return windows;
        }
        if reported_at > since {
            windows.push(NewestUsage::NewestIn(month.previous()));
        }
        month = month.next();
    }
}

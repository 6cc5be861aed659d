//! Finds meters that went silent, and tells the webhooks that want to know, once for each.

use std::collections::HashMap;

use chrono::TimeDelta;

use super::events::{Event, SilentMeter, record};
use crate::db::{LineFilter, Product, Silence, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingCalendar;
use crate::domain::clock::Timestamp;
use crate::domain::ids::CompanyId;
use crate::domain::usage::Aggregation;
use crate::domain::webhooks::EventType;
use crate::services::context::AppContext;
use crate::services::schedule::billing_calendar;

/// How long after the end of a month its usage may arrive before a meter counts as silent.
const GRACE: TimeDelta = TimeDelta::days(3);
/// How far a check looks back at most: after an outage, or if no webhook wanted to know before.
const LONGEST_CHECK: TimeDelta = TimeDelta::days(7);

/// Checks the meters of all tenants with webhooks. A failure of one tenant does not affect the others.
pub async fn find(ctx: &AppContext) -> Result<()> {
    let now = ctx.clock.now();
    for tenant in ctx.db.query_system(|tx| tx.tenants_with_webhooks()).await? {
        if let Err(error) = ctx.db.write(&tenant, move |tx| check(tx, now)).await {
            tracing::warn!(%tenant, cause = %error.chain(), "failed to look for silent meters");
        }
    }
    Ok(())
}

/// Checks what happened since the last check, which is stored in the same transaction: each meter is told once.
fn check(tx: &mut Tx<'_>, now: Timestamp) -> Result<()> {
    if tx.webhooks_for(EventType::UsageMissing)?.is_empty() {
        return Ok(());
    }
    let since = tx.usage_checked_until()?.unwrap_or(now).max(now - LONGEST_CHECK);
    let calendar = billing_calendar::load(tx)?;
    let mut lines = Vec::new();
    for product in tx.all_products()? {
        lines.extend(silent(tx, &product, &calendar, since, now)?);
    }
    record(tx, Event::UsageMissing { lines }, now)?;
    tx.set_usage_checked_until(now.max(since))
}

/// The enabled lines of a product whose meter went silent after `since`, until `now`.
fn silent(
    tx: &mut Tx<'_>,
    product: &Product,
    calendar: &BillingCalendar,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<SilentMeter>> {
    let mut found: HashMap<CompanyId, Timestamp> = HashMap::new();
    for silence in silences(product, calendar, since, now) {
        found.extend(tx.silent_companies(&product.id, silence)?);
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
        Some(SilentMeter {
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

/// Whose meter went silent in a time: a gauge, when its newest record became too old; another meter, three days after the end
/// of a month without a record that follows a month with records.
fn silences(product: &Product, calendar: &BillingCalendar, since: Timestamp, now: Timestamp) -> Vec<Silence> {
    if product.aggregation == Aggregation::Last {
        let age = TimeDelta::try_days(product.max_usage_age_days).unwrap_or(TimeDelta::MAX);
        let times = since.checked_sub_signed(age).zip(now.checked_sub_signed(age));
        return times.map(|(after, until)| Silence::NewestBetween(after, until)).into_iter().collect();
    }
    let mut month = calendar.month_of(since - GRACE).previous();
    let mut silences = Vec::new();
    loop {
        let told_at = calendar.bounds(month).1 + GRACE;
        if told_at > now {
            return silences;
        }
        if told_at > since {
            silences.push(Silence::NewestIn(month.previous()));
        }
        month = month.next();
    }
}

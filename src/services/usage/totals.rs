//! Maintains the totals of usage records: adds new records and records of earlier versions, and verifies the totals.

use std::collections::{BTreeMap, HashSet};

use crate::db::{CompanySelection, Db, TotalsKey, Tx, UsageRecord, UsageTotalsRow};
use crate::domain::Result;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::quantity::Amount;
use crate::domain::usage_totals::UsageTotals;
use crate::services::context::AppContext;
use crate::services::schedule::billing_calendar;

/// An incoming record, with the amount of the record that it corrects.
pub(super) struct IncomingRecord<'r> {
    pub(super) record: &'r UsageRecord,
    pub(super) corrects: Option<Amount>,
}

/// Maximum number of months that are added up again in the transaction that stores a batch. The others are added up in
/// the background, and until then their companies' usage comes from the records.
const MONTHS_PER_BATCH: usize = 100;

/// The month of a record. Earlier versions accepted any time: records from before the first month count towards it.
fn month_of(record: &UsageRecord, calendar: &BillingCalendar) -> BillingMonth {
    calendar.month_of(record.measured_at.and_utc()).max(BillingMonth::FIRST)
}

/// Adds records that were just stored to the totals of their months. Reads the totals that change, and the records of a
/// month only if its largest amount was reduced.
pub(super) fn add(tx: &mut Tx<'_>, incoming: &[IncomingRecord<'_>], calendar: &BillingCalendar) -> Result<()> {
    let key = |record: &UsageRecord| TotalsKey {
        product_id: record.product_id.clone(),
        company_id: record.company_id.clone(),
        month: month_of(record, calendar),
    };
    // In the order of their index, where neighbours change the same pages.
    let mut changes: BTreeMap<TotalsKey, Vec<&IncomingRecord<'_>>> = BTreeMap::new();
    for one in incoming {
        changes.entry(key(one.record)).or_default().push(one);
    }
    let old = stored(tx, changes.keys())?;
    let mut totals: BTreeMap<TotalsKey, UsageTotals> = old.iter().map(|row| (row.key(), row.totals())).collect();
    let (mut incomplete, mut left) = (Vec::new(), Vec::new());
    for (key, records) in changes {
        let mut known = totals.remove(&key);
        let all_counted = records.iter().all(|one| count(&mut known, one));
        match known {
            Some(known) if all_counted => drop(totals.insert(key, known)),
            _ if incomplete.len() < MONTHS_PER_BATCH => incomplete.push(key),
            _ => left.extend(records.iter().map(|one| one.record.id.clone())),
        }
    }
    tx.mark_usage_not_totalled(&left)?;
    for key in incomplete {
        // The first month also includes usage that was measured before it.
        let bounds = (key.month > BillingMonth::FIRST).then(|| calendar.bounds(key.month));
        if let Some(computed) = compute(tx, &key.product_id, &key.company_id, calendar, bounds)?.remove(&key) {
            totals.insert(key, computed);
        }
    }
    tx.replace_usage_totals(&old, &totals)
}

/// Counts a record. Returns `false` if the totals must be computed again from all records.
fn count(totals: &mut Option<UsageTotals>, incoming: &IncomingRecord<'_>) -> bool {
    let record = incoming.record.measured();
    match (totals, incoming.corrects) {
        (Some(totals), None) => {
            totals.add(record);
            true
        }
        (Some(totals), Some(before)) => totals.correct(record, before),
        (totals, None) => {
            *totals = Some(UsageTotals::of(record));
            true
        }
        // The corrected record is from an earlier version.
        (None, Some(_)) => false,
    }
}

/// Reads the stored totals with the given keys, with one query for each product and month.
fn stored<'k>(tx: &mut Tx<'_>, keys: impl Iterator<Item = &'k TotalsKey>) -> Result<Vec<UsageTotalsRow>> {
    let mut companies: BTreeMap<(&ProductId, BillingMonth), Vec<CompanyId>> = BTreeMap::new();
    for key in keys {
        companies.entry((&key.product_id, key.month)).or_default().push(key.company_id.clone());
    }
    let mut rows = Vec::new();
    for ((product, month), companies) in companies {
        rows.extend(tx.usage_totals_rows(product, month, &companies)?);
    }
    Ok(rows)
}

/// Computes the totals of a company and product from its records, or from those within some bounds, for each month with
/// records.
fn compute(
    tx: &mut Tx<'_>,
    product: &ProductId,
    company: &CompanyId,
    calendar: &BillingCalendar,
    bounds: Option<(Timestamp, Timestamp)>,
) -> Result<BTreeMap<TotalsKey, UsageTotals>> {
    let mut totals: BTreeMap<TotalsKey, UsageTotals> = BTreeMap::new();
    for record in tx.usage_to_total(product, company, bounds)? {
        let month = month_of(&record, calendar);
        let key = TotalsKey { product_id: product.clone(), company_id: company.clone(), month };
        match totals.get_mut(&key) {
            Some(known) => known.add(record.measured()),
            None => drop(totals.insert(key, UsageTotals::of(record.measured()))),
        }
    }
    Ok(totals)
}

/// Adds the records that are not part of the totals yet, until shutdown. Until then, their companies' usage is added up
/// from the records. Returns the number of pairs of company and product whose totals were completed. A pair that fails
/// is logged and does not block the others.
pub async fn complete(ctx: &AppContext) -> Result<usize> {
    let (mut completed, mut after) = (0, None);
    loop {
        let last = after.clone();
        let keys = ctx.db.query_system(move |tx| tx.not_totalled(last.as_ref())).await?;
        let Some(last) = keys.last().cloned() else { return Ok(completed) };
        for (tenant, product, company) in keys {
            if ctx.shutdown.is_cancelled() {
                return Ok(completed);
            }
            let now = ctx.clock.now();
            match ctx.db.write(&tenant, move |tx| complete_one(tx, &product, &company, now)).await {
                Ok(()) => completed += 1,
                Err(error) => tracing::warn!(%tenant, cause = %error.chain(), "failed to complete the totals of usage"),
            }
        }
        after = Some(last);
    }
}

fn complete_one(tx: &mut Tx<'_>, product: &ProductId, company: &CompanyId, now: Timestamp) -> Result<()> {
    if tx.companies_not_totalled(product, CompanySelection::Only(std::slice::from_ref(company)))?.is_empty() {
        // Another replica was faster.
        return Ok(());
    }
    let calendar = billing_calendar::load(tx)?;
    let computed = compute(tx, product, company, &calendar, None)?;
    let old = tx.all_usage_totals(product, company)?;
    tx.replace_usage_totals(&old, &computed)?;
    tx.mark_usage_totalled(product, company, now)
}

/// The result of verifying the totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifiedTotals {
    /// The number of totals that were compared.
    pub compared: usize,
    /// The differences, as text.
    pub differences: Vec<String>,
}

/// Computes all totals of all tenants from the records, and compares them with the stored ones. Reads everything, a
/// company and product at a time.
pub async fn verify(db: &Db) -> Result<VerifiedTotals> {
    let mut verified = VerifiedTotals::default();
    for tenant in db.read_system(|tx| tx.tenants()).await? {
        let found = db.read(&tenant.id, verify_tenant).await?;
        verified.compared += found.compared;
        verified.differences.extend(found.differences.into_iter().map(|text| format!("tenant {}: {text}", tenant.id)));
    }
    Ok(verified)
}

fn verify_tenant(tx: &mut Tx<'_>) -> Result<VerifiedTotals> {
    let (mut verified, calendar) = (VerifiedTotals::default(), billing_calendar::load(tx)?);
    for product in tx.all_products()? {
        for company in tx.companies_with_usage(&product.id)? {
            if tx
                .companies_not_totalled(&product.id, CompanySelection::Only(std::slice::from_ref(&company)))?
                .contains(&company)
            {
                // Its usage is added up from the records for now.
                continue;
            }
            let computed = compute(tx, &product.id, &company, &calendar, None)?;
            let rows = tx.all_usage_totals(&product.id, &company)?;
            let stored: BTreeMap<TotalsKey, UsageTotals> = rows.iter().map(|row| (row.key(), row.totals())).collect();
            let months: HashSet<BillingMonth> = computed.keys().chain(stored.keys()).map(|key| key.month).collect();
            verified.compared += months.len();
            for month in months {
                let key = TotalsKey { product_id: product.id.clone(), company_id: company.clone(), month };
                let (is, should_be) = (stored.get(&key), computed.get(&key));
                if is != should_be {
                    let code = &product.code;
                    let text =
                        format!("product {code}, company {company}, {month}: stored {is:?}, computed {should_be:?}");
                    verified.differences.push(text);
                }
            }
        }
    }
    Ok(verified)
}

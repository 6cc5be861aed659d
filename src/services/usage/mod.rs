//! Stores usage records.

pub mod totals;

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use chrono_tz::Tz;

use self::totals::IncomingRecord;
use super::context::AppContext;
use super::idempotency::{IdempotentWrite, RenderedResponse};
use crate::db::{ProductName, SupersededUsage, Tx, UsageRecord};
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId, UsageId};
use crate::domain::quantity::Amount;
use crate::domain::{Error, FieldCode, FieldError, Result};
use crate::services::schedule::billing_calendar;
use crate::services::security::actor::Actor;

/// Maximum number of records in a batch.
pub const MAX_BATCH: usize = 10_000;

/// Refers to a company or product by its id in this service or by the vendor's.
#[derive(Debug, Clone)]
pub enum EntityRef {
    /// The id in this service.
    Id(String),
    /// The vendor's id of a company, or code of a product.
    Vendor(String),
}

/// When a record was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredAt {
    /// At this time.
    Time(Timestamp),
    /// At the start of this day in the tenant's time zone.
    Day(NaiveDate),
}

/// A usage record as submitted.
#[derive(Debug, Clone)]
pub struct NewUsage {
    /// The record's position in the request, for errors: a JSON pointer or a line number.
    pub place: String,
    /// The company that used the product.
    pub company: EntityRef,
    /// The product that was used.
    pub product: EntityRef,
    /// The amount, in the product's unit.
    pub amount: Amount,
    /// When the amount was measured.
    pub measured_at: MeasuredAt,
    /// The meter or report that the record comes from.
    pub source: String,
}

/// The number of records in a batch by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// New records.
    pub added: usize,
    /// Records that were already stored with the same amount.
    pub duplicates: usize,
    /// Records that were already stored with a different amount, which this batch corrects.
    pub corrected: usize,
    /// New or corrected records that arrived after a push had computed the quantity of their month.
    pub late: usize,
}

/// Stores a batch, all or nothing. See [`record`] for duplicates and corrections.
pub async fn add<R>(
    ctx: &AppContext,
    actor: &Actor,
    batch: Vec<NewUsage>,
    once: IdempotentWrite<R>,
) -> Result<RenderedResponse>
where
    R: FnOnce(UsageCounts) -> Result<RenderedResponse> + Send + 'static,
{
    let (now, rows) = (ctx.clock.now(), batch.len());
    let answer = once.run(ctx, &actor.tenant, move |tx| record(tx, batch, now)).await?;
    ctx.after_growth(rows).await;
    Ok(answer)
}

/// Stores a batch, all or nothing. A record with the same company, product, time and source as a stored one is a
/// duplicate if the amount is the same, and a correction if it is not.
pub fn record(tx: &mut Tx<'_>, batch: Vec<NewUsage>, now: Timestamp) -> Result<UsageCounts> {
    let ids = KnownIds::load(tx, &batch)?;
    // Loaded in this transaction, because the time zone of a tenant without usage may change before it.
    let calendar = billing_calendar::load(tx)?;
    let (mut rows, mut bad) = (Vec::with_capacity(batch.len()), Vec::new());
    let mut first_at = HashMap::new();
    for new in batch {
        let place = new.place.clone();
        match ids.row(tx, new, &calendar, now) {
            Ok(row) => match first_at.insert(key(&row), place.clone()) {
                None => rows.push(row),
                Some(first) => bad.push(FieldError::new(
                    place,
                    FieldCode::DuplicateInBatch,
                    format!("record {first} has the same company, product, measured_at and source"),
                )),
            },
            Err(errors) => bad.extend(errors),
        }
    }
    if !bad.is_empty() {
        return Err(Error::Invalid(bad));
    }
    mark_late(tx, &mut rows, &calendar, &ids.overage_products())?;
    save(tx, rows, &calendar)
}

/// Marks records that arrive after a push has computed the quantity of their month, company and product, or of its
/// overage.
fn mark_late(
    tx: &mut Tx<'_>,
    rows: &mut [UsageRecord],
    calendar: &BillingCalendar,
    overage: &HashMap<ProductId, ProductId>,
) -> Result<()> {
    let month = |row: &UsageRecord| calendar.month_of(row.measured_at.and_utc());
    let months: HashSet<BillingMonth> = rows.iter().map(month).collect();
    let own = rows.iter().map(|row| &row.product_id);
    let products: HashSet<&ProductId> = own.flat_map(|id| [Some(id), overage.get(id)]).flatten().collect();
    let products: Vec<ProductId> = products.into_iter().cloned().collect();
    let companies: Vec<CompanyId> = rows.iter().map(|row| row.company_id.clone()).collect();
    let pushed = tx.months_computed(&companies, &products, &months.into_iter().collect::<Vec<_>>())?;
    if pushed.is_empty() {
        return Ok(());
    }
    for row in rows {
        let is_pushed = |product: &ProductId| pushed.contains(&(row.company_id.clone(), product.clone(), month(row)));
        row.late = is_pushed(&row.product_id) || overage.get(&row.product_id).is_some_and(is_pushed);
    }
    Ok(())
}

/// Returns the key that identifies a record: company, product, time and source.
fn key(record: &UsageRecord) -> (CompanyId, ProductId, chrono::NaiveDateTime, String) {
    (record.company_id.clone(), record.product_id.clone(), record.measured_at, record.source.clone())
}

fn save(tx: &mut Tx<'_>, rows: Vec<UsageRecord>, calendar: &BillingCalendar) -> Result<UsageCounts> {
    let mut accepted = UsageCounts::default();
    let (mut new, mut corrected) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    let mut superseded = Vec::new();
    let stored = tx.current_usage(&rows)?;
    let stored: HashMap<_, &UsageRecord> = stored.iter().map(|record| (key(record), record)).collect();
    for row in rows {
        match stored.get(&key(&row)) {
            Some(before) if before.amount == row.amount => accepted.duplicates += 1,
            Some(before) => {
                superseded.push(SupersededUsage { id: before.id.clone(), superseded_by: row.id.clone() });
                accepted.corrected += 1;
                accepted.late += usize::from(row.late);
                corrected.push(Some(before.amount));
                new.push(row);
            }
            None => {
                accepted.added += 1;
                accepted.late += usize::from(row.late);
                corrected.push(None);
                new.push(row);
            }
        }
    }
    tx.supersede_usage(&superseded)?;
    tx.insert_usage(&new)?;
    let incoming = new.iter().zip(corrected).map(|(record, corrects)| IncomingRecord { record, corrects });
    totals::add(tx, &incoming.collect::<Vec<_>>(), calendar)?;
    Ok(accepted)
}

/// The existing companies and products that a batch refers to, by their ids in this service and by the vendor's.
struct KnownIds {
    companies: HashSet<CompanyId>,
    external: HashMap<String, CompanyId>,
    products: HashMap<String, ProductName>,
    codes: HashMap<String, ProductName>,
}

impl KnownIds {
    fn load(tx: &mut Tx<'_>, batch: &[NewUsage]) -> Result<Self> {
        let (companies, external) = split(batch.iter().map(|new| &new.company));
        let products = tx.product_names()?;
        let by_code = products.iter().map(|product| (product.code.clone(), product.clone())).collect();
        Ok(Self {
            companies: tx.existing_companies(&companies)?,
            external: tx.companies_by_external_id(&external)?,
            products: products.into_iter().map(|product| (product.id.to_string(), product)).collect(),
            codes: by_code,
        })
    }

    /// The overage products, by base product.
    fn overage_products(&self) -> HashMap<ProductId, ProductId> {
        let pair = |product: &ProductName| Some((product.overage_of.clone()?, product.id.clone()));
        self.products.values().filter_map(pair).collect()
    }

    fn row(
        &self,
        tx: &Tx<'_>,
        new: NewUsage,
        calendar: &BillingCalendar,
        now: Timestamp,
    ) -> Result<UsageRecord, Vec<FieldError>> {
        let mut bad = Vec::new();
        let measured_at = match new.measured_at {
            MeasuredAt::Time(time) => time,
            MeasuredAt::Day(day) => calendar.start_of_day(day),
        };
        let company = match &new.company {
            EntityRef::Id(id) => self.companies.get(&CompanyId::from(id.clone())).ok_or(("company_id", id)),
            EntityRef::Vendor(id) => self.external.get(id).ok_or(("company_external_id", id)),
        };
        let product = match &new.product {
            EntityRef::Id(id) => self.products.get(id).ok_or(("product_id", id)),
            EntityRef::Vendor(code) => self.codes.get(code).ok_or(("product_code", code)),
        };
        for (field, given) in [company.err(), product.err()].into_iter().flatten() {
            let message = format!("unknown {field} \"{given}\"");
            bad.push(FieldError::new(format!("{}/{field}", new.place), FieldCode::NotFound, message));
        }
        if let Ok(ProductName { code, overage_of: Some(other), .. }) = product {
            let field = if matches!(new.product, EntityRef::Id(_)) { "product_id" } else { "product_code" };
            let message = format!("{code} bills the overage of product {other}: send usage for that product");
            bad.push(FieldError::new(format!("{}/{field}", new.place), FieldCode::Contradiction, message));
        }
        if BillingMonth::of(measured_at, Tz::UTC) <= BillingMonth::FIRST {
            // All of January 2000 UTC is rejected, so a record is in a supported month in every time zone.
            let message = "measured_at is before February 2000";
            bad.push(FieldError::new(format!("{}/measured_at", new.place), FieldCode::OutOfRange, message));
        }
        if measured_at > now + chrono::TimeDelta::days(1) {
            let message = "measured_at is more than a day in the future";
            bad.push(FieldError::new(format!("{}/measured_at", new.place), FieldCode::OutOfRange, message));
        }
        match (company, product) {
            (Ok(company), Ok(product)) if bad.is_empty() => Ok(UsageRecord {
                id: UsageId::new(),
                tenant_id: tx.tenant().clone(),
                company_id: company.clone(),
                product_id: product.id.clone(),
                amount: new.amount,
                measured_at: measured_at.naive_utc(),
                source: new.source,
                received_at: now.naive_utc(),
                superseded_by: None,
                late: false,
                totalled_at: Some(now.naive_utc()),
            }),
            _ => Err(bad),
        }
    }
}

/// Splits references into ids in this service and ids of the vendor.
fn split<'r, Id: From<String>>(refs: impl Iterator<Item = &'r EntityRef>) -> (Vec<Id>, Vec<String>) {
    let (mut ids, mut vendor) = (Vec::new(), Vec::new());
    for one in refs {
        match one {
            EntityRef::Id(id) => ids.push(Id::from(id.clone())),
            EntityRef::Vendor(id) => vendor.push(id.clone()),
        }
    }
    (ids, vendor)
}

//! Taking in usage, and what is billed of it.

use std::collections::{HashMap, HashSet};

use chrono_tz::Tz;

use super::schedule;
use crate::db::{BillingLine, BillingLineView, Product, Tx, UsageRecord};
use crate::domain::clock::Instant;
use crate::domain::ids::{CompanyId, ProductId, UsageId};
use crate::domain::quantity::{Amount, BlockSize, Quantity, quantity};
use crate::domain::usage::{BillingMonth, aggregate};
use crate::domain::{Error, FieldError, Result};

/// The most records in one batch.
pub const MAX_BATCH: usize = 10_000;

/// Whose usage a record is, by our id or the vendor's.
#[derive(Debug, Clone)]
pub enum Who {
    /// Our id.
    Id(String),
    /// The vendor's id of a company, or code of a product.
    Vendor(String),
}

/// A measured amount as given.
#[derive(Debug, Clone)]
pub struct NewUsage {
    /// The company.
    pub company: Who,
    /// The product.
    pub product: Who,
    /// How much, in the product's unit.
    pub amount: Amount,
    /// When it was measured.
    pub measured_at: Instant,
    /// Which meter or report it comes from.
    pub source: String,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// New records.
    pub added: usize,
    /// Records that were there with the same amount.
    pub duplicates: usize,
    /// Records that were there with another amount, which this batch corrects.
    pub corrected: usize,
    /// New or corrected records of a month that was pushed already.
    pub late: usize,
}

/// Takes in a batch, all or nothing. A record with the same company, product, time and source as one that is there is
/// a duplicate where the amount is equal, and corrects it where it is not.
pub fn record(tx: &mut Tx<'_>, batch: Vec<NewUsage>, now: Instant) -> Result<Accepted> {
    let known = Known::load(tx)?;
    let (mut rows, mut bad) = (Vec::with_capacity(batch.len()), Vec::new());
    let mut first_at = HashMap::new();
    for (index, new) in batch.into_iter().enumerate() {
        match known.row(tx, index, new, now) {
            Ok(row) => match first_at.insert(key(&row), index) {
                None => rows.push(row),
                Some(first) => bad.push(FieldError::new(
                    format!("/records/{index}"),
                    "duplicate_in_batch",
                    format!("record {first} has the same company, product, measured_at and source"),
                )),
            },
            Err(errors) => bad.extend(errors),
        }
    }
    if !bad.is_empty() {
        return Err(Error::Invalid(bad));
    }
    mark_late(tx, &mut rows, now)?;
    save(tx, rows)
}

/// Marks what comes too late for a push: its month was pushed for the company and product already.
fn mark_late(tx: &mut Tx<'_>, rows: &mut [UsageRecord], now: Instant) -> Result<()> {
    let (_, zone) = schedule::month_or_present(tx, None, now)?;
    let month = |row: &UsageRecord| BillingMonth::of(row.measured_at.and_utc(), zone);
    let months: HashSet<BillingMonth> = rows.iter().map(month).collect();
    let pushed: HashSet<(CompanyId, ProductId, BillingMonth)> =
        tx.pushed_months(&months.into_iter().collect::<Vec<_>>())?.into_iter().collect();
    if pushed.is_empty() {
        return Ok(());
    }
    for row in rows {
        row.late = pushed.contains(&(row.company_id.clone(), row.product_id.clone(), month(row)));
    }
    Ok(())
}

/// What makes two records the same.
fn key(record: &UsageRecord) -> (CompanyId, ProductId, chrono::NaiveDateTime, String) {
    (record.company_id.clone(), record.product_id.clone(), record.measured_at, record.source.clone())
}

fn save(tx: &mut Tx<'_>, rows: Vec<UsageRecord>) -> Result<Accepted> {
    let mut accepted = Accepted::default();
    let mut new = Vec::with_capacity(rows.len());
    let products: HashSet<&ProductId> = rows.iter().map(|row| &row.product_id).collect();
    let products: Vec<ProductId> = products.into_iter().cloned().collect();
    let moments: Vec<_> = rows.iter().map(|row| row.measured_at).collect();
    let known = tx.current_usage(&products, &moments)?;
    let known: HashMap<_, &UsageRecord> = known.iter().map(|record| (key(record), record)).collect();
    for row in rows {
        match known.get(&key(&row)) {
            Some(before) if before.amount == row.amount => accepted.duplicates += 1,
            Some(before) => {
                tx.supersede_usage(&before.id, &row.id)?;
                accepted.corrected += 1;
                accepted.late += usize::from(row.late);
                new.push(row);
            }
            None => {
                accepted.added += 1;
                accepted.late += usize::from(row.late);
                new.push(row);
            }
        }
    }
    tx.insert_usage(&new)?;
    Ok(accepted)
}

/// The tenant's companies and products, by either id.
struct Known {
    companies: HashMap<String, CompanyId>,
    external: HashMap<String, CompanyId>,
    products: HashMap<String, ProductId>,
    codes: HashMap<String, ProductId>,
}

impl Known {
    fn load(tx: &mut Tx<'_>) -> Result<Self> {
        let (companies, products) = (tx.all_companies()?, tx.all_products()?);
        Ok(Self {
            external: companies.iter().map(|row| (row.external_id.clone(), row.id.clone())).collect(),
            companies: companies.into_iter().map(|row| (row.id.to_string(), row.id)).collect(),
            codes: products.iter().map(|row| (row.code.clone(), row.id.clone())).collect(),
            products: products.into_iter().map(|row| (row.id.to_string(), row.id)).collect(),
        })
    }

    fn row(&self, tx: &Tx<'_>, index: usize, new: NewUsage, now: Instant) -> Result<UsageRecord, Vec<FieldError>> {
        let mut bad = Vec::new();
        let company = match &new.company {
            Who::Id(id) => self.companies.get(id).ok_or(("company_id", id)),
            Who::Vendor(id) => self.external.get(id).ok_or(("company_external_id", id)),
        };
        let product = match &new.product {
            Who::Id(id) => self.products.get(id).ok_or(("product_id", id)),
            Who::Vendor(code) => self.codes.get(code).ok_or(("product_code", code)),
        };
        for (field, given) in [company.err(), product.err()].into_iter().flatten() {
            let message = format!("nothing has the {field} \"{given}\"");
            bad.push(FieldError::new(format!("/records/{index}/{field}"), "not_found", message));
        }
        if new.measured_at > now + chrono::TimeDelta::days(1) {
            let message = "measured_at lies more than a day in the future";
            bad.push(FieldError::new(format!("/records/{index}/measured_at"), "out_of_range", message));
        }
        match (company, product) {
            (Ok(company), Ok(product)) if bad.is_empty() => Ok(UsageRecord {
                id: UsageId::new(),
                tenant_id: tx.tenant().clone(),
                company_id: company.clone(),
                product_id: product.clone(),
                amount: new.amount,
                measured_at: new.measured_at.naive_utc(),
                source: new.source,
                received_at: now.naive_utc(),
                superseded_by: None,
                late: false,
            }),
            _ => Err(bad),
        }
    }
}

/// What a line is billed in a month, or why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// The month's usage; `None` without records.
    pub usage: Option<Amount>,
    /// The block size that applies.
    pub block_size: BlockSize,
    /// The quantity; `None` without usage, or where there is none that ConnectWise could keep.
    pub quantity: Option<Quantity>,
    /// Why there is usage but no quantity.
    pub problem: Option<String>,
}

/// The usage of one product in one month, by company.
pub struct MonthlyUsage {
    product: Product,
    records: HashMap<CompanyId, Vec<(Instant, Amount)>>,
}

impl MonthlyUsage {
    /// Loads it in one query, for some companies or for all.
    pub fn load(
        tx: &mut Tx<'_>,
        product: Product,
        month: BillingMonth,
        zone: Tz,
        companies: Option<&[CompanyId]>,
    ) -> Result<Self> {
        let (from, to) = month.bounds(zone);
        let records = tx.usage_between(&product.id, from, to, companies)?;
        Ok(Self { product, records })
    }

    /// What a line of the product is billed.
    pub fn billed(&self, line: &BillingLine) -> Billed {
        let block_size = line.block_size.unwrap_or(self.product.block_size);
        let records = self.records.get(&line.company_id).into_iter().flatten().copied();
        let (usage, problem) = match aggregate(self.product.aggregation, records) {
            Ok(usage) => (usage, None),
            Err(overflow) => (None, Some(overflow.to_string())),
        };
        let quantity = usage.map(|usage| quantity(usage, block_size, self.product.rounding)).transpose();
        match quantity {
            Ok(quantity) => Billed { usage, block_size, quantity, problem },
            Err(error) => Billed { usage, block_size, quantity: None, problem: Some(error.to_string()) },
        }
    }

    /// The product.
    pub fn product(&self) -> &Product {
        &self.product
    }
}

impl Billed {
    /// Of a line whose product vanished meanwhile.
    pub fn unknown() -> Self {
        Self { usage: None, block_size: BlockSize::ONE, quantity: None, problem: None }
    }
}

/// What lines are billed in a month, with their products' units, in the same order: one query for each product.
pub fn billed(
    tx: &mut Tx<'_>,
    views: &[BillingLineView],
    month: BillingMonth,
    zone: Tz,
) -> Result<Vec<(Billed, String)>> {
    let products: HashSet<ProductId> = views.iter().map(|view| view.line.product_id.clone()).collect();
    let mut usage = HashMap::new();
    for id in products {
        let companies: Vec<CompanyId> =
            views.iter().filter(|view| view.line.product_id == id).map(|view| view.line.company_id.clone()).collect();
        let product = tx.product(&id)?;
        usage.insert(id, MonthlyUsage::load(tx, product, month, zone, Some(&companies))?);
    }
    let of = |view: &BillingLineView| match usage.get(&view.line.product_id) {
        Some(usage) => (usage.billed(&view.line), usage.product().unit.clone()),
        None => (Billed::unknown(), String::new()),
    };
    Ok(views.iter().map(of).collect())
}

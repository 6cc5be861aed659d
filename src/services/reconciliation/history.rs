//! Keeps the totals found just before each scheduled push, so months can be compared.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;

use super::totals::{MoneyTotals, ProductTotals, Totals};
use crate::db::{ReconciliationSnapshot, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{ProductId, PushJobId, SnapshotId};
use crate::domain::quantity::Money;

/// An amount is marked if it differs from the month before by more than this, in percent.
const NOTABLE_CHANGE_PERCENT: i64 = 10;

/// A product in a month.
#[derive(Debug, Clone)]
pub struct MonthOfProduct {
    /// The product and its quantities.
    pub snapshot: ReconciliationSnapshot,
    /// The amounts of each currency.
    pub money: Vec<MonthlyAmount>,
}

/// The amounts of a product, month and currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthlyAmount {
    /// The amounts that invoices charge with the computed quantities and with ConnectWise's, in one currency.
    pub totals: MoneyTotals,
    /// The amount of the previous month that was kept.
    pub before: Option<Money>,
    /// The change since that month, in percent, rounded to one decimal place; `None` if its amount is unknown or 0.
    pub change_percent: Option<Decimal>,
    /// Whether the amount differs by more than 10 % from the month before.
    pub changed_notably: bool,
}

/// Keeps the totals that were found before a scheduled push.
pub fn keep(tx: &mut Tx<'_>, totals: Totals, job: &PushJobId, now: Timestamp) -> Result<()> {
    let tenant = tx.tenant().clone();
    let row = |product: &ProductTotals, money: MoneyTotals| ReconciliationSnapshot {
        id: SnapshotId::new(),
        tenant_id: tenant.clone(),
        push_job_id: job.clone(),
        product_id: product.product.id.clone(),
        product_code: product.product.code.clone(),
        product_name: product.product.name.clone(),
        billing_month: product.month,
        items: i64::try_from(product.items).unwrap_or(i64::MAX),
        to_review: i64::try_from(product.to_review).unwrap_or(i64::MAX),
        quantity: product.quantity,
        connectwise_quantity: product.connectwise_quantity,
        difference: product.difference,
        currency: money.currency,
        amount: money.amount,
        connectwise_amount: money.connectwise_amount,
        amount_difference: money.difference,
        not_invoiced_amount: money.not_invoiced_amount,
        taken_at: now.naive_utc(),
    };
    let rows: Vec<ReconciliationSnapshot> = totals
        .products
        .into_iter()
        .flat_map(|mut product| {
            let mut money = std::mem::take(&mut product.money);
            if money.is_empty() {
                // Without a price, the quantities are still kept.
                money.push(MoneyTotals::UNKNOWN);
            }
            money.into_iter().map(|money| row(&product, money)).collect::<Vec<_>>()
        })
        .collect();
    tx.insert_reconciliation_snapshots(&rows)
}

/// The months of a product, or of all products, from one month until another, ordered by product code, the latest month
/// first. If several scheduled pushes billed a month, the last one counts.
pub fn months(
    tx: &mut Tx<'_>,
    product: Option<&ProductId>,
    from: Option<BillingMonth>,
    until: Option<BillingMonth>,
) -> Result<Vec<MonthOfProduct>> {
    let mut by_month: BTreeMap<(ProductId, BillingMonth), Vec<ReconciliationSnapshot>> = BTreeMap::new();
    let mut codes: HashMap<ProductId, String> = HashMap::new();
    for row in tx.reconciliation_snapshots(product, until)? {
        codes.insert(row.product_id.clone(), row.product_code.clone());
        let rows = by_month.entry((row.product_id.clone(), row.billing_month)).or_default();
        if rows.first().is_some_and(|first| first.push_job_id != row.push_job_id) {
            rows.clear();
        }
        rows.push(row);
    }
    // The amounts of the product's previous month.
    let mut before: (Option<ProductId>, Amounts) = Default::default();
    let mut found = Vec::new();
    for ((product, month), rows) in by_month {
        let known = if before.0.as_ref() == Some(&product) { std::mem::take(&mut before.1) } else { Amounts::new() };
        let money = amounts(&rows, &known);
        before = (Some(product), money.iter().map(|one| (one.totals.currency.clone(), one.totals.amount)).collect());
        if let Some(snapshot) = rows.into_iter().next()
            && from.is_none_or(|from| month >= from)
        {
            found.push(MonthOfProduct { snapshot, money });
        }
    }
    let code = |month: &MonthOfProduct| (codes.get(&month.snapshot.product_id), month.snapshot.product_id.clone());
    found.sort_by(|one, other| {
        code(one).cmp(&code(other)).then(other.snapshot.billing_month.cmp(&one.snapshot.billing_month))
    });
    Ok(found)
}

/// The amount of each currency.
type Amounts = BTreeMap<Option<String>, Option<Money>>;

/// The amounts of a month, compared with the month before. A currency that no longer occurs has an amount of 0.
fn amounts(rows: &[ReconciliationSnapshot], before: &Amounts) -> Vec<MonthlyAmount> {
    let mut totals: BTreeMap<Option<String>, MoneyTotals> = BTreeMap::new();
    for (currency, amount) in before {
        if amount.is_some_and(|amount| amount != Money::ZERO) {
            let zero = Some(Money::ZERO);
            let gone = MoneyTotals {
                currency: currency.clone(),
                amount: zero,
                connectwise_amount: zero,
                difference: zero,
                not_invoiced_amount: zero,
            };
            totals.insert(currency.clone(), gone);
        }
    }
    for row in rows.iter().filter(|row| row.amount.is_some() || row.connectwise_amount.is_some()) {
        let known = MoneyTotals {
            currency: row.currency.clone(),
            amount: row.amount,
            connectwise_amount: row.connectwise_amount,
            difference: row.amount_difference,
            not_invoiced_amount: row.not_invoiced_amount,
        };
        totals.insert(row.currency.clone(), known);
    }
    totals.into_values().map(|totals| monthly(before.get(&totals.currency).copied().flatten(), totals)).collect()
}

fn monthly(before: Option<Money>, totals: MoneyTotals) -> MonthlyAmount {
    let change = before.zip(totals.amount).and_then(|(before, now)| now.minus(before));
    let hundred = Decimal::ONE_HUNDRED;
    let change_percent = before.filter(|before| *before != Money::ZERO).zip(change).and_then(|(before, change)| {
        let share = change.get().checked_mul(hundred)?.checked_div(before.get().abs())?;
        Some(share.round_dp(1).normalize())
    });
    // Compared without the division, which may round.
    let changed_notably = before.zip(change).is_some_and(|(before, change)| {
        change.get().abs().saturating_mul(hundred) > before.get().abs().saturating_mul(NOTABLE_CHANGE_PERCENT.into())
    });
    MonthlyAmount { totals, before, change_percent, changed_notably }
}

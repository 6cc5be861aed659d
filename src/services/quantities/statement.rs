//! The statement of a company, which explains how it is billed for a month.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::db::{Company, LineFilter, ListName, PageRequest, PushJob, PushLine, PushLineFilter, Tx, UsageRecord};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::line_quantity::{Adjustment, QuantityBreakdown, QuantitySettings};
use crate::domain::push::{PushKind, PushLineState, PushTrigger};
use crate::domain::quantity::{BlockSize, IncludedQuantity, MinimumQuantity, Money, Quantity};
use crate::domain::statement::StatementInput;
use crate::domain::usage::CountedUsage;
use crate::services::quantities::compute::{BilledMonths, LineWithQuantity, compute_with_invoices};
use crate::services::reconciliation::{Item, ReconciliationScope, reconcile};
use crate::services::schedule::billing_calendar;

/// Maximum number of records that are shown for each product.
const MAX_RECORDS: usize = 100;
/// Maximum number of records that are read.
const MAX_READ: i64 = 10_000;

/// A company's statement.
#[derive(Debug)]
pub struct Statement {
    /// The company that the statement is for.
    pub company: Company,
    /// When it was made.
    pub made_at: Timestamp,
    /// The lines with usage or pushes, by product code.
    pub lines: Vec<StatementLine>,
    /// The sum of what is charged, by currency; `None` if it has too many digits.
    pub totals: Vec<(Option<String>, Option<Money>)>,
}

/// A product on a statement.
#[derive(Debug)]
pub struct StatementLine {
    /// The line, with its usage and quantity as they are computed now.
    pub line: LineWithQuantity,
    /// How it compares with ConnectWise.
    pub item: Item,
    /// The basis of the quantity: what the month's last push recorded or, without a push, the current usage.
    pub basis: QuantitySource,
    /// The steps from the usage to the amount, in sentences.
    pub steps: Vec<String>,
    /// The month's records, the newest first, at most 100.
    pub records: Vec<UsageRecord>,
    /// The number of the month's records.
    pub records_in_month: i64,
    /// The push lines that wrote the month's quantity or found it in ConnectWise, the newest first.
    pub pushes: Vec<(PushLine, PushJob)>,
}

impl StatementLine {
    /// Whether the product bills the overage of another.
    fn is_overage(&self) -> bool {
        self.line.product.overage_of.is_some()
    }
}

/// The basis of a quantity.
#[derive(Debug, Clone)]
pub struct QuantitySource {
    /// The usage that counted.
    pub usage: Option<CountedUsage>,
    /// The block size.
    pub block_size: BlockSize,
    /// The adjustment that applied.
    pub adjustment: Option<Adjustment>,
    /// The minimum that applied.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The included quantity that applied.
    pub included_quantity: Option<IncludedQuantity>,
    /// The steps to the quantity, if they are known.
    pub breakdown: Option<QuantityBreakdown>,
    /// The quantity to bill, if there is one.
    pub quantity: Option<Quantity>,
    /// Whether a revert restored the quantity.
    pub is_reverted: bool,
}

impl QuantitySource {
    fn new(line: &LineWithQuantity, pushes: &[(PushLine, PushJob)]) -> Self {
        let is_known = |(line, _): &&(PushLine, PushJob)| line.state != PushLineState::Unverified;
        match pushes.iter().find(is_known) {
            Some((pushed, job)) => Self::of_push(line, pushed, job),
            None => Self::of_now(line),
        }
    }

    fn of_now(LineWithQuantity { computed, .. }: &LineWithQuantity) -> Self {
        Self {
            usage: computed.usage,
            block_size: computed.block_size,
            adjustment: computed.adjustment.clone(),
            minimum_quantity: computed.minimum_quantity,
            included_quantity: computed.included_quantity,
            breakdown: computed.breakdown,
            quantity: computed.quantity,
            is_reverted: false,
        }
    }

    /// The basis that a push recorded. The rounding was not recorded, so the steps are shown only if the current
    /// rounding gives the same quantity.
    fn of_push(line: &LineWithQuantity, pushed: &PushLine, job: &PushJob) -> Self {
        let block_size = pushed.block_size.unwrap_or(line.computed.block_size);
        let settings = QuantitySettings {
            adjustment: pushed.adjustment.as_ref(),
            block_size,
            rounding: line.product.rounding,
            minimum: pushed.minimum_quantity,
            included: pushed.included_quantity.filter(|_| line.product.overage_of.is_none()),
        };
        let breakdown = pushed.usage_amount.and_then(|amount| settings.quantity_of(amount).ok());
        let usage = |amount| {
            let (through, records) = (pushed.usage_through?.and_utc(), pushed.usage_records.unwrap_or(1));
            Some(CountedUsage { amount, through, records })
        };
        Self {
            usage: pushed.usage_amount.and_then(usage),
            block_size,
            adjustment: pushed.adjustment.clone(),
            minimum_quantity: pushed.minimum_quantity,
            included_quantity: pushed.included_quantity,
            breakdown: breakdown.filter(|breakdown| Some(breakdown.quantity) == pushed.to_quantity),
            quantity: pushed.to_quantity,
            is_reverted: job.trigger == PushTrigger::Revert,
        }
    }
}

/// Makes the statement of a company for a month; `None` means the month that a push of each product would bill now. The
/// number of queries depends on the number of products and months.
pub fn load(tx: &mut Tx<'_>, company: &CompanyId, month: Option<BillingMonth>, now: Timestamp) -> Result<Statement> {
    let row = tx.company(company)?;
    let filter = LineFilter { company_ids: Some(vec![company.clone()]), ..LineFilter::default() };
    let rows = tx.all_lines(&filter)?;
    let views = tx.with_records(rows)?;
    let months = BilledMonths::named_or_now(month);
    let mut lines = compute_with_invoices(tx, views, &months, now)?;
    lines.sort_by(|one, other| (&one.product.code, &one.product.id).cmp(&(&other.product.code, &other.product.id)));
    let scope = ReconciliationScope { company: Some(company.clone()), months, ..ReconciliationScope::default() };
    let items = reconcile(tx, &scope, now)?.items;
    let items = items.into_iter().filter_map(|item| Some((item.line.clone()?, item))).collect();
    let mut data = StatementData { items, ..StatementData::default() };
    data.load(tx, company, &lines)?;
    let lines: Vec<StatementLine> =
        lines.into_iter().filter_map(|line| data.statement_line(line)).filter(is_shown).collect();
    Ok(Statement { company: row, made_at: now, totals: totals(&lines), lines })
}

/// Whether a product has anything to show.
fn is_shown(line: &StatementLine) -> bool {
    let is_billed = line.item.connectwise_quantity.is_some_and(|has| has != Quantity::ZERO);
    let has_quantity = line.basis.quantity.is_some_and(|quantity| quantity != Quantity::ZERO);
    // An overage product has usage wherever its base product has, mostly 0.
    let has_usage = if line.is_overage() { has_quantity } else { line.basis.usage.is_some() };
    is_billed || line.records_in_month > 0 || !line.pushes.is_empty() || has_usage
}

/// The data that the lines are combined with.
#[derive(Default)]
struct StatementData {
    items: HashMap<BillingLineId, Item>,
    /// The names of products.
    names: HashMap<ProductId, String>,
    records: HashMap<(ProductId, BillingMonth), Vec<UsageRecord>>,
    counts: HashMap<(ProductId, BillingMonth), i64>,
    pushes: HashMap<(BillingLineId, BillingMonth), Vec<(PushLine, PushJob)>>,
}

impl StatementData {
    fn load(&mut self, tx: &mut Tx<'_>, company: &CompanyId, lines: &[LineWithQuantity]) -> Result<()> {
        self.names = lines.iter().map(|line| (line.product.id.clone(), line.product.name.clone())).collect();
        let calendar = billing_calendar::load(tx)?;
        let months: BTreeSet<BillingMonth> = lines.iter().map(|line| line.computed.month).collect();
        for month in months {
            let bounds = calendar.bounds(month);
            for record in tx.usage_of_company(company, bounds, MAX_READ)? {
                self.records.entry((record.product_id.clone(), month)).or_default().push(record);
            }
            for (product, count) in tx.usage_counts_of_company(company, bounds)? {
                self.counts.insert((product, month), count);
            }
            for (line, job) in pushes_of(tx, company, month)? {
                self.pushes.entry((line.billing_line_id.clone(), month)).or_default().push((line, job));
            }
        }
        Ok(())
    }

    fn statement_line(&mut self, line: LineWithQuantity) -> Option<StatementLine> {
        let month = line.computed.month;
        let item = self.items.remove(&line.view.line.id)?;
        let place = (line.product.id.clone(), month);
        let mut records = self.records.remove(&place).unwrap_or_default();
        records.truncate(MAX_RECORDS);
        let records_in_month = self.counts.remove(&place).unwrap_or_default();
        let pushes = self.pushes.remove(&(line.view.line.id.clone(), month)).unwrap_or_default();
        let basis = QuantitySource::new(&line, &pushes);
        let overage_of = line.product.overage_of.as_ref().and_then(|id| self.names.get(id));
        let steps = statement_input(&line, &item, &basis, overage_of.map(String::as_str)).steps();
        Some(StatementLine { line, item, basis, steps, records, records_in_month, pushes })
    }
}

fn statement_input<'l>(
    line: &'l LineWithQuantity,
    item: &'l Item,
    basis: &'l QuantitySource,
    overage_of: Option<&'l str>,
) -> StatementInput<'l> {
    let LineWithQuantity { computed, product, view, .. } = line;
    StatementInput {
        unit: &product.unit,
        aggregation: product.aggregation,
        usage: basis.usage,
        problem: computed.problem.as_deref(),
        adjustment: basis.adjustment.as_ref(),
        block_size: basis.block_size,
        rounding: product.rounding,
        minimum: basis.minimum_quantity,
        included: basis.included_quantity,
        overage_of,
        breakdown: basis.breakdown,
        quantity: basis.quantity,
        is_reverted: basis.is_reverted,
        connectwise_quantity: item.connectwise_quantity,
        terms: view.addition.as_ref().map(|addition| &addition.terms),
        currency: item.currency.as_deref(),
        amount: item.compared.connectwise_amount,
        is_not_invoiced: item.is_not_invoiced,
    }
}

/// The push lines that wrote a month's quantity or found it in ConnectWise, the newest first: at most 500 lines.
fn pushes_of(tx: &mut Tx<'_>, company: &CompanyId, month: BillingMonth) -> Result<Vec<(PushLine, PushJob)>> {
    let filter = PushLineFilter {
        company_id: Some(company.clone()),
        billing_month: Some(month),
        kind: Some(PushKind::Push),
        states: vec![PushLineState::Pushed, PushLineState::Unchanged, PushLineState::Unverified],
        ..PushLineFilter::default()
    };
    let list = ListName { name: "push-lines", filter: 0 };
    let page = PageRequest::parse(list, Some(500), None, "-created_at")?;
    Ok(tx.push_lines(&filter, &page)?.items)
}

/// The amounts that the next invoices charge, by currency.
fn totals(lines: &[StatementLine]) -> Vec<(Option<String>, Option<Money>)> {
    let mut sums: BTreeMap<Option<String>, Option<Money>> = BTreeMap::new();
    for item in lines.iter().map(|line| &line.item).filter(|item| !item.is_not_invoiced) {
        if let Some(amount) = item.compared.connectwise_amount.filter(|_| item.connectwise_quantity.is_some()) {
            let sum = sums.entry(item.currency.clone()).or_insert(Some(Money::ZERO));
            *sum = sum.and_then(|sum| sum.plus(amount));
        }
    }
    sums.into_iter().collect()
}

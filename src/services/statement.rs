//! The statement of a company: why it is billed what it is billed in a month.

use std::collections::{BTreeMap, HashMap};

use super::billed_lines::{BilledLine, BilledMonths, compared_lines};
use super::billing_calendar;
use crate::db::{Company, LineFilter, ListName, PageRequest, PushJob, PushLine, PushLineFilter, Tx, UsageRecord};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::push::{LineState, PushKind};
use crate::domain::quantity::Money;
use crate::domain::statement::Making;

/// Maximum number of records that are shown of a product.
const MAX_RECORDS: usize = 100;
/// Maximum number of records that are read.
const MAX_READ: i64 = 10_000;

/// A company's statement.
#[derive(Debug)]
pub struct Statement {
    /// The company.
    pub company: Company,
    /// When it was made.
    pub made_at: Instant,
    /// The lines with usage or pushes, by product code.
    pub lines: Vec<StatementLine>,
    /// The sum of what is charged, by currency; `None` if it has too many digits.
    pub totals: Vec<(Option<String>, Option<Money>)>,
}

/// A product on a statement.
#[derive(Debug)]
pub struct StatementLine {
    /// The line, with its usage, quantity and amount.
    pub line: BilledLine,
    /// The steps from the usage to the amount, in sentences.
    pub steps: Vec<String>,
    /// The month's records, the newest first, at most 100.
    pub records: Vec<UsageRecord>,
    /// The number of the month's records.
    pub records_in_month: usize,
    /// What pushes wrote for the month or found in ConnectWise, the newest first.
    pub pushes: Vec<(PushLine, PushJob)>,
}

/// Makes the statement of a company for a month; `None` means the month that a push of each product would bill now. The
/// number of queries depends on the number of products and months.
pub fn load(tx: &mut Tx<'_>, company: &CompanyId, month: Option<BillingMonth>, now: Instant) -> Result<Statement> {
    let row = tx.company(company)?;
    let filter = LineFilter { company_ids: Some(vec![company.clone()]), ..LineFilter::default() };
    let rows = tx.all_lines(&filter)?;
    let views = tx.with_records(rows)?;
    let mut lines = compared_lines(tx, views, &BilledMonths::named_or_now(month), now)?;
    lines.sort_by(|one, other| (&one.product.code, &one.product.id).cmp(&(&other.product.code, &other.product.id)));
    let calendar = billing_calendar::load(tx)?;
    let mut months: Vec<BillingMonth> = lines.iter().map(|line| line.billed.month).collect();
    months.sort_unstable();
    months.dedup();
    let (mut records, mut pushes) = (HashMap::new(), HashMap::new());
    for month in months {
        for record in tx.usage_of_company(company, calendar.bounds(month), MAX_READ)? {
            records.entry((record.product_id.clone(), month)).or_insert_with(Vec::new).push(record);
        }
        for (line, job) in pushes_of(tx, company, month)? {
            pushes.entry((line.billing_line_id.clone(), month)).or_insert_with(Vec::new).push((line, job));
        }
    }
    let lines: Vec<StatementLine> = lines
        .into_iter()
        .map(|line| statement_line(line, &mut records, &mut pushes))
        .filter(|line| !line.records.is_empty() || !line.pushes.is_empty() || line.line.billed.usage.is_some())
        .collect();
    Ok(Statement { company: row, made_at: now, totals: totals(&lines), lines })
}

type Records = HashMap<(ProductId, BillingMonth), Vec<UsageRecord>>;
type Pushes = HashMap<(BillingLineId, BillingMonth), Vec<(PushLine, PushJob)>>;

fn statement_line(line: BilledLine, records: &mut Records, pushes: &mut Pushes) -> StatementLine {
    let month = line.billed.month;
    let mut records = records.remove(&(line.product.id.clone(), month)).unwrap_or_default();
    let records_in_month = records.len();
    records.truncate(MAX_RECORDS);
    let pushes = pushes.remove(&(line.view.line.id.clone(), month)).unwrap_or_default();
    let steps = making(&line).steps();
    StatementLine { line, steps, records, records_in_month, pushes }
}

fn making(line: &BilledLine) -> Making<'_> {
    let BilledLine { billed, product, invoice, .. } = line;
    let invoice = invoice.as_ref();
    let price = invoice.and_then(|invoice| Some((invoice.unit_price?, invoice.currency.as_deref())));
    Making {
        unit: &product.unit,
        aggregation: product.aggregation,
        usage: billed.usage,
        problem: billed.problem.as_deref(),
        adjustment: billed.adjustment.as_ref(),
        block_size: billed.block_size,
        rounding: product.rounding,
        minimum: billed.minimum_quantity,
        derived: billed.derived,
        less_included: invoice.and_then(|invoice| invoice.less_included),
        billed: invoice.and_then(|invoice| invoice.invoiced.billed_quantity),
        unit_price: price,
        amount: invoice.and_then(|invoice| invoice.invoiced.amount),
    }
}

/// What pushes wrote for a month or found in ConnectWise, the newest first: at most 500 lines.
fn pushes_of(tx: &mut Tx<'_>, company: &CompanyId, month: BillingMonth) -> Result<Vec<(PushLine, PushJob)>> {
    let filter = PushLineFilter {
        company_id: Some(company.clone()),
        billing_month: Some(month),
        kind: Some(PushKind::Push),
        states: vec![LineState::Pushed, LineState::Unchanged, LineState::Unverified],
        ..PushLineFilter::default()
    };
    let list = ListName { name: "push-lines", filter: 0 };
    let page = PageRequest::parse(list, Some(500), None, "-created_at")?;
    Ok(tx.push_lines(&filter, &page)?.items)
}

fn totals(lines: &[StatementLine]) -> Vec<(Option<String>, Option<Money>)> {
    let mut sums: BTreeMap<Option<String>, Option<Money>> = BTreeMap::new();
    for invoice in lines.iter().filter_map(|line| line.line.invoice.as_ref()) {
        if let Some(amount) = invoice.invoiced.amount {
            let sum = sums.entry(invoice.currency.clone()).or_insert(Some(Money::ZERO));
            *sum = sum.and_then(|sum| sum.plus(amount));
        }
    }
    sums.into_iter().collect()
}

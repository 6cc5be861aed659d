//! Computes what billing lines bill in a month: the usage that counts and the resulting quantity.

use std::collections::{HashMap, HashSet};

use super::billing_calendar;
use super::invoices;
use super::invoices::{InvoicedLine, LineInvoice};
use crate::db::{BillingLine, BillingLineSort, BillingLineView, LineFilter, Page, PageRequest, Product, Tx, Whose};
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::line_quantity::{Adjustment, LineQuantity, QuantityTerms};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::quantity::{Amount, BlockSize, MinimumQuantity, Quantity};
use crate::domain::usage::{CountedUsage, UsageOverflow, UsageWindow};
use crate::domain::usage_totals::MonthCount;
use crate::domain::{Error, FieldCode, Result};

/// What a line bills in a month, or why there is no quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// The billing month.
    pub month: BillingMonth,
    /// Whether the month had ended when the quantity was computed.
    pub month_closed: bool,
    /// The aggregated usage; `None` if no record counts.
    pub usage: Option<CountedUsage>,
    /// When the newest record was measured, if it is too old to count.
    pub too_old: Option<Instant>,
    /// The block size in effect: the line's own, or else the product's.
    pub block_size: BlockSize,
    /// The adjustment, if it applies to the month.
    pub adjustment: Option<Adjustment>,
    /// The minimum in effect: the line's own, or else the product's.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// What the quantity was before the minimum, and of which usage; `None` without a quantity.
    pub derived: Option<LineQuantity>,
    /// The quantity; `None` without usage, or if no quantity that ConnectWise can store results from it.
    pub quantity: Option<Quantity>,
    /// Why there is no quantity although there are records.
    pub problem: Option<String>,
}

impl Billed {
    /// The aggregated usage, in the product's unit.
    pub fn amount(&self) -> Option<Amount> {
        self.usage.map(|usage| usage.amount)
    }
}

const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// What a line's quantity depends on, beside its usage.
#[derive(Debug, Clone, Copy)]
pub struct LineSettings<'l> {
    /// The line's company.
    pub company_id: &'l CompanyId,
    /// The line's own block size.
    pub block_size: Option<BlockSize>,
    /// The line's own minimum.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The line's adjustment.
    pub adjustment: Option<&'l Adjustment>,
}

/// The usage of one product in one month, by company.
#[derive(Debug)]
pub struct MonthlyUsage {
    product: Product,
    month: BillingMonth,
    month_closed: bool,
    /// The time at which a gauge is read: the end of the month, or now if that is earlier.
    read_at: Instant,
    /// The usage that counts, of each company that has some.
    counted: HashMap<CompanyId, Result<CountedUsage, UsageOverflow>>,
    /// When the newest record was measured, for each company whose records are all too old.
    too_old: HashMap<CompanyId, Instant>,
}

impl MonthlyUsage {
    /// Loads the usage of some companies that counts at `now`, from the totals. The number of queries does not depend on
    /// the number of companies or records.
    pub fn load(
        tx: &mut Tx<'_>,
        product: Product,
        month: BillingMonth,
        calendar: &BillingCalendar,
        now: Instant,
        whose: Whose<'_>,
    ) -> Result<Self> {
        let window = UsageWindow::new(product.aggregation, product.max_usage_age_days, month, calendar, now);
        let (companies, aggregation) = (whose.companies(), product.aggregation);
        let mut newest = tx.usage_counted(&product.id, aggregation, month, whose)?;
        if window.carries_over {
            let silent: Vec<CompanyId> = companies.iter().filter(|id| !newest.contains_key(id)).cloned().collect();
            newest.extend(tx.usage_counted_before(&product.id, aggregation, month, &silent)?);
        }
        // The totals lack records of earlier versions, and cannot tell what a gauge had before its newest record.
        let mut from_records = tx.companies_not_totalled(&product.id, whose)?;
        let is_ahead = |totals: &MonthCount| window.carries_over && totals.last_at >= window.until;
        from_records.extend(newest.iter().filter(|(_, totals)| is_ahead(totals)).map(|(id, _)| id.clone()));
        newest.retain(|company, _| !from_records.contains(company));
        let (mut counted, mut too_old) = (HashMap::new(), HashMap::new());
        for (company, totals) in newest {
            if window.carries_over && totals.last_at < window.from {
                too_old.insert(company, totals.last_at);
            } else {
                counted.insert(company, totals.counted);
            }
        }
        let from_records: Vec<CompanyId> = from_records.into_iter().collect();
        for (company, totals) in tx.usage_between(&product.id, window.from, window.until, &from_records)? {
            counted.insert(company, totals.counted(product.aggregation));
        }
        if window.carries_over {
            let silent: Vec<CompanyId> = from_records.into_iter().filter(|id| !counted.contains_key(id)).collect();
            too_old.extend(tx.newest_usage_before(&product.id, window.from, &silent)?);
        }
        let read_at = calendar.bounds(month).1.min(now);
        Ok(Self { product, month, month_closed: window.month_closed, read_at, counted, too_old })
    }

    /// Computes what a line of the product bills.
    pub fn billed(&self, line: &BillingLine) -> Billed {
        self.billed_by(LineSettings {
            company_id: &line.company_id,
            block_size: line.block_size,
            minimum_quantity: line.minimum_quantity,
            adjustment: line.adjustment.as_ref(),
        })
    }

    /// Computes what a line with these settings bills.
    pub fn billed_by(&self, line: LineSettings<'_>) -> Billed {
        let block_size = line.block_size.unwrap_or(self.product.block_size);
        let mut billed = Billed {
            adjustment: line.adjustment.filter(|adjustment| adjustment.applies_to(self.month)).cloned(),
            minimum_quantity: line.minimum_quantity.or(self.product.minimum_quantity),
            derived: None,
            month: self.month,
            month_closed: self.month_closed,
            usage: None,
            too_old: self.too_old.get(line.company_id).copied(),
            block_size,
            quantity: None,
            problem: None,
        };
        if let Some(at) = billed.too_old {
            let days = self.product.max_usage_age_days;
            let (at, read_at) = (at.format(TIME_FORMAT), self.read_at.format(TIME_FORMAT));
            billed.problem = Some(format!(
                "the newest usage record was measured at {at}, more than {days} days before {read_at}: check the meter"
            ));
        }
        match self.counted.get(line.company_id).copied().transpose() {
            Ok(usage) => billed.usage = usage,
            Err(overflow) => billed.problem = Some(overflow.to_string()),
        }
        let terms = QuantityTerms {
            adjustment: billed.adjustment.as_ref(),
            block_size,
            rounding: self.product.rounding,
            minimum: billed.minimum_quantity,
        };
        match billed.usage.map(|usage| terms.quantity_of(usage.amount)).transpose() {
            Ok(derived) => (billed.derived, billed.quantity) = (derived, derived.map(|derived| derived.quantity)),
            Err(error) => billed.problem = Some(error.to_string()),
        }
        billed
    }

    /// The product, with the aggregation and rounding that apply.
    pub fn product(&self) -> &Product {
        &self.product
    }
}

/// Selects the month that each line bills.
#[derive(Debug, Clone, Default)]
pub enum BilledMonths {
    /// The month of the product's billing period for a push now.
    #[default]
    Now,
    /// The month of the product's billing period for the scheduled push of this month, however late the push runs.
    ScheduledRun(BillingMonth),
    /// The month in the request, regardless of the products' billing periods.
    Named(BillingMonth),
    /// A month for each line; a line without one bills as with [`Self::Now`].
    PerLine(HashMap<BillingLineId, BillingMonth>),
}

impl BilledMonths {
    /// Returns [`Self::Named`] for a requested month, or else [`Self::Now`].
    pub fn named_or_now(asked: Option<BillingMonth>) -> Self {
        asked.map_or(Self::Now, Self::Named)
    }

    fn month(&self, line: &BillingLine, product: &Product, calendar: &BillingCalendar, now: Instant) -> BillingMonth {
        match self {
            Self::PerLine(months) => months.get(&line.id).copied(),
            Self::Now | Self::ScheduledRun(_) | Self::Named(_) => None,
        }
        .unwrap_or_else(|| self.of_product(product, calendar, now))
    }

    /// The month that lines of a product bill, unless it is given for each line.
    pub fn of_product(&self, product: &Product, calendar: &BillingCalendar, now: Instant) -> BillingMonth {
        let pushed_in = match self {
            Self::Named(month) => return *month,
            Self::ScheduledRun(month) => *month,
            Self::Now | Self::PerLine(_) => calendar.month_of(now),
        };
        product.billing_period().billed_month(pushed_in)
    }
}

/// A line with its usage and quantity.
#[derive(Debug, Clone)]
pub struct BilledLine {
    /// The line with its company, agreement and addition.
    pub view: BillingLineView,
    /// The usage and quantity.
    pub billed: Billed,
    /// The line's product as it is now.
    pub product: Product,
    /// Whether a push would write a different quantity from the last push of the same month. Always `false` in the
    /// result of [`billed_lines`].
    pub out_of_date: bool,
    /// What an invoice makes of the quantity; always `None` in the result of [`billed_lines`], and for a line that bills to
    /// no addition.
    pub invoice: Option<LineInvoice>,
}

/// Computes what lines bill, in the same order. The number of queries depends on the number of products and months, not
/// on the number of lines.
pub fn billed_lines(
    tx: &mut Tx<'_>,
    views: Vec<BillingLineView>,
    months: &BilledMonths,
    now: Instant,
) -> Result<Vec<BilledLine>> {
    let calendar = billing_calendar::load(tx)?;
    billed_in(tx, views, months, &calendar, now)
}

fn billed_in(
    tx: &mut Tx<'_>,
    views: Vec<BillingLineView>,
    months: &BilledMonths,
    calendar: &BillingCalendar,
    now: Instant,
) -> Result<Vec<BilledLine>> {
    let mut products: HashMap<ProductId, Product> = HashMap::new();
    let wanted: HashSet<&ProductId> = views.iter().map(|view| &view.line.product_id).collect();
    for product in tx.products_by_id(&wanted.into_iter().cloned().collect::<Vec<_>>())? {
        products.insert(product.id.clone(), product);
    }
    let mut companies: HashMap<(ProductId, BillingMonth), Vec<CompanyId>> = HashMap::new();
    let mut lines = Vec::with_capacity(views.len());
    for view in views {
        let Some(product) = products.get(&view.line.product_id) else { continue };
        let month = months.month(&view.line, product, calendar, now);
        companies.entry((product.id.clone(), month)).or_default().push(view.company.id.clone());
        lines.push((view, month));
    }
    let mut usage: HashMap<(ProductId, BillingMonth), MonthlyUsage> = HashMap::new();
    for ((product, month), companies) in companies {
        let Some(row) = products.get(&product) else { continue };
        let loaded = MonthlyUsage::load(tx, row.clone(), month, calendar, now, Whose::Companies(&companies))?;
        usage.insert((product, month), loaded);
    }
    let bill = |(view, month): (BillingLineView, BillingMonth)| {
        let usage = usage.get(&(view.line.product_id.clone(), month))?;
        let billed = usage.billed(&view.line);
        Some(BilledLine { view, billed, product: usage.product().clone(), out_of_date: false, invoice: None })
    };
    Ok(lines.into_iter().filter_map(bill).collect())
}

/// Same as [`billed_lines`], but also sets [`BilledLine::out_of_date`] and [`BilledLine::invoice`].
pub fn compared_lines(
    tx: &mut Tx<'_>,
    views: Vec<BillingLineView>,
    months: &BilledMonths,
    now: Instant,
) -> Result<Vec<BilledLine>> {
    let calendar = billing_calendar::load(tx)?;
    let mut lines = billed_in(tx, views, months, &calendar, now)?;
    let ids: Vec<BillingLineId> = lines.iter().map(|line| line.view.line.id.clone()).collect();
    let distinct: HashSet<BillingMonth> = lines.iter().map(|line| line.billed.month).collect();
    let last = tx.last_quantities(&ids, &distinct.into_iter().collect::<Vec<_>>())?;
    for line in &mut lines {
        let written = last.get(&(line.view.line.id.clone(), line.billed.month));
        let now = line.billed.quantity;
        // An unverified quantity may not have been written, so it does not count as equal.
        let changed = written.is_some_and(|written| now.is_some() && *written != now);
        line.out_of_date = changed && is_pushable(&line.view.line);
    }
    // Lines that share an addition are not pushed.
    let changed = lines.iter().filter(|line| line.out_of_date).filter_map(|line| line.view.line.addition_id);
    let shared = tx.additions_shared_by_lines(&changed.collect::<Vec<_>>())?;
    for line in &mut lines {
        line.out_of_date &= line.view.line.addition_id.is_some_and(|id| !shared.contains(&id));
    }
    let today = calendar.today(now);
    let quantities: Vec<InvoicedLine<'_>> =
        lines.iter().map(|line| (&line.view, line.billed.month, line.billed.quantity)).collect();
    let found = invoices::of_lines(tx, &quantities, today)?;
    for (line, invoice) in lines.iter_mut().zip(found) {
        line.invoice = invoice;
    }
    Ok(lines)
}

/// Returns a page of lines with what they bill. Whether a line is out of date is known only after its usage is
/// aggregated, so with the filter `out_of_date` more lines are read until the page is full.
pub fn billed_page(
    tx: &mut Tx<'_>,
    filter: &LineFilter,
    page: &PageRequest<BillingLineSort>,
    months: &BilledMonths,
    out_of_date: Option<bool>,
    now: Instant,
) -> Result<Page<BilledLine>> {
    let Some(out_of_date) = out_of_date else {
        let Page { items, next, total } = tx.billing_lines(filter, page)?;
        return Ok(Page { items: compared_lines(tx, items, months, now)?, next, total });
    };
    if page.with_total() {
        let message = "cannot be counted with out_of_date: leave one of them out";
        return Err(Error::invalid("total", FieldCode::Contradiction, message));
    }
    let mut found: Vec<BilledLine> = Vec::new();
    let mut part = page.scan(None);
    loop {
        let Page { items, next, .. } = tx.billing_lines(filter, &part)?;
        let lines = compared_lines(tx, items, months, now)?;
        found.extend(lines.into_iter().filter(|line| line.out_of_date == out_of_date));
        if found.len() > page.limit() {
            found.truncate(page.limit());
            let next = found.last().map(|line| line.view.cursor(page));
            return Ok(Page { items: found, next, total: None });
        }
        match next {
            Some(next) => part = page.scan(Some(next)),
            None => return Ok(Page { items: found, next: None, total: None }),
        }
    }
}

/// Computes what one line bills.
pub fn billed_line(tx: &mut Tx<'_>, view: BillingLineView, months: &BilledMonths, now: Instant) -> Result<BilledLine> {
    let id = view.line.product_id.clone();
    let line = compared_lines(tx, vec![view], months, now)?.pop();
    line.ok_or_else(|| Error::not_found("product", id))
}

fn is_pushable(line: &BillingLine) -> bool {
    let resolved =
        [line.agreement_status, line.addition_status].iter().all(|status| *status == MappingStatus::Resolved);
    line.push_enabled && resolved
}

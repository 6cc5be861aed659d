//! Computes the quantities of billing lines in a month, from the usage that counts.

use std::collections::{HashMap, HashSet};

use super::invoice_effects;
use super::invoice_effects::{InvoicedLine, LineInvoice};
use super::monthly_usage::{ComputedQuantity, MonthlyUsage, UsageReading, UsageToLoad};
use crate::db::{BillingLine, BillingLineSort, BillingLineView, LineFilter, Page, PageRequest, Product, Tx};
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::{Error, FieldCode, Result};
use crate::services::schedule::billing_calendar;

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

    fn month(&self, line: &BillingLine, product: &Product, calendar: &BillingCalendar, now: Timestamp) -> BillingMonth {
        match self {
            Self::PerLine(months) => months.get(&line.id).copied(),
            Self::Now | Self::ScheduledRun(_) | Self::Named(_) => None,
        }
        .unwrap_or_else(|| self.of_product(product, calendar, now))
    }

    /// The month that lines of a product bill, unless it is given for each line.
    pub fn of_product(&self, product: &Product, calendar: &BillingCalendar, now: Timestamp) -> BillingMonth {
        let pushed_in = match self {
            Self::Named(month) => return *month,
            Self::ScheduledRun(month) => *month,
            Self::Now | Self::PerLine(_) => calendar.month_of(now),
        };
        product.billing_period().billed_month(pushed_in)
    }
}

/// Lines with their companies, agreements and additions.
type Views = Vec<BillingLineView>;

/// Lines with their quantities.
type Quantities = Vec<LineWithQuantity>;

/// A line with its usage and quantity.
#[derive(Debug, Clone)]
pub struct LineWithQuantity {
    /// The line with its company, agreement and addition.
    pub view: BillingLineView,
    /// The usage and quantity.
    pub computed: ComputedQuantity,
    /// The line's product as it is now.
    pub product: Product,
    /// Whether a push would write a different quantity from the last push of the same month. Always `false` in the
    /// result of [`compute_quantities`].
    pub out_of_date: bool,
    /// How the quantity is invoiced; always `None` in the result of [`compute_quantities`], and for a line that bills
    /// to no addition.
    pub invoice: Option<LineInvoice>,
}

/// Computes the quantities of lines, in the same order. The number of queries depends on the number of products and
/// months, not on the number of lines.
pub fn compute_quantities(tx: &mut Tx<'_>, views: Views, months: &BilledMonths, now: Timestamp) -> Result<Quantities> {
    let calendar = billing_calendar::load(tx)?;
    compute_in(tx, views, months, &calendar, now)
}

fn compute_in(
    tx: &mut Tx<'_>,
    views: Vec<BillingLineView>,
    months: &BilledMonths,
    calendar: &BillingCalendar,
    now: Timestamp,
) -> Result<Vec<LineWithQuantity>> {
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
    let to_load = companies.into_iter().filter_map(|((product, month), companies)| {
        Some(UsageToLoad { product: products.get(&product)?.clone(), month, companies })
    });
    let reading = UsageReading::begin(tx, calendar, now)?;
    let usage = MonthlyUsage::load_all(tx, to_load.collect(), reading)?;
    let bill = |(view, month): (BillingLineView, BillingMonth)| {
        let usage = usage.get(&(view.line.product_id.clone(), month))?;
        let computed = usage.quantity_of(&view.line);
        Some(LineWithQuantity { view, computed, product: usage.product().clone(), out_of_date: false, invoice: None })
    };
    Ok(lines.into_iter().filter_map(bill).collect())
}

/// Same as [`compute_quantities`], but also sets [`LineWithQuantity::out_of_date`] and [`LineWithQuantity::invoice`].
pub fn compute_with_invoices(
    tx: &mut Tx<'_>,
    views: Views,
    months: &BilledMonths,
    now: Timestamp,
) -> Result<Quantities> {
    let calendar = billing_calendar::load(tx)?;
    let mut lines = compute_in(tx, views, months, &calendar, now)?;
    let ids: Vec<BillingLineId> = lines.iter().map(|line| line.view.line.id.clone()).collect();
    let distinct: HashSet<BillingMonth> = lines.iter().map(|line| line.computed.month).collect();
    let last = tx.last_written(&ids, &distinct.into_iter().collect::<Vec<_>>())?;
    for line in &mut lines {
        let written = last.get(&(line.view.line.id.clone(), line.computed.month));
        let now = line.computed.quantity;
        // An unverified quantity may not have been written, so it does not count as equal.
        let changed = written.is_some_and(|written| now.is_some() && written.quantity != now);
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
        lines.iter().map(|line| (&line.view, line.computed.month, line.computed.quantity)).collect();
    let found = invoice_effects::of_lines(tx, &quantities, today)?;
    for (line, invoice) in lines.iter_mut().zip(found) {
        line.invoice = invoice;
    }
    Ok(lines)
}

/// Returns a page of lines with their quantities. Whether a line is out of date is known only after its usage is
/// aggregated, so with the filter `out_of_date` more lines are read until the page is full.
pub fn compute_page(
    tx: &mut Tx<'_>,
    filter: &LineFilter,
    page: &PageRequest<BillingLineSort>,
    months: &BilledMonths,
    out_of_date: Option<bool>,
    now: Timestamp,
) -> Result<Page<LineWithQuantity>> {
    let Some(out_of_date) = out_of_date else {
        let Page { items, next, total } = tx.billing_lines(filter, page)?;
        return Ok(Page { items: compute_with_invoices(tx, items, months, now)?, next, total });
    };
    if page.with_total() {
        let message = "cannot be combined with out_of_date: omit one of them";
        return Err(Error::invalid("total", FieldCode::Contradiction, message));
    }
    let mut found: Vec<LineWithQuantity> = Vec::new();
    let mut part = page.scan(None);
    loop {
        let Page { items, next, .. } = tx.billing_lines(filter, &part)?;
        let lines = compute_with_invoices(tx, items, months, now)?;
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

/// Computes the quantity of one line.
pub fn compute_one(
    tx: &mut Tx<'_>,
    view: BillingLineView,
    months: &BilledMonths,
    now: Timestamp,
) -> Result<LineWithQuantity> {
    let id = view.line.product_id.clone();
    let line = compute_with_invoices(tx, vec![view], months, now)?.pop();
    line.ok_or_else(|| Error::not_found("product", id))
}

fn is_pushable(line: &BillingLine) -> bool {
    let resolved =
        [line.agreement_status, line.addition_status].iter().all(|status| *status == MappingStatus::Resolved);
    line.push_enabled && resolved
}

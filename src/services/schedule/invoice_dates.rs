//! Decides which agreements are pushed before their own next invoice, and which on the day of the month.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{Days, NaiveDate, TimeDelta};

use crate::db::{InvoiceDate, Tx};
use crate::domain::Result;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CwAgreementId};
use crate::domain::schedule::MonthlySchedule;

/// Pushes of agreements some days before their invoices.
#[derive(Debug, Clone, Copy)]
pub struct BeforeInvoices<'a> {
    /// The number of days before the invoice.
    pub days: u32,
    /// The time of day of the pushes.
    pub monthly: MonthlySchedule,
    /// The tenant's billing months.
    pub calendar: &'a BillingCalendar,
}

impl BeforeInvoices<'_> {
    fn due_at(&self, invoice_on: NaiveDate) -> Timestamp {
        self.monthly.before_invoice(invoice_on, self.days, self.calendar)
    }
}

/// The lines that are due before invoices.
pub struct DueInvoices {
    /// The month of the run, from which each product's billing period determines the billed month.
    pub month: BillingMonth,
    /// The agreements that are invoiced, each with the date of its invoice.
    pub invoices: Vec<(CwAgreementId, NaiveDate)>,
    /// The lines that bill to these agreements or their children.
    pub lines: Vec<BillingLineId>,
}

/// Returns the lines of one month that are due at `now` and were not pushed yet.
pub fn due(
    tx: &mut Tx<'_>,
    schedule: BeforeInvoices<'_>,
    enabled_at: Timestamp,
    now: Timestamp,
    max_late: TimeDelta,
) -> Result<Option<DueInvoices>> {
    let today = schedule.calendar.today(now);
    let earliest = today - max_late;
    let latest = today.checked_add_days(Days::new(u64::from(schedule.days) + 1)).unwrap_or(today);
    let is_due = |on: NaiveDate| {
        let at = schedule.due_at(on);
        at <= now && at > enabled_at && now - at <= max_late
    };
    let mut invoices = own_invoices(tx, earliest, latest)?;
    invoices.retain(|(_, on)| is_due(*on));
    let ids: Vec<CwAgreementId> = invoices.iter().map(|(id, _)| *id).collect();
    let pushed = tx.pushes_before_invoices(&ids)?;
    invoices.retain(|invoice| !pushed.contains(invoice));
    // An agreement without lines is never recorded as pushed: its invoice would stay the next one forever.
    let mut lines = lines_of(tx, &invoices)?;
    let with_lines: HashSet<CwAgreementId> = lines.iter().map(|(_, invoiced)| *invoiced).collect();
    invoices.retain(|(id, _)| with_lines.contains(id));
    // The earliest month first: the next check finds the others.
    let month_of = |on: NaiveDate| schedule.calendar.month_of(schedule.due_at(on));
    let Some(month) = invoices.iter().map(|(_, on)| month_of(*on)).min() else { return Ok(None) };
    invoices.retain(|(_, on)| month_of(*on) == month);
    let of_month: HashSet<CwAgreementId> = invoices.iter().map(|(id, _)| *id).collect();
    lines.retain(|(_, invoiced)| of_month.contains(invoiced));
    let lines = lines.into_iter().map(|(line, _)| line).collect();
    Ok(Some(DueInvoices { month, invoices, lines }))
}

/// The agreements with an invoice of their own from one day until another; a child is invoiced with its parent.
fn own_invoices(tx: &mut Tx<'_>, from: NaiveDate, until: NaiveDate) -> Result<Vec<(CwAgreementId, NaiveDate)>> {
    let rows = tx.invoiced_between(from, until)?;
    let parents: Vec<CwAgreementId> = rows.iter().filter_map(|row| row.parent_id).collect();
    let known: HashSet<CwAgreementId> = tx.agreements_by_id(&parents)?.into_iter().map(|row| row.id).collect();
    let has_own = |row: &InvoiceDate| row.parent_id.is_none_or(|parent| !known.contains(&parent));
    Ok(rows.iter().filter(|row| has_own(row)).filter_map(|row| Some((row.agreement_id, row.next_invoice?))).collect())
}

/// The lines that bill to the agreements or to their children, each with the agreement that is invoiced.
fn lines_of(tx: &mut Tx<'_>, invoices: &[(CwAgreementId, NaiveDate)]) -> Result<Vec<(BillingLineId, CwAgreementId)>> {
    let ids: Vec<CwAgreementId> = invoices.iter().map(|(id, _)| *id).collect();
    let mut invoiced: HashMap<CwAgreementId, CwAgreementId> = ids.iter().map(|id| (*id, *id)).collect();
    for (child, parent) in tx.children_of(&ids)? {
        invoiced.insert(child, parent);
    }
    let all: Vec<CwAgreementId> = invoiced.keys().copied().collect();
    let lines = tx.lines_of_agreements(&all)?;
    Ok(lines.into_iter().filter_map(|(line, agreement)| Some((line, *invoiced.get(&agreement)?))).collect())
}

/// The lines whose next invoice date is unknown or overdue: they are pushed on the schedule's day of the month.
pub fn without_date(tx: &mut Tx<'_>, since: NaiveDate) -> Result<Vec<BillingLineId>> {
    let dates: HashMap<CwAgreementId, InvoiceDate> =
        tx.invoice_dates()?.into_iter().map(|row| (row.agreement_id, row)).collect();
    let has_date = |agreement: &CwAgreementId| {
        let own = dates.get(agreement);
        let parent = own.and_then(|own| own.parent_id).and_then(|parent| dates.get(&parent));
        parent.or(own).and_then(|invoiced| invoiced.next_invoice).is_some_and(|on| on >= since)
    };
    let lines = tx.agreements_of_lines()?;
    let without = lines.into_iter().filter(|(_, agreement)| !agreement.as_ref().is_some_and(has_date));
    Ok(without.map(|(line, _)| line).collect())
}

/// The next runs before invoices, each with the date of the invoices and the number of agreements, until 62 days from
/// now.
pub fn next_runs(
    tx: &mut Tx<'_>,
    schedule: BeforeInvoices<'_>,
    now: Timestamp,
    count: usize,
) -> Result<Vec<(Timestamp, NaiveDate, usize)>> {
    let today = schedule.calendar.today(now);
    let until = today.checked_add_days(Days::new(62)).unwrap_or(today);
    let invoices = own_invoices(tx, today, until)?;
    let with_lines: HashSet<CwAgreementId> =
        lines_of(tx, &invoices)?.into_iter().map(|(_, invoiced)| invoiced).collect();
    let pushed = tx.pushes_before_invoices(&with_lines.iter().copied().collect::<Vec<_>>())?;
    let mut runs: BTreeMap<(Timestamp, NaiveDate), usize> = BTreeMap::new();
    for (agreement, on) in invoices {
        let at = schedule.due_at(on);
        if at > now && with_lines.contains(&agreement) && !pushed.contains(&(agreement, on)) {
            *runs.entry((at, on)).or_default() += 1;
        }
    }
    Ok(runs.into_iter().map(|((at, on), agreements)| (at, on, agreements)).take(count).collect())
}

//! Compares lines with ConnectWise.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;

use super::item::Item;
use crate::db::{CompanySelection, Product, PushedQuantity, ReconciledCompany, ReconciledLine, Tx};
use crate::domain::Result;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwCompanyId, ProductId};
use crate::domain::invoices::{InvoiceFacts, InvoiceWarning, is_not_invoiced, warnings};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::mappings::RecordIndex;
use crate::domain::quantity::Quantity;
use crate::domain::reconciliation::{ReconciliationInput, ReconciliationKind, WarningImpact, divided, warning_impacts};
use crate::domain::records::{Addition, Agreement};
use crate::services::quantities::monthly_usage::{ComputedQuantity, MonthlyUsage, UsageReading};

/// The state of ConnectWise.
pub(super) struct ConnectWiseState<'a> {
    pub(super) record_index: &'a RecordIndex,
    /// The current quantities. The quantities in `record_index` are those of the last read.
    pub(super) quantities: &'a HashMap<CwAdditionId, Option<Quantity>>,
    pub(super) today: NaiveDate,
}

impl ConnectWiseState<'_> {
    /// The quantity of an addition; an addition without one has 0.
    pub(super) fn quantity(&self, addition: CwAdditionId) -> Option<Quantity> {
        self.quantities.get(&addition).map(|quantity| quantity.unwrap_or(Quantity::ZERO))
    }

    /// The units and the amount that each warning affects, and whether the next invoice leaves out the addition because
    /// of the warnings.
    pub(super) fn impacts(
        &self,
        (agreement, addition): (&Agreement, &Addition),
        month: BillingMonth,
        has_twin: bool,
        (quantity, connectwise_quantity): (Option<Quantity>, Option<Quantity>),
    ) -> (Vec<WarningImpact>, bool) {
        let parent = agreement.terms.parent.and_then(|id| self.record_index.agreement_record(id));
        let invoiced = parent.unwrap_or(agreement);
        let facts = InvoiceFacts { agreement, invoiced, month, today: self.today, has_twin };
        let impacts = warning_impacts(&warnings(addition, facts), quantity, connectwise_quantity, &addition.terms);
        let remaining: Vec<InvoiceWarning> = impacts.iter().map(|impact| impact.warning).collect();
        let is_not_invoiced = is_not_invoiced(&remaining, addition, facts);
        (impacts, is_not_invoiced)
    }
}

/// The lines that are compared, with their companies.
pub(super) struct Lines {
    pub(super) rows: Vec<ReconciledLine>,
    pub(super) companies: HashMap<CompanyId, Arc<ReconciledCompany>>,
    /// The additions that lines outside the scope bill to, and whether one of those lines is enabled.
    outside: HashMap<CwAdditionId, bool>,
}

impl Lines {
    /// Loads the lines of a scope.
    pub(super) fn load(tx: &mut Tx<'_>, product: Option<&ProductId>, company: Option<&CompanyId>) -> Result<Self> {
        let companies = tx.reconciled_companies(company)?;
        let companies = companies.into_iter().map(|company| (company.id.clone(), Arc::new(company))).collect();
        let rows = tx.reconciled_lines(product, company)?;
        let outside = if product.is_none() && company.is_none() { HashMap::new() } else { outside(tx, &rows)? };
        Ok(Self { rows, companies, outside })
    }

    /// The additions that these lines bill to.
    pub(super) fn billed_additions(&self) -> HashSet<CwAdditionId> {
        let resolved = self.rows.iter().filter(|row| row.addition_status == MappingStatus::Resolved);
        resolved.filter_map(|row| row.addition_id).collect()
    }
}

/// The additions of these lines that other lines also bill to, and whether one of those lines is enabled.
fn outside(tx: &mut Tx<'_>, rows: &[ReconciledLine]) -> Result<HashMap<CwAdditionId, bool>> {
    let own: HashSet<&BillingLineId> = rows.iter().map(|row| &row.id).collect();
    let additions: Vec<CwAdditionId> = rows.iter().filter_map(|row| row.addition_id).collect();
    let mut found: HashMap<CwAdditionId, bool> = HashMap::new();
    for (line, addition, is_enabled) in tx.lines_of_additions(&additions)? {
        if !own.contains(&line) {
            *found.entry(addition).or_default() |= is_enabled;
        }
    }
    Ok(found)
}

/// The pushes of a month.
struct Pushes {
    of_month: HashMap<(BillingLineId, BillingMonth), PushedQuantity>,
    /// The lines that were since pushed for a later month, whose quantity ConnectWise now has.
    later: HashSet<BillingLineId>,
}

/// A line with its quantity and its share of the addition.
struct LineToReconcile {
    row: ReconciledLine,
    company: Arc<ReconciledCompany>,
    computed: ComputedQuantity,
    share: AdditionShare,
}

/// A line's share of its addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AdditionShare {
    /// All of it: no other line bills to the addition.
    Whole,
    /// A part: several lines bill to it. If several of them are enabled, none is pushed.
    Part { quantity: Quantity, is_shared: bool },
    /// Unknown: lines that are not compared here also bill to the addition.
    Unknown,
}

impl LineToReconcile {
    /// Whether the comparison depends on the quantity that the month's last push wrote. It does not if ConnectWise
    /// already has the computed quantity.
    fn needs_last_push(&self, connectwise: &ConnectWiseState<'_>, later: &HashSet<BillingLineId>) -> bool {
        let is_resolved = self.row.addition_status == MappingStatus::Resolved;
        let has = self.connectwise_quantity(connectwise);
        is_resolved && (has != self.computed.quantity || later.contains(&self.row.id))
    }

    /// The line's quantity in ConnectWise now; `None` if it is unknown or the line bills to no addition.
    fn connectwise_quantity(&self, connectwise: &ConnectWiseState<'_>) -> Option<Quantity> {
        let is_resolved = self.row.addition_status == MappingStatus::Resolved;
        match self.share {
            AdditionShare::Part { quantity, .. } => Some(quantity),
            AdditionShare::Unknown => None,
            AdditionShare::Whole => {
                self.row.addition_id.filter(|_| is_resolved).and_then(|id| connectwise.quantity(id))
            }
        }
    }
}

/// Compares each line.
pub(super) fn compare(
    tx: &mut Tx<'_>,
    connectwise: &ConnectWiseState<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    lines: Lines,
    calendar: &BillingCalendar,
    now: Timestamp,
) -> Result<Vec<Item>> {
    let twins = tx.twin_companies()?;
    let compared = with_quantities(tx, connectwise, products, lines, calendar, now)?;
    let mut pushes: HashMap<BillingMonth, Pushes> = HashMap::new();
    for month in products.values().map(|(_, month)| *month) {
        if let Entry::Vacant(vacant) = pushes.entry(month) {
            let later = tx.pushed_after(month)?;
            let of_interest =
                |one: &&LineToReconcile| one.computed.month == month && one.needs_last_push(connectwise, &later);
            let ids: Vec<BillingLineId> = compared.iter().filter(of_interest).map(|one| one.row.id.clone()).collect();
            vacant.insert(Pushes { of_month: tx.last_written(&ids, &[month])?, later });
        }
    }
    let item = |one: LineToReconcile| Some(line_item(connectwise, pushes.get(&one.computed.month)?, &twins, one));
    let mut items: Vec<Item> = compared.into_iter().filter_map(item).collect();
    recognize_own_pushes(tx, &mut items)?;
    Ok(items)
}

/// Marks items as out of date if ConnectWise has the quantity of another month that a later job pushed: nobody changed
/// it by hand.
fn recognize_own_pushes(tx: &mut Tx<'_>, items: &mut [Item]) -> Result<()> {
    let is_changed = |item: &Item| item.compared.kind == ReconciliationKind::ChangedInConnectwise;
    let changed = items.iter().filter(|item| is_changed(item));
    let ids: Vec<BillingLineId> = changed.filter_map(|item| item.line.clone()).collect();
    let last = tx.last_pushed(&ids)?;
    for item in items.iter_mut().filter(|item| is_changed(item)) {
        let pushed = item.line.as_ref().and_then(|line| last.get(line));
        if pushed
            .is_some_and(|pushed| pushed.addition_id == item.addition && pushed.quantity == item.connectwise_quantity)
        {
            item.compared.kind = ReconciliationKind::OutOfDate;
        }
    }
    Ok(())
}

/// Computes the quantity of each line.
fn with_quantities(
    tx: &mut Tx<'_>,
    connectwise: &ConnectWiseState<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    Lines { rows, companies, outside }: Lines,
    calendar: &BillingCalendar,
    now: Timestamp,
) -> Result<Vec<LineToReconcile>> {
    let ids: Vec<CompanyId> = companies.keys().cloned().collect();
    let selection = if ids.len() == 1 { CompanySelection::Only(&ids) } else { CompanySelection::AtLeast(&ids) };
    let mut usage = HashMap::new();
    let reading = UsageReading::begin(tx, calendar, now)?;
    for (product, month) in products.values() {
        let loaded = MonthlyUsage::load(tx, product.clone(), *month, reading, selection)?;
        usage.insert(product.id.clone(), loaded);
    }
    let compared_line = |row: ReconciledLine| {
        let company = companies.get(&row.settings.company_id)?.clone();
        let computed = usage.get(&row.product_id)?.quantity_with(&row.settings);
        Some(LineToReconcile { row, company, computed, share: AdditionShare::Whole })
    };
    let mut compared: Vec<LineToReconcile> = rows.into_iter().filter_map(compared_line).collect();
    divide(connectwise, &mut compared, &outside);
    Ok(compared)
}

/// Divides additions that several lines bill to, so each is counted once. A single enabled line gets all of it.
fn divide(connectwise: &ConnectWiseState<'_>, compared: &mut [LineToReconcile], outside: &HashMap<CwAdditionId, bool>) {
    let mut by_addition: HashMap<CwAdditionId, Vec<usize>> = HashMap::new();
    for (place, one) in compared.iter().enumerate() {
        if let Some(id) = one.row.addition_id.filter(|_| one.row.addition_status == MappingStatus::Resolved) {
            by_addition.entry(id).or_default().push(place);
        }
    }
    let is_divided = |addition: &CwAdditionId, places: &[usize]| places.len() > 1 || outside.contains_key(addition);
    by_addition.retain(|addition, places| is_divided(addition, places));
    for (addition, mut places) in by_addition {
        places.sort_by(|one, other| compared[*one].row.id.cmp(&compared[*other].row.id));
        let enabled: Vec<usize> = places.iter().copied().filter(|place| compared[*place].row.push_enabled).collect();
        let other = outside.get(&addition).copied();
        let share = match other {
            // The other line gets all of it.
            Some(true) if enabled.is_empty() => {
                Some(AdditionShare::Part { quantity: Quantity::ZERO, is_shared: false })
            }
            Some(is_enabled) if is_enabled || enabled.is_empty() => Some(AdditionShare::Unknown),
            _ => None,
        };
        if let Some(share) = share {
            places.iter().for_each(|place| compared[*place].share = share);
            continue;
        }
        let is_shared = enabled.len() > 1;
        let takers = if enabled.is_empty() { places.clone() } else { enabled };
        let has = connectwise.quantity(addition).unwrap_or(Quantity::ZERO);
        let needs: Vec<Quantity> =
            takers.iter().map(|place| compared[*place].computed.quantity.unwrap_or(Quantity::ZERO)).collect();
        for place in places {
            compared[place].share = AdditionShare::Part { quantity: Quantity::ZERO, is_shared };
        }
        for (place, quantity) in takers.into_iter().zip(divided(has, &needs)) {
            compared[place].share = AdditionShare::Part { quantity, is_shared };
        }
    }
}

fn line_item(
    connectwise: &ConnectWiseState<'_>,
    pushes: &Pushes,
    twins: &HashSet<CwCompanyId>,
    one: LineToReconcile,
) -> Item {
    let now = one.connectwise_quantity(connectwise);
    let is_shared = matches!(one.share, AdditionShare::Part { is_shared: true, .. } | AdditionShare::Unknown);
    let LineToReconcile { row, company, computed, .. } = one;
    let agreement = row.agreement_id.and_then(|id| connectwise.record_index.agreement_record(id));
    let addition = row.addition_id.and_then(|id| connectwise.record_index.addition_record(id));
    // A push to another addition says nothing about this one.
    let pushed =
        pushes.of_month.get(&(row.id.clone(), computed.month)).filter(|pushed| pushed.addition_id == row.addition_id);
    let pushed_quantity = pushed.and_then(|pushed| pushed.quantity);
    let is_past = pushes.later.contains(&row.id);
    let connectwise_quantity = if is_past { pushed_quantity } else { now };
    let compared = ReconciliationInput {
        push_enabled: row.push_enabled,
        mappings: (row.agreement_status, row.addition_status, row.agreement_reason),
        is_shared,
        is_past,
        quantity: computed.quantity,
        has_problem: computed.problem.is_some() && computed.too_old.is_none(),
        terms: addition.map(|addition| &addition.terms),
        connectwise_quantity,
        pushed_quantity,
    }
    .compared();
    let is_resolved = row.addition_status == MappingStatus::Resolved;
    let has_twin = company.connectwise_company_id.is_some_and(|id| twins.contains(&id));
    let quantities = (computed.quantity, connectwise_quantity);
    let impacts = agreement.zip(addition).filter(|_| is_resolved);
    let impacts = impacts.map(|records| connectwise.impacts(records, computed.month, has_twin, quantities));
    let (warnings, is_not_invoiced) = impacts.unwrap_or_default();
    Item {
        month: computed.month,
        line: Some(row.id),
        product_id: row.product_id,
        cw_company: company.connectwise_company_id,
        company: Some(company),
        agreement: row.agreement_id,
        addition: row.addition_id,
        usage: computed.amount(),
        quantity: computed.quantity,
        problem: computed.problem,
        connectwise_quantity,
        pushed_quantity,
        currency: agreement.and_then(|agreement| agreement.terms.currency.clone()),
        unit_price: addition.and_then(|addition| addition.terms.unit_price),
        compared,
        warnings,
        is_not_invoiced,
    }
}

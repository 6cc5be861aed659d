//! Compares lines with ConnectWise.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;

use super::item::Item;
use crate::db::{Product, PushedQuantity, ReconciledCompany, ReconciledLine, Tx, Whose};
use crate::domain::Result;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwCompanyId, ProductId};
use crate::domain::invoice::{InvoiceFacts, InvoiceWarning, warnings};
use crate::domain::mapping::Catalog;
use crate::domain::mapping_status::MappingStatus;
use crate::domain::quantity::Quantity;
use crate::domain::reconciliation::{Comparison, at_stake, is_left_out};
use crate::domain::records::{Addition, Agreement};
use crate::services::billed_lines::{Billed, LineSettings, MonthlyUsage};

/// What ConnectWise has.
pub(super) struct Ground<'a> {
    pub(super) catalog: &'a Catalog,
    /// The catalog's own quantities are those of the last read.
    pub(super) quantities: &'a HashMap<CwAdditionId, Option<Quantity>>,
    pub(super) today: NaiveDate,
}

impl Ground<'_> {
    /// The quantity of an addition; an addition without one has 0.
    pub(super) fn quantity(&self, addition: CwAdditionId) -> Option<Quantity> {
        self.quantities.get(&addition).map(|quantity| quantity.unwrap_or(Quantity::ZERO))
    }

    /// What to look at before the invoice of an agreement is made.
    pub(super) fn warnings(
        &self,
        agreement: &Agreement,
        addition: &Addition,
        month: BillingMonth,
        has_twin: bool,
    ) -> Vec<InvoiceWarning> {
        let parent = agreement.terms.parent.and_then(|id| self.catalog.agreement_record(id));
        let invoiced = parent.unwrap_or(agreement);
        warnings(addition, InvoiceFacts { agreement, invoiced, month, today: self.today, has_twin })
    }
}

/// The lines that are compared, with their companies.
pub(super) struct Lines {
    pub(super) rows: Vec<ReconciledLine>,
    pub(super) companies: HashMap<CompanyId, Arc<ReconciledCompany>>,
}

impl Lines {
    /// Loads the lines of a scope.
    pub(super) fn load(tx: &mut Tx<'_>, product: Option<&ProductId>, company: Option<&CompanyId>) -> Result<Self> {
        let companies = tx.reconciled_companies(company)?;
        let companies = companies.into_iter().map(|company| (company.id.clone(), Arc::new(company))).collect();
        Ok(Self { rows: tx.reconciled_lines(product, company)?, companies })
    }
}

/// What pushes did in a month.
struct Pushes {
    of_month: HashMap<BillingLineId, PushedQuantity>,
    /// The lines that were pushed for a later month, which ConnectWise's quantity is of by now.
    later: HashSet<BillingLineId>,
}

/// A line with what it bills.
struct Billing {
    row: ReconciledLine,
    company: Arc<ReconciledCompany>,
    billed: Billed,
    is_shared: bool,
}

impl Billing {
    /// Whether the comparison depends on what the month's last push wrote: where ConnectWise has our quantity by now, it
    /// does not matter.
    fn needs_push(&self, ground: &Ground<'_>, later: &HashSet<BillingLineId>) -> bool {
        let is_resolved = self.row.addition_status == MappingStatus::Resolved;
        let has = self.row.addition_id.and_then(|id| ground.quantity(id));
        is_resolved && (has != self.billed.quantity || later.contains(&self.row.id))
    }
}

/// Compares each line.
pub(super) fn compare(
    tx: &mut Tx<'_>,
    ground: &Ground<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    lines: Lines,
    calendar: &BillingCalendar,
    now: Instant,
) -> Result<Vec<Item>> {
    let twins = tx.companies_with_twins()?;
    let billings = billings(tx, products, lines, calendar, now)?;
    let mut pushes: HashMap<BillingMonth, Pushes> = HashMap::new();
    for month in products.values().map(|(_, month)| *month) {
        if let Entry::Vacant(vacant) = pushes.entry(month) {
            let later = tx.pushed_after(month)?;
            let of_interest = |one: &&Billing| one.billed.month == month && one.needs_push(ground, &later);
            let ids: Vec<BillingLineId> = billings.iter().filter(of_interest).map(|one| one.row.id.clone()).collect();
            vacant.insert(Pushes { of_month: tx.pushed_in(month, &ids)?, later });
        }
    }
    let item = |one: Billing| Some(line_item(ground, pushes.get(&one.billed.month)?, &twins, one));
    Ok(billings.into_iter().filter_map(item).collect())
}

/// Computes what each line bills.
fn billings(
    tx: &mut Tx<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    Lines { rows, companies }: Lines,
    calendar: &BillingCalendar,
    now: Instant,
) -> Result<Vec<Billing>> {
    let ids: Vec<CompanyId> = companies.keys().cloned().collect();
    let whose = if ids.len() == 1 { Whose::Companies(&ids) } else { Whose::All(&ids) };
    let mut usage = HashMap::new();
    for (product, month) in products.values() {
        let loaded = MonthlyUsage::load(tx, product.clone(), *month, calendar, now, whose)?;
        usage.insert(product.id.clone(), loaded);
    }
    let shared = shared(&rows);
    let billing = |row: ReconciledLine| {
        let company = companies.get(&row.company_id)?.clone();
        let billed = usage.get(&row.product_id)?.billed_by(LineSettings {
            company_id: &row.company_id,
            block_size: row.block_size,
            minimum_quantity: row.minimum_quantity,
            adjustment: row.adjustment.as_ref(),
        });
        let is_shared = row.addition_id.is_some_and(|id| shared.contains(&id));
        Some(Billing { row, company, billed, is_shared })
    };
    Ok(rows.into_iter().filter_map(billing).collect())
}

fn line_item(ground: &Ground<'_>, pushes: &Pushes, twins: &HashSet<CwCompanyId>, one: Billing) -> Item {
    let Billing { row, company, billed, is_shared } = one;
    let agreement = row.agreement_id.and_then(|id| ground.catalog.agreement_record(id));
    let addition = row.addition_id.and_then(|id| ground.catalog.addition_record(id));
    // A push to another addition says nothing about this one.
    let pushed = pushes.of_month.get(&row.id).filter(|pushed| pushed.addition_id == row.addition_id);
    let pushed_quantity = pushed.and_then(|pushed| pushed.quantity);
    let connectwise_quantity = if pushes.later.contains(&row.id) {
        pushed_quantity
    } else {
        addition.and_then(|addition| ground.quantity(addition.id))
    };
    let compared = Comparison {
        push_enabled: row.push_enabled,
        mappings: (row.agreement_status, row.addition_status, row.agreement_reason),
        is_shared,
        quantity: billed.quantity,
        has_problem: billed.problem.is_some() && billed.too_old.is_none(),
        terms: addition.map(|addition| &addition.terms),
        connectwise_quantity,
        pushed_quantity,
    }
    .compared();
    let is_resolved = row.addition_status == MappingStatus::Resolved;
    let has_twin = company.connectwise_company_id.is_some_and(|id| twins.contains(&id));
    let warnings = agreement.zip(addition).filter(|_| is_resolved).map(|(agreement, addition)| {
        let warnings = ground.warnings(agreement, addition, billed.month, has_twin);
        (is_left_out(&warnings), at_stake(&warnings, billed.quantity, &addition.terms))
    });
    let (is_left_out, warnings) = warnings.unwrap_or_default();
    Item {
        month: billed.month,
        line: Some(row.id),
        product_id: row.product_id,
        cw_company: company.connectwise_company_id,
        company: Some(company),
        agreement: row.agreement_id,
        addition: row.addition_id,
        usage: billed.amount(),
        quantity: billed.quantity,
        problem: billed.problem,
        connectwise_quantity,
        pushed_quantity,
        currency: agreement.and_then(|agreement| agreement.terms.currency.clone()),
        unit_price: addition.and_then(|addition| addition.terms.unit_price),
        compared,
        warnings,
        is_left_out,
    }
}

/// The additions to which more than one enabled, resolved line bills.
fn shared(rows: &[ReconciledLine]) -> HashSet<CwAdditionId> {
    let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
    for row in rows.iter().filter(|row| row.push_enabled && row.addition_status == MappingStatus::Resolved) {
        shared.extend(row.addition_id.filter(|id| !seen.insert(*id)));
    }
    shared
}

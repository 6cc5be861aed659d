//! Finds additions that match a product's rules but that no line bills to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::item::{Item, ReconciliationScope};
use super::lines::{ConnectWiseState, Lines};
use crate::db::{Product, ReconciledCompany, ReconciledLine, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CwAdditionId, CwCompanyId, ProductId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::reconciliation::{ReconciliationKind, ReconciliationResult, charge};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::Target;
use crate::services::mappings::resolve;

/// The result of the search.
#[derive(Default)]
pub(super) struct AdditionsWithoutLine {
    pub(super) items: Vec<Item>,
    pub(super) unread_agreements: usize,
}

/// Finds additions that match the products' rules but that no line bills to, including those of unmatched ConnectWise
/// companies. Finds none for past months, because ConnectWise keeps only current quantities.
pub(super) fn find(
    tx: &mut Tx<'_>,
    connectwise: &ConnectWiseState<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    scope: &ReconciliationScope,
    lines: &Lines,
    current: BillingMonth,
) -> Result<AdditionsWithoutLine> {
    let rules = resolve::rules(tx, scope.product.as_ref())?;
    if scope.company.is_some() {
        // For a single company, only its lines are compared.
        return Ok(AdditionsWithoutLine::default());
    }
    let billed = if scope.product.is_none() { lines.billed_additions() } else { tx.billed_additions()? };
    let mut ours: HashMap<CwCompanyId, &Arc<ReconciledCompany>> = HashMap::new();
    for company in lines.companies.values() {
        if let Some(id) = company.connectwise_company_id {
            // If several companies are matched, the same one is always used.
            let first = ours.entry(id).or_insert(company);
            *first = if company.id < first.id { company } else { *first };
        }
    }
    let undecided = undecided(lines);
    let (mut items, mut taken): (Vec<Item>, HashSet<CwAdditionId>) = (Vec::new(), billed);
    let mut unread = HashSet::new();
    let mut in_order: Vec<&(Product, BillingMonth)> = products.values().collect();
    in_order.sort_by_key(|(product, _)| (&product.name_key, &product.id));
    for (product, month) in in_order {
        let is_past = *month < product.billing_period().billed_month(current);
        let Some(rules) = rules.get(&product.id).filter(|_| !is_past) else { continue };
        let Some(addition_rule) = rules.get(Target::Addition) else { continue };
        for agreement in connectwise.record_index.live_agreements(rules.get(Target::Agreement)) {
            let company = ours.get(&agreement.company_id);
            let Some(additions) = connectwise.record_index.live_additions(agreement.id, addition_rule) else {
                // Without a rule for agreements, it is unknown which agreements to read.
                unread.extend(rules.get(Target::Agreement).map(|_| agreement.id));
                continue;
            };
            // One of these belongs to the line, but it is not yet known which.
            if undecided.contains(&(&product.id, agreement.company_id)) {
                continue;
            }
            for addition in additions.filter(|addition| taken.insert(addition.id)) {
                items.extend(item(connectwise, product, *month, agreement, addition, company.copied()));
            }
        }
    }
    Ok(AdditionsWithoutLine { items, unread_agreements: unread.len() })
}

/// The products and ConnectWise companies with a line that is not resolved.
fn undecided(lines: &Lines) -> HashSet<(&ProductId, CwCompanyId)> {
    let open = lines.rows.iter().filter(|row| row.addition_status != MappingStatus::Resolved);
    let place = |row: &'_ ReconciledLine| lines.companies.get(&row.settings.company_id)?.connectwise_company_id;
    open.filter_map(|row| Some((&row.product_id, place(row)?))).collect()
}

fn item(
    connectwise: &ConnectWiseState<'_>,
    product: &Product,
    month: BillingMonth,
    agreement: &Agreement,
    addition: &Addition,
    company: Option<&Arc<ReconciledCompany>>,
) -> Option<Item> {
    // An addition with a quantity of 0 bills nothing.
    let has = connectwise.quantity(addition.id).filter(|has| *has != Quantity::ZERO)?;
    let connectwise_amount = charge(has, &addition.terms);
    let compared = ReconciliationResult {
        kind: ReconciliationKind::NoLine,
        difference: Some(Quantity::ZERO.minus(has)),
        amount: connectwise_amount.map(|_| Money::ZERO),
        connectwise_amount,
        amount_difference: connectwise_amount.and_then(|amount| Money::ZERO.minus(amount)),
    };
    let (warnings, is_not_invoiced) = connectwise.impacts((agreement, addition), month, false, (Some(has), None));
    Some(Item {
        product_id: product.id.clone(),
        month,
        line: None,
        company: company.cloned(),
        cw_company: Some(agreement.company_id),
        agreement: Some(agreement.id),
        addition: Some(addition.id),
        usage: None,
        problem: None,
        quantity: None,
        connectwise_quantity: Some(has),
        pushed_quantity: None,
        currency: agreement.terms.currency.clone(),
        unit_price: addition.terms.unit_price,
        compared,
        warnings,
        is_not_invoiced,
    })
}

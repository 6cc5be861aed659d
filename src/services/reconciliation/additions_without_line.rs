//! Finds additions that a product's rules match, and that no line bills to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::item::{Item, Scope};
use super::lines::{Ground, Lines};
use crate::db::{Product, ReconciledCompany, ReconciledLine, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CwAdditionId, CwCompanyId, ProductId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::reconciliation::{Compared, ComparisonKind, charge};
use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::Target;
use crate::services::mapping::resolve;

/// What was found.
#[derive(Default)]
pub(super) struct Unclaimed {
    pub(super) items: Vec<Item>,
    pub(super) unread_agreements: usize,
}

/// Finds the additions of the products' rules that no line bills to, in companies that are not ours, too. Of a month that
/// has been pushed and passed there are none: ConnectWise has no quantities of the past.
pub(super) fn find(
    tx: &mut Tx<'_>,
    ground: &Ground<'_>,
    products: &HashMap<ProductId, (Product, BillingMonth)>,
    scope: &Scope,
    lines: &Lines,
    present: BillingMonth,
) -> Result<Unclaimed> {
    let rules = resolve::rules(tx, scope.product.as_ref())?;
    if scope.company.is_some() {
        // The lines of a company are compared, and nothing else.
        return Ok(Unclaimed::default());
    }
    let claimed = if scope.product.is_none() { lines.claimed() } else { tx.claimed_additions()? };
    let mut ours: HashMap<CwCompanyId, &Arc<ReconciledCompany>> = HashMap::new();
    for company in lines.companies.values() {
        if let Some(id) = company.connectwise_company_id {
            // Of several companies, always the same one.
            let first = ours.entry(id).or_insert(company);
            *first = if company.id < first.id { company } else { *first };
        }
    }
    let undecided = undecided(lines);
    let (mut items, mut taken): (Vec<Item>, HashSet<CwAdditionId>) = (Vec::new(), claimed);
    let mut unread = HashSet::new();
    let mut in_order: Vec<&(Product, BillingMonth)> = products.values().collect();
    in_order.sort_by_key(|(product, _)| (&product.name_key, &product.id));
    for (product, month) in in_order {
        let is_past = *month < product.billing_period().billed_month(present);
        let Some(rules) = rules.get(&product.id).filter(|_| !is_past) else { continue };
        let Some(addition_rule) = rules.get(Target::Addition) else { continue };
        for agreement in ground.catalog.live_agreements(rules.get(Target::Agreement)) {
            let company = ours.get(&agreement.company_id);
            let Some(additions) = ground.catalog.live_additions(agreement.id, addition_rule) else {
                // Without a rule for agreements, nobody knows which are to be read.
                unread.extend(rules.get(Target::Agreement).map(|_| agreement.id));
                continue;
            };
            // One of these is the line's, but which is not known yet.
            if undecided.contains(&(&product.id, agreement.company_id)) {
                continue;
            }
            for addition in additions.filter(|addition| taken.insert(addition.id)) {
                items.extend(item(ground, product, *month, agreement, addition, company.copied()));
            }
        }
    }
    Ok(Unclaimed { items, unread_agreements: unread.len() })
}

/// The products and ConnectWise companies with a line that is not resolved.
fn undecided(lines: &Lines) -> HashSet<(&ProductId, CwCompanyId)> {
    let open = lines.rows.iter().filter(|row| row.addition_status != MappingStatus::Resolved);
    let place = |row: &'_ ReconciledLine| lines.companies.get(&row.company_id)?.connectwise_company_id;
    open.filter_map(|row| Some((&row.product_id, place(row)?))).collect()
}

fn item(
    ground: &Ground<'_>,
    product: &Product,
    month: BillingMonth,
    agreement: &Agreement,
    addition: &Addition,
    company: Option<&Arc<ReconciledCompany>>,
) -> Option<Item> {
    // An addition with a quantity of 0 bills nothing.
    let has = ground.quantity(addition.id).filter(|has| *has != Quantity::ZERO)?;
    let connectwise_amount = charge(has, &addition.terms);
    let compared = Compared {
        kind: ComparisonKind::NoLine,
        difference: Some(Quantity::ZERO.minus(has)),
        amount: connectwise_amount.map(|_| Money::ZERO),
        connectwise_amount,
        amount_difference: connectwise_amount.and_then(|amount| Money::ZERO.minus(amount)),
    };
    let (warnings, is_left_out) = ground.stakes((agreement, addition), month, false, (Some(has), None));
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
        is_left_out,
    })
}

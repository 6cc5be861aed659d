//! A page of the items that a person should check, with the names to show.

use std::collections::{BTreeSet, HashMap};

use super::item::Item;
use super::reconcile::ReconciledScope;
use crate::db::{Page, PageRequest, Tx};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CwCompanyId};
use crate::domain::invoices::InvoiceWarning;
use crate::domain::quantity::Money;
use crate::domain::reconciliation::ReconciliationKind;
use crate::domain::string_enum::string_enum;
use crate::domain::text::fold;

string_enum! {
    /// The sort keys of a reconciliation.
    ReconciliationSort {
        /// By the company's name, ignoring case.
        CompanyName = "company_name",
        /// By the absolute difference in money; items without one come first.
        AmountDifference = "amount_difference",
    }
}

/// Selects the items to list.
#[derive(Debug, Clone, Default)]
pub struct ItemFilter {
    /// Only items of these kinds. If empty, items that agree are left out unless they have warnings.
    pub kinds: Vec<ReconciliationKind>,
    /// Only items with one of these warnings. If empty, warnings do not matter.
    pub warnings: Vec<InvoiceWarning>,
}

impl ItemFilter {
    fn fits(&self, item: &Item) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.contains(&item.compared.kind);
        let is_warned =
            self.warnings.is_empty() || item.warnings.iter().any(|impact| self.warnings.contains(&impact.warning));
        let is_asked_for = !self.kinds.is_empty() || item.needs_review();
        of_kind && is_warned && is_asked_for
    }
}

/// An item with the names to show.
#[derive(Debug, Clone)]
pub struct NamedItem {
    /// The item.
    pub item: Item,
    /// The code of its product.
    pub product_code: String,
    /// The name of the ConnectWise company.
    pub cw_company_name: Option<String>,
    /// The name of the agreement.
    pub agreement_name: Option<String>,
    /// The product identifier and description of the addition.
    pub addition_name: Option<String>,
}

/// Returns a page of the items that match a filter.
pub fn page(
    tx: &mut Tx<'_>,
    reconciled: &ReconciledScope,
    filter: &ItemFilter,
    page: &PageRequest<ReconciliationSort>,
) -> Result<Page<NamedItem>> {
    let listed: Vec<&Item> = reconciled.items.iter().filter(|item| filter.fits(item)).collect();
    let others: Vec<CwCompanyId> =
        listed.iter().filter(|item| item.company.is_none()).filter_map(|item| item.cw_company).collect();
    let others: HashMap<CwCompanyId, String> = names(tx, &others)?;
    let key = |item: &&Item| (sort_key(page.sort(), item, &others), id(item));
    let found = page.of_all(listed, key);
    let shown: Vec<CwCompanyId> = found.items.iter().filter_map(|item| item.cw_company).collect();
    let shown = names(tx, &shown)?;
    let mut found = found.map(|item| named(reconciled, item.clone(), &shown));
    add_pushed(tx, &mut found.items)?;
    Ok(found)
}

/// Returns all items that match a filter, by company name.
pub fn all(tx: &mut Tx<'_>, reconciled: &ReconciledScope, filter: &ItemFilter) -> Result<Vec<NamedItem>> {
    let listed: Vec<&Item> = reconciled.items.iter().filter(|item| filter.fits(item)).collect();
    let companies: Vec<CwCompanyId> = listed.iter().filter_map(|item| item.cw_company).collect();
    let companies = names(tx, &companies)?;
    let mut keyed: Vec<((String, String), &Item)> = listed
        .into_iter()
        .map(|item| ((sort_key(ReconciliationSort::CompanyName, item, &companies), id(item)), item))
        .collect();
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut found = keyed.into_iter().map(|(_, item)| named(reconciled, item.clone(), &companies)).collect::<Vec<_>>();
    add_pushed(tx, &mut found)?;
    Ok(found)
}

/// Adds the pushed quantities that the comparison did not need.
fn add_pushed(tx: &mut Tx<'_>, items: &mut [NamedItem]) -> Result<()> {
    let open = items.iter().map(|named| &named.item).filter(|item| item.pushed_quantity.is_none());
    let open: Vec<(BillingLineId, BillingMonth)> =
        open.filter_map(|item| Some((item.line.clone()?, item.month))).collect();
    let months: BTreeSet<BillingMonth> = open.iter().map(|(_, month)| *month).collect();
    let lines: Vec<BillingLineId> = open.into_iter().map(|(line, _)| line).collect();
    let pushed = tx.last_written(&lines, &Vec::from_iter(months))?;
    for item in items.iter_mut().map(|named| &mut named.item) {
        let found = item.line.clone().and_then(|line| pushed.get(&(line, item.month)));
        if let Some(found) = found.filter(|found| found.addition_id == item.addition) {
            item.pushed_quantity = item.pushed_quantity.or(found.quantity);
        }
    }
    Ok(())
}

fn names(tx: &mut Tx<'_>, ids: &[CwCompanyId]) -> Result<HashMap<CwCompanyId, String>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(tx.cw_companies_by_id(Some(ids))?.into_iter().map(|company| (company.id, company.name)).collect())
}

fn named(reconciled: &ReconciledScope, item: Item, companies: &HashMap<CwCompanyId, String>) -> NamedItem {
    let record_index = &reconciled.record_index;
    let product = reconciled.products.get(&item.product_id);
    let agreement = item.agreement.and_then(|id| record_index.agreement_record(id));
    let addition = item.addition.and_then(|id| record_index.addition_record(id));
    NamedItem {
        product_code: product.map(|(product, _)| product.code.clone()).unwrap_or_default(),
        cw_company_name: item.cw_company.and_then(|id| companies.get(&id).cloned()),
        agreement_name: agreement.map(|agreement| agreement.name.clone()),
        addition_name: addition.map(|addition| addition.label()),
        item,
    }
}

/// The sort key of an item, as text.
fn sort_key(sort: ReconciliationSort, item: &Item, others: &HashMap<CwCompanyId, String>) -> String {
    match (sort, &item.company) {
        (ReconciliationSort::AmountDifference, _) => item.compared.amount_difference.map(by_size).unwrap_or_default(),
        (ReconciliationSort::CompanyName, Some(company)) => company.name_key.clone(),
        (ReconciliationSort::CompanyName, None) => {
            item.cw_company.and_then(|id| others.get(&id)).map(|name| fold(name)).unwrap_or_default()
        }
    }
}

/// An amount as text that sorts by its size: with as many digits before the point as an amount can have.
fn by_size(amount: Money) -> String {
    let text = amount.get().abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole:0>29}.{fraction}")
}

fn id(item: &Item) -> String {
    match (&item.line, item.addition) {
        (Some(line), _) => line.to_string(),
        (None, addition) => format!("addition {}", addition.map_or(0, |id| id.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_sort_by_their_size() {
        let mut amounts: Vec<Money> =
            ["-20", "3.5", "0", "3", "100.25", "-0.05"].iter().map(|text| text.parse().unwrap()).collect();
        amounts.sort_by_key(|amount| by_size(*amount));
        let sorted: Vec<String> = amounts.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["0", "-0.05", "3", "3.5", "-20", "100.25"]);
    }
}

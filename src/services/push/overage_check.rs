//! Checks a company's line of a product (the base line) against its line of the product that bills the overage (the
//! overage line). No unit may be billed on both, and none may be left unbilled.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;

use super::agreement::PushContext;
use super::claimed::ClaimedLines;
use crate::db::{PairedLine, Product, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushLineId};
use crate::domain::line_quantity::QuantitySettings;
use crate::domain::push::{PushKind, PushReason};
use crate::domain::quantity::{Amount, BlockSize};
use crate::services::push::line_result::ApprovalReason;

/// How long an overage line waits for its base line, in seconds.
const WAIT_SECONDS: i64 = 5;

/// Why a line is not written now.
#[derive(Debug)]
pub(super) enum OverageCheck {
    /// It is an overage line, and its base line was not pushed yet: it waits until this time.
    WaitUntil(Timestamp),
    /// A person must approve it.
    Hold(ApprovalReason),
}

/// A base line with overage, or an overage line.
struct CheckedLine {
    id: PushLineId,
    company: CompanyId,
    product: ProductId,
    /// The product of the base line; `None` for a base line.
    overage_of: Option<ProductId>,
    /// The amount above the included quantity of a base line; 0 for an overage line.
    overage: Amount,
}

impl CheckedLine {
    fn new(line: &PushLine, product: &Product, is_dry_run: bool) -> Option<Self> {
        let overage = overage(line, product);
        // In a dry run, an overage line need not wait for its base line: neither is written.
        let is_concerned = if product.overage_of.is_some() { !is_dry_run } else { overage != Amount::ZERO };
        is_concerned.then(|| Self {
            id: line.id.clone(),
            company: line.company_id.clone(),
            product: line.product_id.clone(),
            overage_of: product.overage_of.clone(),
            overage,
        })
    }
}

/// The amount of a line that the overage product bills.
fn overage(line: &PushLine, product: &Product) -> Amount {
    let Some(included) = line.included_quantity.filter(|_| product.overage_of.is_none()) else { return Amount::ZERO };
    let settings = QuantitySettings {
        adjustment: line.adjustment.as_ref(),
        block_size: line.block_size.unwrap_or(BlockSize::ONE),
        rounding: product.rounding,
        minimum: line.minimum_quantity,
        included: Some(included),
    };
    let breakdown = line.usage_amount.and_then(|usage| settings.quantity_of(usage).ok());
    breakdown.and_then(|breakdown| breakdown.overage().ok()).unwrap_or(Amount::ZERO)
}

impl PushContext {
    /// Whether a line is an overage line, whose base line is written first.
    pub(super) fn bills_overage(&self, line: &PushLine) -> bool {
        self.products.get(&line.product_id).is_some_and(|product| product.overage_of.is_some())
    }
}

impl ClaimedLines<'_> {
    /// Finds the base and overage lines that must not be written now. Runs no query if there are no such lines to
    /// check.
    pub(super) async fn overage_checks(
        &self,
        context: &PushContext,
        lines: &[PushLine],
    ) -> Result<HashMap<PushLineId, OverageCheck>> {
        let is_dry_run = self.job.kind == PushKind::DryRun;
        let line = |line: &PushLine| CheckedLine::new(line, context.products.get(&line.product_id)?, is_dry_run);
        let lines_to_check: Vec<CheckedLine> = lines.iter().filter_map(line).collect();
        if lines_to_check.is_empty() || self.is_revert() {
            return Ok(HashMap::new());
        }
        let (job, now) = (self.job.id.clone(), self.ctx.clock.now());
        let find = move |tx: &mut Tx<'_>| {
            let partners = PartnerLines::load(tx, &lines_to_check)?;
            let bases: Vec<BillingLineId> = lines_to_check
                .iter()
                .filter_map(|line| partners.line(line.overage_of.as_ref()?, &line.company))
                .map(|line| line.id.clone())
                .collect();
            let open = tx.open_in_job(&job, &bases)?;
            let checked = |line: CheckedLine| Some((line.id.clone(), partners.check(&line, &open, now)?));
            Ok(lines_to_check.into_iter().filter_map(checked).collect())
        };
        self.ctx.db.read(&self.tenant, find).await
    }
}

/// The base lines of overage lines, and the overage lines of base lines.
struct PartnerLines {
    /// The overage products, by base product.
    overage_products: HashMap<ProductId, (ProductId, String)>,
    lines: HashMap<(ProductId, CompanyId), PairedLine>,
}

impl PartnerLines {
    fn load(tx: &mut Tx<'_>, lines_to_check: &[CheckedLine]) -> Result<Self> {
        let (overage, bases): (Vec<&CheckedLine>, Vec<&CheckedLine>) =
            lines_to_check.iter().partition(|line| line.overage_of.is_some());
        let of: BTreeSet<ProductId> = bases.into_iter().map(|line| line.product.clone()).collect();
        let overage_products = tx.overage_products(&Vec::from_iter(of))?;
        let mut products: BTreeSet<ProductId> = overage.iter().filter_map(|line| line.overage_of.clone()).collect();
        products.extend(overage_products.values().map(|(id, _)| id.clone()));
        let companies: BTreeSet<CompanyId> = lines_to_check.iter().map(|line| line.company.clone()).collect();
        let lines = tx.paired_lines(&Vec::from_iter(products), &Vec::from_iter(companies))?;
        let lines = lines.into_iter().map(|line| ((line.product_id.clone(), line.company_id.clone()), line)).collect();
        Ok(Self { overage_products, lines })
    }

    fn line(&self, product: &ProductId, company: &CompanyId) -> Option<&PairedLine> {
        self.lines.get(&(product.clone(), company.clone()))
    }

    fn check(
        &self,
        line: &CheckedLine,
        open: &HashMap<BillingLineId, Option<chrono::NaiveDateTime>>,
        now: Timestamp,
    ) -> Option<OverageCheck> {
        match &line.overage_of {
            Some(of) => check_overage_line(self.line(of, &line.company)?, open, now),
            None => self.check_base_line(line),
        }
    }

    /// Holds a base line whose overage would not be billed.
    fn check_base_line(&self, line: &CheckedLine) -> Option<OverageCheck> {
        let other = self.overage_products.get(&line.product);
        if other.and_then(|(id, _)| self.line(id, &line.company)).is_some_and(PairedLine::is_pushable) {
            return None;
        }
        let code = other.map_or("overage", |(_, code)| code);
        let detail = format!(
            "{} above the included quantity would not be billed: enable and resolve the line of {code}",
            line.overage
        );
        Some(OverageCheck::Hold(ApprovalReason { reason: PushReason::OverageNotBilled, detail }))
    }
}

/// Until the base line is written, ConnectWise still counts these units on the base product.
fn check_overage_line(
    base: &PairedLine,
    open: &HashMap<BillingLineId, Option<chrono::NaiveDateTime>>,
    now: Timestamp,
) -> Option<OverageCheck> {
    if let Some(not_before) = open.get(&base.id) {
        let soon = now + TimeDelta::seconds(WAIT_SECONDS);
        return Some(OverageCheck::WaitUntil(not_before.map_or(soon, |at| at.and_utc().max(soon))));
    }
    let state = base.last_push_state.filter(|_| base.push_enabled && base.quantity_may_be_unwritten())?;
    let detail = format!("its base line was {state}, so ConnectWise may still bill these units there");
    Some(OverageCheck::Hold(ApprovalReason { reason: PushReason::BaseNotPushed, detail }))
}

//! A company's line of a product, and that of the product that bills its overage: what is written to one of them must not
//! bill the same units twice, or bill some of them nowhere.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;

use super::agreement::PushContext;
use super::claimed::ClaimedLines;
use super::outcome::Objection;
use crate::db::{PairedLine, Product, PushLine, Tx};
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushLineId};
use crate::domain::line_quantity::QuantityTerms;
use crate::domain::push::{LineState, PushKind, PushReason};
use crate::domain::quantity::{Amount, BlockSize};

/// How long a line of overage waits for the other line of its pair, in seconds.
const WAIT_SECONDS: i64 = 5;

/// Why a line is not written, because of the other line of its pair.
#[derive(Debug)]
pub(super) enum PairObjection {
    /// The other line is not pushed yet: this one waits until then.
    NotBefore(Instant),
    /// A person must approve it.
    Held(Objection),
}

/// A line whose other line matters.
struct Half {
    id: PushLineId,
    company: CompanyId,
    product: ProductId,
    /// The product of the other line, if this one bills the overage.
    overage_of: Option<ProductId>,
    /// What is above the included quantity of this line.
    overage: Amount,
}

impl Half {
    fn new(line: &PushLine, product: &Product, is_dry_run: bool) -> Option<Self> {
        let overage = overage(line, product);
        // A dry run writes nothing for which the other line would have to wait.
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

/// What a line leaves to the product that bills its overage.
fn overage(line: &PushLine, product: &Product) -> Amount {
    let Some(included) = line.included_quantity.filter(|_| product.overage_of.is_none()) else { return Amount::ZERO };
    let terms = QuantityTerms {
        adjustment: line.adjustment.as_ref(),
        block_size: line.block_size.unwrap_or(BlockSize::ONE),
        rounding: product.rounding,
        minimum: line.minimum_quantity,
        included: Some(included),
    };
    let derived = line.usage_amount.and_then(|usage| terms.quantity_of(usage).ok());
    derived.and_then(|derived| derived.overage().ok()).unwrap_or(Amount::ZERO)
}

impl PushContext {
    /// Whether a line bills the overage of another, which is written first.
    pub(super) fn bills_overage(&self, line: &PushLine) -> bool {
        self.products.get(&line.product_id).is_some_and(|product| product.overage_of.is_some())
    }
}

impl ClaimedLines<'_> {
    /// Finds the lines that must not be written because of the other line of their pair. No query if there are no pairs.
    pub(super) async fn pair_objections(
        &self,
        context: &PushContext,
        lines: &[PushLine],
    ) -> Result<HashMap<PushLineId, PairObjection>> {
        let is_dry_run = self.job.kind == PushKind::DryRun;
        let half = |line: &PushLine| Half::new(line, context.products.get(&line.product_id)?, is_dry_run);
        let halves: Vec<Half> = lines.iter().filter_map(half).collect();
        if halves.is_empty() || self.is_revert() {
            return Ok(HashMap::new());
        }
        let (job, now) = (self.job.id.clone(), self.ctx.clock.now());
        let find = move |tx: &mut Tx<'_>| {
            let others = Others::load(tx, &halves)?;
            let bases: Vec<BillingLineId> = halves
                .iter()
                .filter_map(|half| others.line(half.overage_of.as_ref()?, &half.company))
                .map(|line| line.id.clone())
                .collect();
            let open = tx.open_in_job(&job, &bases)?;
            let of_half = |half: Half| Some((half.id.clone(), others.objection(&half, &open, now)?));
            Ok(halves.into_iter().filter_map(of_half).collect())
        };
        self.ctx.db.read(&self.tenant, find).await
    }
}

/// The other lines of pairs.
struct Others {
    /// The products that bill overage, by the product whose overage it is.
    overage_products: HashMap<ProductId, (ProductId, String)>,
    lines: HashMap<(ProductId, CompanyId), PairedLine>,
}

impl Others {
    fn load(tx: &mut Tx<'_>, halves: &[Half]) -> Result<Self> {
        let (overage, bases): (Vec<&Half>, Vec<&Half>) = halves.iter().partition(|half| half.overage_of.is_some());
        let of: BTreeSet<ProductId> = bases.into_iter().map(|half| half.product.clone()).collect();
        let overage_products = tx.overage_products(&Vec::from_iter(of))?;
        let mut products: BTreeSet<ProductId> = overage.iter().filter_map(|half| half.overage_of.clone()).collect();
        products.extend(overage_products.values().map(|(id, _)| id.clone()));
        let companies: BTreeSet<CompanyId> = halves.iter().map(|half| half.company.clone()).collect();
        let lines = tx.paired_lines(&Vec::from_iter(products), &Vec::from_iter(companies))?;
        let lines = lines.into_iter().map(|line| ((line.product_id.clone(), line.company_id.clone()), line)).collect();
        Ok(Self { overage_products, lines })
    }

    fn line(&self, product: &ProductId, company: &CompanyId) -> Option<&PairedLine> {
        self.lines.get(&(product.clone(), company.clone()))
    }

    fn objection(
        &self,
        half: &Half,
        open: &HashMap<BillingLineId, Option<chrono::NaiveDateTime>>,
        now: Instant,
    ) -> Option<PairObjection> {
        match &half.overage_of {
            Some(of) => base_objection(self.line(of, &half.company)?, open, now),
            None => self.overage_objection(half),
        }
    }

    /// What is above the included quantity would be billed nowhere.
    fn overage_objection(&self, half: &Half) -> Option<PairObjection> {
        let other = self.overage_products.get(&half.product);
        if other.and_then(|(id, _)| self.line(id, &half.company)).is_some_and(PairedLine::is_pushable) {
            return None;
        }
        let code = other.map_or("overage", |(_, code)| code);
        let detail = format!(
            "{} above the included quantity would not be billed: enable and resolve the line of {code}",
            half.overage
        );
        Some(PairObjection::Held(Objection { reason: PushReason::OverageNotBilled, detail }))
    }
}

/// The units of overage are in ConnectWise as units of the other product until that one is written.
fn base_objection(
    base: &PairedLine,
    open: &HashMap<BillingLineId, Option<chrono::NaiveDateTime>>,
    now: Instant,
) -> Option<PairObjection> {
    if let Some(not_before) = open.get(&base.id) {
        let soon = now + TimeDelta::seconds(WAIT_SECONDS);
        return Some(PairObjection::NotBefore(not_before.map_or(soon, |at| at.and_utc().max(soon))));
    }
    let state = base.last_push_state.filter(|state| base.push_enabled && LineState::NEEDS_ATTENTION.contains(state))?;
    let detail =
        format!("the line whose overage this is was {state}, so that ConnectWise may still bill these units there");
    Some(PairObjection::Held(Objection { reason: PushReason::BaseNotPushed, detail }))
}

//! A line, or an addition without a line, compared with ConnectWise.

use std::sync::Arc;

use crate::db::ReconciledCompany;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::quantity::{Amount, Money, Quantity};
use crate::domain::reconciliation::{ReconciliationKind, ReconciliationResult, WarningImpact};
use crate::services::quantities::compute::BilledMonths;

/// The scope of a reconciliation.
#[derive(Debug, Clone, Default)]
pub struct ReconciliationScope {
    /// Only this product.
    pub product: Option<ProductId>,
    /// Only this company.
    pub company: Option<CompanyId>,
    /// The month that each product bills.
    pub months: BilledMonths,
}

/// A line, or an addition without a line, compared with ConnectWise.
#[derive(Debug, Clone)]
pub struct Item {
    /// The product of the line, or whose rules match the addition.
    pub product_id: ProductId,
    /// The month that is compared: with [`BilledMonths::Now`] it depends on the product.
    pub month: BillingMonth,
    /// The line; `None` for an addition that no line bills to.
    pub line: Option<BillingLineId>,
    /// The line's company; `None` for an addition in a ConnectWise company that no company is matched to.
    pub company: Option<Arc<ReconciledCompany>>,
    /// The ConnectWise company that the line's company is matched to, or that owns the agreement. `None` if the line's
    /// company is Not Set.
    pub cw_company: Option<CwCompanyId>,
    /// The agreement that the line bills to, or billed to before it became stale.
    pub agreement: Option<CwAgreementId>,
    /// The addition that the line bills to, or billed to before it became stale.
    pub addition: Option<CwAdditionId>,
    /// The usage that counts.
    pub usage: Option<Amount>,
    /// Why the usage gives no quantity, or is too old.
    pub problem: Option<String>,
    /// The quantity computed from the usage.
    pub quantity: Option<Quantity>,
    /// The quantity in ConnectWise, or the line's part of it; `None` if it is unknown, or the line bills to no live
    /// addition.
    pub connectwise_quantity: Option<Quantity>,
    /// The quantity that the month's last push wrote or found.
    pub pushed_quantity: Option<Quantity>,
    /// The code of the agreement's currency.
    pub currency: Option<String>,
    /// The price of a unit.
    pub unit_price: Option<Money>,
    /// The result of the comparison.
    pub compared: ReconciliationResult,
    /// The units and the amount that each warning affects.
    pub warnings: Vec<WarningImpact>,
    /// Whether the next invoice does not include the item.
    pub is_not_invoiced: bool,
}

impl Item {
    /// Whether a person should check the item.
    pub fn needs_review(&self) -> bool {
        self.compared.kind != ReconciliationKind::Agrees || !self.warnings.is_empty()
    }
}

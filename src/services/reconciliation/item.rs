//! A line, or an addition without a line, compared with ConnectWise.

use std::sync::Arc;

use crate::db::ReconciledCompany;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, CwAdditionId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::quantity::{Amount, Money, Quantity};
use crate::domain::reconciliation::{ReconciliationKind, ReconciliationResult, WarningImpact};
use crate::services::quantities::compute::BilledMonths;

/// What is compared.
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
    /// The ConnectWise company: that of the line's company, or the owner of the agreement; `None` if it is Not Set.
    pub cw_company: Option<CwCompanyId>,
    /// The agreement that the line bills to, or billed to before it became stale.
    pub agreement: Option<CwAgreementId>,
    /// The addition that the line bills to, or billed to before it became stale.
    pub addition: Option<CwAdditionId>,
    /// The usage that counts.
    pub usage: Option<Amount>,
    /// Why the usage makes no quantity, or is too old.
    pub problem: Option<String>,
    /// The quantity of the usage.
    pub quantity: Option<Quantity>,
    /// The quantity in ConnectWise, or the line's part of it; `None` if it is unknown, or no live addition is billed
    /// to.
    pub connectwise_quantity: Option<Quantity>,
    /// The quantity that the month's last push wrote or found.
    pub pushed_quantity: Option<Quantity>,
    /// The code of the agreement's currency.
    pub currency: Option<String>,
    /// The price of a unit.
    pub unit_price: Option<Money>,
    /// How they compare.
    pub compared: ReconciliationResult,
    /// What each warning is about.
    pub warnings: Vec<WarningImpact>,
    /// Whether the next invoice takes nothing of it.
    pub is_not_invoiced: bool,
}

impl Item {
    /// Whether there is something to do.
    pub fn needs_a_look(&self) -> bool {
        self.compared.kind != ReconciliationKind::Agrees || !self.warnings.is_empty()
    }
}

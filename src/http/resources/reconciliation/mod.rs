//! `/reconciliation`: compares what should be billed with what ConnectWise bills, in units and in money.

pub mod export;
pub mod history;
pub mod item;
pub mod totals;

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::item::ReconciliationItem;
use self::totals::{CurrencyTotals, KindTotals, ProductTotals, WarningTotals};
use crate::db::{self, Page};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::ProductId;
use crate::domain::invoices::InvoiceWarning;
use crate::domain::reconciliation::ReconciliationKind;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::page_with;
use crate::services::AppContext;
use crate::services::quantities::compute::BilledMonths;
use crate::services::reconciliation::{self, ItemFilter, NamedItem, ReconciliationScope, ReconciliationSort, Totals};

/// The comparison of a month: the totals of all items, and a page of items that need attention.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reconciliation {
    /// The amounts of all items by currency, whatever the filters `kind` and `warning`. Amounts of different currencies
    /// are never added up.
    pub totals: Vec<CurrencyTotals>,
    /// The totals by kind. Each line, and each addition without a line, has exactly one kind.
    pub kinds: Vec<KindTotals>,
    /// The number of items with each warning. An item can have several.
    pub warnings: Vec<WarningTotals>,
    /// The totals by product, sorted by name.
    pub products: Vec<ProductTotals>,
    /// The number of agreements that a product's rule matches but whose additions were never read. Their additions are
    /// not compared; `POST /connectwise/refresh` reads them.
    pub unread_agreements: usize,
    /// The items of this page.
    pub items: Vec<ReconciliationItem>,
    /// The `cursor` of the next page; null on the last page. Opaque: send it back as it is.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// The number of all items that match the filters; left out unless the request has `total=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub total: Option<i64>,
}

impl Reconciliation {
    fn new(totals: Totals, unread_agreements: usize, page: Page<NamedItem>) -> Self {
        let List { items, next_cursor, total } = List::from_page(page, ReconciliationItem::from);
        Self {
            totals: totals.money.into_iter().map(Into::into).collect(),
            kinds: totals.kinds.into_iter().map(Into::into).collect(),
            warnings: totals.warnings.into_iter().map(Into::into).collect(),
            products: totals.products.into_iter().map(Into::into).collect(),
            unread_agreements,
            items,
            next_cursor,
            total,
        }
    }
}

/// The month to compare, and the filter of the items.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReconciliationQuery {
    /// The month to compare, such as `2026-11`. The default is the month that a push would bill now, according to each
    /// product's `billing_period`. If later months have been pushed, `connectwise_quantity` is what the last push of
    /// this month wrote, because ConnectWise keeps only the current quantity.
    pub billing_month: Option<BillingMonth>,
    /// Only the product with this id. Also limits the totals.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only items of this kind, or one of these, separated by commas. Without it, items that agree are listed only if
    /// they have warnings.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<ReconciliationKind>)]
    pub kind: Values<ReconciliationKind>,
    /// Only items with this warning, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<InvoiceWarning>)]
    pub warning: Values<InvoiceWarning>,
}

impl ReconciliationQuery {
    /// What to compare, and which of the items to list.
    fn into_parts(self) -> (ReconciliationScope, ItemFilter) {
        let scope = ReconciliationScope {
            product: self.product_id.map(ProductId::from),
            company: None,
            months: BilledMonths::named_or_now(self.billing_month),
        };
        (scope, ItemFilter { kinds: self.kind.0, warnings: self.warning.0 })
    }
}

impl ListFilter for ReconciliationQuery {
    type Sort = ReconciliationSort;
    const DEFAULT_SORT: &'static str = "company_name";
}

/// Compare a month with ConnectWise
///
/// Compares every billing line's quantity with the one in ConnectWise. Also finds additions that match the products'
/// rules but that no line bills to, including in ConnectWise companies that no company is matched to. In a company with
/// an unresolved line, none are listed, because one of them may belong to that line. If several lines bill to one
/// addition, its quantity is divided among them. Each item has the difference in units and in money: what invoices
/// charge with either quantity, without taxes. Sort by `-amount_difference` for the largest first. ConnectWise's
/// quantities are as last read or written; `POST /connectwise/refresh` rereads them.
#[utoipa::path(
    tag = "reconciliation",
    params(ListQuery<ReconciliationQuery>),
    responses((status = 200, description = "The totals, and a page of items that need attention", body = Reconciliation), Errors)
)]
#[get("/reconciliation")]
pub async fn get_reconciliation(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<ReconciliationQuery>,
) -> ApiResult {
    let now = ctx.clock.now();
    let (query, page) = query.for_list("reconciliation")?;
    let (scope, filter) = query.into_parts();
    let read = move |tx: &mut db::Tx<'_>| {
        let reconciled = reconciliation::reconcile(tx, &scope, now)?;
        let listed = reconciliation::page(tx, &reconciled, &filter, &page)?;
        Ok(Reconciliation::new(reconciliation::totals(&reconciled), reconciled.unread_agreements, listed))
    };
    let compared = ctx.db.read(&caller.tenant, read).await?;
    Ok(page_with(compared.next_cursor.as_deref(), &compared))
}

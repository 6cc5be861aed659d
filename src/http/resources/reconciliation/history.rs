//! `/reconciliation/history`: the comparisons made just before each scheduled push.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::ProductId;
use crate::domain::quantity::{Money, Quantity};
use crate::domain::{Error, FieldCode};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::ok;
use crate::services::AppContext;
use crate::services::reconciliation::history::{MonthOfProduct, MonthlyAmount, months};

/// The comparison of a product in a month, made just before the scheduled push that billed the month.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReconciliationMonth {
    /// The billing month that the push billed.
    pub billing_month: BillingMonth,
    /// The product's id.
    pub product_id: String,
    /// The product's code at that time.
    pub product_code: String,
    /// The product's name at that time.
    pub product_name: String,
    /// The id of the scheduled push job.
    pub push_job_id: String,
    /// When the comparison was made.
    pub taken_at: DateTime<Utc>,
    /// The number of items: lines, and additions that match the product's rules but have no line.
    pub items: i64,
    /// The number of items that did not agree or had warnings.
    pub to_review: i64,
    /// The sum of the computed quantities.
    pub quantity: Quantity,
    /// The sum of ConnectWise's quantities, as last read or written before the push.
    pub connectwise_quantity: Quantity,
    /// The sum of the known differences, in units.
    pub quantity_difference: Quantity,
    /// The amounts, by currency; empty if no price was known.
    pub totals: Vec<MonthlyTotals>,
    /// Whether an amount differs by more than 10 % from the previous month.
    pub changed_notably: bool,
}

/// The amounts of a product and month in one currency. An amount is null if it had too many digits to be exact.
#[derive(Debug, Serialize, ToSchema)]
pub struct MonthlyTotals {
    /// The currency's code; null for agreements without one.
    #[schema(required)]
    pub currency: Option<String>,
    /// The amount that invoices charge with the computed quantities.
    #[schema(required)]
    pub amount: Option<Money>,
    /// The amount that invoices would have charged with ConnectWise's quantities, as last read or written.
    #[schema(required)]
    pub connectwise_amount: Option<Money>,
    /// The sum of the known differences.
    #[schema(required)]
    pub amount_difference: Option<Money>,
    /// The part of `amount` that the next invoices did not include, because of warnings.
    #[schema(required)]
    pub not_invoiced_amount: Option<Money>,
    /// `amount` of the previous stored month; null if that had none in this currency.
    #[schema(required)]
    pub amount_before: Option<Money>,
    /// The change from `amount_before` to `amount` in percent, with one decimal place; null if `amount_before` is null
    /// or 0.
    #[schema(required, value_type = Option<Quantity>)]
    pub change_percent: Option<String>,
    /// Whether `amount` differs by more than 10 % from the previous month.
    pub changed_notably: bool,
}

impl From<MonthlyAmount> for MonthlyTotals {
    fn from(month: MonthlyAmount) -> Self {
        Self {
            currency: month.totals.currency,
            amount: month.totals.amount,
            connectwise_amount: month.totals.connectwise_amount,
            amount_difference: month.totals.difference,
            not_invoiced_amount: month.totals.not_invoiced_amount,
            amount_before: month.before,
            change_percent: month.change_percent.as_ref().map(Decimal::to_string),
            changed_notably: month.changed_notably,
        }
    }
}

impl From<MonthOfProduct> for ReconciliationMonth {
    fn from(MonthOfProduct { snapshot, money }: MonthOfProduct) -> Self {
        Self {
            billing_month: snapshot.billing_month,
            product_id: snapshot.product_id.to_string(),
            product_code: snapshot.product_code,
            product_name: snapshot.product_name,
            push_job_id: snapshot.push_job_id.to_string(),
            taken_at: snapshot.taken_at.and_utc(),
            items: snapshot.items,
            to_review: snapshot.to_review,
            quantity: snapshot.quantity,
            connectwise_quantity: snapshot.connectwise_quantity,
            quantity_difference: snapshot.difference,
            changed_notably: money.iter().any(|amount| amount.changed_notably),
            totals: money.into_iter().map(MonthlyTotals::from).collect(),
        }
    }
}

/// The months to return.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReconciliationHistoryQuery {
    /// Only the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// The first month, such as `2026-01`. The default is the first stored month.
    pub from: Option<BillingMonth>,
    /// The last month, such as `2026-12`. The default is the last stored month.
    pub to: Option<BillingMonth>,
}

/// Compare months
///
/// Returns, for each product and month, the comparison made just before the scheduled push that billed the month, with
/// ConnectWise's quantities as last read or written. Returns everything in one page, sorted by product code, latest
/// month first. A month whose amount differs by more than 10 % from the previous one is marked.
#[utoipa::path(
    tag = "reconciliation",
    params(ReconciliationHistoryQuery),
    responses((status = 200, description = "The months of each product", body = List<ReconciliationMonth>), Errors)
)]
#[get("/reconciliation/history")]
pub async fn list_reconciliation_history(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: StrictQuery<ReconciliationHistoryQuery>,
) -> ApiResult {
    let ReconciliationHistoryQuery { product_id, from, to } = query.0;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        Err(Error::invalid("to", FieldCode::Contradiction, "must not be before `from`"))?;
    }
    let product = product_id.map(ProductId::from);
    let read = move |tx: &mut db::Tx<'_>| months(tx, product.as_ref(), from, to);
    let found = ctx.db.read(&caller.tenant, read).await?;
    Ok(ok(&List::whole(found.into_iter().map(ReconciliationMonth::from).collect())))
}

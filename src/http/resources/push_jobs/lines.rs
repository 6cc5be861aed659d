//! `/push-jobs/{id}/lines`: what a push job did, line by line.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db::{self, PushLineFilter, PushSort};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CompanyId, ProductId, PushJobId};
use crate::domain::push::{LineState, PushReason};
use crate::domain::quantity::{Amount, BlockSize, Quantity};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::ok;
use crate::services::AppContext;

/// A billing line's part in a push job, kept for good.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushLine {
    /// Its id.
    pub id: String,
    /// The billing line.
    pub billing_line_id: String,
    /// The company.
    pub company_id: String,
    /// The company's name then.
    pub company_name: String,
    /// The product.
    pub product_id: String,
    /// The product's code then.
    pub product_code: String,
    /// ConnectWise's id of the agreement.
    #[schema(required)]
    pub agreement_id: Option<String>,
    /// The agreement's name then.
    #[schema(required)]
    pub agreement_name: Option<String>,
    /// ConnectWise's id of the addition.
    #[schema(required)]
    pub addition_id: Option<String>,
    /// What a person would have called the addition then.
    #[schema(required)]
    pub addition_name: Option<String>,
    /// The month whose usage is billed.
    pub billing_month: BillingMonth,
    /// Whether that month had ended when the quantity was worked out; null in lines of versions that did not say.
    #[schema(required)]
    pub month_closed: Option<bool>,
    /// The billed usage.
    #[schema(required)]
    pub usage: Option<Amount>,
    /// When the newest record that counted was measured.
    #[schema(required)]
    pub usage_through: Option<DateTime<Utc>>,
    /// How many records counted: at most 1 with the aggregation `last`.
    #[schema(required)]
    pub usage_records: Option<i64>,
    /// The block size that applied.
    #[schema(required)]
    pub block_size: Option<BlockSize>,
    /// What ConnectWise had.
    #[schema(required)]
    pub from: Option<Quantity>,
    /// What ConnectWise was told, or would be.
    #[schema(required)]
    pub to: Option<Quantity>,
    /// What became of it.
    pub state: LineState,
    /// Why, where it was skipped, held, failed or left unverified.
    #[schema(required)]
    pub reason: Option<PushReason>,
    /// The reason in words; ConnectWise's own where it refused.
    #[schema(required)]
    pub detail: Option<String>,
    /// How often a write was begun, but for those of which it is known that they were not carried out.
    pub attempts: i64,
    /// What ConnectWise must still have for the line to be written, where the job came from a dry run or puts back.
    #[schema(required)]
    pub expected_from: Option<Quantity>,
    /// Who approved or dropped it after it was held.
    #[schema(required)]
    pub decided_by: Option<String>,
    /// When that was.
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
    /// Not tried again before, after a failure that may pass.
    #[schema(required)]
    pub not_before: Option<DateTime<Utc>>,
    /// When a worker began.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it had its outcome.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<(db::PushLine, &db::PushJob)> for PushLine {
    fn from((row, job): (db::PushLine, &db::PushJob)) -> Self {
        Self {
            billing_month: row.billing_month.unwrap_or(job.billing_month),
            month_closed: row.month_closed,
            usage_through: row.usage_through.map(|at| at.and_utc()),
            usage_records: row.usage_records,
            id: row.id.to_string(),
            billing_line_id: row.billing_line_id.to_string(),
            company_id: row.company_id.to_string(),
            company_name: row.company_name,
            product_id: row.product_id.to_string(),
            product_code: row.product_code,
            agreement_id: row.agreement_id.map(Into::into),
            agreement_name: row.agreement_name,
            addition_id: row.addition_id.map(Into::into),
            addition_name: row.addition_name,
            usage: row.usage_amount,
            block_size: row.block_size,
            from: row.from_quantity,
            to: row.to_quantity,
            state: row.state,
            reason: row.reason,
            detail: row.detail,
            attempts: row.attempts,
            expected_from: row.expected_from,
            decided_by: row.decided_by,
            decided_at: row.decided_at.map(|at| at.and_utc()),
            not_before: row.not_before.map(|at| at.and_utc()),
            started_at: row.started_at.map(|at| at.and_utc()),
            finished_at: row.finished_at.filter(|_| row.state.is_final()).map(|at| at.and_utc()),
        }
    }
}

/// Which lines of a push job.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushLineQuery {
    /// By what became of them.
    pub state: Option<LineState>,
    /// By why they were skipped, held or failed.
    pub reason: Option<PushReason>,
    /// Those of a company.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Those of a product.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
}

impl ListFilter for PushLineQuery {
    type Sort = PushSort;
    const DEFAULT_SORT: &'static str = "created_at";
}

/// List a push job's lines
///
/// Every line in the job's scope is there, with what ConnectWise had, what it was told, and why not where it was not.
#[utoipa::path(
    tag = "push jobs",
    params(("id" = String, Path, description = "The push job"), ListQuery<PushLineQuery>),
    responses((status = 200, description = "A page of push lines", body = List<PushLine>), Errors)
)]
#[get("/push-jobs/{id}/lines")]
pub async fn list_push_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    query: ListQuery<PushLineQuery>,
) -> ApiResult {
    let id = PushJobId::from(id.into_inner());
    let (query, page) = query.of("lines-of-a-push-job")?;
    let filter = PushLineFilter {
        job_id: Some(id.clone()),
        state: query.state,
        reason: query.reason,
        company_id: query.company_id.map(CompanyId::from),
        product_id: query.product_id.map(ProductId::from),
        ..PushLineFilter::default()
    };
    let read = move |tx: &mut db::Tx<'_>| {
        tx.push_job(&id)?;
        tx.push_lines(&filter, &page)
    };
    let rows = ctx.db.read(&caller.tenant, read).await?;
    Ok(ok(&List::from_page(rows, |(line, job)| PushLine::from((line, &job)))))
}

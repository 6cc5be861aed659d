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

/// A line of a push job. It is kept forever, as it was at the time.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushLine {
    /// The push line's id.
    pub id: String,
    /// The billing line's id.
    pub billing_line_id: String,
    /// The company's id.
    pub company_id: String,
    /// The company's name at the time.
    pub company_name: String,
    /// The product's id.
    pub product_id: String,
    /// The product's code at the time.
    pub product_code: String,
    /// ConnectWise's id of the agreement.
    #[schema(required)]
    pub agreement_id: Option<String>,
    /// The agreement's name at the time.
    #[schema(required)]
    pub agreement_name: Option<String>,
    /// ConnectWise's id of the addition.
    #[schema(required)]
    pub addition_id: Option<String>,
    /// The addition's name at the time, as a person would recognise it.
    #[schema(required)]
    pub addition_name: Option<String>,
    /// The month whose usage is billed.
    pub billing_month: BillingMonth,
    /// Whether the month had ended when the quantity was computed; null in lines of older versions that did not record
    /// it.
    #[schema(required)]
    pub month_closed: Option<bool>,
    /// The billed amount of usage, in the product's unit.
    #[schema(required)]
    pub usage: Option<Amount>,
    /// When the newest record that counted was measured.
    #[schema(required)]
    pub usage_through: Option<DateTime<Utc>>,
    /// The number of records that counted. It is at most 1 for the aggregation `last`.
    #[schema(required)]
    pub usage_records: Option<i64>,
    /// The block size that applied.
    #[schema(required)]
    pub block_size: Option<BlockSize>,
    /// The quantity in ConnectWise before the push.
    #[schema(required)]
    pub from: Option<Quantity>,
    /// The quantity that was written, or would be.
    #[schema(required)]
    pub to: Option<Quantity>,
    /// The line's state.
    pub state: LineState,
    /// Why the line was skipped, held, failed or left unverified.
    #[schema(required)]
    pub reason: Option<PushReason>,
    /// The reason in a sentence. If ConnectWise rejected the write, its own words.
    #[schema(required)]
    pub detail: Option<String>,
    /// How often a write was started, without those that are known to have failed before they reached ConnectWise.
    pub attempts: i64,
    /// The quantity that ConnectWise must still have for the line to be written. Only in jobs from a dry run and in
    /// reverts.
    #[schema(required)]
    pub expected_from: Option<Quantity>,
    /// Who approved or dropped the line after it was held.
    #[schema(required)]
    pub decided_by: Option<String>,
    /// When the line was approved or dropped.
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
    /// The line is not tried again before this time, after a temporary failure.
    #[schema(required)]
    pub not_before: Option<DateTime<Utc>>,
    /// When a worker started the line.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When the line reached its final state.
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

/// The filter of the list of a push job's lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushLineQuery {
    /// Only lines in this state.
    pub state: Option<LineState>,
    /// Only lines that were skipped, held or failed for this reason.
    pub reason: Option<PushReason>,
    /// Only lines of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only lines of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
}

impl ListFilter for PushLineQuery {
    type Sort = PushSort;
    const DEFAULT_SORT: &'static str = "created_at";
}

/// List the lines of a push job
///
/// Returns one page of every line in the job's scope, by company name: the quantity before, the quantity written, and
/// the reason if nothing was written.
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

//! `/push-jobs/{id}/lines`: the lines of a push job, with what was written.

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db::{self, PushLineFilter, PushSort};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CompanyId, ProductId, PushJobId};
use crate::domain::push::{PushLineState, PushReason};
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Quantity};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::page_of;
use crate::http::views::adjustment::LineAdjustment;
use crate::services::AppContext;

/// A line of a push job: what the job did for one billing line. It is kept as it was at the time.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushLine {
    /// The push line's id.
    pub id: String,
    /// The billing line's id.
    pub billing_line_id: String,
    /// The company's id.
    pub company_id: String,
    /// The company's name when the job was created.
    pub company_name: String,
    /// The product's id.
    pub product_id: String,
    /// The product's code when the job was created.
    pub product_code: String,
    /// ConnectWise's id of the agreement; null if the line had none.
    #[schema(required)]
    pub agreement_id: Option<String>,
    /// The agreement's name when the job was created; null if the line had no agreement.
    #[schema(required)]
    pub agreement_name: Option<String>,
    /// ConnectWise's id of the addition; null if the line had none.
    #[schema(required)]
    pub addition_id: Option<String>,
    /// The addition's product identifier and description when the job was created; null if the line had no addition.
    #[schema(required)]
    pub addition_name: Option<String>,
    /// The month that is billed.
    pub billing_month: BillingMonth,
    /// Whether the month had ended when the quantity was computed. Null for lines of older versions, which did not
    /// record it.
    #[schema(required)]
    pub month_closed: Option<bool>,
    /// The billed amount, in the product's unit; null without usage, and in reverts.
    #[schema(required)]
    pub usage: Option<Amount>,
    /// When the newest record that counted was measured; null without usage, and in reverts.
    #[schema(required)]
    pub usage_through: Option<DateTime<Utc>>,
    /// The number of records that counted, at most 1 for the aggregation `last`. Null in reverts, and for lines of
    /// older versions.
    #[schema(required)]
    pub usage_records: Option<i64>,
    /// The block size that applied; null in reverts.
    #[schema(required)]
    pub block_size: Option<BlockSize>,
    /// The adjustment that applied to the usage; null if none did, and in reverts.
    #[schema(required)]
    pub adjustment: Option<LineAdjustment>,
    /// The minimum quantity that applied; null if none did, and in reverts.
    #[schema(required)]
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The included quantity that applied; for an overage product, the base product's. Null if none did, and in
    /// reverts.
    #[schema(required)]
    pub included_quantity: Option<IncludedQuantity>,
    /// The quantity in ConnectWise before the push; null if it is unknown.
    #[schema(required)]
    pub from: Option<Quantity>,
    /// The quantity to write; null if none could be computed. `state` says whether it was written.
    #[schema(required)]
    pub to: Option<Quantity>,
    /// The line's state.
    pub state: PushLineState,
    /// Why the line was skipped, held, failed or left unverified; null otherwise. In a dry run, `guard` marks a change
    /// that a push would hold.
    #[schema(required)]
    pub reason: Option<PushReason>,
    /// The reason as a sentence, with what to do; null if there is no reason.
    #[schema(required)]
    pub explanation: Option<String>,
    /// Details of the reason, for people. If ConnectWise rejected the write, its error message.
    #[schema(required)]
    pub detail: Option<String>,
    /// The number of writes that were sent, except those that are known not to have changed ConnectWise.
    pub attempts: i64,
    /// The line is written only if ConnectWise still has this quantity. Null except in pushed dry runs and reverts.
    #[schema(required)]
    pub expected_from: Option<Quantity>,
    /// Who approved or dropped the held line: the name of an API key. Null if nobody did.
    #[schema(required)]
    pub decided_by: Option<String>,
    /// When the line was approved or dropped; null if it was not.
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
    /// After a temporary failure, the earliest time of the next attempt; null if the line does not wait.
    #[schema(required)]
    pub not_before: Option<DateTime<Utc>>,
    /// When a worker last started the line; null before.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When the line reached its final state; null before.
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
            adjustment: row.adjustment.map(LineAdjustment::from),
            minimum_quantity: row.minimum_quantity,
            included_quantity: row.included_quantity,
            from: row.from_quantity,
            to: row.to_quantity,
            state: row.state,
            reason: row.reason,
            explanation: row.reason.map(|reason| reason.explain().to_owned()),
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
    /// Only lines in this state, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<PushLineState>)]
    pub state: Values<PushLineState>,
    /// Only lines with this reason for being skipped, held, failed or unverified, or one of these.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<PushReason>)]
    pub reason: Values<PushReason>,
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

/// List a push job's lines
///
/// Returns one page of the job's lines: for each billing line in the job's scope the quantity before, the quantity to
/// write, and the reason if nothing was written. By default they are in the order of their creation.
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
    let (query, page) = query.for_list("lines-of-a-push-job")?;
    let filter = PushLineFilter {
        job_id: Some(id.clone()),
        states: query.state.0,
        reasons: query.reason.0,
        company_id: query.company_id.map(CompanyId::from),
        product_id: query.product_id.map(ProductId::from),
        ..PushLineFilter::default()
    };
    let read = move |tx: &mut db::Tx<'_>| {
        tx.push_job(&id)?;
        tx.push_lines(&filter, &page)
    };
    let rows = ctx.db.read(&caller.tenant, read).await?;
    Ok(page_of(&List::from_page(rows, |(line, job)| PushLine::from((line, &job)))))
}

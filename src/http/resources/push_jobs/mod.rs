//! `/push-jobs`: runs that write quantities to ConnectWise, and their progress.

pub mod actions;
pub mod events;
pub mod history;
pub mod lines;

use actix_web::http::StatusCode;
use actix_web::{get, post, web};
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{self, JobFilter, PushSort};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushJobId};
use crate::domain::push::{JobState, PushLineState};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::{Error, FieldCode};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::idempotent::IdempotentRequest;
use crate::http::kit::extract::json::not_null;
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::{List, comparable};
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok, page_of, to_stored};
use crate::services::AppContext;
use crate::services::idempotency::RenderedResponse;
use crate::services::push;
use crate::services::push::NewPush;
use crate::services::push::Progress;
use crate::services::push::PushRequest;
use crate::services::quantities::compute::BilledMonths;

/// The number of a push job's lines in each state.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PushLineCounts {
    /// The number of all lines.
    pub total: i64,
    /// Lines in a final state: all but `pending`, `working` and `held`. This number never decreases.
    pub done: i64,
    /// Lines that wait for a worker, for the first time or for a retry.
    pub pending: i64,
    /// Lines that a worker is working on.
    pub working: i64,
    /// Lines whose quantity was written to ConnectWise.
    pub pushed: i64,
    /// Lines whose quantity would be written. Only in dry runs.
    pub would_push: i64,
    /// Lines whose addition already had the quantity, so nothing was written.
    pub unchanged: i64,
    /// Lines with nothing to push; each line's `reason` says why.
    pub skipped: i64,
    /// Lines that wait for approval; the `reason` of each says why.
    pub held: i64,
    /// Lines whose quantity could not be written; each line's `reason` says why.
    pub failed: i64,
    /// Lines that may have been written: the response to the write was lost, and ConnectWise could not be read
    /// afterwards.
    pub unverified: i64,
    /// Lines that were not pushed because the job was cancelled.
    pub cancelled: i64,
}

/// A push job: one run that writes quantities to ConnectWise.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PushJob {
    /// The push job's id.
    pub id: String,
    /// Whether the job writes, or is a dry run.
    pub kind: PushKind,
    /// What started the job.
    pub trigger: PushTrigger,
    /// The job's state.
    pub state: JobState,
    /// Why the job failed, or what it waits for, for people; null otherwise.
    #[schema(required)]
    pub detail: Option<String>,
    /// The id of the product that the job is limited to; null for all products.
    #[schema(required)]
    pub product_id: Option<String>,
    /// The id of the job that this job retries or reverts, or of the dry run that it pushes; `trigger` says which.
    /// Null for other jobs.
    #[schema(required)]
    pub parent_job_id: Option<String>,
    /// The months whose usage the job's lines bill, in order.
    pub billing_months: Vec<BillingMonth>,
    /// Who requested the job: the name of an API key, or `schedule`.
    pub requested_by: String,
    /// Whether cancelling the job was requested. The job may still finish the lines in `working`.
    pub cancel_requested: bool,
    /// The progress: the number of lines in each state.
    pub lines: PushLineCounts,
    /// The average number of lines that are finished per minute; null before the first, and while the job waits for
    /// approval.
    #[schema(required)]
    pub lines_per_minute: Option<i64>,
    /// When the job will end at this speed; null if that is unknown or if the job has ended.
    #[schema(required)]
    pub estimated_end_at: Option<DateTime<Utc>>,
    /// When the job was created.
    pub created_at: DateTime<Utc>,
    /// When a worker started the job; null before.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When the job ended; null before.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<&Progress> for PushJob {
    fn from(progress: &Progress) -> Self {
        let (job, count) = (&progress.job, |state| progress.counts.get(&state).copied().unwrap_or_default());
        Self {
            id: job.id.to_string(),
            kind: job.kind,
            trigger: job.trigger,
            state: job.state,
            detail: job.detail.clone(),
            product_id: job.product_id.as_ref().map(ToString::to_string),
            parent_job_id: job.parent_job_id.as_ref().map(ToString::to_string),
            billing_months: progress.billing_months.iter().copied().collect(),
            requested_by: job.requested_by.clone(),
            cancel_requested: job.cancel_requested,
            lines: PushLineCounts {
                total: job.line_count,
                done: progress.done(),
                pending: count(PushLineState::Pending),
                working: count(PushLineState::Working),
                pushed: count(PushLineState::Pushed),
                would_push: count(PushLineState::WouldPush),
                unchanged: count(PushLineState::Unchanged),
                skipped: count(PushLineState::Skipped),
                held: count(PushLineState::Held),
                failed: count(PushLineState::Failed),
                unverified: count(PushLineState::Unverified),
                cancelled: count(PushLineState::Cancelled),
            },
            lines_per_minute: progress.lines_per_minute(),
            estimated_end_at: progress.estimated_end().map(|at| at.trunc_subsecs(0)),
            created_at: job.created_at.and_utc(),
            started_at: job.started_at.map(|at| at.and_utc()),
            finished_at: job.finished_at.map(|at| at.and_utc()),
        }
    }
}

/// What to push. An empty object pushes all enabled lines.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"dry_run": true}))]
pub struct CreatePushJobRequest {
    /// Whether to only compute what would be written, without writing it.
    #[serde(default)]
    pub dry_run: bool,
    /// The id of the product to push. The default is all products.
    pub product_id: Option<String>,
    /// The ids of the companies to push. The default is all companies.
    #[validate(length(min = 1, max = 5000))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_items = 1, max_items = 5000, nullable = false)]
    pub company_ids: Option<Vec<String>>,
    /// The ids of the billing lines to push. The default is all lines.
    #[validate(length(min = 1, max = 5000))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_items = 1, max_items = 5000, nullable = false)]
    pub billing_line_ids: Option<Vec<String>>,
    /// The month whose usage is billed, such as `2026-11`; not a future one. By default each product's `billing_period`
    /// decides, as in a scheduled push.
    pub billing_month: Option<BillingMonth>,
    /// Whether to push only lines that are out of date: a push would now write a different quantity than the last push
    /// for the same month.
    #[serde(default)]
    pub out_of_date: bool,
    /// The id of a dry run to push. The job writes the quantities that the dry run showed, and only where ConnectWise
    /// still has the quantity that the dry run found. The other members must be left out.
    pub from_dry_run: Option<String>,
}

impl CreatePushJobRequest {
    /// The dry run to push, if the request names one. Errors if another member is also set.
    fn dry_run_to_push(&self) -> crate::domain::Result<Option<PushJobId>> {
        let Some(id) = &self.from_dry_run else { return Ok(None) };
        let others = self.dry_run
            || self.out_of_date
            || self.product_id.is_some()
            || self.company_ids.is_some()
            || self.billing_line_ids.is_some()
            || self.billing_month.is_some();
        if others {
            let message = "leave out dry_run, product_id, company_ids, billing_line_ids, billing_month and out_of_date: \
                 the dry run has them";
            return Err(Error::invalid("/from_dry_run", FieldCode::Contradiction, message));
        }
        Ok(Some(PushJobId::from(id.clone())))
    }
}

impl From<CreatePushJobRequest> for NewPush {
    fn from(body: CreatePushJobRequest) -> Self {
        Self {
            kind: if body.dry_run { PushKind::DryRun } else { PushKind::Push },
            trigger: PushTrigger::Manual,
            product_id: body.product_id.map(ProductId::from),
            company_ids: body.company_ids.map(|ids| ids.into_iter().map(CompanyId::from).collect()),
            billing_line_ids: body.billing_line_ids.map(|ids| ids.into_iter().map(BillingLineId::from).collect()),
            out_of_date_only: body.out_of_date,
            months: BilledMonths::named_or_now(body.billing_month),
            parent: None,
        }
    }
}

/// The filter of the list of push jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushJobQuery {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this kind.
    pub kind: Option<PushKind>,
    /// Only jobs with a line of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only jobs with a line of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only jobs that were started in this way.
    pub trigger: Option<PushTrigger>,
    /// Only jobs created at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only jobs created before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only jobs with a line that bills this month.
    pub billing_month: Option<BillingMonth>,
    /// Only jobs that retry, revert or push the job with this id.
    #[param(max_length = 300)]
    pub parent_job_id: Option<String>,
}

impl ListFilter for PushJobQuery {
    type Sort = PushSort;
    const DEFAULT_SORT: &'static str = "-created_at";
}

/// Create a push job
///
/// Push now: creates a job with a push line for every billing line in its scope, including lines that cannot be pushed,
/// with the reason. Returns at once; workers write the quantities. Follow the job at the address in `Location`, or with
/// server-sent events at `/push-jobs/{id}/events`. Fails with 409 if no connection is set, or if the dry run in
/// `from_dry_run` has not completed or has nothing left to push. Send an `Idempotency-Key` so that repeating the
/// request does not create a second job.
#[utoipa::path(
    tag = "push jobs", request_body = CreatePushJobRequest, params(IdempotencyKeyParam),
    responses((status = 202, description = "The new push job; `Location` has its address", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs")]
pub async fn create_push_job(request: IdempotentRequest<CreatePushJobRequest>) -> ApiResult {
    let once = request.once(accepted)?;
    let new = match request.body.dry_run_to_push()? {
        Some(dry_run) => PushRequest::FromDryRun(dry_run),
        None => PushRequest::New(NewPush::from(request.body)),
    };
    Ok(from_stored(push::start(&request.ctx, &request.caller, new, once).await?))
}

/// Renders 202 with a push job that was created.
fn accepted(progress: Progress) -> crate::domain::Result<RenderedResponse> {
    let location = format!("/api/v1/push-jobs/{}", progress.job.id);
    to_stored(StatusCode::ACCEPTED, Some(location), &PushJob::from(&progress))
}

/// List push jobs
///
/// Returns one page of the push jobs with their progress, newest first by default.
#[utoipa::path(tag = "push jobs", params(ListQuery<PushJobQuery>), responses((status = 200, description = "A page of push jobs", body = List<PushJob>), Errors))]
#[get("/push-jobs")]
pub async fn list_push_jobs(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<PushJobQuery>) -> ApiResult {
    let (query, page) = query.for_list("push-jobs")?;
    let filter = JobFilter {
        state: query.state,
        kind: query.kind,
        product_id: query.product_id.map(ProductId::from),
        company_id: query.company_id.map(CompanyId::from),
        trigger: query.trigger,
        from: query.from.map(comparable),
        to: query.to.map(comparable),
        billing_month: query.billing_month,
        parent_job_id: query.parent_job_id.map(PushJobId::from),
    };
    let now = ctx.clock.now();
    let read = move |tx: &mut db::Tx<'_>| push::list(tx, &filter, &page, now);
    let rows = ctx.db.read(&caller.tenant, read).await?;
    Ok(page_of(&List::from_page(rows, |progress| PushJob::from(&progress))))
}

/// Get a push job
///
/// Returns the job with its progress. Use `/push-jobs/{id}/events` instead of polling.
#[utoipa::path(
    tag = "push jobs",
    params(("id" = String, Path, description = "The push job")),
    responses((status = 200, description = "The push job with its progress", body = PushJob), Errors)
)]
#[get("/push-jobs/{id}")]
pub async fn get_push_job(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let (id, now) = (PushJobId::from(id.into_inner()), ctx.clock.now());
    let progress = ctx.db.read(&caller.tenant, move |tx| push::progress(tx, &id, now)).await?;
    Ok(ok(&PushJob::from(&progress)))
}

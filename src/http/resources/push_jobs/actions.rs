//! `/push-jobs/{id}/…`: the actions on a push job: cancel, retry, revert, approve and drop.

use actix_web::{HttpResponse, post, web};
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::{PushJob, accepted};
use crate::domain::ids::{PushJobId, PushLineId};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::Idempotency;
use crate::http::kit::extract::json::{ValidatedJson, not_null};
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok};
use crate::services::AppContext;
use crate::services::push::{self, Decision, PushRequest};

/// Cancel a push job
///
/// Stops the job before its next line. Lines that were written stay written; the others, including held lines, become
/// `cancelled`. The returned job may still be running until its `working` lines are finished. Fails with 409 if the job
/// has ended.
#[utoipa::path(
    tag = "push jobs",
    params(("id" = String, Path, description = "The push job")),
    responses((status = 200, description = "The push job with its progress", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs/{id}/cancel")]
pub async fn cancel_push_job(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let progress = push::cancel(&ctx, &caller, PushJobId::from(id.into_inner())).await?;
    Ok(ok(&PushJob::from(&progress)))
}

/// Retry a push job
///
/// Creates a new job with the lines that failed or are unverified, for the same months. Their quantities are computed
/// again, except those of a revert or of a pushed dry run, which stay the same. Lines that a later job has pushed are
/// left out, and so are lines with the reason `changed_since`, which a person has to check. Fails with 409 if the job
/// has not ended or has nothing to retry.
#[utoipa::path(
    tag = "push jobs",
    params(("id" = String, Path, description = "The push job"), IdempotencyKeyParam),
    responses((status = 202, description = "The new push job; `Location` has its address", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs/{id}/retry")]
pub async fn retry_push_job(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    idempotency: Idempotency,
) -> ApiResult {
    let request = PushRequest::Retry(PushJobId::from(id.into_inner()));
    Ok(from_stored(push::start(&ctx, &caller, request, idempotency.once("", accepted)?).await?))
}

/// Revert a push job
///
/// Creates a new job that writes back the quantity that each pushed or unverified line had before, without approval. A
/// line is written only if ConnectWise still has the quantity that the job wrote; otherwise it fails with the reason
/// `changed_since`. Lines whose addition a later job has changed are left out. Fails with 409 if the job is a dry run,
/// has not ended or has nothing to revert.
#[utoipa::path(
    tag = "push jobs",
    params(("id" = String, Path, description = "The push job"), IdempotencyKeyParam),
    responses((status = 202, description = "The new push job; `Location` has its address", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs/{id}/revert")]
pub async fn revert_push_job(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    idempotency: Idempotency,
) -> ApiResult {
    let request = PushRequest::Revert(PushJobId::from(id.into_inner()));
    Ok(from_stored(push::start(&ctx, &caller, request, idempotency.once("", accepted)?).await?))
}

/// The held lines to approve or drop. An empty object means all of them.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"push_line_ids": ["0193f0a0-0000-7000-8000-000000000003"]}))]
pub struct HeldLinesRequest {
    /// The ids of the push lines. The default is all held lines of the job.
    #[validate(length(min = 1, max = 5000))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_items = 1, max_items = 5000, nullable = false)]
    pub push_line_ids: Option<Vec<String>>,
}

/// Approve held lines
///
/// Lets workers write the held lines; the job continues. The approval covers only the change and the reason that were
/// shown: if the quantity in ConnectWise has changed or an invoice was created since, the line may be held again. Fails
/// with 422 if an id is not a held line of the job, and with 409 if no line is held or the job was cancelled or failed.
#[utoipa::path(
    tag = "push jobs", request_body = HeldLinesRequest, params(("id" = String, Path, description = "The push job")),
    responses((status = 200, description = "The push job with its progress", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs/{id}/lines/approve")]
pub async fn approve_push_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    body: ValidatedJson<HeldLinesRequest>,
) -> ApiResult {
    decide(&ctx, &caller, id.into_inner(), body.value, Decision::Approve).await
}

/// Drop held lines
///
/// Writes nothing for the held lines: they become `skipped` with the reason `dropped`. If no other line remains, the
/// job ends. Fails with 422 if an id is not a held line of the job, and with 409 if no line is held.
#[utoipa::path(
    tag = "push jobs", request_body = HeldLinesRequest, params(("id" = String, Path, description = "The push job")),
    responses((status = 200, description = "The push job with its progress", body = PushJob), Errors, WriteErrors)
)]
#[post("/push-jobs/{id}/lines/drop")]
pub async fn drop_push_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    body: ValidatedJson<HeldLinesRequest>,
) -> ApiResult {
    decide(&ctx, &caller, id.into_inner(), body.value, Decision::Drop).await
}

async fn decide(
    ctx: &AppContext,
    caller: &Caller,
    id: String,
    held: HeldLinesRequest,
    decision: Decision,
) -> ApiResult<HttpResponse> {
    let lines = held.push_line_ids.map(|ids| ids.into_iter().map(PushLineId::from).collect::<Vec<_>>());
    let progress = push::decide(ctx, caller, PushJobId::from(id), lines, decision).await?;
    Ok(ok(&PushJob::from(&progress)))
}

//! `/companies/batch`: creates, renames and deletes many companies at once.

use actix_web::http::StatusCode;
use actix_web::post;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::CompanyRequest;
use crate::domain::Result;
use crate::http::kit::extract::body_limits::LARGEST_BODY;
use crate::http::kit::extract::idempotent::IdempotentRequest;
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, ProblemField, WriteErrors};
use crate::http::kit::response::{from_stored, to_stored};
use crate::services::companies::NewCompany;
use crate::services::companies::batch::{self, BatchOutcome, BatchResult};
use crate::services::idempotency::RenderedResponse;
use crate::services::mappings::line_edit::BulkMode;

/// Companies to create or rename.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"companies": [
    {"external_id": "C-2001", "name": "Harbor Dental Group"}, {"external_id": "C-2002", "name": "Ridge Law"}
]}))]
pub struct CompanyBatchRequest {
    /// What happens to the other companies if one is rejected. The default is `all_or_nothing`.
    #[serde(default = "BulkMode::all_or_nothing")]
    #[schema(default = "all_or_nothing")]
    pub mode: BulkMode,
    /// The companies, at most 10,000, each with its own external id.
    #[validate(length(min = 1, max = 10000), nested)]
    #[schema(min_items = 1, max_items = 10000)]
    pub companies: Vec<CompanyRequest>,
}

/// Companies to delete.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "each", "external_ids": ["C-2001", "C-2002"]}))]
pub struct DeleteCompaniesRequest {
    /// What happens to the other companies if one is rejected. The default is `all_or_nothing`.
    #[serde(default = "BulkMode::all_or_nothing")]
    #[schema(default = "all_or_nothing")]
    pub mode: BulkMode,
    /// The vendor's own ids of the companies, at most 10,000.
    #[validate(length(min = 1, max = 10000))]
    #[schema(min_items = 1, max_items = 10000)]
    pub external_ids: Vec<String>,
}

/// The result of a batch for one company.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompanyBatchItem {
    /// The vendor's own id of the company.
    pub external_id: String,
    /// The company's id; null if it was rejected.
    #[schema(required)]
    pub id: Option<String>,
    /// What was done.
    pub outcome: BatchOutcome,
    /// Why it was rejected; null if it was not.
    #[schema(required)]
    pub error: Option<ProblemField>,
}

/// The result of a batch of companies.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct CompanyBatchResponse {
    /// The number of new companies.
    pub created: usize,
    /// The number of companies with a new name.
    pub updated: usize,
    /// The number of companies that had the name already.
    pub unchanged: usize,
    /// The number of companies that were deleted.
    pub deleted: usize,
    /// The number of companies that were rejected.
    pub rejected: usize,
    /// The outcome of each company, in the order of the request.
    pub items: Vec<CompanyBatchItem>,
}

impl CompanyBatchResponse {
    fn new(external_ids: Vec<String>, result: BatchResult) -> Self {
        let mut response = Self::default();
        for (external_id, result) in external_ids.into_iter().zip(result) {
            let (id, outcome, error) = match result {
                Ok((id, outcome)) => (Some(id.to_string()), outcome, None),
                Err(error) => (None, BatchOutcome::Rejected, Some(error.into())),
            };
            *match outcome {
                BatchOutcome::Created => &mut response.created,
                BatchOutcome::Updated => &mut response.updated,
                BatchOutcome::Unchanged => &mut response.unchanged,
                BatchOutcome::Deleted => &mut response.deleted,
                BatchOutcome::Rejected => &mut response.rejected,
            } += 1;
            response.items.push(CompanyBatchItem { external_id, id, outcome, error });
        }
        response
    }

    fn stored(&self) -> Result<RenderedResponse> {
        to_stored(StatusCode::OK, None, self)
    }
}

/// Create or rename many companies
///
/// Creates the companies whose external ids are new, each with a billing line for every product, and renames the
/// others. Matches stay as they are. Up to 10,000 companies. Repeating the request changes nothing.
#[utoipa::path(
    tag = "companies", request_body = CompanyBatchRequest, params(IdempotencyKeyParam),
    responses((status = 200, description = "The outcome of each company", body = CompanyBatchResponse), Errors, WriteErrors)
)]
#[post("/companies/batch")]
pub async fn upsert_companies(request: IdempotentRequest<CompanyBatchRequest, LARGEST_BODY>) -> ApiResult {
    let ids: Vec<String> = request.body.companies.iter().map(|company| company.external_id.clone()).collect();
    let once = request.once(move |result: BatchResult| CompanyBatchResponse::new(ids, result).stored())?;
    let CompanyBatchRequest { mode, companies } = request.body;
    let new = companies.into_iter().map(|one| NewCompany { external_id: one.external_id, name: one.name }).collect();
    Ok(from_stored(batch::upsert(&request.ctx, &request.caller, new, mode, once).await?))
}

/// Delete many companies
///
/// Deletes up to 10,000 companies with their billing lines and usage. The history of their pushes is kept. Fails with
/// 409 while any push job is queued or running.
#[utoipa::path(
    tag = "companies", request_body = DeleteCompaniesRequest, params(IdempotencyKeyParam),
    responses((status = 200, description = "The outcome of each company", body = CompanyBatchResponse), Errors, WriteErrors)
)]
#[post("/companies/batch-delete")]
pub async fn delete_companies(request: IdempotentRequest<DeleteCompaniesRequest, LARGEST_BODY>) -> ApiResult {
    let ids = request.body.external_ids.clone();
    let once = request.once(move |result: BatchResult| CompanyBatchResponse::new(ids, result).stored())?;
    let DeleteCompaniesRequest { mode, external_ids } = request.body;
    Ok(from_stored(batch::delete(&request.ctx, &request.caller, external_ids, mode, once).await?))
}

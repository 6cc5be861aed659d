//! `/billing-lines/summary`: the number of each product's billing lines in each state.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::ProductId;
use crate::domain::line_need::LineNeed;
use crate::domain::push::PushLineState;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::ok;
use crate::http::views::mappings::MappingStatusCounts;
use crate::services::AppContext;
use crate::services::mappings::summary::{self, ProductSummary};

/// The query parameters of the summary.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// Only the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
}

/// The number of lines with a given state in their last push.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastPushCount {
    /// The state of these lines in their last push.
    pub state: PushLineState,
    /// The number of lines.
    pub lines: i64,
}

/// The number of lines that need the same action.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineNeedCount {
    /// The action that a person must take.
    pub need: LineNeed,
    /// What these lines have in common and what to do, as a sentence.
    pub explanation: &'static str,
    /// The number of lines: the list's filter `need` selects the same ones.
    pub lines: i64,
}

/// The number of billing lines of a product in each state.
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingLineSummary {
    /// The product's id.
    pub product_id: String,
    /// The product's code.
    pub product_code: String,
    /// The product's name.
    pub product_name: String,
    /// The number of lines: one for each company.
    pub lines: i64,
    /// The number of lines that pushes write.
    pub push_enabled: i64,
    /// The number of lines that the filter `needs_attention` of the list selects.
    pub needs_attention: i64,
    /// The number of these lines by the action that they need, in the order in which to take the actions. Actions that
    /// no line needs are left out.
    pub needs: Vec<LineNeedCount>,
    /// The number of lines by the status of their agreement mapping.
    pub agreements: MappingStatusCounts,
    /// The number of lines by the status of their addition mapping.
    pub additions: MappingStatusCounts,
    /// The number of lines by the state of their last push, without lines that were never pushed.
    pub last_pushes: Vec<LastPushCount>,
}

impl From<ProductSummary> for BillingLineSummary {
    fn from(summary: ProductSummary) -> Self {
        Self {
            product_id: summary.product.id.to_string(),
            product_code: summary.product.code,
            product_name: summary.product.name,
            lines: summary.lines,
            push_enabled: summary.enabled,
            needs_attention: summary.needs_attention,
            needs: summary
                .needs
                .into_iter()
                .map(|(need, lines)| LineNeedCount { need, explanation: need.explain(), lines })
                .collect(),
            agreements: summary.agreements.into(),
            additions: summary.additions.into(),
            last_pushes: summary.last_pushes.into_iter().map(|(state, lines)| LastPushCount { state, lines }).collect(),
        }
    }
}

/// Summarize billing lines
///
/// Returns, for each product, the number of its billing lines, how many of them need attention, and the states of their
/// mappings and last pushes, sorted by the product's name.
#[utoipa::path(tag = "billing lines", params(SummaryQuery), responses((status = 200, description = "The summary of each product", body = List<BillingLineSummary>), Errors))]
#[get("/billing-lines/summary")]
pub async fn summarize_billing_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: StrictQuery<SummaryQuery>,
) -> ApiResult {
    let product = query.0.product_id.map(ProductId::from);
    let rows = ctx.db.read(&caller.tenant, move |tx| summary::load(tx, product.as_ref())).await?;
    Ok(ok(&List::whole(rows.into_iter().map(BillingLineSummary::from).collect())))
}

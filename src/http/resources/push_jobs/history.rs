//! `/push-lines` and `/export/push-lines`: the billing history of companies and products, across push jobs.

use actix_web::{get, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::lines::PushLine;
use crate::db::{self, ListName, PageRequest, PushLineFilter, PushSort};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushJobId};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::push::{PushLineState, PushReason};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::csv_writer::{TablePage, stream_table};
use crate::http::kit::extract::formula::escape_formula;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::extract::table_query::TableQuery;
use crate::http::kit::list::{List, comparable};
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::page_of;
use crate::services::AppContext;

/// The push job of a line.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushLineJob {
    /// The push job's id.
    pub id: String,
    /// Whether the job writes, or is a dry run.
    pub kind: PushKind,
    /// What started the job.
    pub trigger: PushTrigger,
    /// Who requested the job: the name of an API key, or `schedule`.
    pub requested_by: String,
    /// When the job was created.
    pub created_at: DateTime<Utc>,
}

/// A push line with its push job.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushLineInJob {
    /// The push line.
    #[serde(flatten)]
    pub line: PushLine,
    /// The push job that the line belongs to.
    pub push_job: PushLineJob,
}

impl From<(db::PushLine, db::PushJob)> for PushLineInJob {
    fn from((line, job): (db::PushLine, db::PushJob)) -> Self {
        let line = PushLine::from((line, &job));
        let push_job = PushLineJob {
            id: job.id.to_string(),
            kind: job.kind,
            trigger: job.trigger,
            requested_by: job.requested_by,
            created_at: job.created_at.and_utc(),
        };
        Self { line, push_job }
    }
}

/// The filter of push lines of all jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Only lines of the push job with this id.
    #[param(max_length = 300)]
    pub push_job_id: Option<String>,
    /// Only lines of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only lines of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only lines of the billing line with this id.
    #[param(max_length = 300)]
    pub billing_line_id: Option<String>,
    /// Only lines in this state, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<PushLineState>)]
    pub state: Values<PushLineState>,
    /// Only lines with this reason for being skipped, held, failed or unverified, or one of these.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<PushReason>)]
    pub reason: Values<PushReason>,
    /// Only lines that bill this month, such as `2026-11`.
    pub billing_month: Option<BillingMonth>,
    /// Only lines of jobs of this kind.
    pub kind: Option<PushKind>,
    /// Only lines of jobs created at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only lines of jobs created before this time.
    pub to: Option<DateTime<Utc>>,
}

impl HistoryQuery {
    fn filter(self) -> PushLineFilter {
        PushLineFilter {
            job_id: self.push_job_id.map(PushJobId::from),
            states: self.state.0,
            reasons: self.reason.0,
            company_id: self.company_id.map(CompanyId::from),
            product_id: self.product_id.map(ProductId::from),
            billing_line_id: self.billing_line_id.map(BillingLineId::from),
            billing_month: self.billing_month,
            kind: self.kind,
            from: self.from.map(comparable),
            to: self.to.map(comparable),
        }
    }
}

impl ListFilter for HistoryQuery {
    type Sort = PushSort;
    const DEFAULT_SORT: &'static str = "-created_at";
}

/// List push lines of all jobs
///
/// Returns one page of the billing history: the push lines of all jobs with their job, newest first by default. Filter
/// by company or product for their history.
#[utoipa::path(
    tag = "push jobs",
    params(ListQuery<HistoryQuery>),
    responses((status = 200, description = "A page of push lines with their jobs", body = List<PushLineInJob>), Errors)
)]
#[get("/push-lines")]
pub async fn list_push_history(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<HistoryQuery>,
) -> ApiResult {
    let (query, page) = query.for_list("push-lines")?;
    let filter = query.filter();
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.push_lines(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, PushLineInJob::from)))
}

/// Export push lines
///
/// Returns the push lines that match the filters as CSV, oldest first. Text that looks like a formula gets an
/// apostrophe.
#[utoipa::path(
    tag = "import and export",
    params(TableQuery<HistoryQuery>),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table of push lines"), Errors)
)]
#[get("/export/push-lines")]
pub async fn export_push_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: TableQuery<HistoryQuery>,
) -> ApiResult {
    let (ctx, tenant, filter) = (ctx.into_inner(), caller.tenant.clone(), query.filter.filter());
    let page = move |cursor: Option<String>| {
        let (ctx, tenant, filter) = (ctx.clone(), tenant.clone(), filter.clone());
        async move {
            let list = ListName { name: "push-lines", filter: 0 };
            let request = PageRequest::parse(list, Some(500), cursor.as_deref(), "created_at")?;
            let rows = ctx.db.read(&tenant, move |tx| tx.push_lines(&filter, &request)).await?;
            let next = rows.next.map(|next| next.encode());
            Ok(TablePage { rows: rows.items.iter().map(|(line, job)| cells(line, job).into()).collect(), next })
        }
    };
    Ok(stream_table("push-lines.csv", &HEADER, query.bom, page).await?)
}

const HEADER: [&str; 26] = [
    "push_job_id",
    "billing_month",
    "month_closed",
    "kind",
    "trigger",
    "requested_by",
    "company_id",
    "company_name",
    "product_code",
    "agreement_id",
    "agreement_name",
    "addition_id",
    "addition_name",
    "usage",
    "usage_through",
    "usage_records",
    "block_size",
    "adjustment",
    "minimum_quantity",
    "included_quantity",
    "from",
    "to",
    "state",
    "reason",
    "detail",
    "finished_at",
];

fn cells(line: &db::PushLine, job: &db::PushJob) -> [String; 26] {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    let time = |at: Option<chrono::NaiveDateTime>| {
        at.map(|at| at.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true)).unwrap_or_default()
    };
    [
        job.id.to_string(),
        line.billing_month.unwrap_or(job.billing_month).to_string(),
        text(line.month_closed.as_ref()),
        job.kind.to_string(),
        job.trigger.to_string(),
        escape_formula(&job.requested_by),
        line.company_id.to_string(),
        escape_formula(&line.company_name),
        escape_formula(&line.product_code),
        text(line.agreement_id.as_ref()),
        escape_formula(&text(line.agreement_name.as_ref())),
        text(line.addition_id.as_ref()),
        escape_formula(&text(line.addition_name.as_ref())),
        text(line.usage_amount.as_ref()),
        time(line.usage_through),
        text(line.usage_records.as_ref()),
        text(line.block_size.as_ref()),
        text(line.adjustment.as_ref().map(|adjustment| adjustment.amount).as_ref()),
        text(line.minimum_quantity.as_ref()),
        text(line.included_quantity.as_ref()),
        text(line.from_quantity.as_ref()),
        text(line.to_quantity.as_ref()),
        line.state.to_string(),
        text(line.reason.as_ref()),
        escape_formula(&text(line.detail.as_ref())),
        time(line.finished_at.filter(|_| line.state.is_final())),
    ]
}

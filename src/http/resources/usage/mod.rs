//! `/usage`: adds usage records and lists them.

mod body;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db::{self, UsageFilter, UsageSort};
use crate::domain::Error;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::quantity::Amount;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::Idempotency;
use crate::http::kit::extract::query::{ListFilter, ListQuery, StrictQuery};
use crate::http::kit::extract::records::RecordsBody;
use crate::http::kit::list::{List, comparable};
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, page_of, to_stored};
use crate::services::AppContext;
use crate::services::usage;
use body::{AddUsageRequest, Records, UsageTableQuery};

/// The result of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddUsageResponse {
    /// The number of records in the batch.
    pub records: usize,
    /// The number of new records.
    pub added: usize,
    /// The number of records that were stored earlier with the same amount. They change nothing.
    pub duplicates: usize,
    /// The number of records that were stored earlier with another amount. They correct it.
    pub corrected: usize,
    /// The number of new and correcting records that arrived after a push had computed the quantity of their month,
    /// company and product. They are billed only if that month is pushed again; with the aggregation `last`, the newest
    /// record also counts in later months.
    pub late: usize,
}

/// Add usage
///
/// Stores a batch of up to 10,000 usage records. A record is identified by company, product, `measured_at` and
/// `source`: sent again with the same amount, it changes nothing; with another amount, it corrects the stored record.
/// So a batch can be repeated safely. If a record is invalid, none is stored, and the 422 lists the invalid records.
///
/// Send the records as one JSON object, as a JSON object on each line (NDJSON), or as a CSV table with a header row. A
/// table may be a vendor's own: name its columns in the query; other columns are ignored. In a table, a day such as
/// `2026-11-21` means its start in the tenant's time zone. In NDJSON and CSV, `/7/amount` is the amount on line 7.
#[utoipa::path(
    tag = "usage",
    request_body(content(
        (AddUsageRequest = "application/json"),
        (String = "application/x-ndjson", example = "{\"company_external_id\": \"C-1001\", \"product_code\": \"STORAGE\", \"amount\": \"250.5\", \"measured_at\": \"2026-11-21T00:00:00Z\"}\n"),
        (String = "text/csv", example = "company_external_id,product_code,amount,measured_at\r\nC-1001,STORAGE,250.5,2026-11-21\r\n"),
    )),
    params(UsageTableQuery, IdempotencyKeyParam),
    responses((status = 200, description = "The numbers of new, duplicate, correcting and late records", body = AddUsageResponse), Errors, WriteErrors)
)]
#[post("/usage")]
pub async fn add_usage(
    req: HttpRequest,
    ctx: web::Data<AppContext>,
    caller: Caller,
    idempotency: Idempotency,
    table: StrictQuery<UsageTableQuery>,
    body: RecordsBody,
) -> ApiResult {
    let hash = body.hash(req.query_string());
    // A large body would block the threads that serve requests.
    let records = web::block(move || Records::read(&body, &table.0)).await.map_err(Error::internal)??;
    let count = records.len();
    let once = idempotency.once(&hash, move |accepted| {
        let usage::UsageCounts { added, duplicates, corrected, late } = accepted;
        to_stored(StatusCode::OK, None, &AddUsageResponse { records: count, added, duplicates, corrected, late })
    })?;
    Ok(from_stored(usage::add(&ctx, &caller, records.into_new(), once).await?))
}

/// A usage record.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageRecord {
    /// The usage record's id.
    pub id: String,
    /// The company's id.
    pub company_id: String,
    /// The product's id.
    pub product_id: String,
    /// The measured amount, in the product's unit.
    pub amount: Amount,
    /// When the amount was measured.
    pub measured_at: DateTime<Utc>,
    /// The meter or report that the record comes from.
    pub source: String,
    /// When the service received the record.
    pub received_at: DateTime<Utc>,
    /// The id of the later record that corrects this one; null if none does.
    #[schema(required)]
    pub superseded_by: Option<String>,
    /// Whether the record arrived after a push had computed the quantity of its month, company and product.
    pub late: bool,
}

impl From<db::UsageRecord> for UsageRecord {
    fn from(row: db::UsageRecord) -> Self {
        Self {
            id: row.id.to_string(),
            company_id: row.company_id.to_string(),
            product_id: row.product_id.to_string(),
            amount: row.amount,
            measured_at: row.measured_at.and_utc(),
            source: row.source,
            received_at: row.received_at.and_utc(),
            superseded_by: row.superseded_by.map(|id| id.to_string()),
            late: row.late,
        }
    }
}

/// The filter of the list of usage records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Only records of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only records of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only records measured at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only records measured before this time.
    pub to: Option<DateTime<Utc>>,
    /// Whether to leave out records that a later record corrects.
    #[serde(default)]
    pub current_only: bool,
    /// Only records that arrived after a push had computed the quantity of their month (`true`), or only the others
    /// (`false`).
    pub late: Option<bool>,
}

impl ListFilter for UsageQuery {
    type Sort = UsageSort;
    const DEFAULT_SORT: &'static str = "received_at";
}

/// List usage records
///
/// Returns one page of the usage records, in the order of arrival by default. Includes records that a later one
/// corrects, unless `current_only` is true.
#[utoipa::path(tag = "usage", params(ListQuery<UsageQuery>), responses((status = 200, description = "A page of usage records", body = List<UsageRecord>), Errors))]
#[get("/usage")]
pub async fn list_usage(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<UsageQuery>) -> ApiResult {
    let (query, page) = query.for_list("usage")?;
    let filter = UsageFilter {
        company_id: query.company_id.map(CompanyId::from),
        product_id: query.product_id.map(ProductId::from),
        from: query.from.map(comparable),
        to: query.to.map(comparable),
        current_only: query.current_only,
        late: query.late,
    };
    let rows = ctx.db.query(&caller.tenant, move |tx| tx.usage(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, UsageRecord::from)))
}

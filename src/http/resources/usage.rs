//! `/usage`: adds usage records and lists them.

use actix_web::http::StatusCode;
use actix_web::{get, post, web};
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{self, UsageFilter, UsageSort};
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::quantity::Amount;
use crate::domain::{Error, FieldError, Result};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::body_limits::LARGEST_BODY;
use crate::http::kit::extract::headers::Idempotency;
use crate::http::kit::extract::json::{ValidatedJson, plain_text};
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::{List, comparable};
use crate::http::kit::params::IdempotencyKeyParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok, to_stored};
use crate::services::AppContext;
use crate::services::usage::{self, EntityRef, MAX_BATCH, NewUsage};

/// A batch of usage records. Either all of them are stored, or none.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"records": [{
    "company_external_id": "C-1001", "product_code": "STORAGE", "amount": "250.5",
    "measured_at": "2026-11-21T00:00:00Z", "source": "nightly"
}]}))]
pub struct AddUsageRequest {
    /// The records, at most 10,000.
    #[validate(length(min = 1, max = 10000), nested)]
    #[schema(min_items = 1, max_items = 10000)]
    pub records: Vec<NewUsageRecord>,
}

/// A measured amount.
#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUsageRecord {
    /// The company's id. Send either this or `company_external_id`.
    pub company_id: Option<String>,
    /// The vendor's own id for the company. Send either this or `company_id`.
    pub company_external_id: Option<String>,
    /// The product's id. Send either this or `product_code`.
    pub product_id: Option<String>,
    /// The vendor's own code for the product. Send either this or `product_id`.
    pub product_code: Option<String>,
    /// The measured amount, in the product's unit.
    pub amount: Amount,
    /// When the amount was measured, to the microsecond: from February 2000 to one day in the future. It decides the
    /// billing month.
    pub measured_at: DateTime<Utc>,
    /// The meter or report that the record comes from. If several records of a company and product have the same time,
    /// the aggregation `last` takes the one whose source sorts last.
    #[serde(default = "api")]
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100, default = "api")]
    pub source: String,
}

fn api() -> String {
    "api".to_owned()
}

fn one_of(id: Option<String>, vendor: Option<String>, at: &str, names: (&str, &str)) -> Result<EntityRef, FieldError> {
    match (id, vendor) {
        (Some(id), None) => Ok(EntityRef::Id(id)),
        (None, Some(id)) => Ok(EntityRef::Vendor(id)),
        _ => {
            let message = format!("send either {} or {}", names.0, names.1);
            Err(FieldError::new(format!("{at}/{}", names.0), "required", message))
        }
    }
}

impl NewUsageRecord {
    fn into_new(self, index: usize) -> Result<NewUsage, FieldError> {
        let at = format!("/records/{index}");
        if self.measured_at.timestamp_subsec_nanos() >= 1_000_000_000 {
            let message = "must not be a leap second; send the second after it";
            return Err(FieldError::new(format!("{at}/measured_at"), "out_of_range", message));
        }
        Ok(NewUsage {
            company: one_of(self.company_id, self.company_external_id, &at, ("company_id", "company_external_id"))?,
            product: one_of(self.product_id, self.product_code, &at, ("product_id", "product_code"))?,
            amount: self.amount,
            measured_at: self.measured_at.trunc_subsecs(6),
            source: self.source,
        })
    }
}

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
/// Stores a batch of usage records. A record is identified by company, product, `measured_at` and `source`: sent again
/// with the same amount it changes nothing, with another amount it corrects the stored record. So a batch can be
/// repeated safely. If a record is invalid, none is stored, and the 422 lists the invalid records.
#[utoipa::path(
    tag = "usage",
    request_body = AddUsageRequest,
    params(IdempotencyKeyParam),
    responses((status = 200, description = "The number of records that are new, duplicate, correcting and late", body = AddUsageResponse), Errors, WriteErrors)
)]
#[post("/usage")]
pub async fn add_usage(
    ctx: web::Data<AppContext>,
    caller: Caller,
    idempotency: Idempotency,
    body: ValidatedJson<AddUsageRequest, LARGEST_BODY>,
) -> ApiResult {
    let records = body.value.records.len().min(MAX_BATCH);
    let once = idempotency.once(&body.hash, move |accepted| {
        let usage::Accepted { added, duplicates, corrected, late } = accepted;
        to_stored(StatusCode::OK, None, &AddUsageResponse { records, added, duplicates, corrected, late })
    })?;
    let (mut batch, mut bad) = (Vec::with_capacity(records), Vec::new());
    for (index, record) in body.value.records.into_iter().enumerate() {
        record.into_new(index).map_or_else(|error| bad.push(error), |new| batch.push(new));
    }
    if !bad.is_empty() {
        return Err(Error::Invalid(bad).into());
    }
    Ok(from_stored(usage::add(&ctx, &caller, batch, once).await?))
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
    Ok(ok(&List::from_page(rows, UsageRecord::from)))
}

//! `/products`: what the vendor bills.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{self, ProductFilter, ProductSort};
use crate::domain::change_guard::ChangeGuard;
use crate::domain::ids::ProductId;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize};
use crate::domain::usage::DEFAULT_MAX_USAGE_AGE_DAYS;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::{Idempotency, IfMatchHeader};
use crate::http::kit::extract::json::{ValidatedJson, double_option, not_null, plain_text};
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::params::{IdempotencyKeyParam, IfMatchParam};
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok, to_stored, with_etag};
use crate::http::views::mapping::ResolveResponse;
use crate::services::AppContext;
use crate::services::products::{self, NewProduct, ProductChange};

/// A product that the vendor bills.
#[derive(Debug, Serialize, ToSchema)]
pub struct Product {
    /// The product's id.
    pub id: String,
    /// The vendor's code for the product, unique within the tenant.
    pub code: String,
    /// The product's name.
    pub name: String,
    /// The unit of measured usage, such as `GB`.
    pub unit: String,
    /// The amount of usage that makes one billed unit. A billing line can have its own.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// How the usage records of a month become one amount.
    pub aggregation: Aggregation,
    /// The month that a push bills: the current one, or the one before it.
    pub billing_period: BillingPeriod,
    /// Only for the aggregation `last`: the newest record does not count if it is older than this many days.
    pub max_usage_age_days: i64,
    /// The largest change, in percent, that a push makes without approval; null means no limit.
    #[schema(required)]
    pub max_change_percent: Option<Amount>,
    /// The largest change, in units of the quantity, that a push makes without approval; null means no limit.
    #[schema(required)]
    pub max_change_units: Option<Amount>,
    /// The version. It increases with every change and equals the `ETag`.
    pub version: i64,
    /// When the product was created.
    pub created_at: DateTime<Utc>,
    /// When the product was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<db::Product> for Product {
    fn from(row: db::Product) -> Self {
        Self {
            billing_period: row.billing_period(),
            max_usage_age_days: row.max_usage_age_days,
            id: row.id.to_string(),
            code: row.code,
            name: row.name,
            unit: row.unit,
            block_size: row.block_size,
            rounding: row.rounding,
            aggregation: row.aggregation,
            max_change_percent: row.max_change_percent,
            max_change_units: row.max_change_units,
            version: row.version,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
        }
    }
}

/// A product to create, or the new content of one.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "STORAGE", "name": "Backup storage", "unit": "GB", "block_size": "100"}))]
pub struct ProductRequest {
    /// The vendor's code for the product, unique within the tenant.
    #[validate(length(min = 1, max = 60), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 60)]
    pub code: String,
    /// The product's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// The unit of measured usage, such as `GB` or `account`.
    #[validate(length(min = 1, max = 30), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 30)]
    pub unit: String,
    /// The amount of usage that makes one billed unit. `1` bills each unit of usage.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded. The default is `ceil`.
    #[serde(default = "up")]
    #[schema(default = "ceil")]
    pub rounding: Rounding,
    /// How the usage records of a month become one amount. The default is `last`, the newest record.
    #[serde(default = "newest")]
    #[schema(default = "last")]
    pub aggregation: Aggregation,
    /// The month that a push bills. The default, and null, is `current` for the aggregation `last`, else `previous`.
    pub billing_period: Option<BillingPeriod>,
    /// Only for the aggregation `last`: the newest record does not count if it is older than this many days.
    #[serde(default = "usual_age")]
    #[validate(range(min = 1, max = 366))]
    #[schema(minimum = 1, maximum = 366, default = 35)]
    pub max_usage_age_days: i64,
    /// The largest change of a quantity that a push makes without approval, in percent of the quantity in ConnectWise.
    /// A larger change is held until a person approves or drops it. From 0, every change is larger. Null means no
    /// limit.
    pub max_change_percent: Option<Amount>,
    /// The largest change of a quantity that a push makes without approval, in units of the quantity. Null means no
    /// limit.
    pub max_change_units: Option<Amount>,
}

fn up() -> Rounding {
    Rounding::Ceil
}

fn newest() -> Aggregation {
    Aggregation::Last
}

fn usual_age() -> i64 {
    DEFAULT_MAX_USAGE_AGE_DAYS
}

/// The changes to a product. A member that is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"block_size": "50"}))]
pub struct UpdateProductRequest {
    /// The vendor's code for the product, unique within the tenant.
    #[validate(length(min = 1, max = 60), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 60, nullable = false)]
    pub code: Option<String>,
    /// The product's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    pub name: Option<String>,
    /// The unit of measured usage.
    #[validate(length(min = 1, max = 30), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 30, nullable = false)]
    pub unit: Option<String>,
    /// The amount of usage that makes one billed unit.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub block_size: Option<BlockSize>,
    /// How a fraction of a block is rounded.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub rounding: Option<Rounding>,
    /// How the usage records of a month become one amount.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub aggregation: Option<Aggregation>,
    /// The month that a push bills. Null means the default of the aggregation.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<BillingPeriod>)]
    pub billing_period: Option<Option<BillingPeriod>>,
    /// Only for the aggregation `last`: the newest record does not count if it is older than this many days.
    #[serde(default, deserialize_with = "not_null")]
    #[validate(range(min = 1, max = 366))]
    #[schema(minimum = 1, maximum = 366, nullable = false)]
    pub max_usage_age_days: Option<i64>,
    /// The largest change, in percent, that a push makes without approval; null means no limit.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Amount>)]
    pub max_change_percent: Option<Option<Amount>>,
    /// The largest change, in units of the quantity, that a push makes without approval; null means no limit.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Amount>)]
    pub max_change_units: Option<Option<Amount>>,
}

/// The filter of the list of products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductQuery {
    /// Only those whose name contains this text, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only the product with this code.
    #[param(max_length = 300)]
    pub code: Option<String>,
}

impl ListFilter for ProductQuery {
    type Sort = ProductSort;
    const DEFAULT_SORT: &'static str = "name";
}

/// List products
///
/// Returns one page, sorted by name unless `sort` says otherwise.
#[utoipa::path(tag = "products", params(ListQuery<ProductQuery>), responses((status = 200, description = "A page of products", body = List<Product>), Errors))]
#[get("/products")]
pub async fn list_products(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<ProductQuery>) -> ApiResult {
    let (query, page) = query.of("products")?;
    let filter = ProductFilter { search: query.search, code: query.code };
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.products(&filter, &page)).await?;
    Ok(ok(&List::from_page(rows, Product::from)))
}

/// Create a product
///
/// Every company gets a billing line for it. Pushing is off for new lines.
#[utoipa::path(
    tag = "products",
    request_body = ProductRequest,
    params(IdempotencyKeyParam),
    responses((status = 201, description = "The new product; `Location` has its address", body = Product), Errors, WriteErrors)
)]
#[post("/products")]
pub async fn create_product(
    ctx: web::Data<AppContext>,
    caller: Caller,
    idempotency: Idempotency,
    body: ValidatedJson<ProductRequest>,
) -> ApiResult {
    let once = idempotency.once(&body.hash, |product: db::Product| {
        let location = format!("/api/v1/products/{}", product.id);
        to_stored(StatusCode::CREATED, Some(location), &Product::from(product))
    })?;
    let new = NewProduct {
        code: body.value.code,
        name: body.value.name,
        unit: body.value.unit,
        block_size: body.value.block_size,
        rounding: body.value.rounding,
        aggregation: body.value.aggregation,
        guard: ChangeGuard { percent: body.value.max_change_percent, units: body.value.max_change_units },
        billing_period: body.value.billing_period,
        max_usage_age_days: body.value.max_usage_age_days,
    };
    Ok(from_stored(products::create(&ctx, &caller, new, once).await?))
}

/// Get a product
///
/// Returns the product with its version as `ETag`.
#[utoipa::path(
    tag = "products",
    params(("id" = String, Path, description = "The product")),
    responses((status = 200, description = "The product", body = Product), Errors)
)]
#[get("/products/{id}")]
pub async fn get_product(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = ProductId::from(id.into_inner());
    let row = ctx.db.read(&caller.tenant, move |tx| tx.product(&id)).await?;
    Ok(with_etag(row.version, &Product::from(row)))
}

/// Replace a product
///
/// Replaces every setting. Quantities that depend on them change with the next push, not before.
#[utoipa::path(
    tag = "products",
    request_body = ProductRequest,
    params(("id" = String, Path, description = "The product"), IfMatchParam),
    responses((status = 200, description = "The product", body = Product), Errors, WriteErrors)
)]
#[put("/products/{id}")]
pub async fn replace_product(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<ProductRequest>,
) -> ApiResult {
    let change = ProductChange {
        code: Some(body.value.code),
        name: Some(body.value.name),
        unit: Some(body.value.unit),
        block_size: Some(body.value.block_size),
        rounding: Some(body.value.rounding),
        aggregation: Some(body.value.aggregation),
        max_change_percent: Some(body.value.max_change_percent),
        max_change_units: Some(body.value.max_change_units),
        billing_period: Some(body.value.billing_period),
        max_usage_age_days: Some(body.value.max_usage_age_days),
    };
    change_product(&ctx, &caller, id.into_inner(), change, if_match).await
}

/// Update a product
///
/// Changes the members that are sent. Quantities that depend on them change with the next push, not before.
#[utoipa::path(
    tag = "products",
    request_body = UpdateProductRequest,
    params(("id" = String, Path, description = "The product"), IfMatchParam),
    responses((status = 200, description = "The product", body = Product), Errors, WriteErrors)
)]
#[patch("/products/{id}")]
pub async fn update_product(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<UpdateProductRequest>,
) -> ApiResult {
    let change = ProductChange {
        code: body.value.code,
        name: body.value.name,
        unit: body.value.unit,
        block_size: body.value.block_size,
        rounding: body.value.rounding,
        aggregation: body.value.aggregation,
        max_change_percent: body.value.max_change_percent,
        max_change_units: body.value.max_change_units,
        billing_period: body.value.billing_period,
        max_usage_age_days: body.value.max_usage_age_days,
    };
    change_product(&ctx, &caller, id.into_inner(), change, if_match).await
}

async fn change_product(
    ctx: &AppContext,
    caller: &Caller,
    id: String,
    change: ProductChange,
    if_match: IfMatchHeader,
) -> ApiResult {
    let row = products::update(ctx, caller, ProductId::from(id), change, if_match.0).await?;
    Ok(with_etag(row.version, &Product::from(row)))
}

/// Delete a product
///
/// Its rules, billing lines and usage are deleted with it. The history of its pushes is kept. Fails with 409 while a
/// push job is running.
#[utoipa::path(
    tag = "products",
    params(("id" = String, Path, description = "The product"), IfMatchParam),
    responses((status = 204, description = "It was deleted"), Errors, WriteErrors)
)]
#[delete("/products/{id}")]
pub async fn delete_product(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    products::delete(&ctx, &caller, ProductId::from(id.into_inner()), if_match.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Resolve a product's billing lines
///
/// Applies the product's two matching rules again: first each line's agreement, then its addition. Manual choices
/// stay. Agreements and additions that are missing or out of date are read from ConnectWise first. Returns what
/// changed.
#[utoipa::path(
    tag = "products",
    params(("id" = String, Path, description = "The product")),
    responses((status = 200, description = "The status of the lines, and which lines changed", body = ResolveResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[post("/products/{id}/resolve")]
pub async fn resolve_product(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = ProductId::from(id.into_inner());
    let resolved = products::resolve(&ctx, &caller, &id).await?;
    Ok(ok(&ResolveResponse::from(resolved)))
}

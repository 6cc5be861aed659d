//! `/products`: the products that the vendor bills.

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
use crate::http::kit::extract::json::{
    ValidatedJson, double_option, not_null, plain_text, present_whole_number, whole_number,
};
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::params::{IdempotencyKeyParam, IfMatchParam};
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{from_stored, ok, page_of, to_stored, with_etag};
use crate::http::views::mapping::ResolveResponse;
use crate::services::AppContext;
use crate::services::products::{self, NewProduct, ProductChange};

/// A product that the vendor bills.
#[derive(Debug, Serialize, ToSchema)]
pub struct Product {
    /// The product's id.
    pub id: String,
    /// The vendor's own code for the product, such as `STORAGE`. Unique within the tenant.
    pub code: String,
    /// The product's name.
    pub name: String,
    /// The unit of measured usage, such as `GB` or `account`.
    pub unit: String,
    /// The amount of usage that makes one unit of the quantity. A billing line can have its own.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// How the usage records of a month become the billed amount.
    pub aggregation: Aggregation,
    /// The month that a push bills: the current one, or the one before it.
    pub billing_period: BillingPeriod,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. With an older one the line is not
    /// billed.
    pub max_usage_age_days: i64,
    /// The largest change of a quantity that a push makes without approval, in percent of the quantity in ConnectWise.
    /// Null means no limit.
    #[schema(required)]
    pub max_change_percent: Option<Amount>,
    /// The largest change of a quantity that a push makes without approval, in units of the quantity. Null means no
    /// limit.
    #[schema(required)]
    pub max_change_units: Option<Amount>,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
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

/// The content of a product to create or replace.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "ARCHIVE", "name": "Archive storage", "unit": "GB", "block_size": "100"}))]
pub struct ProductRequest {
    /// The vendor's own code for the product, such as `STORAGE`. Unique within the tenant.
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
    /// The amount of usage that makes one unit of the quantity: with `100` and a unit of GB, a quantity of 1 is 100 GB.
    /// A billing line can have its own.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded. The default is `ceil`.
    #[serde(default = "up")]
    #[schema(default = "ceil")]
    pub rounding: Rounding,
    /// How the usage records of a month become the billed amount. The default is `last`, the newest record.
    #[serde(default = "newest")]
    #[schema(default = "last")]
    pub aggregation: Aggregation,
    /// The month that a push bills. If it is left out or null: `current` for the aggregation `last`, otherwise
    /// `previous`.
    pub billing_period: Option<BillingPeriod>,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. With an older one the line is not
    /// billed. The default is 35.
    #[serde(default = "usual_age", deserialize_with = "whole_number")]
    #[validate(range(min = 1, max = 366))]
    #[schema(minimum = 1, maximum = 366, default = 35)]
    pub max_usage_age_days: i64,
    /// The largest change of a quantity that a push makes without approval, in percent of the quantity in ConnectWise.
    /// A larger change, and any change from a quantity of 0, is held until a person approves or drops it. Null means no
    /// limit.
    pub max_change_percent: Option<Amount>,
    /// The largest change of a quantity that a push makes without approval, in units of the quantity. Null means no
    /// limit. With both limits, a change must be within each.
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
    /// The vendor's own code for the product, such as `STORAGE`. Unique within the tenant.
    #[validate(length(min = 1, max = 60), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 60, nullable = false)]
    pub code: Option<String>,
    /// The product's name.
    #[validate(length(min = 1, max = 200), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    pub name: Option<String>,
    /// The unit of measured usage, such as `GB` or `account`.
    #[validate(length(min = 1, max = 30), custom(function = plain_text))]
    #[serde(default, deserialize_with = "not_null")]
    #[schema(min_length = 1, max_length = 30, nullable = false)]
    pub unit: Option<String>,
    /// The amount of usage that makes one unit of the quantity.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub block_size: Option<BlockSize>,
    /// How a fraction of a block is rounded.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub rounding: Option<Rounding>,
    /// How the usage records of a month become the billed amount.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub aggregation: Option<Aggregation>,
    /// The month that a push bills. Null means the default: `current` for the aggregation `last`, otherwise `previous`.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<BillingPeriod>)]
    pub billing_period: Option<Option<BillingPeriod>>,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. With an older one the line is not
    /// billed.
    #[serde(default, deserialize_with = "present_whole_number")]
    #[validate(range(min = 1, max = 366))]
    #[schema(minimum = 1, maximum = 366, nullable = false)]
    pub max_usage_age_days: Option<i64>,
    /// The largest change of a quantity that a push makes without approval, in percent of the quantity in ConnectWise.
    /// Null removes the limit.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Amount>)]
    pub max_change_percent: Option<Option<Amount>>,
    /// The largest change of a quantity that a push makes without approval, in units of the quantity. Null removes the
    /// limit.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Amount>)]
    pub max_change_units: Option<Option<Amount>>,
}

/// The filter of the list of products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductQuery {
    /// Only products whose name contains this text, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only the product with exactly this code.
    #[param(max_length = 300)]
    pub code: Option<String>,
}

impl ListFilter for ProductQuery {
    type Sort = ProductSort;
    const DEFAULT_SORT: &'static str = "name";
}

/// List products
///
/// Returns one page of the products, sorted by name by default.
#[utoipa::path(tag = "products", params(ListQuery<ProductQuery>), responses((status = 200, description = "A page of products", body = List<Product>), Errors))]
#[get("/products")]
pub async fn list_products(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<ProductQuery>) -> ApiResult {
    let (query, page) = query.for_list("products")?;
    let filter = ProductFilter { search: query.search, code: query.code };
    let rows = ctx.db.query(&caller.tenant, move |tx| tx.products(&filter, &page)).await?;
    Ok(page_of(&List::from_page(rows, Product::from)))
}

/// Create a product
///
/// Creates a product with a billing line for every company; pushing is off for the new lines. Fails with 409 if another
/// product has the code.
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
    let row = ctx.db.query(&caller.tenant, move |tx| tx.product(&id)).await?;
    Ok(with_etag(row.version, &Product::from(row)))
}

/// Replace a product
///
/// Replaces all settings; an optional one that is left out gets its default. Quantities in ConnectWise change with the
/// next push, not before. Fails with 409 if another product has the code.
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
/// Changes the members that are sent. Quantities in ConnectWise change with the next push, not before. Fails with 409
/// if another product has the code.
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
/// Also deletes the product's matching rules, billing lines and usage. The history of its pushes is kept. Fails with
/// 409 while any push job is queued or running.
#[utoipa::path(
    tag = "products",
    params(("id" = String, Path, description = "The product"), IfMatchParam),
    responses((status = 204, description = "The product was deleted"), Errors, WriteErrors)
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
/// Applies the product's two matching rules again: first the one for the agreement, then the one for the addition.
/// Manual choices stay. Records that were not read recently are read from ConnectWise first. Returns what changed;
/// repeating the request is safe. Fails with 409 if no connection is set.
#[utoipa::path(
    tag = "products",
    params(("id" = String, Path, description = "The product")),
    responses((status = 200, description = "The number of lines with each status, and the lines that changed", body = ResolveResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[post("/products/{id}/resolve")]
pub async fn resolve_product(ctx: web::Data<AppContext>, caller: Caller, id: web::Path<String>) -> ApiResult {
    let id = ProductId::from(id.into_inner());
    let resolved = products::resolve(&ctx, &caller, &id).await?;
    Ok(ok(&ResolveResponse::from(resolved)))
}

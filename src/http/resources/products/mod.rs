//! `/products`: the products that the vendor bills.

pub mod body;

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use serde::Deserialize;
use utoipa::IntoParams;

use self::body::{Product, ProductRequest, UpdateProductRequest};
use crate::db::{self, ProductFilter, ProductSort};
use crate::domain::ids::ProductId;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::idempotent::IdempotentRequest;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::params::{IdempotencyKeyParam, IfMatchParam};
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{created, from_stored, ok, page_of, with_etag};
use crate::http::views::mappings::ResolveResponse;
use crate::services::AppContext;
use crate::services::products::{self, ProductChange};

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
    tag = "products", request_body = ProductRequest, params(IdempotencyKeyParam),
    responses((status = 201, description = "The new product; `Location` has its address", body = Product), Errors, WriteErrors)
)]
#[post("/products")]
pub async fn create_product(request: IdempotentRequest<ProductRequest>) -> ApiResult {
    let once = request.once(|row: db::Product| created("products", row.id.clone(), &Product::from(row)))?;
    Ok(from_stored(products::create(&request.ctx, &request.caller, request.body.into(), once).await?))
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
/// Replaces all settings; optional settings that are left out get their defaults. Quantities in ConnectWise do not
/// change until the next push. Fails with 409 if another product has the code.
#[utoipa::path(
    tag = "products", request_body = ProductRequest, params(("id" = String, Path, description = "The product"), IfMatchParam),
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
    change_product(&ctx, &caller, id.into_inner(), body.value.into(), if_match).await
}

/// Update a product
///
/// Changes the members that are sent. Quantities in ConnectWise do not change until the next push. Fails with 409 if
/// another product has the code.
#[utoipa::path(
    tag = "products", request_body = UpdateProductRequest, params(("id" = String, Path, description = "The product"), IfMatchParam),
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
    change_product(&ctx, &caller, id.into_inner(), body.value.into(), if_match).await
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
/// Applies the product's two matching rules again: first the agreement rule, then the addition rule. Manual choices are
/// kept. Records that were not read recently are read from ConnectWise first. Returns the changes; repeating the
/// request is safe. Fails with 409 if no connection is set.
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

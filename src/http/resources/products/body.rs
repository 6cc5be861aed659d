//! A product in requests and responses.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::db;
use crate::domain::change_guard::ChangeGuard;
use crate::domain::ids::ProductId;
use crate::domain::invoices::WhenInvoiced;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::usage::DEFAULT_MAX_USAGE_AGE_DAYS;
use crate::domain::usage::{Aggregation, BillingPeriod};
use crate::http::kit::extract::json::{double_option, not_null, plain_text, present_whole_number, whole_number};
use crate::services::products::{NewProduct, ProductChange};

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
    /// The amount of usage in one unit of the quantity. A billing line can have its own.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// How the usage records of a month are combined into the billed amount.
    pub aggregation: Aggregation,
    /// The month that a push bills: the current one, or the one before it.
    pub billing_period: BillingPeriod,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. If it is older, the line is not
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
    /// The minimum quantity of a line with usage; a billing line can have its own. Null means no minimum.
    #[schema(required)]
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The maximum quantity of a line; the product with `overage_of` bills the rest. A billing line can have its own.
    /// Null means no maximum: this product bills everything.
    #[schema(required)]
    pub included_quantity: Option<IncludedQuantity>,
    /// The id of the base product whose overage this one bills. Its usage is the base line's `overage`: the units above
    /// the included quantity, after blocks, rounding and minimum. Use a block size of 1 to bill every unit. Null if the
    /// product has usage of its own.
    #[schema(required)]
    pub overage_of: Option<String>,
    /// What a push does with a line if the invoice for its month has already been made.
    pub when_invoiced: WhenInvoiced,
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
            minimum_quantity: row.minimum_quantity,
            included_quantity: row.included_quantity,
            overage_of: row.overage_of.map(|id| id.to_string()),
            when_invoiced: row.when_invoiced,
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
    /// The amount of usage in one unit of the quantity: with `100` and a unit of GB, a quantity of 1 is 100 GB. A
    /// billing line can have its own.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded. The default is `ceil`.
    #[serde(default = "up")]
    #[schema(default = "ceil")]
    pub rounding: Rounding,
    /// How the usage records of a month are combined into the billed amount. The default is `last`, the newest record.
    #[serde(default = "newest")]
    #[schema(default = "last")]
    pub aggregation: Aggregation,
    /// The month that a push bills. If it is left out or null: `current` for the aggregation `last`, otherwise
    /// `previous`.
    pub billing_period: Option<BillingPeriod>,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. If it is older, the line is not
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
    /// limit. If both limits are set, a change must be within both.
    pub max_change_units: Option<Amount>,
    /// The minimum quantity of a line with usage, such as a committed number of seats. A billing line can have its own.
    /// Null means no minimum.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The maximum quantity of a line, even if the minimum quantity is higher. A product with `overage_of` must bill
    /// the rest. A billing line can have its own. Null means no maximum: this product bills everything.
    pub included_quantity: Option<IncludedQuantity>,
    /// The id of the base product whose overage this one bills. Its usage is the base line's `overage`: the units above
    /// the included quantity, after blocks, rounding and minimum. Use a block size of 1 to bill every unit. The product
    /// always has the base product's `aggregation`, `billing_period` and `max_usage_age_days`. `overage_of` cannot be
    /// changed later. Null means that the product has usage of its own.
    #[schema(max_length = 300)]
    pub overage_of: Option<String>,
    /// What a push does with a line if the invoice for its month has already been made. The default is `warn`.
    #[serde(default = "only_warn")]
    #[schema(default = "warn")]
    pub when_invoiced: WhenInvoiced,
}

fn only_warn() -> WhenInvoiced {
    WhenInvoiced::Warn
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
    /// The amount of usage in one unit of the quantity.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub block_size: Option<BlockSize>,
    /// How a fraction of a block is rounded.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub rounding: Option<Rounding>,
    /// How the usage records of a month are combined into the billed amount.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub aggregation: Option<Aggregation>,
    /// The month that a push bills. Null means the default: `current` for the aggregation `last`, otherwise `previous`.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<BillingPeriod>)]
    pub billing_period: Option<Option<BillingPeriod>>,
    /// Only for the aggregation `last`: the maximum age in days of the newest record. If it is older, the line is not
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
    /// The minimum quantity of a line with usage. Null removes the minimum.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<MinimumQuantity>)]
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The maximum quantity of a line. A product with `overage_of` must bill the rest. Null removes the maximum.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<IncludedQuantity>)]
    pub included_quantity: Option<Option<IncludedQuantity>>,
    /// What a push does with a line if the invoice for its month has already been made.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub when_invoiced: Option<WhenInvoiced>,
}

impl From<ProductRequest> for NewProduct {
    fn from(body: ProductRequest) -> Self {
        Self {
            code: body.code,
            name: body.name,
            unit: body.unit,
            block_size: body.block_size,
            rounding: body.rounding,
            aggregation: body.aggregation,
            guard: ChangeGuard { percent: body.max_change_percent, units: body.max_change_units },
            billing_period: body.billing_period,
            max_usage_age_days: body.max_usage_age_days,
            minimum_quantity: body.minimum_quantity,
            included_quantity: body.included_quantity,
            overage_of: body.overage_of.map(ProductId::from),
            when_invoiced: body.when_invoiced,
        }
    }
}

impl From<ProductRequest> for ProductChange {
    fn from(body: ProductRequest) -> Self {
        Self {
            code: Some(body.code),
            name: Some(body.name),
            unit: Some(body.unit),
            block_size: Some(body.block_size),
            rounding: Some(body.rounding),
            aggregation: Some(body.aggregation),
            max_change_percent: Some(body.max_change_percent),
            max_change_units: Some(body.max_change_units),
            billing_period: Some(body.billing_period),
            max_usage_age_days: Some(body.max_usage_age_days),
            minimum_quantity: Some(body.minimum_quantity),
            included_quantity: Some(body.included_quantity),
            overage_of: Some(body.overage_of.map(ProductId::from)),
            when_invoiced: Some(body.when_invoiced),
        }
    }
}

impl From<UpdateProductRequest> for ProductChange {
    fn from(body: UpdateProductRequest) -> Self {
        Self {
            code: body.code,
            name: body.name,
            unit: body.unit,
            block_size: body.block_size,
            rounding: body.rounding,
            aggregation: body.aggregation,
            max_change_percent: body.max_change_percent,
            max_change_units: body.max_change_units,
            billing_period: body.billing_period,
            max_usage_age_days: body.max_usage_age_days,
            minimum_quantity: body.minimum_quantity,
            included_quantity: body.included_quantity,
            overage_of: None,
            when_invoiced: body.when_invoiced,
        }
    }
}

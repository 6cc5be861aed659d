//! `PATCH /billing-lines`: edits of one billing line, or of many.

use std::collections::BTreeMap;

use actix_web::{patch, web};
use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::BillingLine;
use crate::domain::ids::BillingLineId;
use crate::domain::quantity::{AdjustmentAmount, BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::{Error, FieldCode};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::{IfMatchHeader, RequiredVersions};
use crate::http::kit::extract::json::{ValidatedJson, double_option, not_null, plain_text, whole_numbers};
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::services::mappings::edit;
use crate::services::mappings::line_edit::{Edit, LineEdit, NewAdjustment};
use crate::services::{AppContext, IfMatch};

/// The changes to a billing line. A member that is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"push_enabled": true, "block_size": "50"}))]
pub struct UpdateBillingLineRequest {
    /// Whether pushes write this line.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub push_enabled: Option<bool>,
    /// The line's own block size. Null removes it, so the product's applies.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<BlockSize>)]
    pub block_size: Option<Option<BlockSize>>,
    /// The line's own minimum quantity. Null removes it, so the product's applies; `"0"` means none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<MinimumQuantity>)]
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The line's own included quantity; the product with `overage_of` bills the rest. Null removes it, so the
    /// product's applies.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<IncludedQuantity>)]
    pub included_quantity: Option<Option<IncludedQuantity>>,
    /// An agreed exception. Null removes it.
    #[validate(nested)]
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<AdjustmentRequest>)]
    pub adjustment: Option<Option<AdjustmentRequest>>,
}

/// An agreed exception: units that are billed in addition to the usage, or that are not billed.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": "-2", "until": "2027-03-31", "reason": "Two kiosk users, agreed with Ms Ames"}))]
pub struct AdjustmentRequest {
    /// The units to add to the usage before it is counted in blocks; negative to subtract units. The result is never
    /// less than 0.
    pub amount: AdjustmentAmount,
    /// The first day: the adjustment applies from the billing month of this day on. If left out or null, it stays as it
    /// is; for a new adjustment, it is the first day of the month that a push would bill now.
    pub from: Option<NaiveDate>,
    /// The last day: the adjustment applies until the billing month of this day, inclusive. Null means that it has no
    /// end; if left out, it stays as it is.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<NaiveDate>)]
    pub until: Option<Option<NaiveDate>>,
    /// Why the exception was agreed, for anyone who asks about the quantity.
    #[validate(length(min = 1, max = 500), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
}

impl AdjustmentRequest {
    fn checked(self) -> Result<NewAdjustment, Error> {
        let Self { amount, from, until, reason } = self;
        let valid = |day: &NaiveDate| (2000..=2199).contains(&day.year());
        for (name, day) in [("from", &from), ("until", &until.flatten())] {
            if day.as_ref().is_some_and(|day| !valid(day)) {
                let message = "must be a day of the years 2000 to 2199";
                return Err(Error::invalid(format!("/adjustment/{name}"), FieldCode::OutOfRange, message));
            }
        }
        Ok(NewAdjustment { amount, from, until, reason })
    }
}

/// The same changes to many billing lines. If an id is unknown, no line is changed.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ids": ["0193f0a0-0000-7000-8000-000000000002"], "push_enabled": true}))]
pub struct UpdateBillingLinesRequest {
    /// The ids of the billing lines, at most 5,000. Repeated ids are ignored.
    #[validate(length(min = 1, max = 5000))]
    #[schema(min_items = 1, max_items = 5000)]
    pub ids: Vec<String>,
    /// The expected version of each line, by the line's id. If any line has a different version, no line is changed.
    /// The version of a line without an entry is not checked.
    #[serde(default, deserialize_with = "whole_numbers")]
    #[validate(length(max = 5000))]
    #[schema(nullable = false)]
    pub versions: Option<BTreeMap<String, i64>>,
    /// Whether pushes write these lines.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub push_enabled: Option<bool>,
    /// The lines' own block size. Null removes it, so the product's applies.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<BlockSize>)]
    pub block_size: Option<Option<BlockSize>>,
    /// The lines' own minimum quantity. Null removes it, so the product's applies; `"0"` means none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<MinimumQuantity>)]
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The lines' own included quantity. Null removes it, so the product's applies.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<IncludedQuantity>)]
    pub included_quantity: Option<Option<IncludedQuantity>>,
}

/// The result of updating many billing lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateBillingLinesResponse {
    /// The number of ids in the request.
    pub lines: usize,
    /// The number of lines that changed.
    pub changed: usize,
    /// The lines after the update, sorted by company name: those of the first 500 ids.
    pub items: Vec<BillingLine>,
}

/// Maximum number of lines in the response to a bulk update.
const MAX_LINES_SHOWN: usize = 500;

/// Update a billing line
///
/// Enables or disables pushes of the line, or sets its own block size, minimum, included quantity or adjustment. The
/// quantity in ConnectWise does not change until the next push. Repeating the request changes nothing.
#[utoipa::path(
    tag = "billing lines", request_body = UpdateBillingLineRequest,
    params(("id" = String, Path, description = "The billing line"), IfMatchParam),
    responses((status = 200, description = "The billing line", body = BillingLine), Errors, WriteErrors)
)]
#[patch("/billing-lines/{id}")]
pub async fn update_billing_line(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<UpdateBillingLineRequest>,
) -> ApiResult {
    let body = body.value;
    let change = LineEdit {
        push_enabled: body.push_enabled,
        block_size: body.block_size,
        minimum_quantity: body.minimum_quantity,
        included_quantity: body.included_quantity,
        adjustment: body.adjustment.map(|new| new.map(AdjustmentRequest::checked).transpose()).transpose()?,
        ..LineEdit::default()
    };
    let edit = Edit { line: BillingLineId::from(id.into_inner()), change, if_match: if_match.0 };
    let line = BillingLine::from(edit::update(&ctx, &caller, edit).await?);
    Ok(with_etag(line.version, &line))
}

/// Update many billing lines
///
/// Makes the same change to up to 5,000 billing lines. If an id is unknown, or a line's version differs from the one in
/// `versions`, no line is changed, and the 422 lists these ids. Repeating the request changes nothing.
#[utoipa::path(
    tag = "billing lines", request_body = UpdateBillingLinesRequest,
    responses((status = 200, description = "The number of lines that changed", body = UpdateBillingLinesResponse), Errors, WriteErrors)
)]
#[patch("/billing-lines")]
pub async fn update_billing_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    versions: RequiredVersions,
    body: ValidatedJson<UpdateBillingLinesRequest>,
) -> ApiResult {
    let body = body.value;
    let (ids, known) = (body.ids, body.versions.unwrap_or_default());
    versions.check(ids.iter().map(|id| known.contains_key(id)))?;
    let count = ids.len();
    let change = LineEdit {
        push_enabled: body.push_enabled,
        block_size: body.block_size,
        minimum_quantity: body.minimum_quantity,
        included_quantity: body.included_quantity,
        ..LineEdit::default()
    };
    let with_version = |id: String| {
        let if_match = IfMatch(known.get(&id).map(|version| vec![version.to_string()]));
        (BillingLineId::from(id), if_match)
    };
    let lines = ids.into_iter().map(with_version).collect();
    let (changed, shown) = edit::update_many(&ctx, &caller, lines, change, MAX_LINES_SHOWN).await?;
    let items = shown.into_iter().map(BillingLine::from).collect();
    Ok(ok(&UpdateBillingLinesResponse { lines: count, changed, items }))
}

//! `/billing-lines`: the consolidated billing page, one line for each company and product.

pub mod edit;
pub mod explain;
pub mod invoices;
pub mod summary;

use actix_web::{get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::invoices::LineInvoice;
use crate::db::{self, BillingLineSort, LineFilter};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::line_need::LineNeed;
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::{PushLineState, PushReason};
use crate::domain::quantity::{AdjustmentAmount, Amount, BlockSize, IncludedQuantity, MinimumQuantity, Quantity};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::query::{ListFilter, ListQuery, Values};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::page_of;
use crate::http::views::adjustment::LineAdjustment;
use crate::http::views::mappings::MappingBody;
use crate::services::AppContext;
use crate::services::quantities::compute::{BilledMonths, LineWithQuantity, compute_page};
use crate::services::quantities::monthly_usage::ComputedQuantity;

/// The company of a billing line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineCompany {
    /// The company's id.
    pub id: String,
    /// The vendor's own id for the company.
    pub external_id: String,
    /// The company's name.
    pub name: String,
    /// The company's version, for `If-Match` when its match is changed.
    pub version: i64,
    /// The ConnectWise company that the company is matched to; null means Not Set.
    #[schema(required)]
    pub connectwise_company: Option<LineConnectWiseCompany>,
}

/// The ConnectWise company that a billing line's company is matched to.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineConnectWiseCompany {
    /// ConnectWise's id of the company.
    pub id: String,
    /// The company's identifier in ConnectWise.
    pub identifier: String,
    /// The company's name in ConnectWise.
    pub name: String,
    /// Whether the company was deleted in ConnectWise. If so, the company must be matched again.
    pub deleted: bool,
}

/// The usage of a billing line in one month, and the resulting quantity.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineUsage {
    /// The month whose usage is shown: the requested one, or by default the one that a push would bill now.
    pub billing_month: BillingMonth,
    /// Whether the month has ended. Until then the usage may still grow.
    pub month_closed: bool,
    /// The billed amount in the product's unit; null if no record counts. For an overage product, the base line's
    /// `overage`: its units above the included quantity.
    #[schema(required)]
    pub amount: Option<Amount>,
    /// When the newest record that counts was measured; null if no record counts.
    #[schema(required)]
    pub usage_through: Option<DateTime<Utc>>,
    /// The number of records that count. At most 1 for the aggregation `last`.
    pub usage_records: i64,
    /// The unit of `amount`, such as `GB`.
    pub unit: String,
    /// The units that the line's adjustment adds to the amount in this month; null if none applies.
    #[schema(required)]
    pub adjustment: Option<AdjustmentAmount>,
    /// The amount after the adjustment, at least 0; null if there is no quantity.
    #[schema(required)]
    pub adjusted_amount: Option<Amount>,
    /// The adjusted amount in blocks, rounded according to the product; null if there is no quantity.
    #[schema(required)]
    pub blocks: Option<Quantity>,
    /// The amount above the included quantity, which the product with `overage_of` bills; null if there is no included
    /// quantity or no quantity.
    #[schema(required)]
    pub overage: Option<Amount>,
    /// The quantity that a push would write: the blocks, raised to the minimum quantity and capped at the included
    /// quantity. Null if no record counts, or if there is a `problem`.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// Why no quantity can be computed from the records, for people; null if there is no problem.
    #[schema(required)]
    pub problem: Option<String>,
    /// Why there is no quantity: `no_usage`, `usage_too_old` if the newest record is too old, or `quantity` if none can
    /// be computed from the usage. Null if there is a quantity.
    #[schema(required)]
    pub reason: Option<PushReason>,
    /// The reason as a sentence, with what to do; null if there is a quantity.
    #[schema(required)]
    pub explanation: Option<&'static str>,
}

impl LineUsage {
    fn new(computed: &ComputedQuantity, unit: String) -> Self {
        Self {
            billing_month: computed.month,
            month_closed: computed.month_closed,
            amount: computed.amount(),
            usage_through: computed.usage.map(|usage| usage.through),
            usage_records: computed.usage.map_or(0, |usage| usage.records),
            unit,
            adjustment: computed.adjustment.as_ref().map(|adjustment| adjustment.amount),
            adjusted_amount: computed.breakdown.map(|breakdown| breakdown.adjusted),
            blocks: computed.breakdown.map(|breakdown| breakdown.blocks),
            overage: computed.overage,
            quantity: computed.quantity,
            problem: computed.problem.clone(),
            reason: computed.without_quantity(),
            explanation: computed.without_quantity().map(PushReason::explain),
        }
    }
}

/// The result of a line's last push. Dry runs don't count.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastPushResult {
    /// The id of the push job.
    pub push_job_id: String,
    /// The state of the line in that job.
    pub state: PushLineState,
    /// Why the line was skipped, held, failed or left unverified; null otherwise.
    #[schema(required)]
    pub reason: Option<PushReason>,
    /// The reason as a sentence, with what to do; null if there is no reason.
    #[schema(required)]
    pub explanation: Option<String>,
    /// When the line reached that state.
    pub at: DateTime<Utc>,
    /// The quantity in ConnectWise after that push; null if unknown.
    #[schema(required)]
    pub quantity: Option<Quantity>,
}

/// A row of the consolidated billing page: one company and one product.
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingLine {
    /// The billing line's id.
    pub id: String,
    /// The product's id.
    pub product_id: String,
    /// The product's code.
    pub product_code: String,
    /// The product's name.
    pub product_name: String,
    /// The company.
    pub company: LineCompany,
    /// Whether pushes write this line. False for a new line.
    pub push_enabled: bool,
    /// The block size that applies: the line's own, or the product's.
    pub block_size: BlockSize,
    /// The line's own block size; null if the product's applies.
    #[schema(required)]
    pub block_size_override: Option<BlockSize>,
    /// The minimum quantity that applies: the line's own, or the product's; null if there is none.
    #[schema(required)]
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The line's own minimum quantity; null if the product's applies.
    #[schema(required)]
    pub minimum_quantity_override: Option<MinimumQuantity>,
    /// The included quantity that applies: the line's own, or the product's; null if there is none. The line bills at
    /// most this quantity, and the product with `overage_of` bills the rest. For an overage product, the base
    /// product's.
    #[schema(required)]
    pub included_quantity: Option<IncludedQuantity>,
    /// The line's own included quantity; null if the product's applies.
    #[schema(required)]
    pub included_quantity_override: Option<IncludedQuantity>,
    /// The line's agreed exception, whichever months it applies to; null if it has none.
    #[schema(required)]
    pub adjustment: Option<LineAdjustment>,
    /// The usage of a month, and the quantity that a push would write.
    pub usage: LineUsage,
    /// Whether a push would now write a different quantity than the last push for the same month. False if there was no
    /// push for that month, or if the line cannot be pushed.
    pub out_of_date: bool,
    /// The agreement mapping: the agreement that the line bills to.
    pub agreement: MappingBody,
    /// The addition mapping: the addition whose quantity pushes write.
    pub addition: MappingBody,
    /// The identifier of the addition's product in ConnectWise, such as `BKP-GB`; null if the line bills to no
    /// addition.
    #[schema(required)]
    pub addition_product_identifier: Option<String>,
    /// How ConnectWise will invoice the quantity; null if the line bills to no addition.
    #[schema(required)]
    pub invoice: Option<LineInvoice>,
    /// The addition's quantity in ConnectWise when it was last read or written; null if unknown.
    #[schema(required)]
    pub connectwise_quantity: Option<Quantity>,
    /// The result of the last push; null before the first.
    #[schema(required)]
    pub last_push: Option<LastPushResult>,
    /// What a person must do before the line can be billed; null if nothing.
    #[schema(required)]
    pub need: Option<LineNeed>,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
    pub version: i64,
    /// When the line was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<LineWithQuantity> for BillingLine {
    fn from(line: LineWithQuantity) -> Self {
        let LineWithQuantity { view, computed, product, out_of_date, invoice } = line;
        let (agreement, addition) = (MappingBody::agreement(&view), MappingBody::addition(&view));
        let connectwise_company = view.cw_company.map(|company| LineConnectWiseCompany {
            id: company.id.into(),
            identifier: company.identifier,
            name: company.name,
            deleted: company.deleted,
        });
        let company = LineCompany {
            id: view.company.id.to_string(),
            external_id: view.company.external_id,
            name: view.company.name,
            version: view.company.version,
            connectwise_company,
        };
        Self {
            id: view.line.id.to_string(),
            product_id: view.line.product_id.to_string(),
            product_code: product.code,
            product_name: product.name,
            company,
            push_enabled: view.line.push_enabled,
            block_size: computed.block_size,
            block_size_override: view.line.block_size,
            minimum_quantity: computed.minimum_quantity,
            minimum_quantity_override: view.line.minimum_quantity,
            included_quantity: computed.included_quantity,
            included_quantity_override: view.line.included_quantity,
            adjustment: view.line.adjustment.clone().map(LineAdjustment::from),
            usage: LineUsage::new(&computed, product.unit),
            out_of_date,
            agreement,
            addition,
            addition_product_identifier: view.addition.as_ref().and_then(|known| known.product_identifier.clone()),
            invoice: invoice.map(LineInvoice::from),
            connectwise_quantity: view.addition.and_then(|addition| addition.quantity),
            last_push: last_push(&view.line),
            need: view.line.need(),
            version: view.line.version,
            updated_at: view.line.updated_at.and_utc(),
        }
    }
}

fn last_push(line: &db::BillingLine) -> Option<LastPushResult> {
    Some(LastPushResult {
        push_job_id: line.last_push_job_id.as_ref()?.to_string(),
        state: line.last_push_state?,
        reason: line.last_push_reason,
        explanation: line.last_push_reason.map(|reason| reason.explain().to_owned()),
        at: line.last_push_at?.and_utc(),
        quantity: line.last_push_quantity,
    })
}

/// The filter of the list of billing lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LineQuery {
    /// Only lines of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only lines of the company with this id.
    #[param(max_length = 300)]
    pub company_id: Option<String>,
    /// Only lines whose company has this text in its name, its external id or the identifier of its ConnectWise
    /// company, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only lines of matched companies (`true`), or of companies that are Not Set (`false`).
    pub matched: Option<bool>,
    /// Only lines whose agreement mapping has this status, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<MappingStatus>)]
    pub agreement_status: Values<MappingStatus>,
    /// Only lines whose addition mapping has this status, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<MappingStatus>)]
    pub addition_status: Values<MappingStatus>,
    /// Only lines that are enabled for pushes (`true`), or only the others (`false`).
    pub push_enabled: Option<bool>,
    /// Only lines with this state in their last push, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<PushLineState>)]
    pub last_push_state: Values<PushLineState>,
    /// Only lines that need attention (`true`), or only the others (`false`): a mapping is not resolved, or the last
    /// push of the line is held, failed or unverified.
    pub needs_attention: Option<bool>,
    /// Only lines that need this action, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<LineNeed>)]
    pub need: Values<LineNeed>,
    /// Only lines that are out of date (`true`), or only the others (`false`). A line is out of date if a push would
    /// now write a different quantity than the last push for the same month.
    pub out_of_date: Option<bool>,
    /// The month whose usage is shown, such as `2026-11`. The default is the month that a push would bill now,
    /// according to each product's `billing_period`.
    pub billing_month: Option<BillingMonth>,
}

impl ListFilter for LineQuery {
    type Sort = BillingLineSort;
    const DEFAULT_SORT: &'static str = "company_name";
}

/// List billing lines
///
/// Returns one page of the consolidated billing page: for each company and product the usage, the quantity, the
/// mappings and the last push, sorted by company name by default. Filter by `product_id` for the page of one product.
/// With `out_of_date`, more lines are read to fill the page, so the request can take longer.
#[utoipa::path(tag = "billing lines", params(ListQuery<LineQuery>), responses((status = 200, description = "A page of billing lines", body = List<BillingLine>), Errors))]
#[get("/billing-lines")]
pub async fn list_billing_lines(ctx: web::Data<AppContext>, caller: Caller, query: ListQuery<LineQuery>) -> ApiResult {
    let now = ctx.clock.now();
    let (query, page) = query.for_list("billing-lines")?;
    let filter = LineFilter {
        product_id: query.product_id.map(ProductId::from),
        company_ids: query.company_id.map(|id| vec![CompanyId::from(id)]),
        search: query.search,
        matched: query.matched,
        agreement_status: query.agreement_status.0,
        addition_status: query.addition_status.0,
        push_enabled: query.push_enabled,
        last_push_state: query.last_push_state.0,
        needs_attention: query.needs_attention,
        need: query.need.0,
        ..LineFilter::default()
    };
    let (months, out_of_date) = (BilledMonths::named_or_now(query.billing_month), query.out_of_date);
    let read = move |tx: &mut db::Tx<'_>| compute_page(tx, &filter, &page, &months, out_of_date, now);
    Ok(page_of(&List::from_page(ctx.db.read(&caller.tenant, read).await?, BillingLine::from)))
}

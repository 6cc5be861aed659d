//! `/companies/{id}/statement`: explains a company's bill for a month.

mod page;
mod table;

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db::{PushJob, PushLine, Tx, UsageRecord};
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::CompanyId;
use crate::domain::invoices::billed_quantity;
use crate::domain::push::PushLineState;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Money, Quantity, Rounding};
use crate::domain::reconciliation::ReconciliationKind;
use crate::domain::string_enum::StringEnum;
use crate::domain::usage::Aggregation;
use crate::http::kit::auth::Caller;
use crate::http::kit::document_format::DocumentFormat;
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::http::kit::response::ok;
use crate::http::resources::reconciliation::totals::CurrencyAmount;
use crate::http::views::adjustment::LineAdjustment;
use crate::services::AppContext;
use crate::services::quantities::statement::{self, StatementLine};

/// An explanation of a company's bill for a month.
#[derive(Debug, Serialize, ToSchema)]
pub struct Statement {
    /// The company's id.
    pub company_id: String,
    /// The vendor's own id for the company.
    pub company_external_id: String,
    /// The company's name.
    pub company_name: String,
    /// When the statement was created. Later measurements and changes are not included.
    pub made_at: DateTime<Utc>,
    /// The products with usage or pushes, sorted by code.
    pub products: Vec<StatementProduct>,
    /// The total that the next invoices charge, by currency.
    pub totals: Vec<CurrencyAmount>,
}

/// A product on a statement.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementProduct {
    /// The product's id.
    pub product_id: String,
    /// The product's code.
    pub product_code: String,
    /// The product's name.
    pub product_name: String,
    /// The billing month of the usage.
    pub billing_month: BillingMonth,
    /// Whether the month has ended. Until then the usage may still grow.
    pub month_closed: bool,
    /// The unit of measured usage.
    pub unit: String,
    /// How the month's records are combined into one amount.
    pub aggregation: Aggregation,
    /// The billed amount of usage; null if no record counts.
    #[schema(required)]
    pub usage: Option<Amount>,
    /// The adjustment that applies; null if none does.
    #[schema(required)]
    pub adjustment: Option<LineAdjustment>,
    /// The usage after the adjustment; null if there is no quantity.
    #[schema(required)]
    pub adjusted_amount: Option<Amount>,
    /// The amount of usage in a block.
    pub block_size: BlockSize,
    /// How a fraction of a block is rounded.
    pub rounding: Rounding,
    /// The adjusted usage in blocks, rounded; null if there is no quantity.
    #[schema(required)]
    pub blocks: Option<Quantity>,
    /// The minimum quantity that is billed; null if there is no minimum.
    #[schema(required)]
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The included quantity; another product bills the rest. For an overage product, the base product's. Null if
    /// nothing is included.
    #[schema(required)]
    pub included_quantity: Option<IncludedQuantity>,
    /// The quantity of the month's last push. Without a push, the blocks, raised to the minimum and capped at the
    /// included quantity. Null if there is neither.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// The quantity in ConnectWise or, if later months have been pushed since, the quantity pushed for this month; null
    /// if it is unknown, or if no addition is billed.
    #[schema(required)]
    pub connectwise_quantity: Option<Quantity>,
    /// How the quantity that a push would write now compares with ConnectWise's.
    pub kind: ReconciliationKind,
    /// The kind as a sentence, with what to do.
    pub explanation: String,
    /// The number of units that the agreement includes; null if it is unknown.
    #[schema(required)]
    pub less_included: Option<Quantity>,
    /// The quantity that is charged: ConnectWise's, less the included units; null if it is unknown.
    #[schema(required)]
    pub billed_quantity: Option<Quantity>,
    /// The price per unit; null if it is unknown.
    #[schema(required)]
    pub unit_price: Option<Money>,
    /// The amount charged, without taxes; null if the quantity or the price is unknown.
    #[schema(required)]
    pub amount: Option<Money>,
    /// Whether the next invoice will not include it; if so, it is not in the totals.
    pub not_invoiced: bool,
    /// The code of the agreement's currency; null if it has none.
    #[schema(required)]
    pub currency: Option<String>,
    /// The date of the next invoice; null if it is unknown.
    #[schema(required)]
    pub next_invoice_on: Option<NaiveDate>,
    /// The steps from the usage to the amount, as sentences.
    pub steps: Vec<String>,
    /// The month's records, newest first, at most 100. With the aggregation `last`, a record of an earlier month may
    /// count.
    pub records: Vec<StatementRecord>,
    /// The number of the month's records.
    pub records_in_month: i64,
    /// The quantities that pushes wrote for the month or already found in ConnectWise, newest first.
    pub pushes: Vec<StatementPush>,
}

/// A measured amount.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementRecord {
    /// When it was measured.
    pub measured_at: DateTime<Utc>,
    /// The amount, in the product's unit.
    pub amount: Amount,
    /// The meter or report that the record comes from.
    pub source: String,
}

impl From<UsageRecord> for StatementRecord {
    fn from(record: UsageRecord) -> Self {
        Self { measured_at: record.measured_at.and_utc(), amount: record.amount, source: record.source }
    }
}

/// A push of the product's quantity.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementPush {
    /// The push job's id.
    pub push_job_id: String,
    /// When the push finished the line.
    #[schema(required)]
    pub at: Option<DateTime<Utc>>,
    /// Whether the quantity was written, found there already, or may have been written.
    pub state: PushLineState,
    /// The quantity in ConnectWise before; null if it is unknown.
    #[schema(required)]
    pub from: Option<Quantity>,
    /// The quantity that was pushed; null if it is unknown.
    #[schema(required)]
    pub to: Option<Quantity>,
}

impl From<(PushLine, PushJob)> for StatementPush {
    fn from((line, job): (PushLine, PushJob)) -> Self {
        Self {
            push_job_id: job.id.to_string(),
            at: line.finished_at.map(|at| at.and_utc()),
            state: line.state,
            from: line.from_quantity,
            to: line.to_quantity,
        }
    }
}

impl From<StatementLine> for StatementProduct {
    fn from(statement: StatementLine) -> Self {
        let StatementLine { line, item, basis, steps, records, records_in_month, pushes } = statement;
        let (computed, product, invoice) = (line.computed, line.product, line.invoice);
        let breakdown = basis.breakdown;
        let terms = line.view.addition.as_ref().map(|addition| &addition.terms);
        let is_known = item.connectwise_quantity.is_some();
        Self {
            product_id: product.id.to_string(),
            product_code: product.code,
            product_name: product.name,
            billing_month: computed.month,
            month_closed: computed.month_closed,
            unit: product.unit,
            aggregation: product.aggregation,
            usage: basis.usage.map(|usage| usage.amount),
            adjustment: basis.adjustment.map(LineAdjustment::from),
            adjusted_amount: breakdown.map(|breakdown| breakdown.adjusted),
            block_size: basis.block_size,
            rounding: product.rounding,
            blocks: breakdown.map(|breakdown| breakdown.blocks),
            minimum_quantity: basis.minimum_quantity,
            included_quantity: basis.included_quantity,
            quantity: basis.quantity,
            connectwise_quantity: item.connectwise_quantity,
            kind: item.compared.kind,
            explanation: item.compared.kind.meaning().trim().to_owned(),
            less_included: invoice.as_ref().and_then(|invoice| invoice.less_included),
            billed_quantity: item.connectwise_quantity.zip(terms).map(|(has, terms)| billed_quantity(has, terms)),
            unit_price: invoice.as_ref().and_then(|invoice| invoice.unit_price),
            amount: item.compared.connectwise_amount.filter(|_| is_known),
            not_invoiced: item.is_not_invoiced,
            currency: item.currency,
            next_invoice_on: invoice.and_then(|invoice| invoice.next_invoice),
            steps,
            records: records.into_iter().map(StatementRecord::from).collect(),
            records_in_month,
            pushes: pushes.into_iter().map(StatementPush::from).collect(),
        }
    }
}

impl From<statement::Statement> for Statement {
    fn from(statement: statement::Statement) -> Self {
        let amount = |(currency, amount)| CurrencyAmount { currency, amount };
        Self {
            company_id: statement.company.id.to_string(),
            company_external_id: statement.company.external_id,
            company_name: statement.company.name,
            made_at: statement.made_at,
            products: statement.lines.into_iter().map(StatementProduct::from).collect(),
            totals: statement.totals.into_iter().map(amount).collect(),
        }
    }
}

/// The month and the form of a statement.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The month, such as `2026-11`. The default is the month that a push would bill now, according to each product's
    /// `billing_period`.
    pub billing_month: Option<BillingMonth>,
    /// The form: for programs, as a table, or as a page to print. The default is `json`.
    #[param(default = "json")]
    pub format: Option<DocumentFormat>,
}

/// Get a company's statement
///
/// Explains the company's bill for a month, as evidence for the customer: the records, each step from the usage to the
/// amount, and what was pushed and when. Pushed quantities are explained with the values that the push recorded, even
/// if settings have changed since. `format=csv` returns a table with a row for each product, and `format=html` a page
/// to print.
#[utoipa::path(
    tag = "reconciliation",
    params(("id" = String, Path, description = "The company"), StatementQuery),
    responses(
        (status = 200, description = "The statement", content(
            (Statement = "application/json"), (String = "text/csv"), (String = "text/html")
        )),
        Errors
    )
)]
#[get("/companies/{id}/statement")]
pub async fn get_company_statement(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    query: StrictQuery<StatementQuery>,
) -> ApiResult {
    let (id, now) = (CompanyId::from(id.into_inner()), ctx.clock.now());
    let StatementQuery { billing_month, format } = query.0;
    let read = move |tx: &mut Tx<'_>| statement::load(tx, &id, billing_month, now);
    let statement = Statement::from(ctx.db.read(&caller.tenant, read).await?);
    Ok(match format.unwrap_or(DocumentFormat::Json) {
        DocumentFormat::Json => ok(&statement),
        DocumentFormat::Csv => table::reply(&statement)?,
        DocumentFormat::Html => HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((CONTENT_SECURITY_POLICY, page::policy()))
            .body(page::render(&statement)),
    })
}

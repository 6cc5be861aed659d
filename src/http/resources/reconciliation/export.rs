//! `/export/reconciliation`: the items that need attention, as CSV.

use actix_web::{get, web};

use super::ReconciliationQuery;
use super::item::ReconciliationItem;
use crate::db;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::csv_writer::Writer;
use crate::http::kit::extract::formula::escape_formula;
use crate::http::kit::extract::table_query::TableQuery;
use crate::http::kit::problem::{ApiResult, Errors};
use crate::services::AppContext;
use crate::services::reconciliation;

const COLUMNS: [&str; 23] = [
    "kind",
    "billing_month",
    "product_code",
    "company_external_id",
    "company_name",
    "connectwise_company_id",
    "connectwise_company_name",
    "agreement_id",
    "agreement_name",
    "addition_id",
    "addition_name",
    "usage",
    "quantity",
    "connectwise_quantity",
    "pushed_quantity",
    "quantity_difference",
    "currency",
    "unit_price",
    "amount",
    "connectwise_amount",
    "amount_difference",
    "not_invoiced",
    "warnings",
];

/// Export a reconciliation
///
/// Returns the items of `GET /reconciliation` as CSV, sorted by company name. Text that looks like a formula gets an
/// apostrophe.
#[utoipa::path(
    tag = "import and export",
    params(TableQuery<ReconciliationQuery>),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table of items that need attention"), Errors)
)]
#[get("/export/reconciliation")]
pub async fn export_reconciliation(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: TableQuery<ReconciliationQuery>,
) -> ApiResult {
    let now = ctx.clock.now();
    let (scope, filter) = query.filter.into_parts();
    let read = move |tx: &mut db::Tx<'_>| {
        let reconciled = reconciliation::reconcile(tx, &scope, now)?;
        reconciliation::all(tx, &reconciled, &filter)
    };
    let mut table = Writer::new(&COLUMNS, query.bom)?;
    for item in ctx.db.read(&caller.tenant, read).await? {
        table.row(&cells(item.into()))?;
    }
    Ok(table.reply("reconciliation.csv")?)
}

fn cells(item: ReconciliationItem) -> [String; 23] {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let name = |value: Option<String>| escape_formula(&value.unwrap_or_default());
    let warnings: Vec<&str> = item.warnings.iter().map(|warning| warning.code.as_str()).collect();
    [
        item.kind.to_string(),
        item.billing_month.to_string(),
        escape_formula(&item.product_code),
        name(item.company_external_id),
        escape_formula(&item.company_name),
        text(item.connectwise_company_id),
        name(item.connectwise_company_name),
        text(item.agreement_id),
        name(item.agreement_name),
        text(item.addition_id),
        name(item.addition_name),
        text(item.usage),
        text(item.quantity),
        text(item.connectwise_quantity),
        text(item.pushed_quantity),
        text(item.quantity_difference),
        name(item.currency),
        text(item.unit_price),
        text(item.amount),
        text(item.connectwise_amount),
        text(item.amount_difference),
        item.not_invoiced.to_string(),
        warnings.join(" "),
    ]
}

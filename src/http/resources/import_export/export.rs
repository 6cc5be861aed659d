//! `/export`: company matches and billing lines, as CSV.

use actix_web::{get, web};
use chrono::SecondsFormat;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{LINES, MATCHES};
use crate::db::LineFilter;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::ProductId;
use crate::domain::line_need::LineNeed;
use crate::domain::mapping_status::MappingStatus;
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::csv_writer::Writer;
use crate::http::kit::extract::formula::escape_formula;
use crate::http::kit::extract::query::Values;
use crate::http::kit::extract::table_query::{NoFilter, TableQuery};
use crate::http::kit::problem::{ApiResult, Errors};
use crate::services::AppContext;
use crate::services::import_export;
use crate::services::import_export::{ExportedLine, ExportedMatch};
use crate::services::quantities::compute::BilledMonths;

/// Export company matches
///
/// Returns all companies with the ConnectWise company that each is matched to, as CSV, sorted by name. The table can be
/// edited and imported; importing it unchanged changes nothing. A name or id that looks like a formula gets an
/// apostrophe, which the import removes.
#[utoipa::path(
    tag = "import and export",
    params(TableQuery<NoFilter>),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table of companies"), Errors)
)]
#[get("/export/company-matches")]
pub async fn export_company_matches(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: TableQuery<NoFilter>,
) -> ApiResult {
    let rows = ctx.db.read(&caller.tenant, import_export::export_matches).await?;
    let mut table = Writer::new(MATCHES.exported, query.bom)?;
    for ExportedMatch { company, cw_company } in rows {
        let id = company.connectwise_company_id.map(|id| id.to_string()).unwrap_or_default();
        let (identifier, name) = cw_company.map(|known| (known.identifier, known.name)).unwrap_or_default();
        let texts = [&company.external_id, &company.name, &id, &identifier, &name];
        table.row(&texts.map(|text| escape_formula(text)))?;
    }
    Ok(table.reply("company-matches.csv")?)
}

/// The filter of the export of billing lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinesToExport {
    /// Only lines of the product with this id.
    #[param(max_length = 300)]
    pub product_id: Option<String>,
    /// Only lines whose company has this text in its name, its external id or the identifier of its ConnectWise
    /// company, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
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
    /// Only lines that need attention (`true`), or only the others (`false`).
    pub needs_attention: Option<bool>,
    /// Only lines that need this action, or one of these, separated by commas.
    #[serde(default)]
    #[param(style = Form, explode = false, required = false, min_items = 1, value_type = Vec<LineNeed>)]
    pub need: Values<LineNeed>,
    /// Only lines that are out of date (`true`), or only the others (`false`).
    pub out_of_date: Option<bool>,
    /// The month whose usage is exported, such as `2026-11`. The default is the month that a push would bill now.
    pub billing_month: Option<BillingMonth>,
}

/// Export billing lines
///
/// Returns the settings and manual choices of the billing lines that match the filters as CSV, with the usage and
/// quantity that a push would bill. The table can be edited and imported; importing it unchanged changes nothing. A
/// name or id that looks like a formula gets an apostrophe, which the import removes.
#[utoipa::path(
    tag = "import and export",
    params(TableQuery<LinesToExport>),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table of billing lines"), Errors)
)]
#[get("/export/billing-lines")]
pub async fn export_billing_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: TableQuery<LinesToExport>,
) -> ApiResult {
    let TableQuery { filter: wanted, bom } = query;
    let now = ctx.clock.now();
    let (months, out_of_date) = (BilledMonths::named_or_now(wanted.billing_month), wanted.out_of_date);
    let filter = LineFilter {
        product_id: wanted.product_id.map(ProductId::from),
        search: wanted.search,
        agreement_status: wanted.agreement_status.0,
        addition_status: wanted.addition_status.0,
        push_enabled: wanted.push_enabled,
        needs_attention: wanted.needs_attention,
        need: wanted.need.0,
        ..LineFilter::default()
    };
    let rows = ctx.db.read(&caller.tenant, move |tx| import_export::export_lines(tx, &filter, &months, now)).await?;
    let mut table = Writer::new(LINES.exported, bom)?;
    for row in rows.iter().filter(|row| out_of_date.is_none_or(|wanted| wanted == row.out_of_date)) {
        table.row(&line_cells(row))?;
    }
    Ok(table.reply("billing-lines.csv")?)
}

fn line_cells(row: &ExportedLine) -> [String; 30] {
    let (line, company, computed) = (&row.view.line, &row.view.company, &row.computed);
    let text = |value: Option<String>| value.unwrap_or_default();
    let adjustment = line.adjustment.as_ref();
    let invoice = row.invoice.as_ref();
    let invoiced = invoice.map(|invoice| &invoice.invoiced);
    let warnings = invoiced.into_iter().flat_map(|invoiced| &invoiced.warnings).map(|warning| warning.as_str());
    [
        escape_formula(&company.external_id),
        escape_formula(&company.name),
        escape_formula(&row.product_code),
        line.push_enabled.to_string(),
        text(line.block_size.map(|size| size.to_string())),
        text(line.minimum_quantity.map(|minimum| minimum.to_string())),
        text(line.included_quantity.map(|included| included.to_string())),
        text(adjustment.map(|adjustment| adjustment.amount.to_string())),
        text(adjustment.map(|adjustment| adjustment.from.to_string())),
        text(adjustment.and_then(|adjustment| adjustment.until).map(|until| until.to_string())),
        text(adjustment.map(|adjustment| escape_formula(&adjustment.reason))),
        text(row.manual_agreement().map(|id| id.to_string())),
        text(row.manual_addition().map(|id| id.to_string())),
        text(row.view.agreement.as_ref().map(|agreement| escape_formula(&agreement.name))),
        line.agreement_status.to_string(),
        text(row.view.addition.as_ref().map(|addition| escape_formula(&addition.label()))),
        line.addition_status.to_string(),
        computed.month.to_string(),
        computed.month_closed.to_string(),
        text(computed.amount().map(|amount| amount.to_string())),
        text(computed.usage.map(|usage| usage.through.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
        computed.usage.map_or(0, |usage| usage.records).to_string(),
        text(computed.overage.map(|overage| overage.to_string())),
        text(computed.quantity.map(|quantity| quantity.to_string())),
        text(computed.problem.clone()),
        row.out_of_date.to_string(),
        text(invoiced.and_then(|invoiced| invoiced.billed_quantity).map(|quantity| quantity.to_string())),
        text(invoiced.and_then(|invoiced| invoiced.amount).map(|amount| amount.to_string())),
        escape_formula(&text(invoice.and_then(|invoice| invoice.currency.clone()))),
        warnings.collect::<Vec<_>>().join(" "),
    ]
}

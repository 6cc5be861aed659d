//! A statement as a table.

use actix_web::HttpResponse;
use chrono::SecondsFormat;

use super::{Statement, StatementProduct};
use crate::domain::Result;
use crate::domain::push::PushLineState;
use crate::http::kit::extract::csv_writer::Writer;
use crate::http::kit::extract::formula::escape_formula;

const COLUMNS: [&str; 24] = [
    "company_external_id",
    "company_name",
    "billing_month",
    "product_code",
    "product_name",
    "usage",
    "unit",
    "records_in_month",
    "adjustment",
    "block_size",
    "blocks",
    "minimum_quantity",
    "included_quantity",
    "quantity",
    "connectwise_quantity",
    "less_included",
    "billed_quantity",
    "unit_price",
    "amount",
    "currency",
    "pushed_at",
    "pushed_quantity",
    "push_job_id",
    "steps",
];

/// The table, as a file to save.
pub(super) fn reply(statement: &Statement) -> Result<HttpResponse> {
    let mut table = Writer::new(&COLUMNS, false)?;
    for product in &statement.products {
        table.row(&cells(statement, product))?;
    }
    table.reply("statement.csv")
}

fn cells(statement: &Statement, product: &StatementProduct) -> [String; 24] {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let pushed = product.pushes.iter().find(|push| push.state != PushLineState::Unverified);
    [
        escape_formula(&statement.company_external_id),
        escape_formula(&statement.company_name),
        product.billing_month.to_string(),
        escape_formula(&product.product_code),
        escape_formula(&product.product_name),
        text(product.usage),
        escape_formula(&product.unit),
        product.records_in_month.to_string(),
        text(product.adjustment.as_ref().map(|adjustment| adjustment.amount)),
        product.block_size.to_string(),
        text(product.blocks),
        text(product.minimum_quantity),
        text(product.included_quantity),
        text(product.quantity),
        text(product.connectwise_quantity),
        text(product.less_included),
        text(product.billed_quantity),
        text(product.unit_price),
        text(product.amount),
        escape_formula(&text(product.currency.as_ref())),
        text(pushed.and_then(|pushed| pushed.at).map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
        text(pushed.and_then(|pushed| pushed.to)),
        text(pushed.map(|pushed| &pushed.push_job_id)),
        escape_formula(&product.steps.join(" ")),
    ]
}

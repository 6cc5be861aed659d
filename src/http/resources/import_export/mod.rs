//! `/export` and `/import`: company matches and the settings of billing lines, as CSV.

pub mod export;

use actix_web::{post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::mappings::LineField;
use crate::domain::{Error, FieldError};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::csv::{Columns, CsvBody, ReadRow, Row, read_rows};
use crate::http::kit::extract::query::StrictQuery;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, ProblemField, TableErrors};
use crate::http::kit::response::ok;
use crate::http::views::mappings::ResolveResponse;
use crate::services::AppContext;
use crate::services::import_export;
use crate::services::import_export::{ImportedMatch, LineRow, MatchRow};
use crate::services::mappings::line_edit::BulkMode;
use crate::services::mappings::line_edit::{Bulk, EditRejection, EditedLine};
use crate::services::mappings::resolve::Resolved;

const MATCHES: Columns = Columns {
    exported: &["external_id", "name", "connectwise_company_id", "connectwise_identifier", "connectwise_name"],
    import_only: &["shared"],
    required: &["external_id"],
    one_of: &["connectwise_company_id", "connectwise_identifier"],
};

const LINES: Columns = Columns {
    exported: &[
        "company_external_id",
        "company_name",
        "product_code",
        "push_enabled",
        "block_size",
        "minimum_quantity",
        "included_quantity",
        "adjustment",
        "adjustment_from",
        "adjustment_until",
        "adjustment_reason",
        "manual_agreement_id",
        "manual_addition_id",
        "agreement_name",
        "agreement_status",
        "addition_name",
        "addition_status",
        "billing_month",
        "month_closed",
        "usage",
        "usage_through",
        "usage_records",
        "overage",
        "quantity",
        "problem",
        "out_of_date",
        "billed_quantity",
        "amount",
        "currency",
        "invoice_warnings",
    ],
    import_only: &[],
    required: &["company_external_id", "product_code"],
    one_of: &[],
};

/// The options of an import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Whether to only report what each row would change, without saving it.
    #[serde(default)]
    pub dry_run: bool,
    /// What happens to the other rows if one is rejected. The default is `all_or_nothing`.
    #[param(default = "all_or_nothing")]
    pub mode: Option<BulkMode>,
}

impl ImportQuery {
    fn bulk(&self) -> Bulk {
        Bulk { mode: self.mode.unwrap_or(BulkMode::AllOrNothing), dry_run: self.dry_run }
    }
}

/// The outcome of one row: `changed`, `unchanged` or `rejected`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// The row changed something, or would have in a dry run.
    Changed,
    /// The row does not differ from the stored values.
    Unchanged,
    /// The row was rejected; `error` says why.
    Rejected,
}

/// A value before and after an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct CellChange {
    /// What changed: `connectwise_company_id`, `push_enabled`, `block_size`, `minimum_quantity`, `included_quantity`,
    /// `agreement` or `addition`.
    pub part: String,
    /// The value before; null if there was none. For a mapping, ConnectWise's id.
    #[schema(required)]
    pub old: Option<String>,
    /// The value after, in the same form; null if there is none.
    #[schema(required)]
    pub new: Option<String>,
}

impl CellChange {
    fn new<T: ToString>(part: &str, old: Option<T>, new: Option<T>) -> Self {
        let text = |value: Option<T>| value.map(|value| value.to_string());
        Self { part: part.to_owned(), old: text(old), new: text(new) }
    }
}

/// The report of one row.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowReport {
    /// The number of the line in the file on which the row begins. The header row is line 1.
    pub line: u64,
    /// Whether the row changed something.
    pub outcome: RowOutcome,
    /// What the row changed, or would have in a dry run.
    pub changes: Vec<CellChange>,
    /// Why the row was rejected; null if it was accepted.
    #[schema(required)]
    pub error: Option<ProblemField>,
}

/// The result of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportResponse {
    /// Whether this was a dry run, which saves nothing.
    pub dry_run: bool,
    /// The number of rows in the table, without the header row.
    pub rows: usize,
    /// The number of rows that changed something, or would have in a dry run.
    pub changed: usize,
    /// The number of rows that changed nothing.
    pub unchanged: usize,
    /// The number of rows that were rejected.
    pub rejected: usize,
    /// The report of each row, in the order of the table.
    pub items: Vec<RowReport>,
    /// The mapping changes that the import caused. A dry run of billing lines reports the changes that it would cause;
    /// a dry run of company matches reports none.
    pub resolved: ResolveResponse,
}

/// Builds the response: the outcomes of parsed rows and the errors of the others, in the order of the table.
fn report<T>(
    bulk: Bulk,
    read: Vec<ReadRow>,
    outcomes: Vec<Result<T, EditRejection>>,
    changes: impl Fn(&T) -> Vec<CellChange>,
    resolved: Resolved,
) -> Result<ImportResponse, Error> {
    let mut outcomes = outcomes.into_iter();
    let row = |(line, read): ReadRow| {
        let done = read.and_then(|()| match outcomes.next() {
            Some(Ok(done)) => Ok(changes(&done)),
            Some(Err(rejected)) => Err(rejected.field(&format!("/{line}"))),
            None => Ok(Vec::new()),
        });
        let (outcome, changes, error) = match done {
            Ok(changes) if changes.is_empty() => (RowOutcome::Unchanged, changes, None),
            Ok(changes) => (RowOutcome::Changed, changes, None),
            Err(error) => (RowOutcome::Rejected, Vec::new(), Some(error)),
        };
        (RowReport { line, outcome, changes, error: None }, error)
    };
    let (mut items, errors): (Vec<RowReport>, Vec<Option<FieldError>>) = read.into_iter().map(row).unzip();
    let bad: Vec<FieldError> = errors.iter().flatten().cloned().collect();
    if !bad.is_empty() && !bulk.dry_run && bulk.mode == BulkMode::AllOrNothing {
        return Err(Error::Invalid(bad));
    }
    let count = |wanted: fn(&RowOutcome) -> bool| items.iter().filter(|item| wanted(&item.outcome)).count();
    let changed = count(|outcome| matches!(outcome, RowOutcome::Changed));
    let unchanged = count(|outcome| matches!(outcome, RowOutcome::Unchanged));
    for (item, error) in items.iter_mut().zip(errors) {
        item.error = error.map(Into::into);
    }
    let rows = items.len();
    let dry_run = bulk.dry_run;
    Ok(ImportResponse { dry_run, rows, changed, unchanged, rejected: bad.len(), items, resolved: resolved.into() })
}

/// The options after parsing: in the mode `all_or_nothing`, nothing is saved if a row could not be parsed.
fn after_reading(bulk: Bulk, read: &[ReadRow]) -> Bulk {
    Bulk { dry_run: !bulk.should_save(read.iter().all(|(_, row)| row.is_ok())), ..bulk }
}

/// Import company matches
///
/// Sets the matches of many companies from a CSV table, and resolves their billing lines again. Repeating the request
/// changes nothing. Try it with `dry_run=true` first.
///
/// - `external_id` identifies the company. Companies that are not in the table stay as they are.
/// - `connectwise_company_id` or `connectwise_identifier` is the ConnectWise company. If both are blank, the company
///   becomes Not Set.
/// - `shared` is `true` to allow a ConnectWise company that another company is matched to.
///
/// Other columns of the export are ignored; an unknown column is an error. A table has at most 50,000 rows and 8 MiB.
/// In the mode `all_or_nothing`, a rejected row fails the request with 422, which lists the rejected rows: the field
/// `/7/connectwise_company_id` is that column on line 7. In the mode `each` and in a dry run, `items` reports them.
#[utoipa::path(
    tag = "import and export",
    params(ImportQuery),
    request_body(
        content = String,
        content_type = "text/csv",
        description = "The table in UTF-8, with a header row",
        example = json!("external_id,connectwise_identifier\r\nC-1001,HarborDental\r\n")
    ),
    responses((status = 200, description = "The outcome of each row", body = ImportResponse), Errors, TableErrors, ConnectWiseErrors)
)]
#[post("/import/company-matches")]
pub async fn import_company_matches(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: StrictQuery<ImportQuery>,
    body: CsvBody,
) -> ApiResult {
    let bulk = query.0.bulk();
    let (matches, read) = read_rows(body, MATCHES, match_in).await?;
    let done = import_export::import_matches(&ctx, &caller, matches, after_reading(bulk, &read)).await?;
    Ok(ok(&report(bulk, read, done.outcomes, match_changes, done.resolved)?))
}

fn match_in(row: Row<'_>) -> Result<MatchRow, FieldError> {
    Ok(MatchRow {
        external_id: row.required_name("external_id")?.to_owned(),
        id: row.parsed("connectwise_company_id")?.flatten(),
        identifier: row.name("connectwise_identifier").map(str::to_owned),
        shared: row.flag("shared")?.unwrap_or(false),
    })
}

fn match_changes(one: &ImportedMatch) -> Vec<CellChange> {
    let change = || CellChange::new("connectwise_company_id", one.company.connectwise_company_id, one.target);
    one.changes().then(change).into_iter().collect()
}

/// Import billing lines
///
/// Sets the settings and manual choices of many billing lines from a CSV table. Repeating the request changes nothing.
/// Try it with `dry_run=true` first.
///
/// - `company_external_id` and `product_code` identify the line. Lines that are not in the table stay as they are.
/// - `push_enabled` is `true` or `false`; blank changes nothing.
/// - `block_size` is the line's own block size; blank means the product's.
/// - `minimum_quantity` is the line's own minimum; blank means the product's.
/// - `included_quantity` is the line's own included quantity; blank means the product's.
/// - `manual_agreement_id` and `manual_addition_id` are manual choices, by ConnectWise's id; blank clears the choice.
///
/// A setting without a column stays as it is. Adjustments are exported, but not imported. Other columns of the export
/// are ignored; an unknown column is an error. A table has at most 50,000 rows and 8 MiB. In the mode `all_or_nothing`,
/// a rejected row fails the request with 422, which lists the rejected rows: the field `/7/block_size` is that column
/// on line 7. In the mode `each` and in a dry run, `items` reports them.
#[utoipa::path(
    tag = "import and export",
    params(ImportQuery),
    request_body(
        content = String,
        content_type = "text/csv",
        description = "The table in UTF-8, with a header row",
        example = json!("company_external_id,product_code,push_enabled,block_size\r\nC-1001,STORAGE,true,50\r\n")
    ),
    responses((status = 200, description = "The outcome of each row", body = ImportResponse), Errors, TableErrors, ConnectWiseErrors)
)]
#[post("/import/billing-lines")]
pub async fn import_billing_lines(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: StrictQuery<ImportQuery>,
    body: CsvBody,
) -> ApiResult {
    let bulk = query.0.bulk();
    let (lines, read) = read_rows(body, LINES, line_in).await?;
    let done = import_export::import_lines(&ctx, &caller, lines, after_reading(bulk, &read)).await?;
    Ok(ok(&report(bulk, read, done.outcomes, line_changes, done.resolved)?))
}

fn line_in(row: Row<'_>) -> Result<LineRow, FieldError> {
    Ok(LineRow {
        company: row.required_name("company_external_id")?.to_owned(),
        product: row.required_name("product_code")?.to_owned(),
        push_enabled: row.flag("push_enabled")?,
        block_size: row.parsed("block_size")?,
        minimum_quantity: row.parsed("minimum_quantity")?,
        included_quantity: row.parsed("included_quantity")?,
        agreement: row.parsed("manual_agreement_id")?,
        addition: row.parsed("manual_addition_id")?,
    })
}

fn line_changes(edited: &EditedLine) -> Vec<CellChange> {
    let EditedLine { before, after } = edited;
    let mut changes = Vec::new();
    if before.push_enabled != after.push_enabled {
        let part = LineField::PushEnabled.as_str();
        changes.push(CellChange::new(part, Some(before.push_enabled), Some(after.push_enabled)));
    }
    if before.block_size != after.block_size {
        changes.push(CellChange::new(LineField::BlockSize.as_str(), before.block_size, after.block_size));
    }
    if before.minimum_quantity != after.minimum_quantity {
        let part = LineField::MinimumQuantity.as_str();
        changes.push(CellChange::new(part, before.minimum_quantity, after.minimum_quantity));
    }
    if before.included_quantity != after.included_quantity {
        let part = LineField::IncludedQuantity.as_str();
        changes.push(CellChange::new(part, before.included_quantity, after.included_quantity));
    }
    if before.agreement != after.agreement {
        let part = LineField::Agreement.as_str();
        changes.push(CellChange::new(part, before.agreement.target, after.agreement.target));
    }
    if before.addition != after.addition {
        let part = LineField::Addition.as_str();
        changes.push(CellChange::new(part, before.addition.target, after.addition.target));
    }
    changes
}

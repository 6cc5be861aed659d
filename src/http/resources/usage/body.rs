//! The three formats of usage records: one JSON object, a JSON object on each line, and CSV as a vendor exports it.

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::domain::quantity::Amount;
use crate::domain::{Error, FieldCode, FieldError};
use crate::http::kit::extract::csv::{Delimiter, Name, Row, Table};
use crate::http::kit::extract::json::plain_text;
use crate::http::kit::extract::records::{Format, RecordsBody, too_many};
use crate::http::kit::problem::{ApiError, ApiResult};
use crate::services::usage::{EntityRef, MAX_BATCH, MeasuredAt, NewUsage};

/// Maximum length of a record's source in characters.
const MAX_SOURCE: usize = 100;

/// A batch of usage records. Either all of them are stored, or none.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"records": [{
    "company_external_id": "C-1001", "product_code": "STORAGE", "amount": "250.5",
    "measured_at": "2026-11-21T00:00:00Z", "source": "nightly"
}]}))]
pub struct AddUsageRequest {
    /// The records, at most 10,000.
    #[validate(length(min = 1, max = 10000), nested)]
    #[schema(min_items = 1, max_items = 10000)]
    pub records: Vec<NewUsageRecord>,
}

/// A measured amount.
#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUsageRecord {
    /// The company's id. Send either this or `company_external_id`.
    pub company_id: Option<String>,
    /// The vendor's own id for the company. Send either this or `company_id`.
    pub company_external_id: Option<String>,
    /// The product's id. Send either this or `product_code`.
    pub product_id: Option<String>,
    /// The vendor's own code for the product. Send either this or `product_id`.
    pub product_code: Option<String>,
    /// The measured amount, in the product's unit.
    pub amount: Amount,
    /// When the amount was measured, to the microsecond: from February 2000 to one day in the future. It determines the
    /// billing month.
    pub measured_at: DateTime<Utc>,
    /// The meter or report that the record comes from. If several records of a company and product have the same time,
    /// the aggregation `last` uses the one whose source sorts last. The default is `api`.
    #[serde(default = "default_source")]
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100, default = "api")]
    pub source: String,
}

/// The source of a record that does not name one.
fn default_source() -> String {
    "api".to_owned()
}

/// How a CSV table is read. Only for CSV.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageTableQuery {
    /// The column with the vendor's own id of the company. The default is `company_external_id`.
    #[param(max_length = 300)]
    pub company_column: Option<String>,
    /// The column with the vendor's own code of the product. The default is `product_code`.
    #[param(max_length = 300)]
    pub product_column: Option<String>,
    /// The column with the measured amount. The default is `amount`.
    #[param(max_length = 300)]
    pub amount_column: Option<String>,
    /// The column with the time of the measurement. The default is `measured_at`.
    #[param(max_length = 300)]
    pub measured_at_column: Option<String>,
    /// The column with the meter or report that a record comes from. The default is `source`, if the table has it.
    #[param(max_length = 300)]
    pub source_column: Option<String>,
    /// The product of all records, by the vendor's own code, instead of a column.
    #[param(max_length = 300)]
    pub product_code: Option<String>,
    /// The time of all records, instead of a column.
    #[param(max_length = 300)]
    pub measured_at: Option<String>,
    /// The source of all records, instead of a column.
    #[param(max_length = 300)]
    pub source: Option<String>,
    /// The column separator: a comma by default, or a semicolon or tab.
    #[param(inline)]
    pub delimiter: Option<Delimiter>,
}

impl UsageTableQuery {
    /// Rejects parameters that would have no effect: the records would not be stored as the caller intends.
    fn check(&self, format: Format) -> ApiResult<()> {
        let invalid =
            |name: &str, message: &str| Err(ApiError::Domain(Error::invalid(name, FieldCode::Contradiction, message)));
        if format != Format::Csv && *self != Self::default() {
            return invalid("query", "these parameters are only for a CSV table; write the values into the records");
        }
        let pairs = [
            ("product_code", self.product_code.is_some() && self.product_column.is_some()),
            ("measured_at", self.measured_at.is_some() && self.measured_at_column.is_some()),
            ("source", self.source.is_some() && self.source_column.is_some()),
        ];
        match pairs.iter().find(|(_, are_both)| *are_both) {
            Some((name, _)) => invalid(name, "send either a value for all records or the name of a column"),
            None => Ok(()),
        }
    }
}

/// The records of a request.
#[derive(Debug, Default)]
pub struct Records(Vec<NewUsage>);

impl Records {
    /// Parses a body of any format.
    pub fn read(body: &RecordsBody, table: &UsageTableQuery) -> ApiResult<Self> {
        table.check(body.format)?;
        match body.format {
            Format::Csv => Self::from_table(body, table),
            Format::Json => {
                let AddUsageRequest { records } = body.json()?;
                let placed = records.into_iter().enumerate();
                all(placed.map(|(index, record)| from_json(format!("/records/{index}"), record)))
            }
            Format::JsonLines => {
                let records: Vec<(usize, NewUsageRecord)> = body.json_lines(MAX_BATCH)?;
                all(records.into_iter().map(|(line, record)| from_json(format!("/{line}"), record)))
            }
        }
    }

    fn from_table(body: &RecordsBody, query: &UsageTableQuery) -> ApiResult<Self> {
        let name = |given: &'_ Option<String>, usual: &'static str| given.clone().unwrap_or_else(|| usual.to_owned());
        let (company, amount) =
            (name(&query.company_column, "company_external_id"), name(&query.amount_column, "amount"));
        let (product, measured_at) =
            (name(&query.product_column, "product_code"), name(&query.measured_at_column, "measured_at"));
        let source = name(&query.source_column, "source");
        let mut names = vec![("company_external_id", Name::Required(&company)), ("amount", Name::Required(&amount))];
        if query.product_code.is_none() {
            names.push(("product_code", Name::Required(&product)));
        }
        if query.measured_at.is_none() {
            names.push(("measured_at", Name::Required(&measured_at)));
        }
        if query.source.is_none() {
            let is_named = query.source_column.is_some();
            names.push(("source", if is_named { Name::Required(&source) } else { Name::Optional(&source) }));
        }
        let delimiter = query.delimiter.unwrap_or(Delimiter::Comma);
        let table = Table::read_named(body.bytes(), delimiter, &names)?;
        if table.rows().count() > MAX_BATCH {
            return Err(too_many(MAX_BATCH));
        }
        all(table.rows().map(|row| from_row(row, query)))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The records, in order.
    pub fn into_new(self) -> Vec<NewUsage> {
        self.0
    }
}

fn all(records: impl Iterator<Item = Result<NewUsage, Vec<FieldError>>>) -> ApiResult<Records> {
    let (mut read, mut bad) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Ok(new) => read.push(new),
            Err(errors) => bad.extend(errors),
        }
    }
    match (bad.is_empty(), read.is_empty()) {
        (false, _) => Err(ApiError::Domain(Error::Invalid(bad))),
        (true, true) => Err(ApiError::Domain(Error::invalid("", FieldCode::Length, "send at least one record"))),
        (true, false) => Ok(Records(read)),
    }
}

fn from_json(place: String, record: NewUsageRecord) -> Result<NewUsage, Vec<FieldError>> {
    let mut bad = Vec::new();
    let company = one_of(record.company_id, record.company_external_id, &place, ("company_id", "company_external_id"));
    let product = one_of(record.product_id, record.product_code, &place, ("product_id", "product_code"));
    if is_leap_second(record.measured_at) {
        bad.push(leap_second(&place));
    }
    match (company, product) {
        (Ok(company), Ok(product)) if bad.is_empty() => {
            let measured_at = MeasuredAt::Time(record.measured_at.trunc_subsecs(6));
            let new = NewUsage { place, company, product, amount: record.amount, measured_at, source: record.source };
            Ok(new)
        }
        (company, product) => {
            bad.extend([company.err(), product.err()].into_iter().flatten());
            Err(bad)
        }
    }
}

fn one_of(id: Option<String>, vendor: Option<String>, at: &str, names: (&str, &str)) -> Result<EntityRef, FieldError> {
    match (id, vendor) {
        (Some(id), None) => Ok(EntityRef::Id(id)),
        (None, Some(id)) => Ok(EntityRef::Vendor(id)),
        _ => {
            let message = format!("send either {} or {}", names.0, names.1);
            Err(FieldError::new(format!("{at}/{}", names.0), FieldCode::Required, message))
        }
    }
}

fn is_leap_second(at: DateTime<Utc>) -> bool {
    at.timestamp_subsec_nanos() >= 1_000_000_000
}

fn leap_second(place: &str) -> FieldError {
    let message = "must not be a leap second; send the second after it";
    FieldError::new(format!("{place}/measured_at"), FieldCode::OutOfRange, message)
}

fn from_row(row: Row<'_>, query: &UsageTableQuery) -> Result<NewUsage, Vec<FieldError>> {
    let company = row.required("company_external_id").map(|id| EntityRef::Vendor(id.trim().to_owned()));
    let product = match &query.product_code {
        Some(code) => Ok(EntityRef::Vendor(code.clone())),
        None => row.required("product_code").map(|code| EntityRef::Vendor(code.trim().to_owned())),
    };
    let amount = match row.parsed::<Amount>("amount") {
        Ok(amount) => amount.flatten().ok_or_else(|| row.bad("amount", FieldCode::Required, "must not be blank")),
        Err(error) => Err(error),
    };
    let given = query.measured_at.as_deref().or_else(|| row.cell("measured_at")).unwrap_or_default();
    let measured_at = measured_at(given).map_err(|message| row.bad("measured_at", FieldCode::BadValue, message));
    let source = match query.source.as_deref().or_else(|| row.cell("source")).map(str::trim) {
        None | Some("") => Ok(default_source()),
        Some(text) if plain_text(text).is_err() || text.chars().count() > MAX_SOURCE => {
            let message = format!("must be at most {MAX_SOURCE} characters without control characters");
            Err(row.bad("source", FieldCode::NotPlainText, message))
        }
        Some(text) => Ok(text.to_owned()),
    };
    match (company, product, amount, measured_at, source) {
        (Ok(company), Ok(product), Ok(amount), Ok(measured_at), Ok(source)) => {
            Ok(NewUsage { place: format!("/{}", row.line), company, product, amount, measured_at, source })
        }
        (company, product, amount, at, source) => {
            let errors = [company.err(), product.err(), amount.err(), at.err(), source.err()];
            Err(errors.into_iter().flatten().collect())
        }
    }
}

/// Parses a time (RFC 3339) or a day.
fn measured_at(text: &str) -> Result<MeasuredAt, &'static str> {
    let text = text.trim();
    if let Ok(day) = text.parse::<NaiveDate>() {
        let is_billable = (2000..2200).contains(&day.year());
        return if is_billable { Ok(MeasuredAt::Day(day)) } else { Err("write a day from 2000 to 2199") };
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) if is_leap_second(at.to_utc()) => Err("must not be a leap second; write the second after it"),
        Ok(at) => Ok(MeasuredAt::Time(at.to_utc().trunc_subsecs(6))),
        Err(_) => Err("write a time such as 2026-11-21T00:00:00Z, or a day such as 2026-11-21"),
    }
}

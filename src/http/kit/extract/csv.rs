//! Tables as CSV: RFC 4180 in UTF-8, with a header row. A byte order mark, as spreadsheets write it, is skipped.

use std::collections::HashMap;

use actix_web::web;
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use csv::StringRecord;
use futures_util::future::LocalBoxFuture;

use super::body_limits::{self, BodyBytes, LARGEST_BODY};
use super::formula::unescape_formula;
use super::headers::media_type;
use crate::domain::string_enum::string_enum;
use crate::domain::{Error, FieldCode, FieldError, Result};
use crate::http::kit::problem::ApiError;
use crate::http::kit::problem_code::RequestCode;

/// Maximum size of a table in bytes.
const LIMIT: usize = LARGEST_BODY;
/// Maximum number of rows of a table.
const MAX_ROWS: usize = 50_000;
/// Maximum number of columns of a table.
const MAX_COLUMNS: usize = 100;
/// Maximum number of cells of a table. Memory use grows with them, and each comma adds one.
const MAX_CELLS: usize = 1_000_000;

string_enum! {
    /// The separator between the columns of a table.
    Delimiter {
        /// `,`
        Comma = "comma",
        /// `;`
        Semicolon = "semicolon",
        /// The tab character.
        Tab = "tab",
    }
}

impl Delimiter {
    const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// A CSV body that is received but not parsed.
#[derive(Debug)]
pub struct CsvBody(BodyBytes);

impl FromRequest for CsvBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, mut payload) = (req.clone(), payload.take());
        Box::pin(async move {
            if media_type(&req) != "text/csv" {
                let detail = "send CSV with the header Content-Type: text/csv".to_owned();
                return Err(ApiError::Http(RequestCode::UnsupportedMediaType, detail));
            }
            Ok(Self(body_limits::read(&req, &mut payload, LIMIT).await?))
        })
    }
}

/// The columns that a table may have.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// The columns of the export, in its order. An import ignores the columns that are only for people. A setting
    /// without a column stays as it is.
    pub exported: &'static [&'static str],
    /// Further columns that only an import has.
    pub import_only: &'static [&'static str],
    /// The columns that an import must have.
    pub required: &'static [&'static str],
    /// An import must have at least one of these columns, if there are any.
    pub one_of: &'static [&'static str],
}

/// A parsed table.
#[derive(Debug)]
pub struct Table {
    places: HashMap<&'static str, usize>,
    rows: Vec<(u64, StringRecord)>,
}

/// The line number of a row, and whether the row could be parsed.
pub type ReadRow = (u64, Result<(), FieldError>);

/// Parses a table and each of its rows on a separate thread, because a large table would block the threads that serve
/// requests. Returns the parsed rows, and for each row of the table whether it could be parsed.
pub async fn read_rows<T: Send + 'static>(
    body: CsvBody,
    columns: Columns,
    parse: impl Fn(Row<'_>) -> Result<T, FieldError> + Send + 'static,
) -> Result<(Vec<T>, Vec<ReadRow>)> {
    let read = move || {
        let table = Table::read(&body, columns)?;
        let mut parsed = Vec::new();
        let rows = table.rows().map(|row| (row.line, parse(row).map(|value| parsed.push(value)))).collect();
        Ok((parsed, rows))
    };
    web::block(read).await.map_err(Error::internal)?
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'t> {
    table: &'t Table,
    record: &'t StringRecord,
    /// The number of the line in the file on which the row begins, from 1.
    pub line: u64,
}

impl Table {
    /// Parses a table. An unknown column is an error: a misspelt one would silently change nothing.
    pub fn read(body: &CsvBody, columns: Columns) -> Result<Self> {
        Self::parse(&body.0.bytes, Delimiter::Comma, |headers| places(headers, columns))
    }

    /// Parses a table in somebody else's layout. `names` are the wanted columns, each with its name in the table; an
    /// optional column may be missing. Other columns are ignored.
    pub fn read_named(bytes: &[u8], delimiter: Delimiter, names: &[(&'static str, Name<'_>)]) -> Result<Self> {
        Self::parse(bytes, delimiter, |headers| named_places(headers, names))
    }

    fn parse(
        bytes: &[u8],
        delimiter: Delimiter,
        places: impl FnOnce(&StringRecord) -> Result<HashMap<&'static str, usize>>,
    ) -> Result<Self> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        if memchr::memchr2_iter(delimiter.byte(), b'\n', bytes).count() > MAX_CELLS {
            return Err(Error::invalid(
                "",
                FieldCode::TooManyCells,
                format!("a table may have at most {MAX_CELLS} cells"),
            ));
        }
        check_quotes(bytes, delimiter)?;
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::Headers).delimiter(delimiter.byte()).from_reader(bytes);
        let headers = reader.headers().map_err(|error| unreadable(&error, bytes))?.clone();
        if headers.len() > MAX_COLUMNS {
            let message = format!("the table has {} columns; at most {MAX_COLUMNS} are allowed", headers.len());
            return Err(Error::invalid("/1", FieldCode::TooManyColumns, message));
        }
        let places = places(&headers)?;
        let (mut rows, mut lines) = (Vec::new(), LineCounter { bytes, counted: 0, line: 1 });
        for record in reader.into_records() {
            let record = record.map_err(|error| unreadable(&error, bytes))?;
            if rows.len() == MAX_ROWS {
                return Err(Error::invalid(
                    "",
                    FieldCode::TooManyRows,
                    format!("a table may have at most {MAX_ROWS} rows"),
                ));
            }
            rows.push((record.position().map_or(0, |at| lines.at(at)), record));
        }
        Ok(Self { places, rows })
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, record)| Row { table: self, record, line: *line })
    }
}

fn places(headers: &StringRecord, columns: Columns) -> Result<HashMap<&'static str, usize>> {
    let known = || columns.exported.iter().chain(columns.import_only);
    let mut places = HashMap::new();
    let mut bad = Vec::new();
    for (place, given) in headers.iter().enumerate() {
        let name = known().find(|name| name.eq_ignore_ascii_case(given));
        let field = format!("/1/{given}");
        match name {
            None => {
                let names: Vec<&str> = known().copied().collect();
                let hint = if given.contains(';') { "separate columns with commas, not semicolons; " } else { "" };
                let message = format!("{hint}unknown column; expected one of: {}", names.join(", "));
                bad.push(FieldError::new(field, FieldCode::UnknownColumn, message));
            }
            Some(name) if places.insert(*name, place).is_some() => {
                bad.push(FieldError::new(field, FieldCode::ColumnTwice, "the table has this column twice"));
            }
            Some(_) => {}
        }
    }
    for name in columns.required.iter().filter(|name| !places.contains_key(*name)) {
        bad.push(FieldError::new(
            format!("/1/{name}"),
            FieldCode::MissingColumn,
            format!("the column {name} is missing"),
        ));
    }
    if let (Some(first), true) = (columns.one_of.first(), columns.one_of.iter().all(|name| !places.contains_key(name)))
    {
        let message = format!("one of these columns is required: {}", columns.one_of.join(", "));
        bad.push(FieldError::new(format!("/1/{first}"), FieldCode::MissingColumn, message));
    }
    if bad.is_empty() { Ok(places) } else { Err(Error::Invalid(bad)) }
}

/// Rejects a quoted text that does not end before the end of its cell. The reader would take the lines up to the next
/// quote for a part of that text, without an error, and their rows would be missing.
fn check_quotes(bytes: &[u8], delimiter: Delimiter) -> Result<()> {
    let ends_cell = |byte: u8| byte == delimiter.byte() || matches!(byte, b'\r' | b'\n');
    let (mut at, mut is_cell_start) = (0, true);
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        if !is_cell_start || byte != b'"' {
            is_cell_start = ends_cell(byte);
            continue;
        }
        let opened = at;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let closed = memchr::memchr(b'"', rest).map(|found| at + found + 1);
            match closed.map(|closed| (closed, bytes.get(closed).copied())) {
                // Two quotes stand for one.
                Some((closed, Some(b'"'))) => at = closed + 1,
                Some((closed, next)) if next.is_none_or(ends_cell) => {
                    at = closed;
                    break;
                }
                _ => return Err(bad_quotes(bytes, opened)),
            }
        }
        is_cell_start = false;
    }
    Ok(())
}

fn bad_quotes(bytes: &[u8], opened: usize) -> Error {
    let line = memchr::memchr_iter(b'\n', bytes.get(..opened).unwrap_or_default()).count() + 1;
    let message = "quoted text must end with a quote at the end of its cell; double any quote inside it";
    Error::invalid(format!("/{line}"), FieldCode::BadCsv, message)
}

/// Counts lines. The reader's own count is one too low where a line ends in CR LF: it stops between the two.
struct LineCounter<'b> {
    bytes: &'b [u8],
    counted: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// The number of the line on which the record at or after a position begins. Positions must not decrease.
    fn at(&mut self, position: &csv::Position) -> u64 {
        let mut start = usize::try_from(position.byte()).unwrap_or(usize::MAX).min(self.bytes.len());
        start += self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let lines = memchr::memchr_iter(b'\n', self.bytes.get(self.counted..start).unwrap_or_default()).count();
        self.line += u64::try_from(lines).unwrap_or_default();
        self.counted = self.counted.max(start);
        self.line
    }
}

/// The name of a wanted column in a table in somebody else's layout.
#[derive(Debug, Clone, Copy)]
pub enum Name<'n> {
    /// The table must have a column with this name.
    Required(&'n str),
    /// The table may have a column with this name.
    Optional(&'n str),
}

fn named_places(headers: &StringRecord, names: &[(&'static str, Name<'_>)]) -> Result<HashMap<&'static str, usize>> {
    let (mut places, mut bad) = (HashMap::new(), Vec::new());
    for (wanted, name) in names {
        let (Name::Required(text) | Name::Optional(text)) = name;
        let mut found = headers.iter().enumerate().filter(|(_, header)| header.eq_ignore_ascii_case(text));
        match (found.next(), found.next()) {
            (Some((place, _)), None) => drop(places.insert(*wanted, place)),
            (Some(_), Some(_)) => {
                bad.push(FieldError::new(
                    format!("/1/{text}"),
                    FieldCode::ColumnTwice,
                    "the table has this column twice",
                ));
            }
            (None, _) if matches!(name, Name::Required(_)) => {
                let given: Vec<&str> = headers.iter().collect();
                let message = format!("the column \"{text}\" is missing; the table has: {}", given.join(", "));
                bad.push(FieldError::new(format!("/1/{text}"), FieldCode::MissingColumn, message));
            }
            (None, _) => {}
        }
    }
    if bad.is_empty() { Ok(places) } else { Err(Error::Invalid(bad)) }
}

fn unreadable(error: &csv::Error, bytes: &[u8]) -> Error {
    let line = error.position().map_or(1, |at| LineCounter { bytes, counted: 0, line: 1 }.at(at));
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "the table is not UTF-8; save it as CSV UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!(
                "the row has {len} columns and the header has {expected_len}; put text that contains commas in quotes"
            )
        }
        _ => "the row is not valid CSV".to_owned(),
    };
    Error::invalid(format!("/{line}"), FieldCode::BadCsv, message)
}

impl<'t> Row<'t> {
    /// The text of a cell; `None` if the table has no such column.
    pub fn cell(&self, column: &str) -> Option<&'t str> {
        self.record.get(*self.table.places.get(column)?)
    }

    /// The text of a cell that must not be blank.
    pub fn required(&self, column: &str) -> Result<&'t str, FieldError> {
        match self.cell(column) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.bad(column, FieldCode::Required, "must not be blank")),
        }
    }

    /// The name or id in a cell that must not be blank, as our exports wrote it.
    pub fn required_name(&self, column: &str) -> Result<&'t str, FieldError> {
        self.required(column).map(unescape_formula)
    }

    /// The name or id in a cell that may be blank, as our exports wrote it: `None` if it is blank or missing.
    pub fn name(&self, column: &str) -> Option<&'t str> {
        self.cell(column).map(str::trim).filter(|text| !text.is_empty()).map(unescape_formula)
    }

    /// The parsed value of a cell that may be blank: `None` without the column, `Some(None)` for a blank cell.
    pub fn parsed<T: std::str::FromStr>(&self, column: &str) -> Result<Option<Option<T>>, FieldError>
    where
        T::Err: std::fmt::Display,
    {
        match self.cell(column).map(str::trim) {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) => match text.parse() {
                Ok(value) => Ok(Some(Some(value))),
                Err(error) => Err(self.bad(column, FieldCode::BadValue, error.to_string())),
            },
        }
    }

    /// The value of a true-or-false cell, in the spellings of spreadsheets; `None` if it is blank.
    pub fn flag(&self, column: &str) -> Result<Option<bool>, FieldError> {
        match self.cell(column).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "yes" | "1") => Ok(Some(true)),
            Some("false" | "no" | "0") => Ok(Some(false)),
            Some(_) => Err(self.bad(column, FieldCode::BadValue, "write true or false")),
        }
    }

    /// The error of a cell.
    pub fn bad(&self, column: &str, code: FieldCode, message: impl Into<String>) -> FieldError {
        FieldError::new(format!("/{}/{column}", self.line), code, message)
    }
}

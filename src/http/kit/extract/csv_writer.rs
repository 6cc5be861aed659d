//! Tables that are written as CSV, at once or page by page: a large one needs neither a long transaction nor much
//! memory.

use std::future::Future;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::Bytes;
use futures_util::stream;

use crate::domain::{Error, Result};
use crate::http::kit::problem::ApiError;

/// The content type of a table.
const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Tells Excel that a table is UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Writes a table as CSV.
#[derive(Debug)]
pub struct Writer(csv::Writer<Vec<u8>>);

impl Writer {
    /// Starts a table with its header row, after a byte order mark if `bom`.
    pub fn new(header: &[&str], bom: bool) -> Result<Self> {
        let start = if bom { BYTE_ORDER_MARK.as_bytes().to_vec() } else { Vec::new() };
        let mut table = Self::after(start);
        table.row(header)?;
        Ok(table)
    }

    /// Continues a table.
    fn headless() -> Self {
        Self::after(Vec::new())
    }

    fn after(start: Vec<u8>) -> Self {
        Self(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(start))
    }

    /// The bytes written so far.
    fn into_bytes(self) -> Result<Vec<u8>> {
        self.0.into_inner().map_err(|error| Error::internal(error.to_string()))
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) -> Result<()> {
        self.0.write_record(cells.iter().map(|cell| cell.as_ref().as_bytes())).map_err(Error::internal)
    }

    /// A response with the table as a file to save.
    pub fn reply(self, name: &str) -> Result<HttpResponse> {
        let bytes = self.into_bytes()?;
        Ok(HttpResponse::Ok()
            .content_type(CONTENT_TYPE)
            .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
            .body(bytes))
    }
}

/// A part of a table, and the cursor of the next part.
#[derive(Debug)]
pub struct TablePage {
    /// The rows in order, each with a cell for every column of the header.
    pub rows: Vec<Vec<String>>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<String>,
}

/// A response with a table as a file to save. `page` reads the part at a cursor, or the first one. The first part is
/// read before the response begins, so that an error becomes a problem; a later error cuts the response off.
pub async fn stream_table<F, R>(
    name: &str,
    header: &'static [&'static str],
    bom: bool,
    mut page: F,
) -> Result<HttpResponse>
where
    F: FnMut(Option<String>) -> R + 'static,
    R: Future<Output = Result<TablePage>> + 'static,
{
    let first = page(None).await?;
    let table = Writer::new(header, bom)?;
    let parts = stream::unfold(Some((first, table, page)), |state| async move {
        let (part, mut table, mut page) = state?;
        let written = part.rows.iter().try_for_each(|row| table.row(row)).and_then(|()| table.into_bytes());
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => return Some((Err(actix_web::Error::from(ApiError::from(error))), None)),
        };
        let next = match part.next {
            None => None,
            Some(cursor) => match page(Some(cursor)).await {
                Ok(next) => Some((next, Writer::headless(), page)),
                Err(error) => {
                    tracing::warn!(cause = %error.chain(), "an export was cut off");
                    return Some((Err(actix_web::Error::from(ApiError::from(error))), None));
                }
            },
        };
        Some((Ok(Bytes::from(bytes)), next))
    });
    Ok(HttpResponse::Ok()
        .content_type(CONTENT_TYPE)
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(parts))
}

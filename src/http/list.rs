//! Lists: pages, filters, sort.

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::{Page, PageRequest};
use crate::domain::Result;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T: ToSchema> {
    /// The rows.
    pub items: Vec<T>,
    /// Send this as `cursor` for the next page; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T: ToSchema> List<T> {
    /// A page of rows, rendered.
    pub fn from_page<R>(page: Page<R>, render: impl FnMut(R) -> T) -> Self {
        let page = page.map(render);
        Self { next_cursor: page.next.map(|cursor| cursor.encode()), items: page.items }
    }

    /// A list that is never so long as to be paged.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// Reads the parameters of a list.
pub fn page<S>(limit: Option<i64>, cursor: Option<&str>, sort: Option<&str>, default: S) -> Result<PageRequest<S>>
where
    S: std::str::FromStr + std::fmt::Display + Copy,
    S::Err: std::fmt::Display,
{
    PageRequest::parse(limit, cursor, sort, default)
}

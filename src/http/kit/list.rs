//! Lists: pages, filters, sort.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::Page;

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

/// A moment by which a list is filtered, within what both databases can compare.
pub fn comparable(at: DateTime<Utc>) -> DateTime<Utc> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_9999: i64 = 253_370_764_800;
    let bound = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or(at);
    at.clamp(bound(YEAR_1), bound(YEAR_9999))
}

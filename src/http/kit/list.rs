//! The JSON form of lists.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::Page;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T: ToSchema> {
    /// The items of this page.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last page. Opaque: send it back as it is.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// The number of all items that match the filters; left out unless the request has `total=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub total: Option<i64>,
}

impl<T: ToSchema> List<T> {
    /// A page of a list, with each row rendered as an item.
    pub fn from_page<R>(page: Page<R>, render: impl FnMut(R) -> T) -> Self {
        let page = page.map(render);
        Self { next_cursor: page.next.map(|cursor| cursor.encode()), items: page.items, total: page.total }
    }

    /// A list that is always returned whole, in one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None, total: None }
    }
}

/// Limits a time to the years 1 to 9999, which both databases can compare.
pub fn comparable(at: DateTime<Utc>) -> DateTime<Utc> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_9999: i64 = 253_370_764_800;
    let bound = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or(at);
    at.clamp(bound(YEAR_1), bound(YEAR_9999))
}

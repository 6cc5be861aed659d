//! Cursor pagination, which stays correct while rows are added and removed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::string_enum::StringEnum;
use crate::domain::{Error, FieldCode, Result};

/// Maximum number of rows on a page.
const MAX_LIMIT: i64 = 500;

/// Where a page begins: after the row with this sort key and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The list and the sort order that the cursor belongs to. The cursor is rejected for any other.
    #[serde(rename = "o")]
    order: String,
    #[serde(rename = "k")]
    pub(in crate::db) key: String,
    #[serde(rename = "i")]
    pub(in crate::db) id: String,
}

impl Cursor {
    /// The cursor as opaque text.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The requested page of a list.
#[derive(Debug, Clone)]
pub struct PageRequest<S> {
    pub(in crate::db) limit: i64,
    pub(in crate::db) after: Option<Cursor>,
    pub(in crate::db) sort: S,
    pub(in crate::db) descending: bool,
    /// Whether to count the rows that match the filter.
    pub(in crate::db) with_total: bool,
    /// The list that the page belongs to.
    list: ListName,
}

/// The list and the filter that a page's cursor belongs to.
#[derive(Debug, Clone, Copy)]
pub struct ListName {
    /// The name of the list.
    pub name: &'static str,
    /// A hash of the filter.
    pub filter: u64,
}

impl<S: StringEnum> PageRequest<S> {
    /// Parses the page parameters of a list: at most 500 rows, a cursor that an earlier page returned, and a sort key,
    /// with `-` before it for descending order.
    pub fn parse(list: ListName, limit: Option<i64>, cursor: Option<&str>, sort: &str) -> Result<Self> {
        let limit = limit.unwrap_or(100);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid("limit", FieldCode::OutOfRange, "must be from 1 to 500"));
        }
        let name = sort.strip_prefix('-').unwrap_or(sort);
        let descending = name != sort;
        let sort = name.parse().map_err(|error| Error::invalid("sort", FieldCode::BadValue, format!("{error}")))?;
        let mut page = Self { limit, after: None, sort, descending, with_total: false, list };
        if let Some(text) = cursor {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let cursor: Option<Cursor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let fits = cursor.filter(|cursor| cursor.order == page.order());
            page.after = Some(fits.ok_or_else(|| {
                Error::invalid(
                    "cursor",
                    FieldCode::BadCursor,
                    "must be a next_cursor of the same list, with the same filters and sort",
                )
            })?);
        }
        Ok(page)
    }

    /// The number of rows requested.
    pub fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// The key by which the rows are sorted.
    pub fn sort(&self) -> S {
        self.sort
    }

    /// A page of rows that are all in memory, in any order. `place` returns a row's sort key and id.
    pub fn of_all<T>(&self, rows: Vec<T>, place: impl Fn(&T) -> (String, String)) -> Page<T> {
        let total = self.with_total.then(|| i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let after = self.after.as_ref().map(|at| (&at.key, &at.id));
        let is_after = |(key, id): &(String, String)| match (after, self.descending) {
            (None, _) => true,
            (Some(at), false) => (key, id) > at,
            (Some(at), true) => (key, id) < at,
        };
        let placed = rows.into_iter().map(|row| (place(&row), row));
        let mut rows: Vec<((String, String), T)> = placed.filter(|(place, _)| is_after(place)).collect();
        rows.sort_by(|(one, _), (other, _)| if self.descending { other.cmp(one) } else { one.cmp(other) });
        let page = self.page(rows, |(place, _)| place.clone()).map(|(_, row)| row);
        page.with_total(total)
    }

    /// The same list with the maximum page size, starting after the cursor or, without one, where this page starts.
    pub fn scan(&self, after: Option<Cursor>) -> Self {
        let Self { sort, descending, list, .. } = *self;
        let after = after.or_else(|| self.after.clone());
        Self { limit: MAX_LIMIT, after, sort, descending, with_total: false, list }
    }

    /// The same page, with the number of all rows that match the filter.
    pub fn counted(self) -> Self {
        Self { with_total: true, ..self }
    }

    /// Whether to count all rows that match the filter.
    pub fn with_total(&self) -> bool {
        self.with_total
    }

    /// The cursor after the row with this sort key and id.
    pub(in crate::db) fn after(&self, key: String, id: String) -> Cursor {
        Cursor { order: self.order(), key, id }
    }

    fn order(&self) -> String {
        let ListName { name, filter } = self.list;
        format!("{name} {}{} {filter:x}", if self.descending { "-" } else { "" }, self.sort)
    }

    /// The number of rows to select: one more than fit on the page, to detect whether there is a next page.
    pub(in crate::db) fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// Truncates the selected rows to a page. `place` returns a row's sort key and id.
    pub(in crate::db) fn page<T>(&self, mut rows: Vec<T>, place: impl Fn(&T) -> (String, String)) -> Page<T> {
        let more = rows.len() > self.limit();
        rows.truncate(self.limit());
        let next = rows.last().filter(|_| more).map(|last| {
            let (key, id) = place(last);
            self.after(key, id)
        });
        Page { items: rows, next, total: None }
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
    /// The number of all rows that match the filter, if the request asked for it.
    pub total: Option<i64>,
}

impl<T> Page<T> {
    /// Maps the rows of the page.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next, total: self.total }
    }

    /// The same page with the number of all rows.
    pub(in crate::db) fn with_total(self, total: Option<i64>) -> Self {
        Self { total, ..self }
    }
}

/// Counts the rows of a query, if the page request asks for the total.
macro_rules! total {
    ($page:expr, $query:expr, $conn:expr) => {
        if $page.with_total { Some($query.count().get_result::<i64>($conn)?) } else { None }
    };
}
pub(in crate::db) use total;

/// Orders a boxed query by a text column and the id, and starts it after the page's cursor.
macro_rules! keyset {
    ($query:expr, $page:expr, $key:expr, $id:expr) => {{
        let query = $query;
        let query = match (&$page.after, $page.descending) {
            (None, _) => query,
            // The first condition lets the database begin at the cursor; the second alone does not.
            (Some(at), false) => query
                .filter($key.ge(at.key.clone()))
                .filter($key.gt(at.key.clone()).or($key.eq(at.key.clone()).and($id.gt(at.id.clone())))),
            (Some(at), true) => query
                .filter($key.le(at.key.clone()))
                .filter($key.lt(at.key.clone()).or($key.eq(at.key.clone()).and($id.lt(at.id.clone())))),
        };
        if $page.descending { query.order(($key.desc(), $id.desc())) } else { query.order(($key.asc(), $id.asc())) }
    }};
}
pub(in crate::db) use keyset;

/// The distinct values, in chunks, because PostgreSQL compares each row with each value of a list if no index helps.
pub(in crate::db) fn chunks<T: Clone + Eq + std::hash::Hash>(values: &[T]) -> Vec<Vec<T>> {
    let mut seen = std::collections::HashSet::new();
    let distinct: Vec<T> = values.iter().filter(|value| seen.insert(*value)).cloned().collect();
    distinct.chunks(2_000).map(<[T]>::to_vec).collect()
}

/// The values without NUL. PostgreSQL cannot store NUL, and rejects a query that contains it.
pub(in crate::db) fn without_nul<T: Clone + ToString>(values: &[T]) -> Vec<T> {
    values.iter().filter(|value| !value.to_string().contains('\0')).cloned().collect()
}

/// A LIKE pattern that finds a text, ignoring case, anywhere in a `_key` column.
pub(in crate::db) fn like_pattern(text: &str) -> String {
    plain_pattern(&crate::domain::text::fold(text))
}

/// A LIKE pattern that finds a text exactly as written.
pub(in crate::db) fn plain_pattern(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

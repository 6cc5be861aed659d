//! Reads whole lists: with forward-only paging if the endpoint supports it, else page by page.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::client::{ApiRequest, Client, RetryPolicy};
use super::error::CwError;
use super::list_budget::{ListBudget, ListedRecord};

/// The maximum page size of ConnectWise.
const PAGE_SIZE: usize = 1_000;
/// How long reading a list may take, however slowly its pages arrive.
const MAX_TIME: Duration = Duration::from_secs(900);

/// The next page, according to a `Link` header. Links are never followed: only their parameters are read, so that
/// credentials are sent only to the connection's own host.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The header is missing, so it is unknown whether there is a next page.
    Unknown,
    /// There is no next page.
    None,
    /// There is a next page, with the `pageId` of forward-only paging if given.
    Page(Option<String>),
}

/// How a list continues after a page.
struct Page {
    next: Next,
    /// The id of the last record.
    last_id: Option<String>,
    is_empty: bool,
}

impl Next {
    fn read(link: Option<&str>) -> Self {
        let Some(link) = link else { return Self::Unknown };
        let next = link.split(',').find(|part| {
            let rel = part.split(';').skip(1).find_map(|param| param.trim().strip_prefix("rel="));
            rel.is_some_and(|rel| rel.trim_matches('"') == "next")
        });
        let Some(next) = next else { return Self::None };
        let url = next.split(';').next().unwrap_or_default().trim().trim_start_matches('<').trim_end_matches('>');
        let id = Url::parse(url).ok().and_then(|url| {
            url.query_pairs().find(|(name, _)| name.eq_ignore_ascii_case("pageId")).map(|(_, id)| id.into_owned())
        });
        Self::Page(id)
    }
}

/// Ends the reading of a list that takes too long.
async fn in_time<T>(read: impl Future<Output = Result<T, CwError>>) -> Result<T, CwError> {
    let late = |_| CwError::Failed(format!("a list did not end within {} minutes", MAX_TIME.as_secs() / 60));
    tokio::time::timeout(MAX_TIME, read).await.map_err(late)?
}

impl Client {
    /// Reads a whole list with forward-only paging. Records that appear or disappear meanwhile do not shift its pages.
    pub(super) async fn read_all<T: ListedRecord>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        budget: &ListBudget,
        parse: impl Fn(&Value) -> Result<T, CwError>,
    ) -> Result<Vec<T>, CwError> {
        in_time(async {
            let mut found = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let mut page = request.clone().with("pageSize", PAGE_SIZE.to_string());
                page.forward_only = true;
                if let Some(id) = &after {
                    page = page.with("pageId", id.clone());
                }
                let Page { next, last_id, is_empty } =
                    self.read_page(&page, policy, budget, &parse, &mut found).await?;
                match next {
                    Next::None => return Ok(found),
                    Next::Unknown | Next::Page(_) if is_empty => return Ok(found),
                    // The endpoint does not support forward-only paging and returned a first page: start over page by page.
                    Next::Unknown => return self.read_by_page(request, policy, budget, parse).await,
                    Next::Page(id) => {
                        let next = id.or(last_id);
                        if next.is_none() || next == after {
                            return Err(CwError::InvalidResponse(
                                "the list does not advance to its next page".to_owned(),
                            ));
                        }
                        after = next;
                    }
                }
            }
        })
        .await
    }

    /// Reads a whole list page by page, in order of id.
    pub(super) async fn read_by_page<T: ListedRecord>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        budget: &ListBudget,
        parse: impl Fn(&Value) -> Result<T, CwError>,
    ) -> Result<Vec<T>, CwError> {
        in_time(async {
            let (mut found, mut before) = (Vec::new(), None);
            for number in 1_u32.. {
                let page = request
                    .clone()
                    .with("orderBy", "id asc")
                    .with("pageSize", PAGE_SIZE.to_string())
                    .with("page", number.to_string());
                let Page { next, last_id, is_empty } =
                    self.read_page(&page, policy, budget, &parse, &mut found).await?;
                if !is_empty && last_id == before {
                    return Err(CwError::InvalidResponse("the list does not advance to its next page".to_owned()));
                }
                before = last_id;
                // Without a Link, a short page may be the server's own smaller limit: only an empty page ends the list.
                if is_empty || next == Next::None {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    /// Reads one page, and adds its records to those found so far. The rest of the page is dropped.
    async fn read_page<T: ListedRecord>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        budget: &ListBudget,
        parse: impl Fn(&Value) -> Result<T, CwError>,
        found: &mut Vec<T>,
    ) -> Result<Page, CwError> {
        let page = self.send_with_retry(request, policy).await?;
        let (mut last_id, mut is_empty) = (None, true);
        page.each_record(|value| {
            let record = parse(value)?;
            budget.add(record.memory(), &self.list_memory)?;
            // A long list grows by a page instead of doubling, so that it needs little more memory than its records.
            if found.len() == found.capacity() {
                found.reserve_exact(found.len().clamp(4, PAGE_SIZE));
            }
            found.push(record);
            (last_id, is_empty) = (value.get("id").cloned(), false);
            Ok(())
        })?;
        let last_id = last_id.map(|id| id.to_string());
        Ok(Page { next: Next::read(page.link.as_deref()), last_id, is_empty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_and_never_followed() {
        let both = r#"<https://staging.connectwisedev.com/v4/apis/3.0/company/companies?pageSize=2&pageId=17>; rel="next", <https://x/?page=9>; rel="last""#;
        assert_eq!(Next::read(Some(both)), Next::Page(Some("17".to_owned())));
        assert_eq!(Next::read(Some(r#"<https://x/?page=3>; rel="next""#)), Next::Page(None));
        assert_eq!(Next::read(Some(r#"<https://x/?page=1>; rel="first""#)), Next::None);
        assert_eq!(
            Next::read(Some(r#"<https://x/?page=1>; rel="first", <https://x/?page=3>; rel="next""#)),
            Next::Page(None)
        );
        assert_eq!(Next::read(Some("")), Next::None);
        assert_eq!(Next::read(None), Next::Unknown);
    }
}

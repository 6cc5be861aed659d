//! Reads whole lists: with forward-only paging if the endpoint supports it, else page by page.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{HeaderMap, LINK};
use serde_json::Value;
use url::Url;

use super::client::{ApiRequest, Client, RetryPolicy};
use super::error::CwError;
use super::list_budget::{ListBudget, ListedRecord, PageBudget};
use super::record_stream::each_record;

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

/// The records of a page, and how the list continues after it.
struct Page<T> {
    records: Vec<T>,
    next: Next,
    /// The id of the last record.
    last_id: Option<String>,
}

/// Joins the pages of a list. Until its end they are kept apart, because a list that grows leaves holes in the memory.
fn join<T>(mut pages: Vec<Vec<T>>) -> Vec<T> {
    pages.retain(|page| !page.is_empty());
    if let [only] = &mut pages[..] {
        return std::mem::take(only);
    }
    let mut all = Vec::with_capacity(pages.iter().map(Vec::len).sum());
    all.extend(pages.into_iter().flatten());
    all
}

impl Next {
    /// Several `Link` headers are equivalent to one with commas (RFC 9110, section 5.3).
    fn of(headers: &HeaderMap) -> Self {
        let links: Vec<&str> = headers.get_all(LINK).iter().map(|link| link.to_str().unwrap_or_default()).collect();
        Self::read((!links.is_empty()).then(|| links.join(", ")).as_deref())
    }

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
            let mut pages = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let mut page = request.clone().with("pageSize", PAGE_SIZE.to_string());
                page.forward_only = true;
                if let Some(id) = &after {
                    page = page.with("pageId", id.clone());
                }
                let Page { records, next, last_id } = self.read_page(&page, policy, budget, &parse).await?;
                let is_empty = records.is_empty();
                pages.push(records);
                match next {
                    Next::None => return Ok(join(pages)),
                    Next::Unknown | Next::Page(_) if is_empty => return Ok(join(pages)),
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
            let (mut pages, mut before) = (Vec::new(), None);
            for number in 1_u32.. {
                let page = request
                    .clone()
                    .with("orderBy", "id asc")
                    .with("pageSize", PAGE_SIZE.to_string())
                    .with("page", number.to_string());
                let Page { records, next, last_id } = self.read_page(&page, policy, budget, &parse).await?;
                let is_empty = records.is_empty();
                pages.push(records);
                if !is_empty && last_id == before {
                    return Err(CwError::InvalidResponse("the list does not advance to its next page".to_owned()));
                }
                before = last_id;
                // Without a Link, a short page may be the server's own smaller limit: only an empty page ends the list.
                if is_empty || next == Next::None {
                    break;
                }
            }
            Ok(join(pages))
        })
        .await
    }

    /// Reads one page.
    async fn read_page<T: ListedRecord>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        budget: &ListBudget,
        parse: impl Fn(&Value) -> Result<T, CwError>,
    ) -> Result<Page<T>, CwError> {
        let (parse, list_memory) = (&parse, &self.list_memory);
        let receive = |response: Response| async move {
            let (next, mut last_id) = (Next::of(response.headers()), None);
            let (mut records, mut memory) = (Vec::new(), PageBudget::new(budget, list_memory));
            let read = each_record(response, |value| {
                let record = parse(value)?;
                memory.add(record.memory())?;
                records.push(record);
                last_id = value.get("id").cloned();
                Ok(())
            });
            let read = read.await?;
            records.shrink_to_fit();
            let last_id = last_id.map(|id| id.to_string());
            Ok(read.map(|()| (Page { records, next, last_id }, memory)))
        };
        let (page, memory) = self.send_with_retry(request, policy, receive).await??;
        memory.keep();
        Ok(page)
    }

    /// Reads the first record of a list, if there is one. The request should ask for a page of one.
    pub(super) async fn first_record(&self, request: &ApiRequest) -> Result<Option<Value>, CwError> {
        let receive = |response: Response| async move {
            let mut first = None;
            let read = each_record(response, |record| {
                first.get_or_insert_with(|| record.clone());
                Ok(())
            });
            Ok(read.await?.map(|()| first))
        };
        self.send_with_retry(request, RetryPolicy::Interactive, receive).await?
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn several_link_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(Next::of(&headers), Next::Unknown);
        headers.append(LINK, HeaderValue::from_static("<https://x/?page=1>; rel=\"first\""));
        assert_eq!(Next::of(&headers), Next::None);
        headers.append(LINK, HeaderValue::from_static("<https://x/?pageId=3>; rel=\"next\""));
        assert_eq!(Next::of(&headers), Next::Page(Some("3".to_owned())));
    }

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

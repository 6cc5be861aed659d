//! Reads the bodies of responses within limits, because a site that a tenant configures may send anything.

use reqwest::Response;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::CwError;
use crate::outgoing::root_cause;

/// Maximum size of a body in bytes, after decompression. A page of 1,000 full records has about 3 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Maximum size of a record in bytes. A full record has about 3 KiB, and some more for each custom field.
const MAX_RECORD: usize = 256 * 1024;
/// Maximum number of JSON values in a record. Each needs up to 200 bytes of memory, however short it is in the body.
const MAX_VALUES: usize = 20_000;
/// A body is large above this size in bytes. With the fields that we ask for, a page is not large.
const LARGE: usize = 1024 * 1024;

/// How many large bodies the whole process reads at a time.
static LARGE_BODIES: Semaphore = Semaphore::const_new(2);
/// How many pages of long lists the whole process reads at a time.
static PAGES: Semaphore = Semaphore::const_new(16);

/// The body of a response.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Kept until the body is dropped: for a page of a long list, and for a large body.
    _permits: [Option<SemaphorePermit<'static>>; 2],
}

/// The body of a response that is JSON, with the response's `Link` header. Values are parsed only when they are needed,
/// one record at a time, because parsed values need many times the memory of their text.
#[derive(Debug)]
pub(super) struct JsonResponse {
    body: Body,
    pub(super) link: Option<String>,
}

async fn acquire(permits: &'static Semaphore) -> Result<SemaphorePermit<'static>, CwError> {
    permits.acquire().await.map_err(|_| CwError::Unavailable("shutting down".to_owned()))
}

impl Body {
    /// Reads a body, which may be a page of a long list. Errors if it is too long.
    pub(super) async fn read(mut response: Response, is_page: bool) -> Result<Self, CwError> {
        // A site that sends nothing has no permit, so it does not keep others waiting.
        let page = if is_page { Some(acquire(&PAGES).await?) } else { None };
        let (mut bytes, mut large) = (Vec::new(), None);
        while let Some(chunk) = response.chunk().await.map_err(|error| CwError::Unavailable(root_cause(&error)))? {
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(CwError::InvalidResponse(format!("a response of more than {MAX_BODY} bytes")));
            }
            if bytes.len() + chunk.len() > LARGE && large.is_none() {
                large = Some(acquire(&LARGE_BODIES).await?);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self { bytes, _permits: [page, large] })
    }

    /// The body's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks that the body is JSON.
    pub(super) fn into_json(self, link: Option<String>) -> Result<JsonResponse, CwError> {
        serde_json::from_slice::<IgnoredAny>(&self.bytes)
            .map_err(|_| CwError::InvalidResponse(format!("{} bytes that are not JSON", self.bytes.len())))?;
        Ok(JsonResponse { body: self, link })
    }
}

impl JsonResponse {
    /// Parses a response that is one record.
    pub(super) fn record(&self) -> Result<Value, CwError> {
        parse_record(&self.body.bytes)
    }

    /// Whether the response is a list.
    pub(super) fn is_list(&self) -> bool {
        self.body.bytes.trim_ascii_start().starts_with(b"[")
    }

    /// Calls `take` with each record of a list, until it fails. Errors if the response is not a list.
    pub(super) fn each_record(&self, mut take: impl FnMut(&Value) -> Result<(), CwError>) -> Result<(), CwError> {
        let not_a_list = || CwError::InvalidResponse("a list was expected".to_owned());
        let mut rest = self.body.bytes.trim_ascii_start().strip_prefix(b"[").ok_or_else(not_a_list)?;
        loop {
            rest = rest.trim_ascii_start();
            if rest.starts_with(b"]") {
                return Ok(());
            }
            rest = rest.strip_prefix(b",").unwrap_or(rest);
            // Finds the end of the record. The whole body has been checked, so there is a record.
            let mut records = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
            records.next().and_then(Result::ok).ok_or_else(not_a_list)?;
            let (record, after) = rest.split_at(records.byte_offset());
            take(&parse_record(record)?)?;
            rest = after;
        }
    }

    /// Parses the first record of a list, if there is one.
    pub(super) fn first_record(&self) -> Result<Option<Value>, CwError> {
        let mut first = None;
        self.each_record(|record| {
            first.get_or_insert_with(|| record.clone());
            Ok(())
        })?;
        Ok(first)
    }
}

fn parse_record(text: &[u8]) -> Result<Value, CwError> {
    if text.len() > MAX_RECORD || count_values(text) > MAX_VALUES {
        let limit = MAX_RECORD / 1024;
        return Err(CwError::InvalidResponse(format!("a record of more than {limit} KiB or {MAX_VALUES} values")));
    }
    serde_json::from_slice(text).map_err(|_| CwError::InvalidResponse("a record that cannot be parsed".to_owned()))
}

/// Returns at least the number of JSON values in a text: every value but the first follows one of these characters.
/// Characters within strings are also counted.
fn count_values(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_bodies_and_pages_are_few() {
        let read = async |size: usize, is_page| {
            Body::read(http::Response::new(reqwest::Body::from(vec![b' '; size])).into(), is_page).await
        };
        for (permits, size, is_page) in [(&LARGE_BODIES, LARGE + 1, false), (&PAGES, 1, true)] {
            let others = permits.try_acquire_many(u32::try_from(permits.available_permits()).unwrap()).unwrap();
            let mut waiting = Box::pin(read(size, is_page));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            assert!(read(LARGE, false).await.is_ok(), "others do not wait");
            drop(others);
            assert_eq!(waiting.await.unwrap().bytes().len(), size);
        }
        assert!(matches!(read(MAX_BODY + 1, false).await, Err(CwError::InvalidResponse(_))));
    }

    /// serde_json parses the text under some keys as JSON if a feature is enabled, with a new limit of depth.
    #[test]
    fn text_in_a_record_is_not_parsed_as_json() {
        let record = json(r#"{"$serde_json::private::RawValue": "[1]"}"#).unwrap().record().unwrap();
        assert!(record.is_object(), "{record}");
    }

    fn json(text: &str) -> Result<JsonResponse, CwError> {
        Body { bytes: text.as_bytes().to_vec(), _permits: [None, None] }.into_json(None)
    }

    fn ids(text: &str) -> Result<Vec<i64>, CwError> {
        let mut ids = Vec::new();
        json(text)?.each_record(|record| {
            ids.extend(record["id"].as_i64());
            Ok(())
        })?;
        Ok(ids)
    }

    #[test]
    fn the_records_of_a_list_are_parsed_in_order() {
        assert_eq!(ids(r#" [{"id": 1}, {"id": 2}] "#).unwrap(), [1, 2]);
        assert_eq!(ids("[]").unwrap(), [0; 0]);
        assert_eq!(ids("\r\n[ 1,{\"id\": 2 } ,\t[[3]], {\"id\":4,\"x\":\"],[\"}\n]").unwrap(), [2, 4]);
        assert_eq!(json(r#"[{"id": 3}, 4]"#).unwrap().first_record().unwrap().unwrap()["id"], 3);
        assert_eq!(json("[]").unwrap().first_record().unwrap(), None);
        assert_eq!(json(r#"{"id": 5}"#).unwrap().record().unwrap()["id"], 5);
    }

    #[test]
    fn what_is_not_a_list_of_json_is_an_error() {
        for text in [r#"{"id": 1}"#, "null", "1", "", "[1", "[1] 2", "{\"id\": 1,}", "<html>"] {
            assert!(matches!(ids(text), Err(CwError::InvalidResponse(_))), "{text}");
        }
    }

    #[test]
    fn a_failure_ends_the_reading_of_a_list() {
        let mut read = 0;
        let failure = json("[1, 2, 3]").unwrap().each_record(|_| {
            read += 1;
            if read == 2 { Err(CwError::NotFound) } else { Ok(()) }
        });
        assert_eq!((failure, read), (Err(CwError::NotFound), 2));
    }

    #[test]
    fn a_record_with_too_many_values_or_bytes_is_not_parsed() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let long = format!("\"{}\"", "x".repeat(MAX_RECORD));
        for hostile in [many, long, "[".repeat(1_000) + &"]".repeat(1_000)] {
            assert!(matches!(json(&hostile).unwrap().record(), Err(CwError::InvalidResponse(_))));
            assert!(matches!(ids(&format!("[{hostile}]")), Err(CwError::InvalidResponse(_))));
        }
    }
}

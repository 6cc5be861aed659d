//! Reads the bodies of responses within limits, because a site that a tenant configures may send anything.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::CwError;
use crate::outgoing::root_cause;

/// Maximum size of a body in bytes, after decompression. A page of 1,000 full records has about 3 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Maximum size of a record in bytes. A full record has about 3 KiB, and some more for each custom field.
const MAX_RECORD: usize = 256 * 1024;
/// Maximum number of JSON values in a record. Each needs up to 200 bytes of memory, however short it is in the body.
const MAX_VALUES: usize = 20_000;
/// Up to this size in bytes, any number of bodies is read at a time: the additions of most agreements.
const SMALL: usize = 64 * 1024;
/// A body is large above this size in bytes. With the fields that we ask for, a page is not large.
const LARGE: usize = 1024 * 1024;

/// How many bodies that are neither small nor large the whole process reads at a time.
static MEDIUM_BODIES: Semaphore = Semaphore::const_new(12);
/// How many large bodies the whole process reads at a time.
static LARGE_BODIES: Semaphore = Semaphore::const_new(2);
/// How long a body waits for others, and how long others wait for it.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The body of a response.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Kept until the body is dropped.
    _permit: Option<SemaphorePermit<'static>>,
}

/// The body of a response that is JSON, with the response's `Link` header. Values are parsed only when they are needed,
/// one record at a time, because parsed values need many times the memory of their text.
#[derive(Debug)]
pub(super) struct JsonResponse {
    body: Body,
    pub(super) link: Option<String>,
}

impl Body {
    /// Reads a body. Errors if it is too long.
    pub(super) async fn read(response: Response) -> Result<Self, CwError> {
        Self::read_within(response, MAX_WAIT).await
    }

    async fn read_within(mut response: Response, max_wait: Duration) -> Result<Self, CwError> {
        let (mut bytes, mut permit, mut until) = (Vec::new(), None, None);
        while let Some(chunk) = next_chunk(&mut response, until).await? {
            let (before, size) = (bytes.len(), bytes.len() + chunk.len());
            if size > MAX_BODY {
                return Err(CwError::InvalidResponse(format!("a response of more than {MAX_BODY} bytes")));
            }
            // A body waits for a permit only before it grows, and a large one never waits for a medium one.
            let bodies = if before <= LARGE && size > LARGE {
                Some(&LARGE_BODIES)
            } else {
                (before <= SMALL && size > SMALL).then_some(&MEDIUM_BODIES)
            };
            if let Some(bodies) = bodies {
                permit = Some(permit_of(bodies, max_wait).await?);
                until = Some(Instant::now() + max_wait);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self { bytes, _permit: permit })
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

/// Returns the next part of a body. Errors at the given time, so that a slow body does not keep others waiting.
async fn next_chunk(response: &mut Response, until: Option<Instant>) -> Result<Option<Bytes>, CwError> {
    let chunk = match until {
        Some(until) => tokio::time::timeout_at(until, response.chunk())
            .await
            .map_err(|_| CwError::Unavailable("a long response took too long".to_owned()))?,
        None => response.chunk().await,
    };
    chunk.map_err(|error| CwError::Unavailable(root_cause(&error)))
}

/// Waits until a body may grow. If that takes too long, the request is repeated later. The request has been carried out
/// by then, so the error must not be one of a request that was not sent.
async fn permit_of(bodies: &'static Semaphore, max_wait: Duration) -> Result<SemaphorePermit<'static>, CwError> {
    let permit = tokio::time::timeout(max_wait, bodies.acquire())
        .await
        .map_err(|_| CwError::Failed("too many long responses are being received".to_owned()))?;
    permit.map_err(|_| CwError::Unavailable("shutting down".to_owned()))
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
    pub(super) fn each_record(&self, take: impl FnMut(&Value) -> Result<(), CwError>) -> Result<(), CwError> {
        if !self.is_list() {
            return Err(CwError::InvalidResponse("a list was expected".to_owned()));
        }
        let mut failure = None;
        let records = Records { take, failure: &mut failure };
        let read = serde_json::Deserializer::from_slice(&self.body.bytes).deserialize_seq(records);
        match (failure, read) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(CwError::InvalidResponse(format!("a list that cannot be parsed: {error}"))),
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

/// Visits the records of a list.
struct Records<'f, F> {
    take: F,
    /// Why the list was not read to its end.
    failure: &'f mut Option<CwError>,
}

impl<'de, F: FnMut(&Value) -> Result<(), CwError>> Visitor<'de> for Records<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(text) = list.next_element::<&RawValue>()? {
            if let Err(failure) = parse_record(text.get().as_bytes()).and_then(|record| (self.take)(&record)) {
                *self.failure = Some(failure);
                return Err(A::Error::custom("the list was not read to its end"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;

    /// A body of so many parts of 64 KiB, which ends or stays without an end.
    struct Parts {
        left: usize,
        ends: bool,
    }

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.left == 0 {
                return if self.ends { Poll::Ready(None) } else { Poll::Pending };
            }
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; SMALL])))))
        }
    }

    async fn read(parts: usize, ends: bool) -> Result<Body, CwError> {
        let response = http::Response::new(reqwest::Body::wrap(Parts { left: parts, ends }));
        Body::read_within(response.into(), Duration::from_millis(20)).await
    }

    #[tokio::test]
    async fn long_bodies_are_few_and_soon_end() {
        let large = LARGE / SMALL + 1;
        assert_eq!(read(large, true).await.unwrap().bytes().len(), large * SMALL);
        assert!(matches!(read(MAX_BODY / SMALL + 1, true).await, Err(CwError::InvalidResponse(_))));
        for parts in [2, large] {
            assert!(matches!(read(parts, false).await, Err(CwError::Unavailable(_))), "a slow body");
        }
        let others = LARGE_BODIES.acquire_many(2).await.unwrap();
        let failure = read(large, true).await.unwrap_err();
        assert!(matches!(failure, CwError::Failed(_)) && failure.may_have_been_carried_out(), "{failure}");
        assert!(read(large - 1, true).await.is_ok(), "shorter bodies do not wait");
        drop(others);
        assert!(read(large, true).await.is_ok());
    }

    fn json(text: &str) -> Result<JsonResponse, CwError> {
        Body { bytes: text.as_bytes().to_vec(), _permit: None }.into_json(None)
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

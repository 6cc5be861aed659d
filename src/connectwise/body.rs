//! Reads the bodies of responses within limits, because a site that a tenant configures may send anything.

use reqwest::Response;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::CwError;
use crate::outgoing::root_cause;

/// Maximum size of a body in bytes, after decompression. A page of 1,000 full records has about 3 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Maximum number of JSON values in a body. Each needs up to 200 bytes of memory, however short it is in the body.
const MAX_VALUES: usize = 200_000;
/// A body is large above this size in bytes, or above this number of values.
const LARGE: (usize, usize) = (1024 * 1024, 30_000);

/// Large bodies are read one at a time in the whole process. With the fields that we ask for, a page is not large.
static LARGE_BODIES: Semaphore = Semaphore::const_new(1);

/// The body of a response as JSON, with the response's `Link` header.
pub(super) struct ParsedResponse {
    pub(super) value: Value,
    pub(super) link: Option<String>,
    /// Kept until a large body is dropped.
    _large: Option<SemaphorePermit<'static>>,
}

/// A body that is not parsed yet.
pub(super) struct Body {
    bytes: Vec<u8>,
    large: Option<SemaphorePermit<'static>>,
}

impl Body {
    /// Reads a body. Errors if it is too long.
    pub(super) async fn read(mut response: Response) -> Result<Self, CwError> {
        let (mut bytes, mut large) = (Vec::new(), None);
        while let Some(chunk) = response.chunk().await.map_err(|error| CwError::Unavailable(root_cause(&error)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BODY {
                return Err(CwError::InvalidResponse(format!("a response of more than {MAX_BODY} bytes")));
            }
            if bytes.len() > LARGE.0 && large.is_none() {
                large = Some(turn().await?);
            }
        }
        Ok(Self { bytes, large })
    }

    /// The body's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses the body. Errors if it is not JSON, or has too many values.
    pub(super) async fn parse(mut self, link: Option<String>) -> Result<ParsedResponse, CwError> {
        let values = count_values(&self.bytes);
        if values > MAX_VALUES {
            return Err(CwError::InvalidResponse(format!("a response of more than {MAX_VALUES} values")));
        }
        if values > LARGE.1 && self.large.is_none() {
            self.large = Some(turn().await?);
        }
        let value = serde_json::from_slice(&self.bytes)
            .map_err(|_| CwError::InvalidResponse(format!("{} bytes that are not JSON", self.bytes.len())))?;
        Ok(ParsedResponse { value, link, _large: self.large })
    }
}

async fn turn() -> Result<SemaphorePermit<'static>, CwError> {
    LARGE_BODIES.acquire().await.map_err(|_| CwError::Unavailable("shutting down".to_owned()))
}

/// Returns at least the number of JSON values in a text: every value but the first follows one of these characters.
/// Characters within strings are also counted.
fn count_values(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(text: &str) -> Result<ParsedResponse, CwError> {
        Body { bytes: text.as_bytes().to_vec(), large: None }.parse(None).await
    }

    #[tokio::test]
    async fn a_body_with_too_many_values_is_not_parsed() {
        assert_eq!(parse(r#"[{"id": 1}, {"id": 2}]"#).await.unwrap().value[1]["id"], 2);
        for hostile in [format!("[{}0]", "0,".repeat(MAX_VALUES)), "[".repeat(MAX_VALUES)] {
            let Err(CwError::InvalidResponse(why)) = parse(&hostile).await else { panic!("it was parsed") };
            assert!(why.contains("values"), "{why}");
        }
    }

    #[tokio::test]
    async fn large_bodies_are_parsed_one_at_a_time() {
        let large = format!("[{}0]", "0,".repeat(LARGE.1));
        let first = parse(&large).await.unwrap();
        let mut second = Box::pin(parse(&large));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(parse("[1]").await.is_ok(), "others do not wait");
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn deep_nesting_is_not_json_for_us() {
        assert!(matches!(parse(&"[".repeat(1_000)).await, Err(CwError::InvalidResponse(_))));
    }
}

//! Reads the bodies of responses within limits, because a site that a tenant configures may send anything.

use bytes::Bytes;
use reqwest::Response;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::error::CwError;
use crate::outgoing::root_cause;

/// Maximum size of a record in bytes, after decompression. A full record has about 3 KiB, and some more for each custom
/// field.
pub(super) const MAX_RECORD: usize = 256 * 1024;
/// Maximum number of JSON values in a record. Each needs up to 200 bytes of memory, however short it is in the body.
const MAX_VALUES: usize = 20_000;

/// A record or another small JSON document. It is parsed only when it is needed.
#[derive(Debug)]
pub(super) struct JsonText(Vec<u8>);

/// The next part of a body, as it arrives; `None` at the end.
pub(super) async fn next_chunk(response: &mut Response) -> Result<Option<Bytes>, CwError> {
    response.chunk().await.map_err(|error| CwError::Unavailable(root_cause(&error)))
}

/// Reads a body up to [`MAX_RECORD`] bytes, and leaves the rest. Returns one byte more if there is a rest.
pub(super) async fn read_start(mut response: Response) -> Result<Vec<u8>, CwError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_RECORD {
            bytes.truncate(MAX_RECORD + 1);
            break;
        }
    }
    Ok(bytes)
}

impl JsonText {
    /// Reads a body. Errors if it is too long for a record, or not JSON.
    pub(super) async fn read(response: Response) -> Result<Self, CwError> {
        let bytes = read_start(response).await?;
        if bytes.len() > MAX_RECORD {
            return Err(too_large());
        }
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|_| not_json())?;
        Ok(Self(bytes))
    }

    /// Parses the record.
    pub(super) fn record(&self) -> Result<Value, CwError> {
        check_size(&self.0)?;
        parse(&self.0)
    }
}

/// Checks that a record is not too large to be parsed.
pub(super) fn check_size(record: &[u8]) -> Result<(), CwError> {
    if record.len() > MAX_RECORD || count_values(record) > MAX_VALUES { Err(too_large()) } else { Ok(()) }
}

/// Parses a record of an acceptable size.
pub(super) fn parse(record: &[u8]) -> Result<Value, CwError> {
    serde_json::from_slice(record).map_err(|_| not_json())
}

/// The error of a record that is too large to be parsed.
pub(super) fn too_large() -> CwError {
    let limit = MAX_RECORD / 1024;
    CwError::InvalidResponse(format!("a record of more than {limit} KiB or {MAX_VALUES} values"))
}

fn not_json() -> CwError {
    CwError::InvalidResponse("it is not JSON".to_owned())
}

/// Returns at least the number of JSON values in a text: every value but the first follows one of these characters.
/// Characters within strings are also counted.
fn count_values(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: impl Into<reqwest::Body>) -> Result<JsonText, CwError> {
        JsonText::read(http::Response::new(text.into()).into()).await
    }

    #[tokio::test]
    async fn a_record_is_parsed() {
        assert_eq!(read(r#"{"id": 5}"#).await.unwrap().record().unwrap()["id"], 5);
        // serde_json parses the text under some keys as JSON if a feature is enabled, with a new limit of depth.
        let raw = read(r#"{"$serde_json::private::RawValue": "[1]"}"#).await.unwrap().record().unwrap();
        assert!(raw.is_object(), "{raw}");
        for text in ["", "{\"id\": 1,}", "<html>", "1 2"] {
            assert!(matches!(read(text).await, Err(CwError::InvalidResponse(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn a_record_with_too_many_values_or_bytes_is_not_parsed() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let long = format!("\"{}\"", "x".repeat(MAX_RECORD));
        for hostile in [many, long, "x".repeat(MAX_RECORD + 1)] {
            let read = read(hostile).await.and_then(|json| json.record());
            assert!(matches!(read, Err(CwError::InvalidResponse(text)) if text.contains("256 KiB")));
        }
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert!(matches!(read(deep).await.and_then(|json| json.record()), Err(CwError::InvalidResponse(_))));
    }

    #[tokio::test]
    async fn only_the_start_of_a_long_body_is_read() {
        let start = read_start(http::Response::new(reqwest::Body::from(vec![b' '; 3 * MAX_RECORD])).into()).await;
        assert_eq!(start.unwrap().len(), MAX_RECORD + 1);
    }
}

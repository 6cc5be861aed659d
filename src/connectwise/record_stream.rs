//! Reads the records of a list one by one while its page arrives. A page is never in memory as a whole, because a site
//! that a tenant configures may send anything, to all tenants at the same time.

use std::ops::ControlFlow;

use reqwest::Response;
use serde_json::Value;

use super::body::{MAX_RECORD, check_size, next_chunk, parse, too_large};
use super::error::CwError;

/// Maximum size of a page in bytes, after decompression. A page of 1,000 full records has about 3 MiB.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// Calls `take` with each record of a page, until it fails. The outer error is a failure of the response: it is not
/// JSON, or did not arrive completely. The inner error is that of `take`, a record that is too large, or other JSON than a
/// list. After it, the rest of the page is not read.
pub(super) async fn each_record(
    mut response: Response,
    mut take: impl FnMut(&Value) -> Result<(), CwError>,
) -> Result<Result<(), CwError>, CwError> {
    let (mut records, mut size) = (RecordSplitter::default(), 0);
    while let Some(chunk) = next_chunk(&mut response).await? {
        size += chunk.len();
        if size > MAX_PAGE {
            return Err(CwError::InvalidResponse(format!("a page of more than {MAX_PAGE} bytes")));
        }
        if let ControlFlow::Break(failure) = records.feed(&chunk, &mut take)? {
            return Ok(Err(failure));
        }
    }
    if records.place == Place::AfterList { Ok(Ok(())) } else { Err(not_a_list()) }
}

fn not_a_list() -> CwError {
    CwError::InvalidResponse("a list of JSON records was expected".to_owned())
}

/// The text after JSON's whitespace.
fn without_whitespace(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    &text[start.unwrap_or(text.len())..]
}

/// Where in a list the next byte is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeList,
    /// In the list, before the end of its first record.
    FirstRecord,
    /// In the list, after a comma.
    LaterRecord,
    AfterList,
}

/// Divides a list into its records. It only looks for the commas and the bracket that end them: what is between is
/// parsed as JSON, so a list is accepted exactly if it is JSON.
#[derive(Debug, Default)]
struct RecordSplitter {
    place: Place,
    /// The record so far.
    record: Vec<u8>,
    /// The number of open brackets and braces in the record.
    depth: usize,
    is_in_string: bool,
    /// Whether the last byte was a backslash in a string.
    is_escaped: bool,
}

impl RecordSplitter {
    /// Takes in the next part of the list, and calls `take` with each record that ends in it.
    fn feed(
        &mut self,
        chunk: &[u8],
        take: &mut impl FnMut(&Value) -> Result<(), CwError>,
    ) -> Result<ControlFlow<CwError>, CwError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            match self.place {
                Place::BeforeList => match without_whitespace(rest) {
                    [] => rest = &[],
                    [b'[', after @ ..] => (self.place, rest) = (Place::FirstRecord, after),
                    [b'{' | b'"' | b'n' | b't' | b'f' | b'-' | b'0'..=b'9', ..] => {
                        return Ok(ControlFlow::Break(not_a_list()));
                    }
                    _ => return Err(not_a_list()),
                },
                Place::AfterList if without_whitespace(rest).is_empty() => rest = &[],
                Place::AfterList => return Err(not_a_list()),
                Place::FirstRecord | Place::LaterRecord => {
                    let end = rest.iter().position(|byte| self.is_end(*byte));
                    let (of_record, after) = rest.split_at(end.unwrap_or(rest.len()));
                    self.record.extend_from_slice(of_record);
                    if self.record.len() > MAX_RECORD {
                        return Ok(ControlFlow::Break(too_large()));
                    }
                    let Some((end, after)) = after.split_first() else { break };
                    if let ControlFlow::Break(failure) = self.end_record(*end, take)? {
                        return Ok(ControlFlow::Break(failure));
                    }
                    rest = after;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether this byte, which follows the record so far, ends the record.
    fn is_end(&mut self, byte: u8) -> bool {
        if self.is_in_string {
            self.is_in_string = byte != b'"' || self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.is_in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }

    fn end_record(
        &mut self,
        end: u8,
        take: &mut impl FnMut(&Value) -> Result<(), CwError>,
    ) -> Result<ControlFlow<CwError>, CwError> {
        let record = std::mem::take(&mut self.record);
        let is_empty_list = end == b']' && self.place == Place::FirstRecord && without_whitespace(&record).is_empty();
        self.place = if end == b']' { Place::AfterList } else { Place::LaterRecord };
        if is_empty_list {
            return Ok(ControlFlow::Continue(()));
        }
        if let Err(failure) = check_size(&record) {
            return Ok(ControlFlow::Break(failure));
        }
        let taken = take(&parse(&record).map_err(|_| not_a_list())?);
        // The next record is likely as long.
        self.record = record;
        self.record.clear();
        Ok(taken.map_or_else(ControlFlow::Break, ControlFlow::Continue))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The records of a list that arrives in chunks of this size.
    fn records(text: &str, chunk: usize) -> Result<Result<Vec<Value>, CwError>, CwError> {
        let (mut splitter, mut found) = (RecordSplitter::default(), Vec::new());
        for chunk in text.as_bytes().chunks(chunk) {
            let mut take = |record: &Value| {
                found.push(record.clone());
                Ok(())
            };
            if let ControlFlow::Break(failure) = splitter.feed(chunk, &mut take)? {
                return Ok(Err(failure));
            }
        }
        if splitter.place == Place::AfterList { Ok(Ok(found)) } else { Err(not_a_list()) }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[\[\]{},:"\\a é]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(r#"[\[\]{},:"\\a]{0,3}"#, inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_list_has_the_same_records_in_chunks_of_any_size(
            list in proptest::collection::vec(any_json(), 0..6),
            chunk in 1_usize..40,
            is_indented: bool,
        ) {
            let list = Value::from(list);
            let text = if is_indented { format!(" {list:#}\r\n") } else { list.to_string() };
            prop_assert_eq!(Value::from(records(&text, chunk).unwrap().unwrap()), list);
        }

        /// Any text is accepted exactly if it is a JSON list.
        #[test]
        fn what_is_not_a_list_is_an_error(text in r#"[\[\]{},:"\\1 a\x0c]{0,12}"#, chunk in 1_usize..5) {
            let expected = serde_json::from_str::<Vec<Value>>(&text).ok();
            prop_assert_eq!(records(&text, chunk).ok().and_then(Result::ok), expected);
        }

        /// A list with one byte changed, removed or added.
        #[test]
        fn a_damaged_list_is_an_error(
            list in proptest::collection::vec(any_json(), 0..4),
            at in any::<prop::sample::Index>(),
            with in r#"[\[\]{},:"\\1 a\x0c]{0,1}"#,
            removed in 0_usize..2,
        ) {
            let mut text: Vec<char> = Value::from(list).to_string().chars().collect();
            let at = at.index(text.len());
            text.splice(at..at + removed, with.chars());
            let text: String = text.into_iter().collect();
            let expected = serde_json::from_str::<Vec<Value>>(&text).ok();
            prop_assert_eq!(records(&text, 7).ok().and_then(Result::ok), expected);
        }
    }

    async fn ids(text: impl Into<reqwest::Body>) -> Result<Result<Vec<Value>, CwError>, CwError> {
        let mut ids = Vec::new();
        let read = each_record(http::Response::new(text.into()).into(), |record| {
            ids.push(record["id"].clone());
            if record["id"] == json!("stop") { Err(CwError::NotFound) } else { Ok(()) }
        });
        Ok(read.await?.map(|()| ids))
    }

    #[tokio::test]
    async fn a_page_is_read_to_its_end_or_to_a_failure() {
        assert_eq!(ids(r#"[{"id": 1}, {"id": 2}]"#).await.unwrap().unwrap(), [1, 2]);
        assert_eq!(ids(r#"[{"id": 1}, {"id": "stop"}, not JSON"#).await.unwrap(), Err(CwError::NotFound));
        for text in [r#"{"id": 1}"#, "null", "1"] {
            assert!(matches!(ids(text).await.unwrap(), Err(CwError::InvalidResponse(_))), "{text}");
        }
        for text in ["", "[1", "[1] 2", "[{\"id\": 1,}]", "<html>"] {
            assert!(matches!(ids(text).await, Err(CwError::InvalidResponse(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_parsed() {
        let many = format!("[{}0]", "0,".repeat(20_000));
        let long = format!("\"{}\"", "x".repeat(MAX_RECORD));
        for hostile in [many, long] {
            let list = format!("[{hostile}]");
            assert!(matches!(ids(list.clone()).await.unwrap(), Err(CwError::InvalidResponse(_))));
            assert!(matches!(records(&list, 1_000).unwrap(), Err(CwError::InvalidResponse(_))), "in chunks");
        }
        let deep = format!("[{}{}]", "[".repeat(1_000), "]".repeat(1_000));
        assert!(matches!(ids(deep).await, Err(CwError::InvalidResponse(_))));
        let endless = "[".to_owned() + &"1, ".repeat(MAX_PAGE / 3 + 1);
        assert!(matches!(ids(endless).await, Err(CwError::InvalidResponse(text)) if text.contains("page")));
    }
}

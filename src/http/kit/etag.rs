//! The `ETag` of a version: `"3"`, or `"3.5f2c"` with the content that the version had when it was read.

/// Stands between the version and the content.
const CONTENT: char = '.';

/// The number in quotes, as `If-Match` names it.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The tag of a version whose content may change while the version stays the same.
pub fn with_content(etag: &str, content: &str) -> String {
    format!("\"{}{CONTENT}{content}\"", etag.trim_matches('"'))
}

/// The version that a tag, without its quotes, names.
pub fn version_of(tag: &str) -> &str {
    tag.split_once(CONTENT).map_or(tag, |(version, _)| version)
}

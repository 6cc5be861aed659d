//! The `ETag` of a version: `"3"`, or `"3.5f2c"` with the content that the version had when it was read.

/// Separates the version from the content.
const CONTENT: char = '.';

/// The number in quotes, as `If-Match` names it.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The tag of a version whose content may change while the version stays the same.
pub fn with_content(etag: &str, content: &str) -> String {
    format!("\"{}{CONTENT}{content}\"", etag.trim_matches('"'))
}

/// The version in a tag, which is given without its quotes.
pub fn version_of(tag: &str) -> &str {
    tag.split_once(CONTENT).map_or(tag, |(version, _)| version)
}

/// Whether an `If-None-Match` names a tag. It compares weakly (RFC 9110, section 13.1.2).
pub fn is_named(tag: &str, known: &str) -> bool {
    let strong = tag.trim_start_matches("W/");
    known.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == strong)
}

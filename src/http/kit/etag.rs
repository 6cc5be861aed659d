//! The `ETag` of a version.

/// The number in quotes, as `If-Match` names it.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

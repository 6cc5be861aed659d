//! The operations that will be removed. `kit/deprecation_headers.rs` announces them in their responses.

use serde_json::json;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::{Deprecated, OpenApi};

use super::operations::operations;

/// An operation that will be removed.
struct Deprecation {
    operation_id: &'static str,
    /// When it became deprecated, such as `2026-12-01`.
    since: &'static str,
    /// The earliest date of its removal: at least six months later.
    sunset: &'static str,
}

/// The deprecated operations. There is none yet.
const DEPRECATED: [Deprecation; 0] = [];

/// Marks the deprecated operations in the document.
pub(super) fn mark(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let found = DEPRECATED.iter().find(|known| operation.operation_id.as_deref() == Some(known.operation_id));
        let Some(Deprecation { since, sunset, .. }) = found else { continue };
        operation.deprecated = Some(Deprecated::True);
        let dates = ExtensionsBuilder::new().add("x-deprecated-since", json!(since)).add("x-sunset", json!(sunset));
        operation.extensions = Some(dates.build());
    }
}

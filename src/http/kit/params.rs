//! Header parameters for the OpenAPI document. Handlers read them with `extract::headers`.

use utoipa::IntoParams;

/// The `Idempotency-Key` header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct IdempotencyKeyParam {
    /// A new key for each new request: 1 to 255 visible ASCII characters, such as a UUID. Repeating the request with
    /// the same key within 48 hours returns the first response and does nothing again.
    #[param(rename = "Idempotency-Key", required = false, value_type = String, min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// The `If-Match` header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct IfMatchParam {
    /// The `ETag` of the version to change, such as `"3"` with its quotes. The request fails with 412 if the resource
    /// has a different version. If left out, the version is not checked.
    #[param(rename = "If-Match", required = false, value_type = String, pattern = r#"^("[!#-~]*"|W/"[!#-~]*"|[*])$"#, example = "*")]
    if_match: Option<String>,
}

/// The `Last-Event-ID` header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct LastEventIdParam {
    /// The id of the last event that was received, when reconnecting.
    #[param(rename = "Last-Event-ID", required = false, value_type = String)]
    last_event_id: Option<String>,
}

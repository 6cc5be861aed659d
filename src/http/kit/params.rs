//! Header parameters as the document has them. Handlers read them through `extract::headers`.

use utoipa::IntoParams;

/// The caller's `Idempotency-Key`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct IdempotencyKeyParam {
    /// 1 to 255 visible ASCII characters, such as a UUID. Repeating the request with the same key within 48 hours returns
    /// the first response and does nothing again.
    #[param(rename = "Idempotency-Key", required = false, value_type = String)]
    idempotency_key: Option<String>,
}

/// The caller's `If-Match`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive, for the document alone")]
pub struct IfMatchParam {
    /// The `ETag` that GET returned. The request fails with 412 if the resource was changed since.
    #[param(rename = "If-Match", required = false, value_type = String)]
    if_match: Option<String>,
}

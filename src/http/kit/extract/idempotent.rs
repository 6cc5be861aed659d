//! Requests that are handled once for their `Idempotency-Key`.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use validator::Validate;

use super::headers::Idempotency;
use super::json::{DEFAULT_LIMIT, ValidatedJson};
use crate::http::kit::auth::Caller;
use crate::http::kit::problem::ApiResult;
use crate::services::AppContext;
use crate::services::idempotency::IdempotentWrite;

/// A request with a JSON body of at most `LIMIT` bytes, handled once for its `Idempotency-Key`.
pub struct IdempotentRequest<T, const LIMIT: usize = DEFAULT_LIMIT> {
    /// The context of the service.
    pub ctx: web::Data<AppContext>,
    /// Who sent the request.
    pub caller: Caller,
    /// The parsed and validated body.
    pub body: T,
    hash: String,
    idempotency: Idempotency,
}

impl<T, const LIMIT: usize> IdempotentRequest<T, LIMIT> {
    /// Prepares to handle the request once. `render` makes the response.
    pub fn once<R>(&self, render: R) -> ApiResult<IdempotentWrite<R>> {
        self.idempotency.once(&self.hash, render)
    }
}

impl<T, const LIMIT: usize> FromRequest for IdempotentRequest<T, LIMIT>
where
    T: DeserializeOwned + Validate + ToSchema + 'static,
{
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        type Parts<T, const LIMIT: usize> = (web::Data<AppContext>, Caller, Idempotency, ValidatedJson<T, LIMIT>);
        let parts = Parts::<T, LIMIT>::from_request(req, payload);
        Box::pin(async move {
            let (ctx, caller, idempotency, ValidatedJson { value: body, hash }) = parts.await?;
            Ok(Self { ctx, caller, body, hash, idempotency })
        })
    }
}

//! Authentication: every request under `/api/v1` needs an API key, which determines the tenant.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};

use super::problem::ApiError;
use super::problem_code::RequestCode;
use super::settings::HttpSettings;
use crate::domain::{FieldCode, FieldError};
use crate::http::kit::current_request;
use crate::services::AppContext;
use crate::services::security::api_keys;

/// The header that names the person for whom the owner of a key acts.
const ACTING_USER: &str = "X-Acting-User";

/// The operator, who manages tenants and has no access to their data.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

/// Rejects a request without a known API key. Otherwise stores the caller in the request, for the handlers.
pub async fn authenticate(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    match identify(&req).await {
        Ok(()) => next.call(req).await.map(ServiceResponse::map_into_left_body),
        // A response rather than an error, so that the outer middleware adds its headers.
        Err(rejection) => Ok(req.into_response(rejection.error_response()).map_into_right_body()),
    }
}

async fn identify(req: &ServiceRequest) -> Result<(), ApiError> {
    let key = bearer(req).ok_or_else(ApiError::unauthorized)?;
    let (Some(ctx), Some(settings)) =
        (req.app_data::<web::Data<AppContext>>(), req.app_data::<web::Data<HttpSettings>>())
    else {
        return Err(ApiError::unauthorized());
    };
    let operator = settings.operator_key.as_ref().is_some_and(|known| settings.is_operator(known, &key));
    if operator {
        req.extensions_mut().insert(Operator);
    } else {
        let mut actor =
            api_keys::authenticate(ctx, &key, current_request::id()).await?.ok_or_else(ApiError::unauthorized)?;
        actor.acting_user = acting_user(req)?;
        tracing::Span::current().record("tenant", tracing::field::display(&actor.tenant));
        req.extensions_mut().insert(actor);
    }
    Ok(())
}

/// The person for whom the caller acts, from the header `X-Acting-User`.
fn acting_user(req: &ServiceRequest) -> Result<Option<String>, ApiError> {
    let Some(header) = req.headers().get(ACTING_USER) else { return Ok(None) };
    let text = std::str::from_utf8(header.as_bytes()).ok().map(str::trim);
    // Control characters, and marks that change the text direction in a history.
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let fits = |text: &&str| (1..=100).contains(&text.chars().count()) && !text.chars().any(is_hidden);
    let bad = || {
        let message = "X-Acting-User must be 1 to 100 characters of UTF-8, such as a name or an email address";
        ApiError::Malformed(vec![FieldError::new("X-Acting-User", FieldCode::BadHeader, message)])
    };
    Ok(Some(text.filter(fits).ok_or_else(bad)?.to_owned()))
}

fn bearer(req: &ServiceRequest) -> Option<String> {
    let header = req.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

/// The caller with a tenant's API key. The operator's key is rejected with 403.
#[derive(Debug, Clone)]
pub struct Caller(pub crate::services::Actor);

impl std::ops::Deref for Caller {
    type Target = crate::services::Actor;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl actix_web::FromRequest for Caller {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(req: &actix_web::HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let actor = req.extensions().get::<crate::services::Actor>().cloned();
        let actor = actor.map(|actor| crate::services::Actor { request_id: current_request::id(), ..actor });
        std::future::ready(actor.map(Self).ok_or_else(|| forbidden("this path needs an API key of a tenant")))
    }
}

impl actix_web::FromRequest for Operator {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(req: &actix_web::HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let operator = req.extensions().get::<Self>().copied();
        std::future::ready(operator.ok_or_else(|| forbidden("this path needs the operator's key")))
    }
}

fn forbidden(detail: &str) -> ApiError {
    ApiError::Http(RequestCode::Forbidden, detail.to_owned())
}

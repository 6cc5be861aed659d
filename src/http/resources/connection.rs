//! `/connection`: the tenant's connection to ConnectWise.

use actix_web::{HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::connectwise::{CheckStep, CircuitStatus};
use crate::db::{self, ConnectionFailure};
use crate::domain::{Error, FieldCode, FieldError};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::{ValidatedJson, plain_text};
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::services::AppContext;
use crate::services::remote::client;
use crate::services::remote::connection;
use crate::services::remote::connection::NewConnection;

/// The tenant's connection to ConnectWise. Its public and private key are never returned.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connection {
    /// The ConnectWise site, such as `https://na.myconnectwise.net`.
    pub site: String,
    /// The company id that the MSP logs in to ConnectWise with.
    pub company_id: String,
    /// The client id of the integration, issued by ConnectWise.
    pub client_id: String,
    /// The caption of the additions' custom field to which each push writes its id and date; null if there is none.
    #[schema(required)]
    pub provenance_field: Option<String>,
    /// Requests to ConnectWise are suspended until this time, because they failed repeatedly. Null if they are not.
    #[schema(required)]
    pub circuit_open_until: Option<DateTime<Utc>>,
    /// When pushes began to fail because of the connection; their lines wait until it works. Null if none fail.
    #[schema(required)]
    pub failing_since: Option<DateTime<Utc>>,
    /// What failed, and what to do; null unless `failing_since` or `circuit_open_until` is set.
    #[schema(required)]
    pub last_failure: Option<String>,
    /// The version; it increases with every change. Equals the `ETag`, for `If-Match`.
    pub version: i64,
    /// When the connection was created.
    pub created_at: DateTime<Utc>,
    /// When the connection was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Connection {
    fn new(row: db::Connection, circuit: CircuitStatus, failure: Option<ConnectionFailure>) -> Self {
        let (circuit_open_until, suspended_because) = match circuit {
            CircuitStatus::Closed => (None, None),
            CircuitStatus::Open { until, cause } => (Some(until), Some(cause)),
        };
        let failing_since = failure.as_ref().map(|failure| failure.since.and_utc());
        let last_failure = failure.map(|failure| failure.cause).or(suspended_because);
        Self {
            site: row.site,
            company_id: row.company_id,
            client_id: row.client_id,
            provenance_field: row.provenance_field,
            circuit_open_until,
            failing_since,
            last_failure,
            version: row.version,
            created_at: row.created_at.and_utc(),
            updated_at: row.updated_at.and_utc(),
        }
    }
}

/// The new content of the connection.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "site": "na.myconnectwise.net", "company_id": "mycompany", "public_key": "AbCdEfGhIjKlMnOp",
    "private_key": "QrStUvWxYz012345", "client_id": "01234567-89ab-cdef-0123-456789abcdef"
}))]
pub struct ConnectionRequest {
    /// The ConnectWise site, as in the browser's address bar, such as `na.myconnectwise.net`.
    #[validate(length(min = 1, max = 300))]
    #[schema(min_length = 1, max_length = 300)]
    pub site: String,
    /// The company id that the MSP logs in to ConnectWise with. Letter case matters.
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100)]
    pub company_id: String,
    /// The public key of the ConnectWise API member. Leave out both keys to keep the stored ones; that is possible only
    /// if the site and the company id stay the same.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$", write_only, value_type = Option<String>)]
    pub public_key: Option<SecretString>,
    /// The private key of the ConnectWise API member. Leave it out together with the public key.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$", write_only, value_type = Option<String>)]
    pub private_key: Option<SecretString>,
    /// The client id of the integration, issued by ConnectWise.
    #[validate(length(min = 1, max = 100), custom(function = header_text))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[!-~]+$")]
    pub client_id: String,
    /// The caption of a custom text field of additions. With each quantity, pushes write their id and date to this
    /// field. If null or left out, they write only the quantity.
    #[validate(length(min = 1, max = 100), custom(function = plain_text))]
    #[schema(min_length = 1, max_length = 100)]
    pub provenance_field: Option<String>,
}

fn header_text(text: &str) -> Result<(), ValidationError> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ValidationError::new("plain_text").with_message("must have only visible ASCII characters".into()))
}

impl ConnectionRequest {
    fn into_new(self) -> Result<NewConnection, Error> {
        let keys = match (self.public_key, self.private_key) {
            (Some(public_key), Some(private_key)) => {
                let keys = [("/public_key", &public_key), ("/private_key", &private_key)];
                let bad: Vec<FieldError> = keys.into_iter().filter_map(|(field, key)| check_key(field, key)).collect();
                if !bad.is_empty() {
                    return Err(Error::Invalid(bad));
                }
                Some((public_key, private_key))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::invalid("/private_key", FieldCode::Required, "send both keys or neither"));
            }
            (None, Some(_)) => {
                return Err(Error::invalid("/public_key", FieldCode::Required, "send both keys or neither"));
            }
        };
        Ok(NewConnection {
            site: self.site,
            company_id: self.company_id,
            client_id: self.client_id,
            keys,
            provenance_field: self.provenance_field,
            same_records: false,
        })
    }
}

/// The error of an invalid key. The validator is not used here because it would keep a copy of the secret.
fn check_key(field: &str, key: &SecretString) -> Option<FieldError> {
    let text = key.expose_secret();
    let is_valid = (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    (!is_valid).then(|| FieldError::new(field, FieldCode::BadValue, "must be 1 to 200 visible ASCII characters"))
}

/// Get the connection
///
/// Returns the connection without its keys, whether pushes fail because of it, and whether requests to ConnectWise are
/// suspended. Fails with 404 if no connection is set.
#[utoipa::path(
    tag = "connection",
    responses((status = 200, description = "The connection, without its keys", body = Connection), Errors)
)]
#[get("/connection")]
pub async fn get_connection(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let read = |tx: &mut db::Tx<'_>| Ok((tx.connection()?, tx.connection_failure()?));
    let (row, failure) = ctx.db.read(&caller.tenant, read).await?;
    let row = row.ok_or_else(|| Error::not_found("connection", "of this tenant"))?;
    let circuit = client::circuit(&ctx, &row);
    Ok(with_etag(row.version, &Connection::new(row, circuit, failure)))
}

/// Set the connection
///
/// Creates or replaces the connection without sending a request to ConnectWise; use `POST /connection/test` to test it.
/// The keys are stored encrypted and are never returned. Push lines that wait for a working connection are retried.
/// Once records have been read, changing the host, port or company id fails with 409: delete the connection first.
#[utoipa::path(
    tag = "connection", request_body = ConnectionRequest, params(IfMatchParam),
    responses((status = 200, description = "The connection, without its keys", body = Connection), Errors, WriteErrors)
)]
#[put("/connection")]
pub async fn put_connection(
    ctx: web::Data<AppContext>,
    caller: Caller,
    if_match: IfMatchHeader,
    body: ValidatedJson<ConnectionRequest>,
) -> ApiResult {
    let row = connection::put(&ctx, &caller, body.value.into_new()?, if_match.0).await?;
    Ok(with_etag(row.version, &Connection::new(row, CircuitStatus::Closed, None)))
}

/// Delete the connection
///
/// Also deletes everything that was read through it: every company becomes Not Set, and every mapping is cleared,
/// including manual choices. Fails with 409 while a push job is queued or running, or if no connection is set.
#[utoipa::path(
    tag = "connection",
    params(IfMatchParam),
    responses((status = 204, description = "The connection was deleted"), Errors, WriteErrors)
)]
#[delete("/connection")]
pub async fn delete_connection(ctx: web::Data<AppContext>, caller: Caller, if_match: IfMatchHeader) -> ApiResult {
    connection::delete(&ctx, &caller, if_match.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A step of a connection test.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionStep {
    /// The step: `reach`, `company`, `keys`, `companies`, `agreements`, `additions` or `invoices`.
    pub step: String,
    /// Whether the step passed; null if it was not tried, because an earlier step failed.
    #[schema(required)]
    pub passed: Option<bool>,
    /// What was found, or what to fix, for people.
    pub detail: String,
}

/// The result of a connection test.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionTest {
    /// Whether every step passed.
    pub passed: bool,
    /// The steps, in order.
    pub steps: Vec<ConnectionStep>,
}

/// Test the connection
///
/// Tests in steps whether the site responds, knows the company id, accepts the keys and the client id, and allows
/// reading companies, agreements and additions. Stops at the first failure and returns what to fix, with status 200.
/// Also finds out where the site reports its last invoices; later refreshes read them there. Fails with 409 if no
/// connection is set.
#[utoipa::path(tag = "connection", responses((status = 200, description = "The result of each step", body = ConnectionTest), Errors, WriteErrors))]
#[post("/connection/test")]
pub async fn test_connection(ctx: web::Data<AppContext>, caller: Caller) -> ApiResult {
    let check = connection::test(&ctx, &caller).await?;
    let passed = check.passed();
    let step =
        |step: CheckStep| ConnectionStep { step: step.name.to_owned(), passed: step.passed, detail: step.detail };
    Ok(ok(&ConnectionTest { passed, steps: check.steps.into_iter().map(step).collect() }))
}

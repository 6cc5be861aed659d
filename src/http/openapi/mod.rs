//! The OpenAPI document, generated from the routes.

mod compact_json;
mod components;
mod conflicts;
mod deprecations;
mod error_responses;
mod examples;
mod headers;
mod operations;
mod parameters;
mod response_links;
mod webhooks;

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_actix_web::AppExt;

use super::kit::document_format::DocumentFormat;
use super::kit::problem::Problem;
use super::kit::problem_code::ProblemCode;
use super::resources::webhooks::payloads;
use super::routes;
use crate::domain::ErrorCode;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "connectwise-billing",
        description = "Turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement \
            additions.\n\n\
            A *company* is a customer of the vendor and is matched to one ConnectWise company. Each company and \
            *product* make a *billing line*. Matching rules or manual choices map the line to an agreement and to an \
            addition of that agreement. A *push job* computes the line's quantity from its usage and writes it to \
            the addition.\n\n\
            **Authentication.** Send an API key in each request: `Authorization: Bearer cwb_…`. A key belongs to one \
            tenant and gives access to that tenant's data only. `/tenants` needs the operator's key. A missing or \
            unknown key is 401.\n\n\
            **Values.** Bodies are JSON with snake_case names; an unknown member or filter is an error. Ids are opaque \
            strings. Decimals are strings, such as `\"120.5\"`, so that no digit is lost. Times are RFC 3339 \
            in UTC, such as `2026-11-22T12:00:00Z`. Enumerations may get new values: handle an unknown value as \
            *other*.\n\n\
            **Billing months.** A billing month is a calendar month in the tenant's time zone, written `2026-11`. \
            The push schedule sets the time zone and returns the bounds of the current and the next month.\n\n\
            **Lists.** A list returns `items` and `next_cursor`. `limit` sets the size of a page: 100 by default, at \
            most 500. To get the next page, send `next_cursor` as `cursor`, with the same filters and `sort`. It is \
            null on the last page. `total=true` counts all items that match the filters.\n\n\
            **Updates.** PUT replaces a resource. PATCH changes only the members that are sent; null clears a member \
            that can be null.\n\n\
            **Concurrent updates.** A versioned resource is returned with an `ETag`. Where an operation takes \
            `If-Match`, send the `ETag` of the version that was read: the request fails with 412 if the resource has \
            changed since. Without `If-Match` the last update wins, unless the operator requires a version: then the \
            request fails with 428.\n\n\
            **Content that has not changed.** Send the `ETag` of a response as `If-None-Match` to get 304 instead of the \
            same content again. `HEAD` is `GET` without a body, and `OPTIONS` returns the methods of a path in \
            `Allow`. The origins whose pages may call the service from a browser are a setting of the operator.\n\n\
            **Retries.** Where an operation takes an `Idempotency-Key`, send a new key, such as a UUID, with each \
            new request. If the response is lost, repeat the request with the same key: the work is done once, and \
            for 48 hours the first response is returned, with the header `Idempotent-Replayed: true`. The same key \
            with a different request is 422. A request that failed is not stored and can be repeated with its key.\n\n\
            **Errors.** Errors are RFC 9457 `application/problem+json`. Compare `code`, which is stable; `type` is \
            a page about it. Show `detail`, which says what went wrong and what to do. `errors` lists the invalid fields. After 503, retry \
            when the seconds in `Retry-After` have passed.\n\n\
            **Request ids.** Each response has an `X-Request-Id`, which is also in the service's log. A request may \
            bring its own.\n\n\
            **People behind a key.** A frontend that uses one key for several people names the person in \
            `X-Acting-User`: 1 to 100 characters of UTF-8. Histories show the person and the key, and the audit log \
            can be filtered by the person. The service believes what the owner of the key says.\n\n\
            **Webhooks.** Instead of polling, let the service send events to your address: see *webhooks*.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(name = "connectwise-billing")
    ),
    servers((url = "/", description = "The service that serves this document")),
    components(schemas(
        Problem, ProblemCode, ErrorCode, payloads::PushJobFinishedPayload, payloads::PushLinesPayload,
        payloads::MappingsPayload, payloads::UsageMissingPayload, payloads::ConnectionFailingPayload,
        payloads::TestPayload, DocumentFormat
    )),
    security(("api_key" = [])),
    modifiers(&Security),
    tags(
        (
            name = "connection",
            description = "The tenant's connection to ConnectWise: its site and API keys. Set and test it first"
        ),
        (
            name = "connectwise",
            description = "The companies, agreements and additions that were read from ConnectWise, as choices; and \
                the refresh, which reads them again"
        ),
        (
            name = "companies",
            description = "The vendor's customers. A company is matched to one ConnectWise company, or is Not Set"
        ),
        (
            name = "products",
            description = "The products that the vendor bills, with the settings that turn usage into a quantity"
        ),
        (
            name = "matching rules",
            description = "The default matching conditions: for each product, one rule selects the agreement and \
                one the addition"
        ),
        (
            name = "billing lines",
            description = "The consolidated billing page: one line for each company and product, with its usage, \
                quantity, mappings and last push"
        ),
        (
            name = "mappings",
            description = "The agreement and the addition that each billing line bills to. A manual choice overrides \
                the matching rule"
        ),
        (
            name = "import and export",
            description = "Company matches and line settings as CSV, in and out; push history as CSV, out only"
        ),
        (
            name = "usage",
            description = "Measured usage. Records are added in batches; a corrected record supersedes the earlier one, \
                which is kept"
        ),
        (
            name = "push jobs",
            description = "Push jobs write quantities to ConnectWise, with one push line for each billing line. \
                Their history is kept"
        ),
        (
            name = "reconciliation",
            description = "Compares what should be billed with what ConnectWise bills, in units and in money"
        ),
        (
            name = "webhooks",
            description = "URLs that receive events, signed by the Standard Webhooks specification. The \
                section `webhooks` describes what is sent"
        ),
        (name = "push schedule", description = "The monthly push: its day, time and time zone"),
        (
            name = "api keys",
            description = "The tenant's API keys. Histories show the name of the key that made a change"
        ),
        (
            name = "audit log",
            description = "Who changed what: settings, choices, pushes, approvals, reverts and keys. Append-only"
        ),
        (name = "tenants", description = "Tenants, one for each MSP. These operations need the operator's key"),
        (name = "operation", description = "Health, metrics and this document. These operations need no API key"),
    )
)]
struct Base;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: `cwb_…`")).build();
        openapi.components.get_or_insert_default().add_security_scheme("api_key", SecurityScheme::Http(bearer));
    }
}

/// The document as it is committed and served. Making it at each start would take time, and memory that the process
/// keeps.
pub(super) const COMMITTED: &str = include_str!("../../../openapi/openapi.json");

/// Makes the document as JSON. A test compares it with the committed one.
pub fn document() -> String {
    let app = actix_web::App::new().into_utoipa_app().openapi(Base::openapi());
    let (_, mut openapi) = app.configure(routes::document).split_for_parts();
    deprecations::mark(&mut openapi);
    headers::declare_etags(&mut openapi);
    headers::declare_content_tags(&mut openapi);
    error_responses::share_errors(&mut openapi);
    headers::declare_headers(&mut openapi);
    response_links::add(&mut openapi);
    webhooks::add(&mut openapi);
    examples::add(&mut openapi);
    parameters::reject_nul(&mut openapi);
    parameters::limit_lists(&mut openapi);
    parameters::share_parameters(&mut openapi);
    operations::mark_files(&mut openapi);
    components::improve(&mut openapi);
    compact_json::lines(&components::rename_lists(&openapi.to_pretty_json().unwrap_or_default()))
}

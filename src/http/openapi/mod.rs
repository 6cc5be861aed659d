//! The OpenAPI document, made from the routes themselves.

mod errors;
mod headers;
mod parameters;
mod schemas;

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_actix_web::AppExt;

use super::kit::problem::Problem;
use super::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "connectwise-billing",
        description = "Turns a vendor's measured usage into exact quantities on ConnectWise PSA agreement additions.\n\n\
            **Authentication.** Send an API key: `Authorization: Bearer cwb_…`. A key belongs to one tenant and sees \
            nothing of another.\n\n\
            **Values.** JSON with snake_case names. Ids are strings to compare, nothing more. Decimals are strings, such as \
            `\"120.5\"`. Times are RFC 3339 in UTC. A billing month is `2026-11`. Enumerations may get new values: treat an \
            unknown value as *other*.\n\n\
            **Lists.** `limit` items at a time. Send `next_cursor` back as `cursor`, with the same filters and `sort`, until it \
            is null.\n\n\
            **Concurrent changes.** Where an operation takes `If-Match`, send the `ETag` of the last GET. The request fails \
            with 412 if the resource has changed since. Without `If-Match` the last change wins.\n\n\
            **Retries.** Where an operation takes an `Idempotency-Key`, repeat a request whose response was lost with the same \
            key: it is done once, and returns the first response for 48 hours.\n\n\
            **Errors.** RFC 9457 `application/problem+json`. `type` is stable and for programs; `title` and `detail` are for \
            people and say what to do; `errors` names each invalid field.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    security(("api_key" = [])),
    modifiers(&Security),
    tags(
        (name = "connection", description = "The connection to the tenant's ConnectWise"),
        (name = "connectwise", description = "The companies, agreements and additions in ConnectWise, and refreshing them"),
        (name = "companies", description = "The vendor's customers, matched to ConnectWise companies"),
        (name = "products", description = "The products that the vendor bills"),
        (name = "matching rules", description = "The rules that select the agreement and the addition that a product bills to"),
        (name = "billing lines", description = "The consolidated billing page: one line for each company and product"),
        (name = "mappings", description = "The agreement and the addition that each line bills to, and manual choices"),
        (name = "import and export", description = "Company matches, line settings and push history as CSV"),
        (name = "usage", description = "Measured usage"),
        (name = "push jobs", description = "Pushes of quantities to ConnectWise, and their history"),
        (name = "push schedule", description = "The monthly push"),
        (name = "api keys", description = "The tenant's API keys"),
        (name = "tenants", description = "Tenants; needs the operator's key"),
        (name = "operation", description = "Health, metrics and this document"),
    )
)]
struct Base;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: cwb_…")).build();
        openapi.components.get_or_insert_default().add_security_scheme("api_key", SecurityScheme::Http(bearer));
    }
}

/// The whole document, as it is served and as it is committed.
pub fn document() -> String {
    let (_, mut openapi) =
        actix_web::App::new().into_utoipa_app().openapi(Base::openapi()).configure(routes::document).split_for_parts();
    headers::declare_etags(&mut openapi);
    errors::share_errors(&mut openapi);
    parameters::share_parameters(&mut openapi);
    schemas::refer_to_list_items(&mut openapi);
    with_short_arrays(&openapi.to_pretty_json().unwrap_or_default())
}

/// Writes each array of plain values on one line where it fits: `"type": ["string", "null"]`.
fn with_short_arrays(json: &str) -> String {
    const MAX_LINE_LENGTH: usize = 120;
    let (mut text, mut lines) = (String::with_capacity(json.len()), json.lines());
    while let Some(first) = lines.next() {
        let rest = lines.clone();
        let values: Vec<&str> =
            rest.map(str::trim).take_while(|line| !line.starts_with(']') && !line.ends_with(['{', '['])).collect();
        let length = first.len() + values.iter().map(|value| value.len() + 1).sum::<usize>();
        let end = lines.clone().nth(values.len()).map_or("", str::trim);
        if first.ends_with('[') && end.starts_with(']') && length < MAX_LINE_LENGTH {
            lines.nth(values.len());
            text.extend([first, &values.join(" "), end]);
        } else {
            text.push_str(first);
        }
        text.push('\n');
    }
    text
}

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
            JSON with snake_case names; times in RFC 3339, UTC; decimals and ids are text. Errors are RFC 9457 \
            `application/problem+json`. Lists are paged: send `next_cursor` back as `cursor`. Where an operation takes \
            `If-Match`, send the `ETag` that GET gave, and it fails with 412 if somebody changed the thing meanwhile. \
            Where it takes an `Idempotency-Key`, the same request under the same key is done once and answered alike.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    security(("api_key" = [])),
    modifiers(&Security),
    tags(
        (name = "connection", description = "The way into ConnectWise"),
        (name = "connectwise", description = "What ConnectWise has: choices, and reading them anew"),
        (name = "companies", description = "The vendor's customers, matched to ConnectWise companies"),
        (name = "products", description = "What the vendor bills"),
        (name = "matching rules", description = "Which agreement and which addition a product bills to"),
        (name = "billing lines", description = "The consolidated billing page: company x product"),
        (name = "mappings", description = "What lines bill to, and choices by hand"),
        (name = "import and export", description = "Company matches and line settings as CSV, in and out; what pushes did, out"),
        (name = "usage", description = "Measured amounts"),
        (name = "push jobs", description = "Writing quantities, and what came of it"),
        (name = "push schedule", description = "The monthly push"),
        (name = "api keys", description = "The tenant's keys"),
        (name = "tenants", description = "For the operator's key alone"),
        (name = "operation", description = "For whoever runs the service"),
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

//! The OpenAPI document, made from the routes themselves.

use actix_web::http::Method;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
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
    describe(&mut openapi);
    let mut text = openapi.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Says in words what a success is, where the handler leaves it to the schema.
fn describe(openapi: &mut utoipa::openapi::OpenApi) {
    let items = openapi.paths.paths.values_mut();
    let operations = items.flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
    });
    for (status, response) in operations.flat_map(|operation| operation.responses.responses.iter_mut()) {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = match status.as_str() {
                "201" => "Made; `Location` says where it is".to_owned(),
                "202" => "Accepted; `Location` says where to watch it".to_owned(),
                _ => "As asked".to_owned(),
            };
        }
    }
}

/// The document and what the fallback needs of it.
pub struct Document {
    /// As served.
    pub json: String,
    /// Path segments with the methods that the path takes; `None` is a parameter.
    paths: Vec<(Vec<Option<String>>, Vec<Method>)>,
}

impl Document {
    /// Reads back what the routes say.
    pub fn new() -> Self {
        let json = document();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        let paths = value.get("paths").and_then(|paths| paths.as_object()).into_iter().flatten();
        let paths = paths.map(|(path, item)| {
            let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
            let methods = item.as_object().into_iter().flatten();
            let methods = methods.filter_map(|(name, _)| name.to_ascii_uppercase().parse().ok());
            (path.split('/').map(segment).collect(), methods.collect())
        });
        Self { paths: paths.collect(), json }
    }

    /// The methods that a path takes, where there is such a path.
    pub fn methods(&self, path: &str) -> Vec<Method> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &[Option<String>]| {
            pattern.len() == parts.len()
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(known, part)| known.as_ref().map_or(!part.is_empty(), |known| known == part))
        };
        // A path without parameters wins: /companies/auto-match is no company.
        let mut fitting: Vec<_> = self.paths.iter().filter(|(pattern, _)| fits(pattern)).collect();
        fitting.sort_by_key(|(pattern, _)| pattern.iter().filter(|part| part.is_none()).count());
        fitting.first().map(|(_, methods)| methods.clone()).unwrap_or_default()
    }
}

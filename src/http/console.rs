//! The console at `/console/`: a page for billing clerks that uses only the public API. The program contains its files.

use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY,
};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use sha2::{Digest, Sha256};

use super::kit::etag::is_named;
use super::kit::problem::ApiError;

/// The console's content security policy: it may load only what this service serves, and no text becomes markup or
/// script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the console.
struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    etag: String,
}

macro_rules! files {
    ($($path:literal),+ $(,)?) => { [$(($path, include_bytes!(concat!("../../console/", $path)).as_slice())),+] };
}

/// The files by their path below `/console/`.
static FILES: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let files = files![
        "index.html",
        "icon.svg",
        "css/base.css",
        "css/parts.css",
        "css/tables.css",
        "js/api.js",
        "js/data_table.js",
        "js/dialog.js",
        "js/dom.js",
        "js/filters.js",
        "js/focus.js",
        "js/format.js",
        "js/main.js",
        "js/notices.js",
        "js/pager.js",
        "js/plot.js",
        "js/product_form.js",
        "js/progress.js",
        "js/push_job.js",
        "js/push_lines.js",
        "js/push_now.js",
        "js/pushes.js",
        "js/reconciliation.js",
        "js/route.js",
        "js/rules.js",
        "js/settings.js",
        "js/billing/choose.js",
        "js/billing/details.js",
        "js/billing/edit.js",
        "js/billing/matching.js",
        "js/billing/overview.js",
        "js/billing/page.js",
        "js/billing/row.js",
        "js/billing/selection.js",
        "js/billing/table.js",
        "js/billing/toolbar.js",
        "js/settings/connection.js",
        "js/settings/keys.js",
        "js/settings/schedule.js",
    ];
    files.into_iter().map(|(path, bytes)| (path, File::new(path, bytes))).collect()
});

impl File {
    fn new(path: &str, bytes: &'static [u8]) -> Self {
        let content_type = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        let digest: String = Sha256::digest(bytes).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, content_type, etag: format!("W/\"{digest}\"") }
    }
}

/// Serves the console's files, and redirects the root path to it.
pub(super) fn serve(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(to_console))
        .route("/console", web::get().to(to_console))
        .route("/console/{path:.*}", web::get().to(file));
}

async fn to_console() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "/console/")).finish()
}

/// Browsers keep each file but check whether it has changed, so a new version of the service takes effect at once.
async fn file(req: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let path = if path.is_empty() { "index.html" } else { path.as_str() };
    let Some(file) = FILES.get(path) else { return ApiError::no_path().error_response() };
    let known = req.headers().get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|known| is_named(&file.etag, known));
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, file.etag.as_str()))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY));
    if is_known {
        return response.insert_header((VARY, "accept-encoding")).finish();
    }
    response.insert_header((CONTENT_TYPE, file.content_type)).body(file.bytes)
}

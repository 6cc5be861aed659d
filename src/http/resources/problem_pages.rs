//! The pages about problems: what each code means and what to do. The `type` of a problem links to its page.

use std::fmt::Write;

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{HttpResponse, get, web};

use crate::http::kit::problem::{ApiError, ApiResult, PlainErrors, Problem};
use crate::http::kit::problem_code::ProblemCode;

/// List the kinds of problems
///
/// Returns a page that lists every `code` of a problem. Needs no API key.
#[utoipa::path(
    tag = "operation",
    security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), PlainErrors)
)]
#[get("/problems")]
pub async fn list_problems() -> HttpResponse {
    let mut body = String::from("<table><tr><th>code</th><th>status</th><th>meaning</th></tr>");
    for code in ProblemCode::all() {
        let (name, status, meaning) = (code.as_str(), code.status().as_u16(), escaped(&code.meaning().0));
        let page = code.page();
        _ = write!(body, "<tr><td><a href=\"{page}\">{name}</a></td><td>{status}</td><td>{meaning}</td></tr>");
    }
    body.push_str("</table>");
    page("Problems", &body)
}

/// Get the page about a kind of problem
///
/// Returns a page that says what the code of a problem means and what to do, with an example. Needs no API key.
#[utoipa::path(
    tag = "operation",
    security(()),
    params(("code" = ProblemCode, Path, description = "The code of the problem", example = "not_found")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The code does not exist"),
        PlainErrors
    )
)]
#[get("/problems/{code}")]
pub async fn explain_problem(code: web::Path<String>) -> ApiResult {
    let code = ProblemCode::find(&code).ok_or_else(ApiError::no_path)?;
    let (meaning, advice) = code.meaning();
    let example = serde_json::to_string_pretty(&Problem::example(code)).unwrap_or_default();
    let body = format!(
        "<p>{}</p><h2>What to do</h2><p>{}</p><h2>Example</h2><p>HTTP status {}</p><pre>{}</pre>\
         <p><a href=\"/problems\">All problems</a></p>",
        escaped(&meaning),
        escaped(&advice),
        code.status().as_u16(),
        escaped(&example)
    );
    Ok(page(code.as_str(), &body))
}

fn page(title: &str, body: &str) -> HttpResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .body(html)
}

/// The text as HTML; text between backquotes is shown as code.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let parts = text.split('`').enumerate();
    parts.map(|(place, part)| if place % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

//! A statement as a page to print: plain HTML that has no scripts and loads nothing.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Statement, StatementProduct};
use crate::domain::push::PushLineState;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;\
color:#1a1a1a;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-top:1px solid #bbb;\
padding-top:1rem}table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{text-align:left;padding:.2rem .8rem .2rem 0;\
border-bottom:1px solid #ddd}td.n,th.n{text-align:right}caption{text-align:left;font-weight:600}.sum{font-weight:600}\
@media print{body{margin:0;max-width:none}h2{break-after:avoid}table{break-inside:avoid}}";

/// The page's content security policy: it may apply its own style, and nothing else.
pub(super) fn policy() -> String {
    static HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE)));
    format!("default-src 'none'; style-src 'sha256-{}'", *HASH)
}

/// The whole document, with its style and every text escaped.
pub(super) fn render(statement: &Statement) -> String {
    let name = escape(&statement.company_name);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Statement: {name}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Statement for {name}</h1><p>{}, made at {}</p>",
        escape(&statement.company_external_id),
        time(statement.made_at)
    );
    if statement.products.is_empty() {
        page.push_str("<p>Nothing was measured or billed in this month.</p>");
    }
    for product in &statement.products {
        section(&mut page, product);
    }
    for total in &statement.totals {
        let amount = total.amount.map_or_else(|| "too many digits to be exact".to_owned(), |amount| amount.to_string());
        let currency = escape(total.currency.as_deref().unwrap_or_default());
        let _ = write!(page, "<h2>Total</h2><p class=\"sum\">{amount} {currency}, without taxes</p>");
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, product: &StatementProduct) {
    let (name, unit) = (escape(&product.product_name), escape(&product.unit));
    let open = if product.month_closed { "" } else { " (the month has not ended)" };
    let _ = write!(page, "<h2>{name}, {}{open}</h2><ol>", product.billing_month);
    for step in &product.steps {
        let _ = write!(page, "<li>{}</li>", escape(step));
    }
    page.push_str("</ol>");
    if !product.pushes.is_empty() {
        page.push_str("<table><caption>Pushes to the agreement</caption><tr><th>When</th><th>Result</th><th class=\"n\">Before</th><th class=\"n\">Quantity</th></tr>");
        for push in &product.pushes {
            let number = |quantity: Option<crate::domain::quantity::Quantity>| {
                quantity.map_or_else(|| "unknown".to_owned(), |quantity| quantity.to_string())
            };
            let at = push.at.map(time).unwrap_or_default();
            let (from, to) = (number(push.from), number(push.to));
            let result = result(push.state);
            let _ = write!(
                page,
                "<tr><td>{at}</td><td>{result}</td><td class=\"n\">{from}</td><td class=\"n\">{to}</td></tr>"
            );
        }
        page.push_str("</table>");
    }
    if !product.records.is_empty() {
        let (shown, all) = (product.records.len(), product.records_in_month);
        let caption = if i64::try_from(shown).is_ok_and(|shown| shown < all) {
            format!("The newest {shown} of {all} records")
        } else {
            "Records".to_owned()
        };
        let _ = write!(
            page,
            "<table><caption>{caption}</caption><tr><th>Measured</th><th class=\"n\">{unit}</th><th>By</th></tr>"
        );
        for record in &product.records {
            let (at, source) = (time(record.measured_at), escape(&record.source));
            let _ = write!(page, "<tr><td>{at}</td><td class=\"n\">{}</td><td>{source}</td></tr>", record.amount);
        }
        page.push_str("</table>");
    }
}

/// The outcome of a push, for people.
fn result(state: PushLineState) -> &'static str {
    match state {
        PushLineState::Pushed => "written",
        PushLineState::Unchanged => "was there already",
        _ => "not known whether it arrived",
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Text as it is written in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

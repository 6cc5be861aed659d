//! Pages in a real browser. These tests need Chromium and its driver: `scripts/browser` runs them.

mod accessibility;
mod billing;
mod console;
mod mistakes;
mod pages;
mod session;
mod webdriver;

use crate::process::Demo;
use webdriver::Browser;

/// Opens an operation in Swagger UI, sends its example, and returns the status of the response.
async fn send_example(browser: &Browser, tag: &str, operation: &str) -> String {
    let block = format!("#operations-{tag}-{operation}");
    browser.click(&format!("#operations-tag-{tag}")).await;
    browser.click(&format!("{block} .opblock-summary-control")).await;
    browser.click(&format!("{block} .try-out__btn")).await;
    browser.click(&format!("{block} .execute")).await;
    let status =
        format!("document.querySelector('{block} .live-responses-table .response .response-col_status').innerText");
    let found = browser.until(&status).await;
    found.as_str().unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Swagger UI works as a console: authorised once, it tries the operations of a demo with their examples.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// Plain `cargo test` may be without Chromium; `scripts/test` runs it through `scripts/browser`.
#[ignore = "needs Chromium: scripts/browser"]
async fn swagger_ui_tries_operations() {
    let folder = tempfile::tempdir().unwrap();
    let demo = tokio::task::block_in_place(|| Demo::start(&folder));
    let browser = Browser::start(1400).await;
    browser.open(&format!("{}/swagger-ui/", demo.address)).await;
    browser.until("document.querySelectorAll('.opblock-tag').length > 10").await;
    browser.click(".btn.authorize").await;
    browser.fill(".auth-container input", &demo.key).await;
    browser.click(".auth-btn-wrapper .authorize").await;
    browser.click(".auth-btn-wrapper .btn-done").await;
    // The key survives a reload.
    browser.open(&format!("{}/swagger-ui/", demo.address)).await;
    browser.until("document.querySelector('.btn.authorize.locked') !== null").await;
    for (tag, operation, status) in [
        ("billing_lines", "list_billing_lines", "200"),
        ("companies", "get_company", "200"),
        ("companies", "create_company", "201"),
        ("push_jobs", "create_push_job", "202"),
        ("matching_rules", "preview_matching_rule", "200"),
    ] {
        if operation == "create_company" {
            // The tag is already open: a click would close it.
            browser.click(&format!("#operations-tag-{tag}")).await;
        }
        assert_eq!(send_example(&browser, tag, operation).await, status, "{operation}");
    }
    browser.picture("swagger-ui").await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
    assert_eq!(browser.requested_elsewhere(&demo.address).await, Vec::<String>::new());
    tokio::task::block_in_place(|| demo.stop());
}

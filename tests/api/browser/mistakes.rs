//! Accidents at the screen: double clicks, quick typing, a network that fails, letters of any language.

use reqwest::Method;
use serde_json::json;

use super::console::{Console, has_text, in_a_browser, row};
use super::webdriver::Browser;
use crate::support::Backend;

/// Makes the browser's network slow (a delay in milliseconds), or cuts it.
async fn network(browser: &Browser, latency: u32, offline: bool) {
    let conditions = json!({"offline": offline, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1});
    browser.command("Network.enable", &json!({})).await;
    browser.command("Network.emulateNetworkConditions", &conditions).await;
}

async fn a_double_click_starts_one_push(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    let line = console.line("Alder Creek Winery", "STORAGE").await;
    let change = json!({"ids": [line["id"]], "block_size": "1000"});
    console.call(Method::PATCH, "/billing-lines", &change).await;
    let preview = json!({"billing_line_ids": [line["id"]], "dry_run": true});
    let preview = console.call(Method::POST, "/push-jobs", &preview).await;
    let page = format!("#/pushes/{}", preview["id"].as_str().unwrap());
    console.go(&page, &has_text("main .badge", "succeeded")).await;
    let before = console.get("/push-jobs?kind=push&total=true&limit=1").await["total"].as_i64().unwrap();
    network(browser, 300, false).await;
    browser.until("[...document.querySelectorAll('main button')].some(b => b.textContent === 'Push 1 line')").await;
    browser
        .run("const b = [...document.querySelectorAll('main button')].find(b => b.textContent === 'Push 1 line'); b.click(); b.click(); b.click()")
        .await;
    let title = "document.querySelector('main h1')?.textContent.startsWith('Push of')";
    browser.until(&format!("location.hash !== {} && {title}", json!(page))).await;
    browser.until(&has_text("main .badge", "succeeded")).await;
    assert!(browser.text().await.contains("pushed 1"), "{}", browser.text().await);
    let after = console.get("/push-jobs?kind=push&total=true&limit=1").await["total"].as_i64().unwrap();
    assert_eq!(after, before + 1);
}

/// A page that shows the line of a company, and the selector of its row.
async fn on_a_line(backend: Backend) -> (Console, String) {
    let console = Console::start(backend).await;
    let row = row(&console.line("Apex Title Agency", "STORAGE").await);
    console.browser.until(&format!("document.querySelector({}) !== null", json!(row))).await;
    (console, row)
}

async fn quick_changes_of_one_line_follow_each_other(backend: Backend) {
    let (console, row) = on_a_line(backend).await;
    let (browser, block) = (&console.browser, format!("{row} [data-part=block]"));
    network(browser, 300, false).await;
    browser.enter(&block, "50").await;
    browser.click(&format!("{row} [data-part=push]")).await;
    browser.enter(&block, "25").await;
    browser.until(&has_text(&format!("{row} .quantity"), "100")).await;
    let saved = console.line("Apex Title Agency", "STORAGE").await;
    assert_eq!((&saved["push_enabled"], &saved["block_size"]), (&json!(false), &json!("25")));
    assert_eq!(browser.run("return document.querySelectorAll('#notices [role=alert]').length").await, 0);
    // Text being typed is kept when another change of the row arrives.
    browser.click(&format!("{row} [data-part=push]")).await;
    browser
        .run(&format!("document.querySelector({0}).focus(); document.querySelector({0}).select()", json!(block)))
        .await;
    browser.press("75").await;
    browser
        .until(&format!(
            "document.querySelector({}).checked && document.querySelector({}).value === '75'",
            json!(format!("{row} [data-part=push]")),
            json!(block)
        ))
        .await;
    assert_eq!(browser.run("return document.activeElement.dataset.part").await, "block");
}

/// A row never shows a value that was not saved.
async fn a_change_that_does_not_arrive_is_taken_back(backend: Backend) {
    let (console, row) = on_a_line(backend).await;
    let (browser, block) = (&console.browser, format!("{row} [data-part=block]"));
    network(browser, 0, true).await;
    browser.enter(&block, "333").await;
    browser.until(&has_text("#notices [role=alert]", "cannot be reached")).await;
    browser.until(&format!("document.querySelector({}).value === '100'", json!(block))).await;
    browser.click(&format!("{row} [data-part=push]")).await;
    browser.until(&format!("document.querySelector({}).checked", json!(format!("{row} [data-part=push]")))).await;
    network(browser, 0, false).await;
    browser.enter(&block, "50").await;
    browser.until(&has_text(&format!("{row} .quantity"), "50")).await;
}

async fn a_name_has_letters_of_any_language(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    browser.click("#session button").await;
    browser.fill("#api-key", &console.key).await;
    browser.fill("#acting-user", "Łukasz Müller 山田").await;
    browser.click("main form button").await;
    let line = console.line("Apex Title Agency", "STORAGE").await;
    let block = format!("{} [data-part=block]", row(&line));
    browser.until(&format!("document.querySelector({}) !== null", json!(block))).await;
    browser.enter(&block, "50").await;
    browser.until(&has_text(&format!("{} .quantity", row(&line)), "50")).await;
    let detail = console.get(&format!("/billing-lines/{}", line["id"].as_str().unwrap())).await;
    let changed = &detail["explanation"]["changes"][0];
    assert_eq!(changed["by"], "Łukasz Müller 山田 (demo)", "{detail}");
}

/// A dialog closes with its page; an error in a dialog is shown in the dialog.
async fn a_dialog_ends_with_its_page(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    browser.until("document.querySelectorAll('tr[data-line]').length === 50").await;
    console.go("#/rules", "document.querySelectorAll('textarea').length === 2").await;
    console.go("#/billing", "document.querySelectorAll('tr[data-line]').length === 50").await;
    browser.click_button("main", "Push now").await;
    browser.until("document.querySelector('dialog h2') !== null").await;
    network(browser, 0, true).await;
    browser.click_button("dialog", "Preview").await;
    browser.until(&has_text("dialog [role=alert]", "cannot be reached")).await;
    network(browser, 0, false).await;
    browser.run("history.back()").await;
    browser
        .until("document.querySelector('dialog') === null && document.querySelectorAll('textarea').length === 2")
        .await;
    console.go("#/pushes/%", "document.querySelector('main [role=alert]') !== null").await;
    console.go("#/constructor", &has_text("main", "There is no such page.")).await;
}

in_a_browser!(
    a_double_click_starts_one_push,
    quick_changes_of_one_line_follow_each_other,
    a_change_that_does_not_arrive_is_taken_back,
    a_name_has_letters_of_any_language,
    a_dialog_ends_with_its_page,
);

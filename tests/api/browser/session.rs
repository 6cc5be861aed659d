//! Signing in, keys that are no longer valid, and texts that look like markup.

use connectwise_billing::domain::clock::Clock;
use reqwest::Method;
use serde_json::json;

use super::console::{Console, has_text, in_a_browser};
use crate::support::Backend;

/// The key is only in the session's storage. A wrong key is explained; a revoked key leads to the sign-in form, and
/// then back to the same page.
async fn a_revoked_key_asks_for_another(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    let stored =
        browser.run("return [Object.values(sessionStorage).length, localStorage.length, document.cookie]").await;
    assert_eq!(stored, json!([2, 0, ""]));
    console.go("#/settings", "document.querySelectorAll('main section').length === 3").await;
    let made = console.call(Method::POST, "/api-keys", &json!({"name": "another"})).await;
    let keys = console.get("/api-keys").await;
    let own =
        keys["items"].as_array().unwrap().iter().find(|key| console.key.starts_with(key["prefix"].as_str().unwrap()));
    let path = format!("/api-keys/{}", own.unwrap()["id"].as_str().unwrap());
    console.call(Method::DELETE, &path, &json!(null)).await;
    browser.click_button("main", "New key").await;
    browser.fill("dialog input", "one more").await;
    browser.click("dialog button.primary").await;
    browser.until("document.querySelector('#api-key') !== null && document.querySelector('dialog') === null").await;
    assert!(browser.text().await.contains("not valid, or no longer valid"), "{}", browser.text().await);
    assert_eq!(browser.run("return sessionStorage.length").await, 0);
    Console::enter_key(browser, "cwb_wrong").await;
    browser.until(&has_text("main .wrong[role=alert]", "not valid, or no longer valid")).await;
    Console::enter_key(browser, made["key"].as_str().unwrap()).await;
    browser.until("document.querySelectorAll('main section').length === 3").await;
    // Signing out forgets it.
    browser.click("#session button").await;
    browser.until("document.querySelector('#api-key') !== null").await;
    assert_eq!(browser.run("return sessionStorage.length").await, 0);
    console.hold_clean().await;
}

async fn names_are_never_markup(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    let name = "<img src=x onerror=\"window.hacked = 1\"><script>window.hacked = 1</script> & Söhne";
    let body = json!({"external_id": "<b>bold</b>", "name": name});
    let company = console.call(Method::POST, "/companies", &body).await;
    console.call(Method::POST, "/api-keys", &json!({"name": "<i>key</i>"})).await;
    let now = Clock::system().now().to_rfc3339();
    let used = json!({"company_id": company["id"], "product_code": "STORAGE", "measured_at": now, "amount": "5"});
    console.call(Method::POST, "/usage", &json!({"records": [used]})).await;
    let line = console.get(&format!("/billing-lines?company_id={}", company["id"].as_str().unwrap())).await["items"][0]
        .clone();
    let product = line["product_id"].as_str().unwrap();
    console
        .go(
            &format!("#/billing?product={product}&search=bold"),
            "document.querySelectorAll('tr[data-line]').length === 1",
        )
        .await;
    assert!(browser.text().await.contains(name), "{}", browser.text().await);
    browser.click("[data-part=details]").await;
    browser.until(&has_text("dialog h2", name)).await;
    browser.run("document.querySelector('dialog').close()").await;
    browser.click("[data-part=company]").await;
    browser.until(&has_text("dialog h2", name)).await;
    browser.picture("console-markup").await;
    browser.run("document.querySelector('dialog').close()").await;
    console.go("#/settings", &has_text("section[aria-label='API keys']", "<i>key</i>")).await;
    console.go("#/reconciliation?kind=company_not_set", &has_text("main", name)).await;
    let found = browser
        .run("return [window.hacked ?? null, document.querySelectorAll('main img, main b, main i').length]")
        .await;
    assert_eq!(found, json!([null, 0]));
    console.hold_clean().await;
}

/// Filters are in the address: back, forward and a reload show the same.
async fn the_address_holds_the_filters(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    browser.until("document.querySelectorAll('tr[data-line]').length === 50").await;
    browser.fill("input[type=search]", "Law").await;
    browser.click("form[role=search] button").await;
    browser.until("document.querySelectorAll('tr[data-line]').length < 10").await;
    let found = browser.run("return document.querySelectorAll('tr[data-line]').length").await;
    browser.run("history.back()").await;
    browser.until("document.querySelectorAll('tr[data-line]').length === 50").await;
    browser.run("history.forward()").await;
    browser.until(&format!("document.querySelectorAll('tr[data-line]').length === {found}")).await;
    browser.reload().await;
    browser.until(&format!("document.querySelectorAll('tr[data-line]').length === {found}")).await;
    assert_eq!(browser.run("return document.querySelector('input[type=search]').value").await, "Law");
    console.go("#/nothing", &has_text("main", "There is no such page.")).await;
    console.go("#/pushes/unknown", &has_text("main [role=alert]", "push job")).await;
    console.go("#/billing?need=odd", "document.querySelector('main [role=alert]') !== null").await;
    console.hold_clean().await;
}

in_a_browser!(a_revoked_key_asks_for_another, names_are_never_markup, the_address_holds_the_filters);

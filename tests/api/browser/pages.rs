//! The other pages: rules, pushes, reconciliation, and settings.

use reqwest::Method;
use serde_json::json;

use super::console::{Console, has_text, in_a_browser};
use crate::support::Backend;

async fn a_rule_is_tried_as_it_is_typed(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    console.go("#/rules", "document.querySelectorAll('textarea').length === 2").await;
    assert_eq!(browser.run("return document.querySelector('textarea').value").await, "type/name like \"SP Backup%\"");
    browser.fill("textarea", "type/name like \"SP%\"\nand nme = \"b\"").await;
    browser.until("document.querySelector('mark') !== null").await;
    assert_eq!(browser.run("return document.querySelector('mark').textContent").await, "nme");
    // The mark is exactly under the letters.
    let marked = browser.run("const mark = document.querySelector('mark').getBoundingClientRect(), area = document.querySelector('textarea').getBoundingClientRect(); return mark.top > area.top + 20 && mark.bottom < area.bottom").await;
    assert_eq!(marked, true, "in the second line");
    let text = browser.run("return document.querySelector('.rule .wrong').textContent").await;
    assert!(text.as_str().unwrap().contains("\"nme\" is not an attribute"), "{text}");
    browser.picture("console-rule").await;
    browser.fill("textarea", "type/name like \"SP%\"").await;
    browser.until("document.querySelector('mark') === null && document.querySelector('h2')?.textContent.includes('would change')").await;
    let shown = browser.run("return document.querySelector('h2').textContent").await;
    let product = console.product("STORAGE").await;
    let body = json!({"product_id": product["id"], "target": "agreement", "expression": "type/name like \"SP%\""});
    let tried = console.call(Method::POST, "/matching-rules/preview", &body).await;
    assert_eq!(shown, format!("{} lines would change", tried["changed"]), "as the API says");
    browser.click(".rule button.primary").await;
    browser.until("document.querySelector('#notices')?.textContent.includes('Saved.')").await;
    browser.until("document.querySelector('h2')?.textContent === 'Nothing would change'").await;
    let rules =
        console.get(&format!("/matching-rules?target=agreement&product_id={}", product["id"].as_str().unwrap())).await;
    assert_eq!(rules["items"][0]["expression"], "type/name like \"SP%\"");
    console.hold_clean().await;
}

/// Holds changes of more than one unit, and pushes: held lines are approved, then the push is reverted.
async fn a_push_is_followed_approved_and_reverted(backend: Backend) {
    let console = Console::start(backend).await;
    let (browser, product) = (&console.browser, console.product("STORAGE").await);
    let id = product["id"].as_str().unwrap();
    let body = json!({"max_change_units": "1", "block_size": "50"});
    console.call(Method::PATCH, &format!("/products/{id}"), &body).await;
    let lines =
        [console.line("Alder Creek Winery", "STORAGE").await, console.line("Apex Title Agency", "STORAGE").await];
    let ids: Vec<_> = lines.iter().map(|line| line["id"].clone()).collect();
    let job = console.call(Method::POST, "/push-jobs", &json!({"billing_line_ids": ids})).await;
    let job = job["id"].as_str().unwrap();
    console.go("#/pushes", "document.querySelectorAll('table[aria-label=\"Push jobs\"] tbody tr').length >= 3").await;
    console.go(&format!("#/pushes/{job}"), &has_text("main .badge", "waiting for approval")).await;
    browser.until("document.querySelectorAll('tbody input[type=checkbox]').length === 2").await;
    browser.picture("console-held").await;
    browser.click("tbody tr:first-child input[type=checkbox]").await;
    browser.click_button("main", "Approve 1 selected").await;
    browser.click("dialog button.danger").await;
    browser.until("document.querySelector('dialog') === null").await;
    browser.until("document.querySelector('.chips')?.textContent.includes('pushed1')").await;
    // The rest is dropped.
    browser.until("[...document.querySelectorAll('main button')].some(b => b.textContent === 'Drop all 1 held')").await;
    browser.click_button("main", "Drop all 1 held").await;
    browser.click("dialog button.danger").await;
    browser.until(&has_text("main .badge", "succeeded")).await;
    let states = console.get(&format!("/push-jobs/{job}/lines")).await;
    let decided: Vec<_> =
        states["items"].as_array().unwrap().iter().map(|line| (&line["state"], &line["decided_by"])).collect();
    assert!(decided.contains(&(&json!("pushed"), &json!("Ann (demo)"))), "{decided:?}");
    // A revert is a separate push.
    browser.click_button("main", "Revert").await;
    browser.click("dialog button.danger").await;
    browser.until(&format!("location.hash.startsWith('#/pushes/') && !location.hash.includes('{job}')")).await;
    browser.until(&has_text("main", "Started to revert a push, by Ann (demo)")).await;
    browser.until(&has_text("main .badge", "succeeded")).await;
    console
        .go(
            "#/pushes?view=lines&state=pushed",
            "document.querySelectorAll('table[aria-label=\"Push lines\"] tbody tr').length > 10",
        )
        .await;
    console.hold_clean().await;
}

async fn money_is_compared(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    console
        .go("#/reconciliation", "document.querySelectorAll('table[aria-label=\"Differences\"] tbody tr').length === 36")
        .await;
    let found = console.get("/reconciliation?limit=1").await;
    let text = browser.text().await;
    for kind in found["kinds"].as_array().unwrap() {
        assert!(text.contains(kind["explanation"].as_str().unwrap()), "{kind}");
    }
    let difference = found["totals"][0]["amount_difference"].as_str().unwrap();
    assert!(text.contains(&format!("{difference}0 USD")), "{difference} in {text}");
    assert!(browser.run("return document.querySelectorAll('svg.plot rect').length").await.as_i64().unwrap() >= 4);
    browser.picture("console-reconciliation").await;
    browser.run("[...document.querySelectorAll('main a')].find(a => a.textContent === 'silent meter').click()").await;
    browser.until("document.querySelectorAll('table[aria-label=\"Differences\"] tbody tr').length === 3").await;
    assert!(browser.run("return location.hash").await.as_str().unwrap().contains("kind=silent_meter"));
    // The table is exported with the same filter.
    browser.click_button("main", "Save as CSV").await;
    browser.until("document.querySelector('#notices')?.textContent.includes('Saved as reconciliation')").await;
    let requested = browser.requested().await;
    assert!(requested.iter().any(|one| one.contains("/export/reconciliation?kind=silent_meter")), "{requested:?}");
    console.hold_clean().await;
}

async fn settings_are_tested_and_saved(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    console.go("#/settings", "document.querySelectorAll('main section').length === 3").await;
    browser.click_button("main", "Test the connection").await;
    browser.until("document.querySelector('h3')?.textContent === 'The connection works'").await;
    // The next runs are shown before the schedule is saved.
    browser.run("const day = document.querySelector('input[type=number]'); day.value = '15'; day.dispatchEvent(new Event('change', {bubbles: true}))").await;
    browser.until(&has_text("section[aria-label=Schedule] li", " 15 ")).await;
    assert_eq!(console.get("/push-schedule").await["day_of_month"], 1, "not saved yet");
    browser.click("section[aria-label=Schedule] label.choice input").await;
    browser.click("section[aria-label=Schedule] button.primary").await;
    browser.until("document.querySelector('#notices')?.textContent.includes('The schedule is saved.')").await;
    let schedule = console.get("/push-schedule").await;
    assert_eq!((&schedule["day_of_month"], &schedule["enabled"]), (&json!(15), &json!(true)));
    browser.run("const zone = document.querySelector('input[list]'); zone.value = 'Nowhere'; zone.dispatchEvent(new Event('change', {bubbles: true}))").await;
    browser.until("document.querySelector('section[aria-label=Schedule] [aria-invalid=true]') !== null").await;
    // A key is shown once.
    browser.click_button("main", "New key").await;
    browser.fill("dialog input", "the clerk's").await;
    browser.click("dialog button.primary").await;
    browser.until("document.querySelector('dialog input[readonly]')?.value.startsWith('cwb_')").await;
    browser.run("document.querySelector('dialog').close()").await;
    browser.until(&has_text("section[aria-label='API keys']", "the clerk's")).await;
    browser.run("[...document.querySelectorAll('main button')].find(b => b.getAttribute('aria-label') === \"Revoke the clerk's\").click()").await;
    browser.click("dialog button.danger").await;
    browser.until("[...document.querySelectorAll('section[aria-label=\"API keys\"] tbody tr')].some(row => row.textContent.includes(\"the clerk's\") && !row.querySelector('button'))").await;
    browser.picture("console-settings").await;
    console.hold_clean().await;
}

/// A wrong connection is reported in the API's words, and its site stays in the form to be corrected.
async fn a_wrong_connection_is_explained(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    console.fault(&json!({"kind": "status", "status": 503, "times": 1000})).await;
    console.go("#/settings", "document.querySelectorAll('main section').length === 3").await;
    browser.click_button("main", "Test the connection").await;
    browser.until("document.querySelector('h3')?.textContent === 'The connection does not work'").await;
    console.go("#/billing", "document.querySelectorAll('tr[data-line]').length === 50").await;
    browser.click_button("main", "Refresh now").await;
    browser.until("document.querySelector('#notices [role=alert]') !== null").await;
    let text = browser.run("return document.querySelector('#notices [role=alert]').textContent").await;
    assert!(text.as_str().unwrap().contains("ConnectWise"), "{text}");
    assert_eq!(browser.run("return document.querySelectorAll('tr[data-line]').length").await, 50, "the page stays");
}

in_a_browser!(
    a_rule_is_tried_as_it_is_typed,
    a_push_is_followed_approved_and_reverted,
    money_is_compared,
    settings_are_tested_and_saved,
    a_wrong_connection_is_explained,
);

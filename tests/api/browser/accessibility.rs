//! Violations that axe-core (<https://github.com/dequelabs/axe-core>) finds on each page, layout shifts while a page
//! loads, and whether a page fits a narrow window.

use serde_json::Value;

use super::console::{Console, TAB, in_a_browser};
use super::webdriver::Browser;
use crate::support::Backend;

/// The pages, each with an element that shows that it has loaded.
const PAGES: [(&str, &str); 7] = [
    ("#/billing", "document.querySelectorAll('tr[data-line]').length > 10"),
    ("#/billing?view=grouped", "document.querySelectorAll('th[scope=rowgroup]').length > 2"),
    ("#/rules", "document.querySelectorAll('textarea').length === 2"),
    ("#/pushes", "document.querySelector('table[aria-label=\"Push jobs\"] tbody tr') !== null"),
    ("#/pushes?view=lines", "document.querySelectorAll('table[aria-label=\"Push lines\"] tbody tr').length > 10"),
    ("#/reconciliation", "document.querySelector('svg.plot') !== null"),
    ("#/settings", "document.querySelectorAll('main section').length === 3"),
];

/// The serious violations that axe finds.
async fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(&format!("if (!window.axe) {{ {axe}\n }}")).await;
    let found = browser.promised("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => ({id: one.id, impact: one.impact, nodes: one.nodes.map(node => node.html + ' ' + node.failureSummary).slice(0, 3)})))").await;
    let found = found.as_array().unwrap_or_else(|| panic!("{found}"));
    let serious = |one: &&Value| ["serious", "critical"].contains(&one["impact"].as_str().unwrap_or("serious"));
    found.iter().filter(serious).map(Value::to_string).collect()
}

async fn every_page_is_accessible(backend: Backend) {
    let path = std::env::var("CWB_TEST_AXE").expect("CWB_TEST_AXE names no axe.min.js: scripts/browser sets it");
    let axe = std::fs::read_to_string(path).unwrap();
    let console = Console::start(backend).await;
    let browser = &console.browser;
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        for (page, shown) in PAGES {
            console.go(page, shown).await;
            assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{page} in {scheme}");
        }
        browser.picture(&format!("console-{scheme}")).await;
        console.go("#/billing", PAGES[0].1).await;
        for part in ["agreement", "company", "details"] {
            browser.click(&format!("[data-part={part}]")).await;
            browser.until("document.querySelector('dialog h2') !== null").await;
            assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "the dialog of {part} in {scheme}");
            browser.run("document.querySelector('dialog').close()").await;
        }
    }
    // The first tab stop skips the navigation.
    browser.open(&format!("{}/console/", console.base)).await;
    browser.until(PAGES[0].1).await;
    browser.run("document.activeElement.blur()").await;
    browser.press(TAB).await;
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
}

/// Measured from the moment the page is opened; the rows arrive later.
async fn nothing_moves_and_everything_fits(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    for width in [1400, 400] {
        browser.width(width).await;
        for (page, shown) in PAGES {
            browser.open("about:blank").await;
            browser.open(&format!("{}/console/{page}", console.base)).await;
            browser.until(shown).await;
            let moved = browser
                .promised("new Promise(done => new PerformanceObserver(list => done(list.getEntries().reduce((sum, one) => sum + one.value, 0))).observe({type: 'layout-shift', buffered: true}) ?? setTimeout(() => done(0), 300))")
                .await;
            assert_eq!(moved.as_f64(), Some(0.0), "{page} moves, {width} pixels wide");
            let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth").await;
            assert_eq!(fits, true, "{page} is wider than {width} pixels");
        }
        browser.picture(&format!("console-{width}")).await;
    }
    console.hold_clean().await;
}

in_a_browser!(every_page_is_accessible, nothing_moves_and_everything_fits);

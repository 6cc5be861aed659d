//! The billing page: choosing in place, many at once, and Push Now.

use connectwise_billing::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Console, ENTER, ESCAPE, has_text, in_a_browser, row};
use super::webdriver::Browser;
use crate::support::Backend;

/// Opens the lines of backup storage that need something.
async fn needing(console: &Console, need: &str) {
    let product = console.product("STORAGE").await["id"].as_str().unwrap().to_owned();
    console
        .go(
            &format!("#/billing?product={product}&need={need}"),
            "document.querySelectorAll('tr[data-line]').length > 0",
        )
        .await;
    console
        .browser
        .until(&format!("document.querySelector('.chips a[aria-current]')?.href.includes('need={need}')"))
        .await;
}

async fn an_agreement_is_chosen_in_place(backend: Backend) {
    let console = Console::start(backend).await;
    let (browser, line) = (&console.browser, console.line("Beacon Hill Law", "STORAGE").await);
    browser.until("document.querySelectorAll('tr[data-line]').length === 50").await;
    assert!(browser.text().await.contains("1–50 of 66"));
    needing(&console, "agreement").await;
    let row = row(&line);
    assert!(browser.text().await.contains("The rule matches several."), "the API's sentence");
    // With the keyboard alone: the focus returns to where it was.
    let button = format!("{row} [data-part=agreement]");
    browser.run(&format!("document.querySelector({}).focus()", json!(button))).await;
    browser.press(ENTER).await;
    browser.until("document.querySelectorAll('dialog input[type=radio]').length >= 2").await;
    browser.press(ESCAPE).await;
    browser.until("document.querySelector('dialog') === null").await;
    assert_eq!(browser.run("return document.activeElement.dataset.part").await, "agreement");
    browser.press(ENTER).await;
    browser.click("dialog .options label:first-child input").await;
    browser.click("dialog button.primary").await;
    browser.until(&has_text(&row, "chosen manually")).await;
    let chosen = console.line("Beacon Hill Law", "STORAGE").await;
    assert_eq!(
        (&chosen["agreement"]["status"], &chosen["agreement"]["source"]),
        (&json!("resolved"), &json!("manual"))
    );
    assert_eq!(chosen["agreement"]["changed_by"], "Ann (demo)");
    assert_eq!(chosen["addition"]["status"], "resolved");
    // Back to the rule.
    browser.click(&button).await;
    browser.until("document.querySelector('dialog') !== null").await;
    browser.click_button("dialog", "Back to the rule").await;
    browser.until(&has_text(&row, "ambiguous")).await;
    // In bulk: the same name for each line that has it.
    let second = console.line("Birchwood Academy", "STORAGE").await;
    browser.click(&format!("{row} [data-select]")).await;
    browser.click(&format!("{} [data-select]", super::console::row(&second))).await;
    browser.click_button(".selection", "Choose…").await;
    browser.until("document.querySelector('dialog select') !== null").await;
    browser.click("dialog button.primary").await;
    browser.until("document.querySelector('#notices')?.textContent.includes('2 lines changed')").await;
    assert_eq!(console.line("Birchwood Academy", "STORAGE").await["agreement"]["source"], "manual");
    console.hold_clean().await;
}

async fn a_company_is_matched_in_place(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    needing(&console, "company").await;
    let line = console.line("Willow Glen Spa", "STORAGE").await;
    let row = row(&line);
    browser.click(&format!("{row} [data-part=company]")).await;
    browser.fill("dialog input[type=search]", "TwinWest").await;
    browser.until("document.querySelector('dialog .options')?.textContent.includes('TwinWest')").await;
    browser.click("dialog .options label:first-child input").await;
    browser.picture("console-company").await;
    browser.click("dialog button.primary").await;
    browser
        .until(&format!("document.querySelector('dialog') === null && document.querySelector({}) === null", json!(row)))
        .await;
    let matched = console.line("Willow Glen Spa", "STORAGE").await;
    assert_eq!(matched["company"]["connectwise_company"]["identifier"], "TwinWest");
    browser.until(&has_text(".steps", "3 not matched")).await;
    // Not Set again.
    console
        .go(
            &format!("#/billing?product={}&search=Willow", line["product_id"].as_str().unwrap()),
            &has_text(&row, "TwinWest"),
        )
        .await;
    browser.click(&format!("{row} [data-part=company]")).await;
    browser.click("dialog .options input[value=none]").await;
    browser.click("dialog button.primary").await;
    browser.until(&has_text(&row, "Not Set")).await;
    console.hold_clean().await;
}

async fn settings_of_lines_are_changed(backend: Backend) {
    let console = Console::start(backend).await;
    let (browser, line) = (&console.browser, console.line("Alder Creek Winery", "STORAGE").await);
    let (row, block) = (row(&line), format!("{} [data-part=block]", row(&line)));
    browser.until(&has_text(&row, "2,777.8 GB")).await;
    browser.enter(&block, "250").await;
    browser.until(&has_text(&format!("{row} .quantity"), "12")).await;
    assert_eq!(console.line("Alder Creek Winery", "STORAGE").await["usage"]["quantity"], "12");
    // ConnectWise has the quantities from before the push.
    assert!(
        browser
            .run(&format!("return document.querySelector({}).textContent", json!(row)))
            .await
            .as_str()
            .unwrap()
            .contains("28differs")
    );
    browser.enter(&block, "many").await;
    browser.until("document.querySelector('#notices [role=alert]') !== null").await;
    browser.until(&format!("document.querySelector({}).value === '250'", json!(block))).await;
    let rejected = browser.run("return document.querySelector('#notices [role=alert]').textContent").await;
    assert!(rejected.as_str().unwrap().contains("block size: is not valid"), "{rejected}");
    // An empty value means the product's.
    browser.enter(&block, "").await;
    browser.until(&format!("document.querySelector({}).value === '100'", json!(block))).await;
    // In bulk.
    browser.click("[data-part=all]").await;
    browser.until("document.querySelector('.selection strong')?.textContent === '50 lines selected'").await;
    browser.click_button(".selection", "Disable push").await;
    browser.until("document.querySelectorAll('[data-part=push]:checked').length === 0").await;
    let off = console.get("/billing-lines?push_enabled=false&total=true&limit=1").await;
    assert!(off["total"].as_i64().unwrap() >= 50, "{off}");
    console.hold_clean().await;
}

/// The rows of a preview or a push: company, from, to.
async fn written(browser: &Browser, table: &str) -> Vec<Value> {
    let script = format!(
        "return [...document.querySelectorAll('table[aria-label={}] tbody tr')].map(row =>
            ['Company', 'From', 'To'].map(name => (row.querySelector(`[data-label='${{name}}']`) ?? row.querySelector('th')).textContent))",
        json!(table).to_string().replace('"', "\\\"")
    );
    browser.run(&script).await.as_array().unwrap().clone()
}

async fn lines_are_pushed_after_a_preview(backend: Backend) {
    let console = Console::start(backend).await;
    let (browser, line) = (&console.browser, console.line("Alder Creek Winery", "STORAGE").await);
    browser.until("document.querySelectorAll('tr[data-line]').length === 50").await;
    let change = json!({"ids": [line["id"]], "block_size": "1000"});
    console.call(Method::PATCH, "/billing-lines", &change).await;
    browser.click(&format!("{} [data-select]", row(&line))).await;
    browser.click(".selection button.primary").await;
    browser.until("document.querySelector('dialog')?.textContent.includes('The 1 selected line')").await;
    browser.click_button("dialog", "Preview").await;
    browser
        .until(
            "[...document.querySelectorAll('dialog button')].some(b => b.textContent === 'Push 1 line' && !b.disabled)",
        )
        .await;
    assert_eq!(written(browser, "What would be written").await, [json!(["Alder Creek Winery", "28", "3"])]);
    assert_eq!(
        console.line("Alder Creek Winery", "STORAGE").await["connectwise_quantity"],
        "28",
        "nothing is written yet"
    );
    browser.picture("console-preview").await;
    browser.click_button("dialog", "Push 1 line").await;
    browser.until("location.hash.startsWith('#/pushes/') && document.querySelector('main .badge')?.textContent === 'succeeded'").await;
    browser.until(&has_text("table[aria-label='Lines of the push'] tbody", "pushed")).await;
    assert_eq!(written(browser, "Lines of the push").await, [json!(["Alder Creek Winery", "28", "3"])]);
    assert_eq!(console.line("Alder Creek Winery", "STORAGE").await["connectwise_quantity"], "3");
    console.hold_clean().await;
}

async fn lines_are_grouped_by_what_they_need(backend: Backend) {
    let console = Console::start(backend).await;
    let browser = &console.browser;
    let summary = console.get("/billing-lines/summary").await["items"][0].clone();
    let product = summary["product_id"].as_str().unwrap();
    console
        .go(
            &format!("#/billing?product={product}&view=grouped"),
            "document.querySelectorAll('th[scope=rowgroup]').length > 3",
        )
        .await;
    let headings =
        browser.run("return [...document.querySelectorAll('th[scope=rowgroup]')].map(th => th.textContent)").await;
    for need in summary["needs"].as_array().unwrap() {
        let (explanation, lines) = (need["explanation"].as_str().unwrap(), need["lines"].as_i64().unwrap());
        let found = headings.as_array().unwrap().iter().any(|heading| {
            let heading = heading.as_str().unwrap();
            heading.contains(explanation) && heading.contains(&format!(": {lines} line"))
        });
        assert!(found, "{need}: {headings}");
    }
    // No usage is a dash, zero is a number, and a silent meter is described in words.
    let companies = ["Eastgate Pediatrics", "Apex Title Agency", "Alder Creek Winery"];
    let old = Clock::system().now() - chrono::TimeDelta::days(50);
    for (company, at, amount) in [(companies[0], old, "7"), (companies[1], Clock::system().now(), "0")] {
        let company = console.line(company, "STORAGE").await["company"]["id"].clone();
        let used =
            json!({"company_id": company, "product_code": "STORAGE", "measured_at": at.to_rfc3339(), "amount": amount});
        console.call(Method::POST, "/usage", &json!({"records": [used]})).await;
    }
    for (company, product, shown) in [
        (companies[0], "STORAGE", "silent meter"),
        (companies[0], "SEATS", "–"),
        (companies[1], "STORAGE", "0 GB"),
        (companies[2], "STORAGE", "2,777.8 GB"),
    ] {
        let line = console.line(company, product).await;
        let page = format!("#/billing?product={}&search={company}", line["product_id"].as_str().unwrap());
        console.go(&page, &has_text(&format!("{} [data-label=Usage]", row(&line)), shown)).await;
    }
    browser.picture("console-grouped").await;
    console.hold_clean().await;
}

async fn held_lines_are_approved_at_once(backend: Backend) {
    let console = Console::start(backend).await;
    let (browser, product) = (&console.browser, console.product("STORAGE").await);
    let path = format!("/products/{}", product["id"].as_str().unwrap());
    console.call(Method::PATCH, &path, &json!({"max_change_units": "1", "block_size": "50"})).await;
    let names = ["Alder Creek Winery", "Apex Title Agency"];
    let lines = [console.line(names[0], "STORAGE").await, console.line(names[1], "STORAGE").await];
    let ids: Vec<_> = lines.iter().map(|line| line["id"].clone()).collect();
    console.call(Method::POST, "/push-jobs", &json!({"billing_line_ids": ids})).await;
    // Waits until the push holds both.
    let mut held = 0;
    while held < 2 {
        held = console.get("/billing-lines?need=approval&total=true&limit=1").await["total"].as_i64().unwrap();
    }
    needing(&console, "approval").await;
    browser.click("[data-part=all]").await;
    browser.click_button(".selection", "Approve").await;
    browser.click("dialog button.danger").await;
    browser.until(&has_text("#notices", "2 lines approved")).await;
    // They disappear from this filter when they are pushed.
    browser.until("document.querySelectorAll('tr[data-line]').length === 0").await;
    for name in names {
        assert_eq!(console.line(name, "STORAGE").await["last_push"]["state"], "pushed", "{name}");
    }
    console.hold_clean().await;
}

/// The second browser gets an error, sees what the first one saved, and can then change it.
async fn two_browsers_change_one_line(backend: Backend) {
    let console = Console::start(backend).await;
    let (first, second) = (&console.browser, console.another().await);
    let line = console.line("Apex Title Agency", "STORAGE").await;
    let (row, block) = (row(&line), format!("{} [data-part=block]", row(&line)));
    for browser in [first, &second] {
        browser.until(&format!("document.querySelector({}) !== null", json!(row))).await;
    }
    first.enter(&block, "50").await;
    first.until(&has_text(&format!("{row} .quantity"), "50")).await;
    second.enter(&block, "75").await;
    second.until("document.querySelector('#notices [role=alert]') !== null").await;
    second.until(&format!("document.querySelector({}).value === '50'", json!(block))).await;
    assert_eq!(console.line("Apex Title Agency", "STORAGE").await["block_size"], "50", "nothing is overwritten");
    second.enter(&block, "75").await;
    second.until(&has_text(&format!("{row} .quantity"), "34")).await;
    // The same in bulk.
    first.click(&format!("{row} [data-select]")).await;
    first.click_button(".selection", "Disable push").await;
    first.until("document.querySelector('#notices [role=alert]') !== null").await;
    first.until(&format!("document.querySelector({}).value === '75'", json!(block))).await;
    assert_eq!(console.line("Apex Title Agency", "STORAGE").await["push_enabled"], true);
}

in_a_browser!(
    an_agreement_is_chosen_in_place,
    a_company_is_matched_in_place,
    settings_of_lines_are_changed,
    lines_are_pushed_after_a_preview,
    lines_are_grouped_by_what_they_need,
    held_lines_are_approved_at_once,
    two_browsers_change_one_line,
);

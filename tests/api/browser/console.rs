//! A demo with its console open in a browser.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::webdriver::Browser;
use crate::process::{Demo, after};
use crate::support::{Backend, TestDatabase, http_client};

/// The keys that WebDriver identifies by a code.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";

/// Runs tests in a browser on both databases.
macro_rules! in_a_browser {
    ($($name:ident),+ $(,)?) => {
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            // Plain `cargo test` may be without Chromium; `scripts/test` runs it through `scripts/browser`.
            #[ignore = "needs Chromium: scripts/browser"]
            async fn $name() {
                super::$name($crate::support::Backend::Sqlite).await;
            }
        )+ }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            // Plain `cargo test` may be without Chromium; `scripts/test` runs it through `scripts/browser`.
            #[ignore = "needs Chromium: scripts/browser"]
            async fn $name() {
                super::$name($crate::support::Backend::Postgres).await;
            }
        )+ }
    };
}
pub(super) use in_a_browser;

/// A demo, and a browser that is signed in to its console.
pub struct Console {
    pub browser: Browser,
    pub base: String,
    pub key: String,
    /// The address of the demo's ConnectWise.
    pub sandbox: String,
    /// Stopped when this is dropped.
    _demo: Demo,
    _folder: TempDir,
    _database: TestDatabase,
}

impl Console {
    pub async fn start(backend: Backend) -> Self {
        let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::new(backend));
        let demo = tokio::task::block_in_place(|| Demo::start_with(&folder, &["--database-url", database.text()]));
        let (base, key) = (demo.address.clone(), demo.key.clone());
        let sandbox = after(&demo.said, "ConnectWise:").replace("/_sandbox/ledger", "");
        let browser = Browser::start(1400).await;
        let console = Self { browser, base, key, sandbox, _demo: demo, _folder: folder, _database: database };
        console.sign_in(&console.browser, "#/billing").await;
        console
    }

    /// Signs in and opens a page.
    pub async fn sign_in(&self, browser: &Browser, page: &str) {
        browser.open(&format!("{}/console/{page}", self.base)).await;
        Self::enter_key(browser, &self.key).await;
        browser.until("document.querySelector('#session button') !== null").await;
    }

    /// Fills in the form that asks for the key.
    pub async fn enter_key(browser: &Browser, key: &str) {
        browser.fill("#api-key", key).await;
        browser.fill("#acting-user", "Ann").await;
        browser.click("main form button").await;
    }

    /// Opens a page, and waits until an element of it exists.
    pub async fn go(&self, page: &str, shown: &str) {
        self.browser.run(&format!("location.hash = {}", json!(page))).await;
        self.browser.until(shown).await;
    }

    /// Another browser, also signed in.
    pub async fn another(&self) -> Browser {
        let browser = Browser::start(1400).await;
        self.sign_in(&browser, "#/billing").await;
        browser
    }

    /// Calls the API directly, without the console.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = http_client().request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(&self.key);
        if !body.is_null() {
            request = request.json(body);
        }
        let reply = request.send().await.unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, &Value::Null).await
    }

    /// The one line of a company and a product.
    pub async fn line(&self, company: &str, product: &str) -> Value {
        let found = self.get(&format!("/billing-lines?search={}", company.replace(' ', "%20"))).await;
        let lines = found["items"].as_array().unwrap();
        lines.iter().find(|line| line["product_code"] == product).unwrap_or_else(|| panic!("{found}")).clone()
    }

    /// The product with a code.
    pub async fn product(&self, code: &str) -> Value {
        self.get(&format!("/products?code={code}")).await["items"][0].clone()
    }

    /// Makes ConnectWise fail in some way (`/_sandbox/faults`).
    pub async fn fault(&self, fault: &Value) {
        let reply = http_client().post(format!("{}/_sandbox/faults", self.sandbox)).json(fault).send().await.unwrap();
        assert!(reply.status().is_success(), "{fault}");
    }

    /// Nothing failed in the browser, except the error responses that the test expects.
    pub async fn hold_clean(&self) {
        let unexpected = |error: &String| !error.contains("the server responded with a status of 4");
        let errors: Vec<String> = self.browser.errors().await.into_iter().filter(unexpected).collect();
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(self.browser.requested_elsewhere(&self.base).await, Vec::<String>::new());
    }
}

/// The row of a line, as a selector.
pub fn row(line: &Value) -> String {
    format!("tr[data-line='{}']", line["id"].as_str().unwrap())
}

/// Whether an element contains a text, as an expression.
pub fn has_text(selector: &str, text: &str) -> String {
    format!("document.querySelector({})?.textContent.includes({})", json!(selector), json!(text))
}

//! A headless Chromium, driven through WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http_client;

/// How long a page may take to show what a test waits for, in milliseconds.
const PATIENCE_MS: u64 = 20_000;

/// A browser with one window. It ends when this is dropped.
pub struct Browser {
    driver: Child,
    http: reqwest::Client,
    session: String,
    requested: Mutex<Vec<String>>,
    profile: TempDir,
    /// Kept open, because the driver ends if it cannot write.
    _said: BufReader<ChildStdout>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Killing the driver leaves its browser running.
        let _ = Command::new("pkill").arg("-9").arg("-f").arg(self.profile.path()).status();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts a browser with a window of this width.
    pub async fn start(width: u32) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut driver =
            command.spawn().expect("chromedriver is missing: run scripts/browser, which says what is needed");
        // The driver chooses a port and prints it.
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut text = String::new();
        let port = loop {
            if said.read_line(&mut text).unwrap() == 0 {
                panic!("chromedriver has ended ({}): {text}", driver.wait().unwrap());
            }
            if let Some((_, port)) = text.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.');
            }
        };
        let (http, address) = (http_client(), format!("http://127.0.0.1:{port}"));
        let mut browser = Self {
            driver,
            http,
            session: address.clone(),
            requested: Mutex::default(),
            profile: tempfile::tempdir().unwrap(),
            _said: said,
        };
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--disable-background-networking", "--disable-component-update", "--no-first-run",
                format!("--window-size={width},1000"), format!("--user-data-dir={}", browser.profile.path().display())],
        });
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}});
        let made = browser.post("/session", &json!({"capabilities": {"alwaysMatch": wanted}})).await;
        browser.session = format!("{address}/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.ask(path, body).await;
        assert!(reply["error"].is_null(), "{path} {body}: {}", reply["message"]);
        reply
    }

    /// The driver's response, which may be an error.
    async fn ask(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.session)).json(body).timeout(Duration::from_secs(60));
        let reply: Value = request.send().await.unwrap().json().await.unwrap();
        reply["value"].clone()
    }

    /// Opens an address, and waits until it is loaded.
    pub async fn open(&self, address: &str) {
        self.post("/url", &json!({"url": address})).await;
    }

    /// Loads the page again, and waits until it is loaded.
    pub async fn reload(&self) {
        self.post("/refresh", &json!({})).await;
    }

    /// Runs a script and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true in the page, and returns its value.
    pub async fn until(&self, expression: &str) -> Value {
        // The page itself checks, after each of its changes.
        let script = format!(
            "const done = arguments[0];
             const look = () => {{ let found; try {{ found = {expression}; }} catch (error) {{}} return found; }};
             const end = (value) => {{ observer.disconnect(); clearTimeout(late); done(value); }};
             const check = () => {{ const found = look(); if (found) end(found); }};
             const observer = new MutationObserver(check);
             const late = setTimeout(() => end(null), {PATIENCE_MS});
             observer.observe(document, {{subtree: true, childList: true, attributes: true, characterData: true}});
             check();"
        );
        let limit = json!({"script": PATIENCE_MS + 5_000});
        self.post("/timeouts", &limit).await;
        let found = self.post("/execute/async", &json!({"script": script, "args": []})).await;
        assert!(!found.is_null(), "the page never came to: {expression}\n{}", self.text().await);
        found
    }

    /// The text of the page.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks an element as a person does: it must exist and be visible.
    pub async fn click(&self, selector: &str) {
        self.until(&format!("document.querySelector({}) !== null", json!(selector))).await;
        loop {
            let element = self.element(selector).await;
            let answer = self.ask(&format!("/element/{element}/click"), &json!({})).await;
            // The page drew it again after it was found: a person clicks the new one.
            if answer["error"] != "stale element reference" {
                assert!(answer["error"].is_null(), "{selector}: {}", answer["message"]);
                return;
            }
        }
    }

    /// Clicks the button with this text within an element.
    pub async fn click_button(&self, within: &str, text: &str) {
        let find = format!(
            "[...document.querySelectorAll({})].find(one => one.textContent === {})",
            json!(format!("{within} button")),
            json!(text)
        );
        // At once, because the page may draw it again.
        self.until(&format!("(button => button !== undefined && (button.click(), true))({find})")).await;
    }

    /// Replaces the text in a field by typing.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.until(&format!("document.querySelector({}) !== null", json!(selector))).await;
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/clear"), &json!({})).await;
        self.post(&format!("/element/{element}/value"), &json!({"text": text})).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector})).await;
        let id = found.as_object().unwrap().values().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    /// Types over the text in a field and presses Enter. Unlike [`Self::fill`], the field never has another value,
    /// which a listening page would save.
    pub async fn enter(&self, selector: &str, text: &str) {
        self.run(&format!(
            "document.querySelector({0}).focus(); document.querySelector({0}).select()",
            json!(selector)
        ))
        .await;
        // Backspace, to leave the field empty.
        self.press("\u{e003}").await;
        self.press(&format!("{text}\u{e007}")).await;
    }

    /// Presses a key in the focused element: a letter, or one of WebDriver's codes, such as `\u{e007}` for Enter.
    pub async fn press(&self, key: &str) {
        let focused: Value =
            self.http.get(format!("{}/element/active", self.session)).send().await.unwrap().json().await.unwrap();
        let id = focused["value"].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.post(&format!("/element/{id}/value"), &json!({"text": key})).await;
    }

    /// Gives the page a width, as on a small device.
    pub async fn width(&self, width: u32) {
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", &screen).await;
    }

    /// Shows the page to somebody who prefers `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", &features).await;
    }

    /// Sends a command of Chromium's own protocol (<https://chromedevtools.github.io/devtools-protocol/>).
    pub async fn command(&self, name: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({"cmd": name, "params": parameters})).await;
    }

    /// Runs a script that returns a promise, and returns the promise's value.
    pub async fn promised(&self, promise: &str) -> Value {
        let script = format!("const done = arguments[0]; ({promise}).then(done, (error) => done(String(error)));");
        self.post("/execute/async", &json!({"script": script, "args": []})).await
    }

    /// The errors in the browser's console since the last call.
    pub async fn errors(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({"type": "browser"})).await;
        let severe = entries.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The addresses requested so far.
    pub async fn requested(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({"type": "performance"})).await;
        let messages = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| -> Value { serde_json::from_str(entry["message"].as_str().unwrap()).unwrap() });
        let sent = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        let new = sent.map(|message| message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned());
        // The driver returns each entry only once.
        let mut requested = self.requested.lock().unwrap();
        requested.extend(new);
        requested.clone()
    }

    /// The requests to other hosts so far. Pages that the browser loads from itself, such as a new tab, do not count.
    pub async fn requested_elsewhere(&self, base: &str) -> Vec<String> {
        let requested = self.requested().await;
        assert!(requested.iter().any(|address| address.starts_with(base)), "nothing is recorded: {requested:?}");
        let is_remote = |address: &&String| ["http", "ws"].iter().any(|scheme| address.starts_with(scheme));
        requested.iter().filter(is_remote).filter(|address| !address.starts_with(base)).cloned().collect()
    }

    /// Saves a screenshot of the window for a person to look at. Returns its path.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let reply: Value =
            self.http.get(format!("{}/screenshot", self.session)).send().await.unwrap().json().await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(reply["value"].as_str().unwrap()).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        println!("picture: {}", path.display());
        path
    }
}

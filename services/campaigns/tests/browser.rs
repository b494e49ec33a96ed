//! A person's browser: a real Chromium, driven by WebDriver (W3C), and what axe-core says of the pages that it shows.
//!
//! WebDriver is JSON over HTTP, of which ten commands are used: docs/decisions/2026-11-28-leaderboards.md says why no crate for it.

use std::sync::OnceLock;

use crate::fixture::eventually;
use http::Method;
use serde_json::{Value, json};
use tenantry_harness::chromedriver::ChromeDriver;

/// Path of axe-core's script.
const AXE_CORE_VARIABLE: &str = "TENANTRY_AXE_CORE";

/// Keys, as WebDriver writes them (section 17.4.2).
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";

/// The member by which WebDriver refers to an element (section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page. It ends when this is dropped.
pub struct Browser {
    http: reqwest::Client,
    /// The session's URL.
    session: String,
    _driver: ChromeDriver,
}

impl Browser {
    pub async fn start() -> Self {
        let driver = ChromeDriver::start().unwrap();
        let capabilities = json!({
            "goog:chromeOptions": { "binary": driver.browser(), "args": driver.browser_arguments() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 60_000 },
        });
        let mut browser = Self { http: reqwest::Client::new(), session: format!("{}/session", driver.url()), _driver: driver };
        let session = browser.post("", json!({ "capabilities": { "alwaysMatch": capabilities } })).await;
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().unwrap());
        browser
    }

    /// A command of WebDriver; the value that it gives.
    async fn command(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, mut answer) = (response.status(), response.json::<Value>().await.unwrap());
        assert!(status.is_success(), "{path}: {}", answer["value"]);
        answer["value"].take()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.command(Method::POST, path, Some(body)).await
    }

    async fn get(&self, path: &str) -> Value {
        self.command(Method::GET, path, None).await
    }

    async fn run(&self, command: &str, script: &str) -> Value {
        self.post(command, json!({ "script": script, "args": [] })).await
    }

    /// A command of the Chrome DevTools Protocol.
    async fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    /// Goes to a path of what listens on that port of loopback.
    pub async fn go(&self, port: u16, path: &str) {
        self.post("/url", json!({ "url": format!("http://127.0.0.1:{port}{path}") })).await;
    }

    /// Goes there as who answers with this password when the browser asks.
    pub async fn go_with(&self, password: &str, port: u16, path: &str) {
        self.post("/url", json!({ "url": format!("http://anybody:{password}@127.0.0.1:{port}{path}") })).await;
    }

    pub async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    pub async fn url(&self) -> String {
        self.get("/url").await.as_str().unwrap().to_owned()
    }

    /// The value of an expression of JavaScript.
    pub async fn value(&self, expression: &str) -> Value {
        self.run("/execute/sync", &format!("return {expression};")).await
    }

    /// Runs JavaScript before any of a page that is loaded from now on.
    pub async fn run_before_pages(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// What can be read in all elements that a selector finds, one after the other; nothing of what is hidden.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let read = "(element) => element.checkVisibility() ? element.innerText : ''";
        let texts = self.value(&format!("[...document.querySelectorAll({selector:?})].map({read})")).await;
        texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    pub async fn text(&self, selector: &str) -> String {
        self.texts(selector).await.join(" ")
    }

    /// Waits until the text has this in it.
    pub async fn shows(&self, selector: &str, part: &str) {
        eventually(&format!("{selector} shows {part:?}"), async || self.text(selector).await.contains(part)).await;
    }

    /// Waits until the rows of the board are these.
    pub async fn shows_rows(&self, rows: &[&str]) {
        eventually(&format!("the rows are {rows:?}"), async || self.texts("#board tbody tr").await == rows).await;
    }

    pub async fn click(&self, selector: &str) {
        let element = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        self.post(&format!("/element/{}/click", element[ELEMENT].as_str().unwrap()), json!({})).await;
    }

    /// Presses keys, whatever has the focus.
    pub async fn press(&self, keys: &str) {
        let element = self.get("/element/active").await;
        self.post(&format!("/element/{}/value", element[ELEMENT].as_str().unwrap()), json!({ "text": keys })).await;
    }

    /// Goes on with the tabulator until this has the focus, as who has no mouse.
    pub async fn tab_to(&self, id: &str) {
        for _ in 0..20 {
            if self.value("document.activeElement.id").await == id {
                return;
            }
            self.press(TAB).await;
        }
        panic!("the keyboard does not lead to {id}");
    }

    /// As on a small phone.
    pub async fn be_a_phone(&self) {
        let screen = json!({ "width": 320, "height": 568, "deviceScaleFactor": 2, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// What the reader's system is set to: a media feature and its value.
    pub async fn prefer(&self, preferences: &[(&str, &str)]) {
        let features: Vec<Value> = preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Fails if axe-core finds anything that keeps somebody out.
    pub async fn assert_accessible(&self, state: &str) {
        self.run("/execute/sync", axe_core()).await;
        let run = "const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then(
                (results) => done(results.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => [node.html, node.failureSummary]) }))),
                (error) => done([String(error)]));";
        let violations = self.run("/execute/async", run).await;
        assert_eq!(violations, json!([]), "{state}: {violations:#}");
        let passes = self.value("axe.version").await;
        assert!(passes.is_string(), "axe-core ran");
    }

    /// Fails if the browser had anything to say against the page: an error of its script, something that its policy forbids. Losing the server is none.
    pub async fn assert_no_complaints(&self) {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let messages = log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap());
        let complaints: Vec<&str> = messages.filter(|message| !message.contains("net::ERR_")).collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }

    /// Fails if the page loaded anything from elsewhere.
    pub async fn assert_loaded_from(&self, port: u16) {
        let loaded = self.value("performance.getEntriesByType('resource').map((entry) => entry.name)").await;
        let loaded: Vec<&str> = loaded.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let own = format!("http://127.0.0.1:{port}/");
        assert!(!loaded.is_empty() && loaded.iter().all(|name| name.starts_with(&own)), "{loaded:?}");
    }
}

fn axe_core() -> &'static str {
    static SCRIPT: OnceLock<String> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let path = std::env::var(AXE_CORE_VARIABLE);
        let path = path.unwrap_or_else(|_| {
            panic!("run the tests with `cargo xtask test services`, or set {AXE_CORE_VARIABLE} to the path of axe.min.js")
        });
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    })
}

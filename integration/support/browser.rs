//! A real browser: Debian's chromium, driven by chromedriver over `WebDriver`. Both end with this value.
//!
//! Owns the session and the few commands that tests of a page need: open, click, press keys, ask by
//! script, look at what the browser logged and requested, take a picture. Refuses to wait: that is
//! [`super::eventually`].

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;
use super::{eventually, free_port};

/// How long chromedriver may take for one command, the start of the browser included.
const COMMAND: Duration = Duration::from_secs(120);
/// What `WebDriver` calls an element's reference.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys as `WebDriver` names them.
pub const TAB: &str = "\u{e004}";
/// The same.
pub const ENTER: &str = "\u{e007}";
/// The same.
pub const ESCAPE: &str = "\u{e00c}";

/// A running browser with one window.
pub struct Browser {
    base: String,
    client: awc::Client,
    /// Ends the browser too: it is of the same process group.
    _driver: Process,
    _folder: TempDir,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = std::env::var("PATH").unwrap_or_default();
        let driver = Process::start(
            "chromedriver",
            &[&format!("--port={port}")],
            &[("PATH".into(), format!("{path}:/usr/bin:/usr/lib/chromium"))],
            &folder.path().join("chromedriver.log"),
        );
        let client = awc::Client::builder().timeout(COMMAND).finish();
        let root = format!("http://127.0.0.1:{port}");
        eventually("chromedriver answers", Duration::from_secs(60), || async {
            assert!(driver.alive(), "chromedriver ended; is chromium-driver installed?");
            client.get(format!("{root}/status")).send().await.ok()
        })
        .await;
        let profile = folder.path().join("profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = call(&client, "POST", &format!("{root}/session"), &wanted).await;
        let id = session["sessionId"].as_str().unwrap().to_owned();
        let browser =
            Self { base: format!("{root}/session/{id}"), client, _driver: driver, _folder: folder };
        browser.size(1280, 900).await;
        // The page that a browser begins with has requests of its own, to itself.
        browser.open("about:blank").await;
        browser.requests().await;
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        call(&self.client, "POST", &format!("{}/{path}", self.base), body).await
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url })).await;
    }

    /// What a script's `return` gives; `arguments[0]` and so on are what is passed.
    pub async fn script(&self, script: &str, arguments: Value) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": arguments })).await
    }

    /// Clicks in the middle of the one element that an `XPath` finds, as a hand would: fails when
    /// something lies over it.
    pub async fn click(&self, xpath: &str) {
        let found = self.post("elements", &json!({ "using": "xpath", "value": xpath })).await;
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), 1, "{xpath} finds {} elements", found.len());
        let id = found[0][ELEMENT].as_str().unwrap();
        self.post(&format!("element/{id}/click"), &json!({})).await;
    }

    /// Presses and releases keys, one after another, where the focus is.
    pub async fn press(&self, keys: &str) {
        let key = |kind: &str, key: char| json!({ "type": kind, "value": key.to_string() });
        let strokes = keys.chars().flat_map(|k| [key("keyDown", k), key("keyUp", k)]);
        let keyboard =
            json!({ "type": "key", "id": "keys", "actions": strokes.collect::<Vec<_>>() });
        self.post("actions", &json!({ "actions": [keyboard] })).await;
    }

    /// A command of the `DevTools` protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    /// The window's inner size in CSS pixels; a narrow one is a phone's.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What the operator prefers: `light` or `dark`.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// What came to the console since the last call: errors, refused policies, failed requests.
    pub async fn console(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" })).await;
        log.as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    /// The address of every request since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "performance" })).await;
        let entries = log.as_array().unwrap().iter();
        let events = entries.map(|entry| {
            serde_json::from_str::<Value>(entry["message"].as_str().unwrap()).unwrap()
        });
        let sent = events.filter(|e| e["message"]["method"] == "Network.requestWillBeSent");
        let url = |e: Value| e["message"]["params"]["request"]["url"].as_str().unwrap().to_owned();
        sent.map(url).collect()
    }

    /// Writes a picture of the whole page, as high as it is, or of the window alone.
    pub async fn picture(&self, path: &Path, whole: bool) {
        let sizes = "return [innerWidth, document.documentElement.scrollHeight]";
        let size = self.script(sizes, json!([])).await;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let wanted =
            if whole { json!({ "captureBeyondViewport": true, "clip": clip }) } else { json!({}) };
        let shot = self.devtools("Page.captureScreenshot", wanted).await;
        std::fs::write(path, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

async fn call(client: &awc::Client, method: &str, url: &str, body: &Value) -> Value {
    let method = method.parse().unwrap();
    let mut answer =
        client.request(method, url).send_json(body).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    let bytes = answer.body().limit(64 << 20).await.unwrap();
    let mut told: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(answer.status().is_success(), "{url} {body}: {}", told["value"]["message"]);
    told["value"].take()
}

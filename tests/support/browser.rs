//! A real browser: Chromium, controlled through chromedriver by WebDriver (JSON over HTTP).
//!
//! Sources: <https://www.w3.org/TR/webdriver2/>. `goog/cdp/execute` (width, colour scheme, scripts) and `se/log` (console)
//! are extensions of chromedriver.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::dir::TestDir;
use super::eventually::eventually;
use super::http::{Connection, HttpError};
use super::process::Process;

/// Time-out for one command, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
}

impl Browser {
    /// Starts a browser. It ends with the test.
    pub async fn start(dir: &TestDir) -> Self {
        let port = dir.port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        // Chromium also writes outside its profile.
        let home = dir.subdir("browser");
        for name in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(name, home.path());
        }
        let process = Process::start(dir, "chromedriver", command);
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually(LIMIT, "chromedriver answers", async || request(driver, "GET", "/status", None).await).await;
        let profile = dir.subdir("browser/profile");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let made = request(driver, "POST", "/session", Some(&wanted)).await;
        let made = made.unwrap_or_else(|error| panic!("start Chromium: {error}\n{}", process.log_tail()));
        let session = made["sessionId"].as_str().expect("a session has an id").to_owned();
        Self { driver, session, _process: process }
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.ask("POST", "url", json!({ "url": url })).await;
    }

    /// Runs a script in the page and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("POST", "execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until a script returns true.
    pub async fn until(&self, what: &str, script: &str) {
        let probe = async || {
            let seen = self.run(&format!("return {script}")).await;
            if seen == true { Ok(()) } else { Err(format!("{seen}; {}", self.text().await)) }
        };
        eventually(LIMIT, what, probe).await;
    }

    /// The visible text of the page.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Sets the size of the window, in CSS pixels.
    pub async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Selects the dark or the light colour scheme.
    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Enables or disables scripts on pages that are opened from now on.
    pub async fn scripts(&self, allowed: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed })).await;
    }

    /// Console messages since the last call.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.ask("POST", "se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// Stores a screenshot of the whole page and returns its path.
    pub async fn picture(&self, name: &str, width: u32) -> PathBuf {
        let height = self.run("return document.documentElement.scrollHeight").await;
        let height = u32::try_from(height.as_u64().unwrap_or(800).clamp(400, 4_000)).expect("it is clamped");
        self.size(width, height).await;
        let picture = self.ask("GET", "screenshot", Value::Null).await;
        let picture = base64::engine::general_purpose::STANDARD.decode(picture.as_str().expect("a picture as text"));
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        let path = directory.join(format!("{name}.png"));
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, picture.expect("a picture in base64")))
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.ask("POST", "goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    async fn ask(&self, method: &str, command: &str, body: Value) -> Value {
        let path = format!("/session/{}/{command}", self.session);
        let body = (!body.is_null()).then_some(body);
        let answer = request(self.driver, method, &path, body.as_ref()).await;
        answer.unwrap_or_else(|error| panic!("{method} {command} {body:?}: {error}"))
    }
}

/// One command, and the `value` of its answer.
async fn request(driver: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async { Connection::open(driver).await?.exchange(&text).await };
    let answer: Result<_, HttpError> =
        tokio::time::timeout(LIMIT, exchange).await.unwrap_or(Err(HttpError::TimedOut(LIMIT)));
    let answer = answer.map_err(|error| error.to_string())?;
    let mut json: Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {}", answer.text()))?;
    if answer.status == 200 { Ok(json["value"].take()) } else { Err(json["value"].to_string()) }
}

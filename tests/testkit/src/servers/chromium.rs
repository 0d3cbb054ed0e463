//! A browser: Chromium without a screen, driven as W3C's standard says
//! (<https://www.w3.org/TR/webdriver2/>).

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http, usage::children};

use super::{Process, START_LIMIT, wait_for};

/// A window of a browser. The browser ends with it.
pub struct Chromium {
    /// The URL of the session.
    session: String,
    // Dropped before the directory, which it writes to.
    driver: Process,
    _directory: TempDir,
}

impl Chromium {
    /// Opens a window of so many pixels. Below 500 pixels wide it is that of a phone, since Chromium has no
    /// narrower windows.
    pub fn open(width: u32, height: u32) -> Self {
        let directory = TempDir::with_prefix("chromium-").expect("a temporary directory");
        let mut command = Command::new("chromedriver");
        // It chooses a port, and says which.
        command.arg("--port=0").env("HOME", directory.path());
        let mut driver = Process::start("chromedriver", &mut command, directory.path().join("log"));
        let port: u16 = wait_for("chromedriver", START_LIMIT, || {
            driver.assert_running();
            let log = driver.log();
            let port = log.split_once("started successfully on port ").and_then(|(_, rest)| {
                rest.split(|each: char| !each.is_ascii_digit()).next()?.parse().ok()
            });
            port.ok_or(log)
        });
        let base = format!("http://127.0.0.1:{port}");
        let profile = directory.path().join("profile");
        let mut options = json!({"args": [
            "--headless=new",
            // Tests run as root.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.display()),
        ]});
        if width < 500 {
            let metrics = json!({"width": width, "height": height, "pixelRatio": 1});
            options["mobileEmulation"] = json!({"deviceMetrics": metrics});
        }
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = http::send_json("POST", &format!("{base}/session"), &capabilities);
        let answer: Value = serde_json::from_str(&answer.expect("Chromium starts")).expect("JSON");
        let id = answer["value"]["sessionId"].as_str().expect("a session");
        let session = format!("{base}/session/{id}");
        Chromium { session, driver, _directory: directory }
    }

    /// The processes of the browser, and that which drives it.
    pub fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.driver.id()];
        let mut at = 0;
        while at < all.len() {
            let more = children(all[at]);
            all.extend(more);
            at += 1;
        }
        all
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let answer = http::send_json("POST", &format!("{}/{path}", self.session), body);
        let mut answer: Value =
            serde_json::from_str(&answer.expect("the browser does it")).expect("JSON");
        answer["value"].take()
    }

    /// Goes to a page.
    pub fn go(&self, url: &str) {
        self.call("url", &json!({"url": url}));
    }

    /// What a script in the page returns.
    pub fn run(&self, script: &str) -> Value {
        self.call("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Has pages shown in dark colours, as for those who prefer them, or in light ones.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let params = json!({"features": features});
        self.call(
            "goog/cdp/execute",
            &json!({"cmd": "Emulation.setEmulatedMedia", "params": params}),
        );
    }

    /// Types into what has the focus; `\u{E004}` is the tab key and `\u{E007}` enter.
    pub fn press(&self, keys: &str) {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
            })
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.call("actions", &json!({"actions": [keyboard]}));
    }

    /// What the console says since it was last asked for: errors, and what policies forbid.
    pub fn console(&self) -> Vec<String> {
        let entries = self.call("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().expect("a list");
        entries.iter().map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Otherwise the browser outlives its driver.
        let ended = http::send_json("DELETE", &self.session, &json!({}));
        if let Err(error) = ended {
            eprintln!("the browser goes on: {error}");
        }
    }
}

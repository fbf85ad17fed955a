//! Everything on a laptop: secrets, the local services, a sign-in provider, the queue, an upstream, the
//! chain; rebuilt and restarted when something changes.

mod hints;
mod process;
mod queue;
mod secrets;
mod sign_in;
mod upstream;
mod watch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::Parts;
use crate::config::Environment;
use crate::{child, google, ports};
use process::Process;
use queue::{PUSH_ACCOUNT, Queue};

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration, Envoy and the filters.
    pub parts: Parts,
    /// Secrets and data; each part has its own place below.
    pub state_dir: PathBuf,
    /// The chain's port.
    pub port: u16,
    /// Envoy's admin interface's port.
    pub admin_port: u16,
    /// The local services' port.
    pub local_port: u16,
    /// The demonstration upstream's port; unused with `UPSTREAM_URL`.
    pub upstream_port: u16,
    /// The program `oidc-provider-mock`; unused with `OIDC_ISSUER`. Without either nobody can sign in.
    pub oidc_provider: Option<PathBuf>,
    /// Its port.
    pub oidc_port: u16,
    /// Whose files, when they change, ask for a rebuild.
    pub watch: Vec<PathBuf>,
    /// The shell command that rebuilds.
    pub rebuild: Option<String>,
}

/// Why it is not running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken.
    #[error("{address} cannot be used: {error}; set {variable} to another port")]
    Port {
        /// The address.
        address: SocketAddr,
        /// The variable that changes it.
        variable: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The state directory cannot be used.
    #[error("{}: {error}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A child is not running.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The queue could not be created.
    #[error("creating topics and subscriptions: {0}")]
    Queue(#[from] google::Error),
    /// Something of the system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs everything until SIGTERM or SIGINT.
///
/// # Errors
/// If a part cannot be started, or ends by itself.
pub async fn dev(options: &Options, environment: &Environment) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut stack = Stack::default();
    let ended = tokio::select! {
        error = serve(options, environment, &mut stack) => error,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stack.stop().await;
    ended
}

/// What has been started so far.
#[derive(Default)]
struct Stack {
    services: Option<Process>,
    provider: Option<Process>,
    chain: Option<Process>,
    rebuild: Option<Child>,
}

impl Stack {
    async fn stop(self) {
        if let Some(mut rebuild) = self.rebuild {
            process::ask_to_end(&rebuild, Signal::TERM);
            // Only its end matters.
            let _ = rebuild.wait().await;
        }
        for process in [self.chain, self.provider, self.services].into_iter().flatten() {
            process.stop().await;
        }
    }
}

async fn serve(options: &Options, environment: &Environment, stack: &mut Stack) -> Result<(), Error> {
    // What changes during the start is a change too.
    let known_files = watch::snapshot(&options.watch);
    let local = |port: u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let (chain, services, demo) =
        (local(options.port), local(options.local_port), local(options.upstream_port));
    let own_upstream = environment.get("UPSTREAM_URL").filter(|url| !url.is_empty());
    let provider =
        sign_in::Provider::chosen(environment, options.oidc_provider.as_deref(), local(options.oidc_port));
    let needed = [
        (Some(chain), "PORT"),
        (Some(local(options.admin_port)), "ADMIN_PORT"),
        (Some(services), "LOCAL_PORT"),
        (own_upstream.is_none().then_some(demo), "DEMO_UPSTREAM_PORT"),
        (provider.as_ref().and_then(sign_in::Provider::address), "OIDC_PORT"),
    ];
    for (address, variable) in needed {
        if let Some(address) = address {
            ports::free(address).await.map_err(|error| Error::Port { address, variable, error })?;
        }
    }

    let state = |error| Error::State { path: options.state_dir.clone(), error };
    secrets::create_directory(&options.state_dir).map_err(state)?;
    let directory = options.state_dir.canonicalize().map_err(state)?;
    let started = async {
        match &provider {
            Some(provider) => provider.start(&directory).await,
            None => Ok(None),
        }
    };
    let services_command = services_command(services, &directory)?;
    let started = tokio::try_join!(Process::start("lockgate local", services_command), started)?;
    (stack.services, stack.provider) = (Some(started.0), started.1);

    let audience = format!("http://{chain}/wal-playback");
    let queue = Queue::new();
    let create = {
        let audience = audience.clone();
        move || Queue::new().create(services, &audience)
    };
    tokio::task::spawn_blocking(create).await.map_err(io::Error::other)??;

    if own_upstream.is_none() {
        let listener = upstream::bind(demo).await?;
        tokio::spawn(upstream::serve(listener));
    }

    let mut variables = vec![
        ("LISTEN_ADDRESS", "127.0.0.1".to_owned()),
        ("PORT", options.port.to_string()),
        ("ADMIN_PORT", options.admin_port.to_string()),
        ("PUBLIC_URL", format!("http://{chain}")),
        ("UPSTREAM_URL", own_upstream.cloned().unwrap_or_else(|| format!("http://{demo}"))),
        ("GOOGLE_API_BASE", format!("http://{services}")),
        ("METADATA_BASE", format!("http://{services}")),
        ("PUBSUB_TOPIC", queue.topic.clone()),
        ("DEAD_LETTER_TOPIC", queue.dead_letter_topic.clone()),
        ("PUSH_AUDIENCE", audience),
        ("PUSH_SERVICE_ACCOUNT", PUSH_ACCOUNT.to_owned()),
        ("PUSH_ISSUER", format!("http://{services}")),
        ("STATE_DIR", directory.join("envoy").display().to_string()),
    ];
    let mut slack_file = None;
    for (name, file) in [("SLACK_SIGNING_SECRET", "slack-signing-secret"), ("LOG_KEY", "log-key")] {
        if environment.get(name).is_none_or(String::is_empty) {
            let path = directory.join(file);
            variables.push((name, secrets::kept(&path).map_err(state)?));
            slack_file = slack_file.or((name == "SLACK_SIGNING_SECRET").then_some(path));
        }
    }
    if let Some(provider) = &provider {
        variables.extend(provider.variables(environment, &directory, services).map_err(state)?);
    }
    stack.chain = Some(Process::start("lockgate run", chain_command(options, &variables)?).await?);
    println!("ready http://{chain}");
    let hints = hints::Hints {
        address: chain,
        signing_secret: hints::secret_expression(slack_file.as_deref()),
        services,
        queue: &queue,
        provider: provider.as_ref(),
        admits_services: sign_in::admits_services(environment),
        shipped: options.parts.config.is_none(),
    };
    println!("{hints}");

    let (sender, mut changes) = mpsc::channel(1);
    watch::keyboard(sender.clone());
    tokio::spawn(watch::files(options.watch.clone(), known_files, sender));
    loop {
        let reason = tokio::select! {
            error = ended(&mut stack.chain) => return Err(error.into()),
            error = ended(&mut stack.services) => return Err(error.into()),
            error = ended(&mut stack.provider) => return Err(error.into()),
            Some(reason) = changes.recv() => reason,
        };
        println!("\nrebuild: {reason}");
        if let Some(command) = &options.rebuild
            && !rebuild(command, stack).await?.success()
        {
            println!("rebuild: failed; the chain is still the one from before");
            continue;
        }
        if let Some(chain) = stack.chain.take() {
            chain.stop().await;
        }
        match Process::start("lockgate run", chain_command(options, &variables)?).await {
            Ok(process) => {
                stack.chain = Some(process);
                println!("ready http://{chain}");
            }
            // What is wrong has been said; the next change may mend it.
            Err(error) => println!("restart: {error}; waiting for the next change"),
        }
    }
}

/// Never, for a part that is not running.
async fn ended(process: &mut Option<Process>) -> process::Error {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

fn services_command(address: SocketAddr, directory: &Path) -> io::Result<Command> {
    let mut command = child::bound(std::env::current_exe()?.as_os_str())?;
    command.args(["local", "--listen", &address.to_string(), "--state-dir"]).arg(directory.join("google"));
    Ok(command)
}

fn chain_command(options: &Options, variables: &[(&str, String)]) -> io::Result<Command> {
    let mut command = child::bound(std::env::current_exe()?.as_os_str())?;
    command.arg("run").arg("--envoy").arg(&options.parts.envoy).arg("--modules").arg(&options.parts.modules);
    if let Some(config) = &options.parts.config {
        command.arg("--config").arg(config);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

async fn rebuild(command: &str, stack: &mut Stack) -> Result<ExitStatus, Error> {
    let mut shell = child::bound("sh".as_ref())?;
    let child = stack.rebuild.insert(shell.args(["-c", command]).stdin(Stdio::null()).spawn()?);
    let status = child.wait().await?;
    stack.rebuild = None;
    Ok(status)
}

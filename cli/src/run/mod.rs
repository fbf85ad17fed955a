//! Envoy's life: started with the rendered configuration, watched, drained and ended.

mod drain;
mod envoy;
mod metadata;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::config::Config;
use crate::render::{self, HEALTH, Modules};
use crate::say::Severity;
use crate::{http, ports, say};
use drain::Until;
use envoy::Envoy;

/// From the signal on: Cloud Run kills after ten seconds.
const LONGEST_END: Duration = Duration::from_millis(9_900);

/// What Envoy has to write its logs, whatever the drain has taken.
const SHORTEST_END: Duration = Duration::from_millis(400);

/// How Envoy is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its binary.
    pub envoy: PathBuf,
    /// Where the filters' code is.
    pub modules: Modules,
    /// The same as it was compiled before, where that is for this machine.
    pub precompiled: Option<Modules>,
    /// Where the rendered configuration is written.
    pub state_dir: PathBuf,
    /// Worker threads; one for each processor when absent.
    pub concurrency: Option<usize>,
    /// Its log level.
    pub log_level: String,
}

/// Why Envoy could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else listens there.
    #[error("{address} cannot be used: {error}")]
    Address {
        /// `listen` or `admin`.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The configuration could not be written.
    #[error("{}: {error}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// More workers than can serve the configuration.
    #[error(
        "ENVOY_CONCURRENCY: given {0}, expected 1 or nothing: routes with invert are served by one worker"
    )]
    Workers(usize),
    /// Envoy could not be started or watched.
    #[error("{}: {error} (is ENVOY or --envoy right?)", path.display())]
    Envoy {
        /// Its binary.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A provider publishes something else than the configuration says.
    #[error(
        "sign_in.providers or sign_in.tokens.jwt: the discovery document does not fit its issuer; the line \
         above names the field; expected an issuer exactly as its document has it, with https endpoints"
    )]
    Metadata,
    /// Signals could not be listened for.
    #[error("signals: {0}")]
    Signals(io::Error),
}

/// The signals that ask for the end. A container's first process has none that it does not ask for, so
/// they are asked for before anything else is done.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they wait until they are asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> Result<Self, Error> {
        let caught = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// A supervisor's SIGTERM waits for whoever may still send something; somebody at the terminal
    /// waits for what has been sent.
    async fn asked(&mut self) -> Until {
        tokio::select! {
            _ = self.terminate.recv() => Until::NoConnection,
            _ = self.interrupt.recv() => Until::NoRequest,
        }
    }
}

/// Runs Envoy until it ends, or until a signal asks for its end; more signals change nothing.
///
/// # Errors
/// If the configuration cannot be written or Envoy not be started.
pub async fn run(config: &Config, launch: &Launch, mut signals: Signals) -> Result<ExitCode, Error> {
    let failed = |error| Error::Envoy { path: launch.envoy.clone(), error };
    if let Some(workers) = launch.concurrency.filter(|workers| *workers > 1 && config.inverts()) {
        return Err(Error::Workers(workers));
    }
    for address in [config.listen, config.admin] {
        ports::free(address).await.map_err(|error| Error::Address { address, error })?;
    }
    let address = reachable(config.listen);
    let start = |modules: &Modules| {
        let file = write(&launch.state_dir, &render::bootstrap_json(config, modules))?;
        Envoy::start(config, &file, launch).map_err(failed)
    };
    let mut envoy = start(launch.precompiled.as_ref().unwrap_or(&launch.modules))?;
    if launch.precompiled.is_some() {
        tokio::select! {
            // What V8 takes, V8 alone knows.
            status = envoy.ended() => {
                status.map_err(failed)?;
                let text = "Envoy did not start with the modules that were compiled before; starting it again with \
                            those that it compiles itself";
                say::say(Severity::Warning, text);
                envoy = start(&launch.modules)?;
            }
            () = serving(address) => {}
            until = signals.asked() => return stop(config, envoy, until).await.map_err(failed),
        }
    }
    let announced = async {
        serving(address).await;
        say::ready(address);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = envoy.ended() => Ok(code(status.map_err(failed)?)),
        () = announced => Ok(ExitCode::SUCCESS),
        () = metadata::misfit(config.admin), if config.sign_in.is_some() => {
            stop(config, envoy, Until::NoRequest).await.map_err(failed)?;
            Err(Error::Metadata)
        }
        until = signals.asked() => stop(config, envoy, until).await.map_err(failed),
    }
}

fn write(directory: &Path, json: &str) -> Result<PathBuf, Error> {
    let path = directory.join("envoy.json");
    let fresh = directory.join(format!("envoy.{}.json", std::process::id()));
    let written = (|| {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        io::Write::write_all(&mut file, json.as_bytes())?;
        std::fs::rename(&fresh, &path)
    })();
    written.map(|()| path.clone()).map_err(|error| Error::State { path, error })
}

/// A listener on every address is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen.port()),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), listen.port()),
    }
}

/// Waits until the chain answers. A connection is refused until the listener is there.
async fn serving(address: SocketAddr) {
    while !http::get(address, HEALTH).await.is_ok_and(|answer| answer.status == 204) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn stop(config: &Config, mut envoy: Envoy, until: Until) -> io::Result<ExitCode> {
    let asked = Instant::now();
    tokio::select! {
        () = drain::drain(config.admin, config.budgets.drain, until) => {}
        // Nobody has asked it to.
        status = envoy.ended() => return Ok(code(status?)),
    }
    envoy.end(LONGEST_END.saturating_sub(asked.elapsed()).max(SHORTEST_END)).await?;
    Ok(ExitCode::SUCCESS)
}

/// A shell's convention for a child that a signal ended.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

//! Envoy as a child: started with the rendered configuration, watched, drained and ended.

mod drain;
mod metadata;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::render::HEALTH;
use crate::{child, http, ports};

/// How Envoy is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its binary.
    pub envoy: PathBuf,
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

/// Runs Envoy until it ends, or until SIGTERM or SIGINT asks for its end.
///
/// # Errors
/// If the configuration cannot be written or Envoy not be started.
pub async fn run(config: &Config, yaml: &str, launch: &Launch) -> Result<ExitCode, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let failed = |error| Error::Envoy { path: launch.envoy.clone(), error };
    for address in [config.listen, config.admin] {
        ports::free(address).await.map_err(|error| Error::Address { address, error })?;
    }
    let file = write(&launch.state_dir, yaml)?;
    let mut envoy = start(config, &file, launch).map_err(failed)?;
    let announced = async {
        let address = reachable(config.listen);
        serving(address).await;
        println!("ready http://{address}");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = envoy.wait() => Ok(code(status.map_err(failed)?)),
        () = announced => Ok(ExitCode::SUCCESS),
        () = metadata::misfit(config.admin), if config.sign_in.is_some() => {
            stop(config, envoy).await.map_err(failed)?;
            Err(Error::Metadata)
        }
        _ = terminate.recv() => stop(config, envoy).await.map_err(failed),
        _ = interrupt.recv() => stop(config, envoy).await.map_err(failed),
    }
}

fn write(directory: &Path, yaml: &str) -> Result<PathBuf, Error> {
    let path = directory.join("envoy.yaml");
    let fresh = directory.join(format!("envoy.{}.yaml", std::process::id()));
    let written = (|| {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        io::Write::write_all(&mut file, yaml.as_bytes())?;
        std::fs::rename(&fresh, &path)
    })();
    written.map(|()| path.clone()).map_err(|error| Error::State { path, error })
}

fn start(config: &Config, file: &Path, launch: &Launch) -> io::Result<Child> {
    let workers = match launch.concurrency {
        Some(workers) => workers.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    // Who signed in and out is said at info, and is wanted where Envoy's own affairs are not.
    let audit: &[&str] =
        if launch.log_level == "warning" { &["--component-log-level", "wasm:info"] } else { &[] };
    let mut envoy = child::bound(launch.envoy.as_os_str())?;
    envoy
        .arg("-c")
        .arg(file)
        .args(["--log-level", &launch.log_level, "--concurrency", &workers.to_string()])
        .args(audit)
        // Access-log lines are buffered; a kill loses at most this much of them.
        .args(["--file-flush-interval-msec", "500"])
        // Hot restart would make every second Envoy of a machine fail for sharing its memory.
        .arg("--disable-hot-restart")
        .args([
            "--drain-strategy",
            "immediate",
            "--drain-time-s",
            &config.budgets.drain.as_secs().max(1).to_string(),
        ])
        .spawn()
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

async fn stop(config: &Config, mut envoy: Child) -> io::Result<ExitCode> {
    tokio::select! {
        () = drain::drain(config.admin, config.budgets.drain) => {}
        _ = envoy.wait() => return Ok(ExitCode::SUCCESS),
    }
    if let Some(pid) = envoy.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    if tokio::time::timeout(Duration::from_secs(1), envoy.wait()).await.is_err() {
        envoy.kill().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A shell's convention for a child that a signal ended.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

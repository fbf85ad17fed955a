//! A child that says `ready` on standard output, and whose other lines are passed on; or one that does
//! not, and whose lines are kept.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A drain may take 8 s, and what is not gone by then is killed.
const LONGEST_END: Duration = Duration::from_secs(12);

/// Longest time until a child that does not say so is ready.
const LONGEST_START: Duration = Duration::from_secs(30);

/// Why a child is not running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started or watched.
    #[error("{name}: {error}")]
    Io {
        /// The child.
        name: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// It ended; its own words stand above.
    #[error("{name} ended: {status}")]
    Ended {
        /// The child.
        name: &'static str,
        /// How.
        status: ExitStatus,
    },
}

/// A child that is ready.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    /// What asks it to end.
    end: Signal,
}

impl Process {
    /// Starts one of this tool's own and waits until it is ready.
    pub(super) async fn start(name: &'static str, mut command: Command) -> Result<Self, Error> {
        let failed = |error| Error::Io { name, error };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(io::Error::other("no output")))?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(failed)? {
            if line.starts_with("ready ") {
                tokio::spawn(pass_on(lines));
                // It need not wait for whoever keeps a connection open, as a browser does.
                return Ok(Self { name, child, end: Signal::INT });
            }
            println!("{line}");
        }
        let status = child.wait().await.map_err(failed)?;
        Err(Error::Ended { name, status })
    }

    /// Starts one that does not say when it is ready, and waits for `ready`. What it prints goes into
    /// `log`, which only its owner reads.
    pub(super) async fn start_until(
        name: &'static str,
        mut command: Command,
        log: &Path,
        ready: impl Future<Output = ()>,
    ) -> Result<Self, Error> {
        let failed = |error| Error::Io { name, error };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
        let mut child = command.spawn().map_err(failed)?;
        let status = tokio::select! {
            () = ready => return Ok(Self { name, child, end: Signal::TERM }),
            status = child.wait() => status.map_err(failed)?,
            () = tokio::time::sleep(LONGEST_START) => {
                return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "it is not ready after 30 s")));
            }
        };
        eprintln!("{}", std::fs::read_to_string(log).map_err(failed)?.trim_end());
        Err(Error::Ended { name, status })
    }

    /// Waits until it ends by itself, which is always a failure.
    pub(super) async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => Error::Ended { name: self.name, status },
            Err(error) => Error::Io { name: self.name, error },
        }
    }

    /// Asks it to end, and kills it if it does not.
    pub(super) async fn stop(mut self) {
        ask_to_end(&self.child, self.end);
        if tokio::time::timeout(LONGEST_END, self.child.wait()).await.is_err() {
            // It is killed when it is dropped in any case.
            let _ = self.child.kill().await;
        }
    }
}

/// A signal to a child that has not been waited for.
pub(super) fn ask_to_end(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

async fn pass_on(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        println!("{line}");
    }
}

//! A child that says `ready` on standard output, and whose other lines are passed on.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A drain may take 8 s, and what is not gone by then is killed.
const LONGEST_END: Duration = Duration::from_secs(12);

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

/// A child that has said `ready`.
pub(super) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(name: &'static str, mut command: Command) -> Result<Self, Error> {
        let failed = |error| Error::Io { name, error };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(io::Error::other("no output")))?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(failed)? {
            if line.starts_with("ready ") {
                tokio::spawn(pass_on(lines));
                return Ok(Self { name, child });
            }
            println!("{line}");
        }
        let status = child.wait().await.map_err(failed)?;
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
        ask_to_end(&self.child);
        if tokio::time::timeout(LONGEST_END, self.child.wait()).await.is_err() {
            // It is killed when it is dropped in any case.
            let _ = self.child.kill().await;
        }
    }
}

/// SIGTERM to a child that has not been waited for.
pub(super) fn ask_to_end(child: &Child) {
    if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

async fn pass_on(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        println!("{line}");
    }
}

//! Envoy as a child. As a container's first process the tool is also given whatever loses its own
//! parent, so it waits for every child and not for Envoy alone.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::Launch;
use crate::child;
use crate::config::{Config, LogFormat};

/// Envoy's own lines as Cloud Logging reads them: spdlog's names of levels are its severities.
const GOOGLE_LINES: &str = r#"{"severity":"%l","time":"%Y-%m-%dT%T.%e%z","logger":"%n","message":"%j"}"#;

pub(super) struct Envoy {
    pid: Pid,
    children: Stream,
}

impl Envoy {
    pub(super) fn start(config: &Config, file: &Path, launch: &Launch) -> io::Result<Self> {
        // Before there is a child, so that no end is missed.
        let children = signal(SignalKind::child())?;
        let mut command = child::bound(launch.envoy.as_os_str())?;
        command.args(arguments(config, file, launch)?);
        let pid = Pid::from_child(&command.as_std_mut().spawn()?);
        Ok(Self { pid, children })
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            while let Some((pid, status)) = wait(WaitOptions::NOHANG)? {
                if pid == self.pid {
                    return Ok(ExitStatus::from_raw(status.as_raw()));
                }
            }
            self.children.recv().await;
        }
    }

    /// Ends it: by SIGTERM, on which it writes its logs, and by SIGKILL if that takes longer than this.
    pub(super) async fn end(&mut self, within: Duration) -> io::Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        if tokio::time::timeout(within, self.ended()).await.is_err() {
            kill_process(self.pid, Signal::KILL)?;
            self.ended().await?;
        }
        Ok(())
    }
}

fn arguments(config: &Config, file: &Path, launch: &Launch) -> io::Result<Vec<OsString>> {
    let workers = match launch.concurrency {
        _ if config.inverts() => 1,
        Some(workers) => workers.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let drain = config.budgets.drain.as_secs().max(1);
    let mut arguments = vec!["-c".into(), file.into()];
    let mut say = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    say(&["--log-level", &launch.log_level, "--concurrency", &workers.to_string()]);
    // Who signed in and out is said at info, and is wanted where Envoy's own affairs are not.
    if launch.log_level == "warning" {
        say(&["--component-log-level", "wasm:info"]);
    }
    if let LogFormat::Google { .. } = config.log_format {
        say(&["--log-format", GOOGLE_LINES]);
    }
    // Access-log lines are buffered; a kill loses at most this much of them.
    say(&["--file-flush-interval-msec", "500"]);
    // Hot restart would make every second Envoy of a machine fail for sharing its memory.
    say(&["--disable-hot-restart"]);
    say(&["--drain-strategy", "immediate", "--drain-time-s", &drain.to_string()]);
    Ok(arguments)
}

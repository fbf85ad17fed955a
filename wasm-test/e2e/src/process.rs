//! A program started by a test: its output line by line, its process group, its end.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, set_child_subreaper, waitid};
use tokio::sync::watch;

use crate::journal::Journal;
use crate::watchdog;

/// A running program in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    name: String,
    group: Pid,
    log: Arc<Journal<String>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    // Held while a signal is sent, and while the leader is reaped: a group's number is its
    // leader's, and is free for others once the leader has been reaped.
    alive: Arc<Mutex<bool>>,
    stdin: Option<ChildStdin>,
    reaper: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a program and appends what it prints, on both streams, to `log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: Arc<Journal<String>>) -> Self {
        // Whatever loses its parent is this process's to wait for.
        set_child_subreaper(Some(rustix::process::getpid())).expect("become a subreaper");
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let group = Pid::from_child(&child);
        watchdog::guard_group(group.as_raw_nonzero().get());
        let stdin = child.stdin.take();
        let (exited, exit) = watch::channel(None);
        let alive = Arc::new(Mutex::new(true));
        let reaper = std::thread::spawn({
            let (alive, log, name) = (Arc::clone(&alive), Arc::clone(&log), name.to_owned());
            let readers = [
                copy_lines(child.stdout.take(), Arc::clone(&log)),
                copy_lines(child.stderr.take(), Arc::clone(&log)),
            ];
            move || {
                let status = reap(child, group, &alive);
                // The pipes close with the group, so what a program said last is there
                // before anybody is told that it has ended.
                for reader in readers {
                    let _ = reader.join();
                }
                log.push(format!("{name} ended: {status}"));
                exited.send_replace(Some(status));
            }
        });
        Self { name: name.to_owned(), group, log, exit, alive, stdin, reaper: Some(reaper) }
    }

    /// What it has printed, and, last, how it ended.
    pub fn log(&self) -> &Journal<String> {
        &self.log
    }

    /// The program's standard input, once; dropping it closes it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Waits for the first line, from the given log position on, that satisfies a condition.
    ///
    /// # Panics
    /// When the program ends first, or after a minute; with what it has printed.
    pub async fn wait_for_line(&self, what: &str, since: usize, matches: impl Fn(&str) -> bool) -> String {
        let found = |lines: &[String]| {
            let new = lines.get(since..).unwrap_or_default();
            new.iter().find(|line| matches(line)).cloned()
        };
        let deadline = Duration::from_secs(60);
        let mut exit = self.exit.clone();
        tokio::select! {
            biased;
            _ = self.log.reaches(deadline, |lines| found(lines).is_some()) => {}
            _ = exit.wait_for(Option::is_some) => {}
        }
        let lines = self.log.since(0);
        found(&lines)
            .unwrap_or_else(|| panic!("{}: waited for {what}; it printed:\n{}", self.name, lines.join("\n")))
    }

    /// Sends a signal to the program alone, as a supervisor would; nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            let _ = rustix::process::kill_process(self.group, signal);
        }
    }

    /// Sends SIGKILL to the whole group and returns when the program has ended.
    pub fn kill(&mut self) {
        {
            let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
            if *alive {
                let _ = kill_process_group(self.group, Signal::KILL);
            }
        }
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }

    /// Waits until the program has ended by itself.
    ///
    /// # Panics
    /// When it has not after `deadline`.
    pub async fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = tokio::time::timeout(deadline, exit.wait_for(Option::is_some)).await;
        let status = status.unwrap_or_else(|_| panic!("{} runs on after {deadline:?}", self.name));
        status.ok().and_then(|status| *status).expect("an exit status")
    }

    /// Whether the program still runs.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the leader, then ends what it left in its group and waits for that, too: only then
/// are its ports free.
fn reap(mut child: Child, group: Pid, alive: &Mutex<bool>) -> ExitStatus {
    let unreaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(group), unreaped).is_err_and(|error| error == Errno::INTR) {}
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process_group(group, Signal::KILL);
    *alive = false;
    let status = child.wait().expect("reap a child");
    let ended = WaitIdOptions::EXITED;
    while let Ok(_) | Err(Errno::INTR) = waitid(WaitId::Pgid(Some(group)), ended) {}
    watchdog::forget_group(group.as_raw_nonzero().get());
    status
}

fn copy_lines(stream: Option<impl Read + Send + 'static>, log: Arc<Journal<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let Some(stream) = stream else { return };
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            log.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            line.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let log = Arc::new(Journal::default());
        Process::start("sh", Command::new("sh").args(["-c", script]), log)
    }

    #[tokio::test]
    async fn lines_of_both_streams_and_the_end_are_logged() {
        let process = shell("echo out; echo err >&2; exit 3");
        assert_eq!(process.wait_exit(Duration::from_secs(5)).await.code(), Some(3));
        let mut lines = process.log().since(0);
        lines.sort();
        assert_eq!(lines, ["err", "out", "sh ended: exit status: 3"]);
    }

    #[tokio::test]
    async fn killing_a_program_ends_its_children_too() {
        let mut process = shell("sleep 60 & echo child $!; wait");
        let line = process.wait_for_line("its child", 0, |l| l.starts_with("child")).await;
        let child: i32 = line["child ".len()..].parse().unwrap();
        process.kill();
        assert!(!std::fs::exists(format!("/proc/{child}")).unwrap());
    }

    #[tokio::test]
    #[should_panic(expected = "waited for a word; it printed:\nother")]
    async fn a_program_that_ends_early_ends_the_wait_for_its_line() {
        shell("echo other").wait_for_line("a word", 0, |line| line == "word").await;
    }
}

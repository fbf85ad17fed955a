//! A contender as a process group: started on a processor of its own, its CPU time and memory read from
//! the kernel's accounting, ended with the harness whatever happens to that.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Which processor something may use. A server and the load on it do not take each other's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first one: where a contender with one worker runs.
    Server,
    /// The second one: where the load comes from, and where the queue and the upstream are.
    Harness,
    /// All of them.
    Anywhere,
}

/// A running contender. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    group: Pid,
    guard: Child,
}

impl Process {
    /// Starts a command. What it says on its standard error goes to `log`; its standard output, where
    /// Envoy writes its access log, goes nowhere.
    pub(crate) fn start(name: &str, mut command: Command, to: Place, log: &Path) -> Result<Self> {
        let errors = fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).process_group(0);
        let child = started(command, to).map_err(|error| format!("{name} cannot be started: {error}"))?;
        let group = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), guard: guard(group)?, child, group })
    }

    /// Waits until something accepts connections at `address`.
    pub(crate) fn accepts(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at its start: {status}", self.name).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen on {address}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// CPU time of all threads of all its processes so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for process in self.members()? {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                // A thread may end between the two calls; servers' threads do not.
                sum += schedstat(&thread?.path().join("schedstat")).unwrap_or_default();
            }
        }
        Ok(sum)
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut memory = Memory::default();
        for process in self.members()? {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let kib = |name: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
            };
            memory.own_kib += kib("Pss_Anon:") + kib("Pss_Shmem:");
            memory.files_kib = memory.files_kib.max(kib("Rss:").saturating_sub(kib("Anonymous:")));
        }
        Ok(memory)
    }

    /// The processes of the group that still run.
    fn members(&self) -> Result<Vec<i32>> {
        let group = self.group.as_raw_nonzero().get();
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(process) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            // The second field is a name in parentheses; state, parent and group follow (proc(5)).
            let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
            let mut fields = fields.split_whitespace();
            let (state, in_group) = (fields.next(), fields.nth(1).and_then(|field| field.parse().ok()));
            if in_group == Some(group) && state != Some("Z") {
                members.push(process);
            }
        }
        if members.is_empty() { Err(format!("{} has ended", self.name).into()) } else { Ok(members) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard first: once the leader has been reaped its number is free for others.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Memory of a process group, in KiB. Neither number depends on what else runs on the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// What it has written; what processes of the group share is counted once.
    own_kib: u64,
    /// Pages of programs and libraries, those of the group's largest process.
    files_kib: u64,
}

impl Memory {
    /// All of it, in MB of 1,000,000 bytes.
    pub(crate) fn mb(self) -> f64 {
        (self.own_kib + self.files_kib) as f64 * 1_024.0 / 1e6
    }

    /// Without programs and libraries.
    pub(crate) fn own_mb(self) -> f64 {
        self.own_kib as f64 * 1_024.0 / 1e6
    }
}

/// Nanoseconds on a processor: the first number of a `schedstat` file.
pub(crate) fn schedstat(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Keeps a thread, by default the calling one, and what it starts from now on, to a place.
pub(crate) fn place(thread: Option<Pid>, place: Place) -> Result<()> {
    let allowed = processors();
    let (first, second) = (allowed.first(), allowed.get(1).or(allowed.first()));
    let mut set = CpuSet::new();
    match place {
        Place::Server => first.into_iter().for_each(|cpu| set.set(*cpu)),
        Place::Harness => second.into_iter().for_each(|cpu| set.set(*cpu)),
        Place::Anywhere => allowed.iter().for_each(|cpu| set.set(*cpu)),
    }
    Ok(sched_setaffinity(thread, &set)?)
}

/// The processors that this process could use when it was first asked, before any thread was placed.
pub(crate) fn processors() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
    })
}

/// A child takes over the processors of the thread that starts it.
fn started(mut command: Command, to: Place) -> Result<Child> {
    let thread = std::thread::spawn(move || {
        place(None, to)?;
        Ok(command.spawn()?)
    });
    thread.join().map_err(|_| "the starting thread ended early")?
}

/// A shell that kills the group when this process is gone, however it went: its input then ends.
fn guard(group: Pid) -> Result<Child> {
    let script = format!("read -r _; kill -KILL -{}", group.as_raw_nonzero());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).process_group(0);
    Ok(shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// A loopback address nobody listens on, never given twice. Ports are drawn from below Linux's range for
/// outgoing connections, so that no client is given one before its owner listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(11_000..32_000)));
        if TcpListener::bind(address).is_ok() && given.insert(address.port()) {
            return Ok(address);
        }
    }
    Err("no free loopback port between 11000 and 32000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = tempfile::NamedTempFile::new().unwrap();
        Process::start("sh", command, Place::Anywhere, log.path()).unwrap()
    }

    #[test]
    fn cpu_time_is_that_of_the_whole_group() {
        let process = shell("(while :; do :; done) & wait");
        let deadline = Instant::now() + Duration::from_secs(20);
        while process.cpu_ns().unwrap() < 50_000_000 {
            assert!(Instant::now() < deadline, "a busy child is not counted");
        }
        let memory = process.memory().unwrap();
        assert!(memory.own_mb() > 0.0 && memory.mb() > memory.own_mb());
    }

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let process = shell("sleep 60 & wait");
        let deadline = Instant::now() + Duration::from_secs(20);
        while process.members().unwrap().len() < 2 {
            assert!(Instant::now() < deadline, "the child never started");
        }
        let members = process.members().unwrap();
        drop(process);
        let runs = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while members.iter().any(runs) {
            assert!(Instant::now() < deadline, "a child runs on");
        }
    }
}

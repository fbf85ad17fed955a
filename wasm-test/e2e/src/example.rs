//! An example's folder under `envoy/examples/`, run by the very command of its README, on free ports.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::journal::Journal;
use crate::ports::free_port;
use crate::process::Process;
use crate::stack::workspace;

/// A running example. Dropping it ends everything that it started.
#[derive(Debug)]
pub struct Example {
    /// What it runs as; its log is everything that its programs print.
    pub process: Process,
    folder: PathBuf,
    ports: Vec<(u16, u16)>,
    // Behind the process, so that it goes after it: what `run` writes is in here, and a killed one leaves it.
    temporary: tempfile::TempDir,
}

impl Example {
    /// Runs `envoy/examples/NAME/run` with each of these ports exchanged for a free one, and returns
    /// once it says `ready`.
    ///
    /// # Panics
    /// When it ends instead, or has not said so after a minute; with what it has printed.
    pub async fn start(name: &str, ports: &[u16]) -> Self {
        Self::start_with(name, ports, &[]).await
    }

    /// The same with variables of the environment.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(name: &str, ports: &[u16], variables: &[(&str, &str)]) -> Self {
        let ports: Vec<_> = ports.iter().map(|&port| (port, free_port())).collect();
        let exchanged: Vec<_> = ports.iter().map(|(from, to)| format!("{from}={to}")).collect();
        let folder = workspace().join("envoy/examples").join(name);
        let mut command = Command::new(folder.join("run"));
        let temporary = tempfile::tempdir().expect("a temporary directory");
        command
            .env("PORTS", exchanged.join(" "))
            .env("TMPDIR", temporary.path())
            .envs(variables.iter().copied());
        let process = Process::start(name, &mut command, Arc::new(Journal::default()));
        process.wait_for_line("ready", 0, |line| line == "ready").await;
        Self { process, folder, ports, temporary }
    }

    /// The directory that `run` keeps what it writes in.
    ///
    /// # Panics
    /// When there is not just one.
    pub fn state(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.temporary.path()).expect("the temporary directory");
        let entries: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        let [state] = &entries[..] else { panic!("which of {entries:?} is the run's?") };
        state.clone()
    }

    /// Pastes a block of shell lines of the folder's README, the `number`th, into a terminal with these variables.
    /// Returns the first words of the comments behind its lines, up to a colon, and what is printed.
    ///
    /// # Panics
    /// When there is no such block, or its lines fail.
    pub fn paste(&self, number: usize, variables: &[(String, String)]) -> (Vec<String>, Vec<String>) {
        let readme = std::fs::read_to_string(self.folder.join("README.md")).expect("a README");
        let block = readme.split("```sh\n").nth(number).and_then(|rest| rest.split("\n```").next());
        let block = block.unwrap_or_else(|| panic!("the README has no block {number}"));
        let comments = block.lines().filter_map(|line| line.rsplit_once("    # ")?.1.split_once(':'));
        let promised = comments.map(|(promise, _)| promise.to_owned()).collect();
        let mut command = Command::new("bash");
        command.args(["-euc", &self.exchanged(block)]).current_dir(workspace());
        let output = command.envs(variables.iter().cloned()).output().expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (promised, String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// A text of the folder's with its ports exchanged.
    fn exchanged(&self, text: &str) -> String {
        let (mut exchanged, mut number) = (String::new(), String::new());
        for next in text.chars().chain(['\n']) {
            if next.is_ascii_digit() {
                number.push(next);
                continue;
            }
            let port = self.ports.iter().find(|(from, _)| from.to_string() == number);
            exchanged.push_str(&port.map_or(number, |(_, to)| to.to_string()));
            exchanged.push(next);
            number = String::new();
        }
        exchanged
    }

    /// The port in the place of one that the folder names.
    ///
    /// # Panics
    /// When the example was started without that port.
    pub fn port(&self, named: u16) -> u16 {
        let found = self.ports.iter().find(|(from, _)| *from == named);
        found.unwrap_or_else(|| panic!("the example was started without port {named}")).1
    }
}

//! `lockgate run` with real Envoy, and requests to it byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lockgate_e2e::ports::free_port;
use rustix::process::{Pid, Signal, kill_process};

/// `lockgate run` and the lines it has not been asked for yet.
pub(crate) struct Run {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
}

impl Run {
    /// With a configuration in terms of PORT, ADMIN_PORT and UPSTREAM_URL, and of these variables.
    pub(crate) fn start(text: &str, upstream: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let envoy = super::envoy();
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("lockgate.yaml");
        std::fs::write(&config, text).unwrap();
        let (address, admin) = (free_address(), free_address());
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .arg("run")
            .env("ENVOY", envoy)
            .env("LOCKGATE_CONFIG", config)
            .env("STATE_DIR", directory.path().join("state"))
            .env("PORT", address.port().to_string())
            .env("ADMIN_PORT", admin.port().to_string())
            .env("UPSTREAM_URL", format!("http://{upstream}"))
            .env("ENVOY_CONCURRENCY", "1")
            .env("LOCKGATE_MODULES", super::root().join("dist"))
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let run = Self { child, lines, address, admin, directory };
        run.wait_for(&format!("ready http://{address}"));
        run
    }

    pub(crate) fn wait_for(&self, wanted: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect(wanted);
            if line.contains(wanted) {
                return line;
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> String {
        exchange(self.address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// Envoy's process, the only child.
    pub(crate) fn envoy(&self) -> Pid {
        let tasks = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(tasks).unwrap();
        pid(children.trim().parse().unwrap())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

pub(crate) fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// Sends a request as it is, and reads the answer to its end.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // Not to the end of the connection: Envoy keeps it open a second longer.
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") && reader.read_line(&mut answer).unwrap() > 0 {}
    let head = answer.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => reader.take(length.parse().unwrap()).read_to_string(&mut answer).unwrap(),
        None if head.contains("transfer-encoding") => reader.read_to_string(&mut answer).unwrap(),
        None => 0,
    };
    answer
}

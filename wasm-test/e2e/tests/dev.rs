//! What `make run` execs: the README's lines work when pasted, a change rebuilds, a kill leaves nothing
//! in the way of the next start.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use lockgate_e2e::ports::free_port;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Journal, Process};
use rustix::process::Signal;

struct Laptop {
    directory: tempfile::TempDir,
    ports: [u16; 5],
}

impl Laptop {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("watched")).unwrap();
        Self { directory, ports: [(); 5].map(|()| free_port()) }
    }

    fn start(&self) -> Process {
        let names = ["PORT", "ADMIN_PORT", "LOCAL_PORT", "DEMO_UPSTREAM_PORT", "OIDC_PORT"];
        let mut command = Command::new(workspace().join("target/debug/lockgate"));
        command
            .args(["dev", "--watch", "watched", "--rebuild", "touch rebuilt"])
            .envs(names.iter().zip(self.ports.map(|port| port.to_string())))
            .env("LOCKGATE_MODULES", workspace().join("dist"))
            .env("OIDC_PROVIDER", workspace().join(".tools/oidc-mock/bin/oidc-provider-mock"))
            .env_remove("STATE_DIR")
            .env_remove("UPSTREAM_URL")
            .current_dir(self.path());
        Process::start("lockgate dev", &mut command, Arc::new(Journal::default()))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The README's lines, with this machine's port.
    fn paste(&self) -> Output {
        let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
        let (_, block) =
            readme.split_once("<!-- try-it -->\n```sh\n").expect("the README has lines to paste");
        let lines = block.split("\n```").next().unwrap_or_default();
        let lines =
            lines.replace("8080", &self.ports[0].to_string()).replace("8085", &self.ports[2].to_string());
        Command::new("bash").args(["-euc", &lines]).current_dir(self.path()).output().unwrap()
    }
}

async fn ready(process: &Process, since: usize) {
    process.wait_for_line("ready", since, |line| line.starts_with("ready http://")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lines_work_and_a_change_rebuilds() {
    let laptop = Laptop::new();
    let dev = laptop.start();
    ready(&dev, 0).await;

    let output = laptop.paste();
    let text = String::from_utf8_lossy(&output.stdout);
    let statuses: Vec<&str> =
        text.split("HTTP/1.1 ").skip(1).filter_map(|response| response.get(..3)).collect();
    assert_eq!(statuses, ["200", "401", "202", "401"], "{text}");
    assert!(text.contains(r#"{"response_type":"in_channel"}"#), "{text}");
    dev.wait_for_line("the upstream's print", 0, |line| line.contains(r#""command": "/deploy""#)).await;

    let before = dev.log().since(0).len();
    std::fs::write(laptop.path().join("watched/filter.rs"), "changed").unwrap();
    ready(&dev, before).await;
    assert!(laptop.path().join("rebuilt").exists());
    assert_eq!(laptop.paste().status.code(), Some(0), "and works on");

    dev.signal(Signal::INT);
    dev.wait_exit(std::time::Duration::from_secs(20)).await;
    for port in laptop.ports {
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "{port} is still in use");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_next_start_finds_everything_free() {
    let laptop = Laptop::new();
    let mut first = laptop.start();
    ready(&first, 0).await;
    let secret = std::fs::read(laptop.path().join(".lockgate/slack-signing-secret")).unwrap();
    first.kill();
    let second = laptop.start();
    ready(&second, 0).await;
    assert_eq!(std::fs::read(laptop.path().join(".lockgate/slack-signing-secret")).unwrap(), secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let laptop = Laptop::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", laptop.ports[0])).unwrap();
    let dev = laptop.start();
    let line = dev.wait_for_line("the reason", 0, |line| line.contains("PORT")).await;
    assert!(line.contains(&laptop.ports[0].to_string()), "{line}");
}

//! `lockgate dev` with real Envoy and the real filters.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lockgate_e2e::ports::free_port;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Names of variables, and the ports they have for one test.
const PORTS: [&str; 5] = ["PORT", "ADMIN_PORT", "LOCAL_PORT", "DEMO_UPSTREAM_PORT", "OIDC_PORT"];

struct Dev {
    child: Child,
    keyboard: ChildStdin,
    lines: Receiver<String>,
    ports: [u16; 5],
}

impl Dev {
    /// Without a sign-in provider.
    fn start(state: &Path, ports: [u16; 5], watch: &Path, rebuild: &str) -> Self {
        let mut command = command(state, ports);
        command.arg("--watch").arg(watch).args(["--rebuild", rebuild]);
        Self::spawn(command, ports)
    }

    /// With the provider that `OIDC_PROVIDER` names.
    fn with_sign_in(state: &Path, ports: [u16; 5]) -> Self {
        let mut command = command(state, ports);
        command.env("OIDC_PROVIDER", support::sign_in_provider());
        Self::spawn(command, ports)
    }

    fn spawn(mut command: Command, ports: [u16; 5]) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let keyboard = child.stdin.take().unwrap();
        let dev = Self { child, keyboard, lines, ports };
        dev.wait_for(&dev.ready());
        dev
    }

    fn ready(&self) -> String {
        format!("ready http://127.0.0.1:{}", self.ports[0])
    }

    /// The lines up to the one that contains `wanted`.
    fn wait_for(&self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.lines.recv_timeout(Duration::from_secs(60)).expect(wanted));
            if lines.last().is_some_and(|line| line.contains(wanted)) {
                return lines;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    fn nobody_listens(&self) {
        for port in self.ports {
            while TcpStream::connect(("127.0.0.1", port)).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// `lockgate dev` with nothing of the test's own environment that would matter.
fn command(state: &Path, ports: [u16; 5]) -> Command {
    let modules = support::root().join("dist");
    for module in ["log.wasm", "lockgate.wasm"] {
        assert!(modules.join(module).is_file(), "dist/{module} is missing: make wasm");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.arg("dev");
    command.env("ENVOY", support::envoy()).env("LOCKGATE_MODULES", modules).env("STATE_DIR", state);
    command.env_remove("OIDC_PROVIDER").env_remove("OIDC_ISSUER").env_remove("UPSTREAM_URL");
    command.envs(PORTS.iter().zip(ports).map(|(name, port)| (name, port.to_string())));
    command
}

fn free_ports() -> [u16; 5] {
    [(); 5].map(|()| free_port())
}

/// The indented blocks of what was printed.
fn commands(lines: &[String]) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in lines {
        match (line.strip_prefix("  "), blocks.last_mut()) {
            (Some(command), Some(block)) => block.push_str(&format!("{command}\n")),
            _ => blocks.push(String::new()),
        }
    }
    blocks.into_iter().filter(|block| !block.is_empty()).collect()
}

fn paste(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_command_it_prints_works_when_pasted() {
    let state = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(state.path(), free_ports(), state.path(), "true");
    let commands = commands(&dev.wait_for("Control-C: end."));
    let expected = [
        ("HTTP/1.1 200 OK", "{\"response_type\":\"in_channel\"}"),
        ("HTTP/1.1 401 Unauthorized", ""),
        ("HTTP/1.1 403 Forbidden", "This address is not open."),
        ("id\treason\tstatus\tmethod\tpath\ttime", ""),
    ];
    assert_eq!(commands.len(), expected.len(), "{commands:?}");
    for (command, (head, body)) in commands.iter().zip(expected) {
        let said = paste(command);
        assert!(said.starts_with(head) && said.contains(body), "{command}: {said}");
    }
    dev.wait_for("upstream ← POST /slack/command");
    dev.wait_for("\"command\": \"/hello\"");
    kill_process(dev.pid(), Signal::TERM).unwrap();
    assert!(dev.child.wait().unwrap().success());
    dev.nobody_listens();
}

#[test]
fn of_a_configuration_of_ones_own_it_shows_no_route() {
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("lockgate.yaml");
    std::fs::write(
        &config,
        "version: 1\nlisten: 127.0.0.1:${PORT}\nadmin: 127.0.0.1:${ADMIN_PORT}\nupstream: {url: \"${UPSTREAM_URL}\"}\n\
         routes: [{name: open, match: {path: /open}, guard: public}]\n",
    )
    .unwrap();
    let ports = free_ports();
    let mut command = command(state.path(), ports);
    command.arg("--config").arg(config);
    let dev = Dev::spawn(command, ports);
    let lines = dev.wait_for("Control-C: end.");
    assert!(lines.iter().all(|line| !line.contains("/slack/")), "{lines:?}");
    let commands = commands(&lines);
    let [dead_letters] = &commands[..] else { panic!("{commands:?}") };
    assert!(paste(dead_letters).starts_with("id\treason"));
    let said = paste(&format!("curl -s http://127.0.0.1:{}/open", ports[0]));
    assert_eq!(said, "The demonstration upstream has it.\n");
}

/// A browser's request for a page, with the cookies it has: status, and where it is sent.
fn navigate(url: &str, jar: &Path, more: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-b"])
        .arg(jar)
        .arg("-c")
        .arg(jar)
        .args(["-H", "accept: text/html", "-H", "sec-fetch-mode: navigate", "-H", "sec-fetch-dest: document"])
        .args(more)
        .arg(url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (status, location) = said.split_once(' ').unwrap();
    (status.to_owned(), location.to_owned())
}

#[test]
fn people_sign_in_with_the_provider_it_starts_and_programs_with_its_tokens() {
    let state = tempfile::tempdir().unwrap();
    let mut dev = Dev::with_sign_in(state.path(), free_ports());
    let lines = dev.wait_for("Control-C: end.");
    let page = format!("http://127.0.0.1:{}/hello?a=1&b=2", dev.ports[0]);
    assert!(lines.iter().any(|line| line.starts_with("To sign in, open ")), "{lines:?}");

    for (user, status) in [("alice@example.com", "200"), ("mallory@elsewhere.test", "403")] {
        let jar = state.path().join(user);
        let (sent, provider) = navigate(&page, &jar, &[]);
        assert!(sent == "302" && provider.contains(&format!(":{}/", dev.ports[4])), "{sent} {provider}");
        let (_, callback) = navigate(&provider, &jar, &["-d", &format!("sub={user}")]);
        let (sent, back) = navigate(&callback, &jar, &[]);
        assert_eq!((&*sent, &*back), ("302", &*page), "{user}");
        assert_eq!(navigate(&page, &jar, &[]).0, status, "{user}");
    }
    dev.wait_for("x-lockgate-email: alice@example.com");

    let commands = commands(&lines);
    let expected = [
        ("HTTP/1.1 200 OK", "{\"response_type\":\"in_channel\"}"),
        ("HTTP/1.1 401 Unauthorized", ""),
        ("HTTP/1.1 202 Accepted", "{\"id\":\""),
        ("HTTP/1.1 401 Unauthorized", "www-authenticate: Bearer"),
        ("id\treason\tstatus\tmethod\tpath\ttime", ""),
    ];
    assert_eq!(commands.len(), expected.len(), "{commands:?}");
    for (command, (head, body)) in commands.iter().zip(expected) {
        let said = paste(command);
        assert!(said.starts_with(head) && said.contains(body), "{command}: {said}");
        // Each line that asks with the token is answered so.
        let asked = command.matches("curl -i").count();
        assert!(asked == 0 || said.matches(head).count() == asked, "{command}: {said}");
    }
    dev.wait_for("upstream ← POST /zapier/hello");
    dev.wait_for("upstream ← POST /some/path");
    kill_process(dev.pid(), Signal::TERM).unwrap();
    assert!(dev.child.wait().unwrap().success());
    dev.nobody_listens();

    // What was signed in stays so: the cookie's secret was kept.
    let dev = Dev::with_sign_in(state.path(), dev.ports);
    assert_eq!(navigate(&page, &state.path().join("alice@example.com"), &[]).0, "200");
    drop(dev);
}

#[test]
fn a_provider_that_does_not_start_is_named_with_its_own_words() {
    let state = tempfile::tempdir().unwrap();
    let provider = state.path().join("provider");
    std::fs::write(&provider, "#!/bin/sh\necho no such module >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&provider, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = command(state.path(), free_ports()).env("OIDC_PROVIDER", provider).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("no such module") && said.contains("sign-in provider ended: exit status: 3"),
        "{said}"
    );
}

#[test]
fn after_a_kill_of_its_group_a_new_start_on_the_same_state_and_ports_works_at_once() {
    let state = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let dev = Dev::start(state.path(), ports, state.path(), "true");
    let secret = std::fs::read(state.path().join("slack-signing-secret")).unwrap();
    drop(dev);
    let mut dev = Dev::start(state.path(), ports, state.path(), "true");
    assert_eq!(std::fs::read(state.path().join("slack-signing-secret")).unwrap(), secret);
    kill_process(dev.pid(), Signal::INT).unwrap();
    assert!(dev.child.wait().unwrap().success());
    dev.nobody_listens();
}

#[test]
fn a_change_or_a_key_rebuilds_and_restarts_and_a_failed_rebuild_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let watched = tempfile::tempdir().unwrap();
    let source = watched.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let rebuild = format!("test ! -e {}/broken", source.display());
    let mut dev = Dev::start(state.path(), free_ports(), &source, &rebuild);
    std::fs::write(source.join("a"), "1").unwrap();
    dev.wait_for("a changed");
    dev.wait_for(&dev.ready());
    dev.keyboard.write_all(b"r\n").unwrap();
    dev.wait_for("rebuild: asked for");
    dev.wait_for(&dev.ready());
    std::fs::write(source.join("broken"), "1").unwrap();
    dev.wait_for("rebuild: failed");
    assert!(TcpStream::connect(("127.0.0.1", dev.ports[0])).is_ok());
}

#[test]
fn a_port_that_is_taken_is_named_with_the_variable_that_changes_it() {
    let state = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ports = free_ports();
    ports[2] = taken.local_addr().unwrap().port();
    let output = command(state.path(), ports).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("set LOCAL_PORT to another port"), "{said}");
}

//! `lockgate run` with real Envoy: ready, the routes that need no filter, the end.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Signal, kill_process, test_kill_process};
use support::gateway::{Run, exchange, free_address, pid};
use support::root;

const CONFIG: &str = "
version: 1
listen: 127.0.0.1:${PORT}
admin: 127.0.0.1:${ADMIN_PORT}
upstream: {url: '${UPSTREAM_URL}', timeout: 20s}
routes:
  - {name: open, match: {path_prefix: /open}, guard: public}
";

/// Envoy's admin interface says whether it drains.
const READY: &str = "GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn start(upstream: SocketAddr) -> Run {
    start_with(CONFIG, upstream)
}

fn start_with(config: &str, upstream: SocketAddr) -> Run {
    Run::start(config, upstream, &[])
}

/// Accepts one request, hands out its head, and answers when told to.
fn slow_upstream() -> (SocketAddr, Receiver<String>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (head_sender, heads) = channel();
    let (answer, told) = channel::<()>();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let _ = head_sender.send(head);
            let _ = told.recv();
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
        }
    });
    (address, heads, answer)
}

#[test]
fn a_request_in_flight_survives_sigterm() {
    let (upstream, heads, answer) = slow_upstream();
    let mut run = start(upstream);
    let address = run.address;
    let request = "GET /open/slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let client = std::thread::spawn(move || exchange(address, request));
    heads.recv_timeout(Duration::from_secs(10)).unwrap();
    run.signal(Signal::TERM);
    while !exchange(run.admin, READY).contains("DRAINING") {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(run.child.try_wait().unwrap().is_none(), "it must wait for the request");
    answer.send(()).unwrap();
    assert!(client.join().unwrap().ends_with("done"));
    assert!(run.child.wait().unwrap().success());
}

#[test]
fn envoys_end_ends_it_with_envoys_status() {
    let mut run = start(free_address());
    kill_process(run.envoy(), Signal::KILL).unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(137));
}

#[test]
fn envoys_crash_while_it_drains_is_no_success() {
    let (upstream, heads, answer) = slow_upstream();
    let mut run = start(upstream);
    let address = run.address;
    let client = std::thread::spawn(move || exchange(address, "GET /open/slow HTTP/1.1\r\nhost: x\r\n\r\n"));
    heads.recv_timeout(Duration::from_secs(10)).unwrap();
    run.signal(Signal::TERM);
    while !exchange(run.admin, READY).contains("DRAINING") {}
    kill_process(run.envoy(), Signal::KILL).unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(137));
    assert_eq!(client.join().unwrap(), "");
    drop(answer);
}

#[test]
fn envoy_does_not_outlive_it() {
    let mut run = start(free_address());
    let envoy = run.envoy();
    run.signal(Signal::KILL);
    run.child.wait().unwrap();
    while test_kill_process(envoy).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(TcpStream::connect(run.address).is_err());
}

/// As a container does it, with the configuration as shipped.
#[test]
fn nothing_is_needed_but_the_environment_and_one_directory_to_write_to() {
    let directory = tempfile::tempdir().unwrap();
    let (address, admin) = (free_address(), free_address());
    let modules = root().join("dist");
    let run = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("run")
        .env_clear()
        .envs([
            ("LISTEN_ADDRESS", "0.0.0.0"),
            ("UPSTREAM_URL", "http://127.0.0.1:9"),
            ("LOG_FORMAT", "google"),
        ])
        .envs([("PORT", address.port().to_string()), ("ADMIN_PORT", admin.port().to_string())])
        .envs([("ENVOY", support::envoy()), ("LOCKGATE_MODULES", modules.into())])
        .env("STATE_DIR", directory.path().join("state"))
        // Where nobody can write, whoever they are.
        .current_dir("/proc")
        .stdout(Stdio::piped())
        .spawn();
    let mut run = Killed(run.unwrap());
    let mut lines = BufReader::new(run.0.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    assert_eq!(ready, format!(r#"{{"severity":"INFO","message":"ready http://{address}"}}"#));
    // Only a listener on every address has this one.
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
    let health = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(exchange(elsewhere, health).starts_with("HTTP/1.1 204 "));
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 2], admin.port()))).is_err());
    kill_process(pid(run.0.id()), Signal::TERM).unwrap();
    assert!(run.0.wait().unwrap().success());
}

/// Does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_wrong_is_said_in_the_shape_of_the_log() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .args(["run"])
        .env_clear()
        .envs([("LOG_FORMAT", "google"), ("UPSTREAM_URL", "ftp://x"), ("PORT", "x")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for field in ["listen", "upstream.url"] {
        let start = format!(r#"{{"severity":"ERROR","message":"lockgate: {field}: "#);
        assert!(
            said.lines().any(|line| line.starts_with(&start) && line.ends_with("\"}")),
            "{field}: {said}"
        );
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let run = start(free_address());
    let second = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("run")
        .env("LOCKGATE_CONFIG", run.directory.path().join("lockgate.yaml"))
        .env("STATE_DIR", run.directory.path().join("second"))
        .env("PORT", run.address.port().to_string())
        .env("ADMIN_PORT", free_address().port().to_string())
        .env("UPSTREAM_URL", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("{} cannot be used", run.address)), "{said}");
}

#[test]
fn the_door_is_closed_but_for_what_is_declared_open() {
    let (upstream, heads, answer) = slow_upstream();
    let run = start(upstream);
    for (path, status) in [
        ("/health", 204),
        ("/_lockgate/health", 204),
        ("/_lockgate/healthx", 403),
        ("/_lockgate/open", 403),
        ("/", 403),
        ("/OPEN", 403),
        ("/openX", 403),
        ("/admin?x=/open", 403),
        ("/open/../admin", 403),
        ("/open/%2e%2e/admin", 403),
        ("//admin", 403),
        ("/open%2fx", 400),
        ("/open%5cx", 400),
    ] {
        let answer = run.get(path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(status != 403 || answer.contains("This address is not open. Request id: "), "{answer}");
    }
    // Envoy 1.40 resolves it, older ones do not; the upstream must not be the one to try.
    for path in
        ["/open/..;/admin", "/open/%2e%2e;/admin", "/open/..%3b/admin", "/open/..;x=1/admin", "/closed/.;/x"]
    {
        let answer = run.get(path);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 403 "),
            "{path}: {answer}"
        );
    }
    assert!(heads.try_recv().is_err(), "the upstream must have seen nothing");
    drop(answer);
}

#[test]
fn what_a_client_could_forge_never_reaches_the_upstream() {
    let (upstream, heads, answer) = slow_upstream();
    let run = start(upstream);
    answer.send(()).unwrap();
    let forged = [
        "X-Lockgate-Principal: a",
        "x-lockgate-user: b",
        "X_Lockgate_User: c",
        "X-Envoy-Max-Retries: 9",
        "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
        "X-Original-URL: /admin",
        "X-Rewrite-Url: /admin",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
    ]
    .join("\r\n");
    let request = format!(
        "GET /open/x?token=hush HTTP/1.1\r\nhost: evil:1\r\nx-request-id: mine\r\n{forged}\r\nconnection: close\r\n\r\n"
    );
    let answered = exchange(run.address, &request);
    assert!(answered.contains("\r\nx-request-id: mine\r\n"), "{answered}");
    let head = heads.recv_timeout(Duration::from_secs(10)).unwrap().to_lowercase();
    assert!(
        head.contains(&format!("host: {upstream}\r\n")) && head.contains("x-request-id: mine\r\n"),
        "{head}"
    );
    assert!(
        head.contains("x-forwarded-host: evil:1\r\n") && head.contains("x-forwarded-proto: http\r\n"),
        "{head}"
    );
    for trace in ["lockgate", "x-envoy-max", "x-envoy-upstream", "x-original-url", "x-rewrite-url", "6.6.6.6"]
    {
        assert!(!head.contains(trace), "{trace}: {head}");
    }
    let line = run.wait_for("\"request_id\":\"mine\"");
    assert!(line.contains("\"path\":\"/open/x\"") && !line.contains("hush"), "{line}");
}

#[test]
fn an_upstream_that_is_not_there_is_a_plain_sentence() {
    let run = start(free_address());
    let answer = run.get("/open");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("The service cannot answer right now. Request id: "), "{answer}");
    assert!(!answer.contains("upstream") && !answer.contains("reset"), "{answer}");
}

#[test]
fn an_upstream_that_is_too_slow_is_given_up_by_its_timeout() {
    let (upstream, heads, answer) = slow_upstream();
    let run = start_with(&CONFIG.replace("timeout: 20s", "timeout: 1s"), upstream);
    let answered = run.get("/open");
    assert!(answered.starts_with("HTTP/1.1 504 "), "{answered}");
    assert_eq!(heads.try_iter().count(), 1, "it must not be asked twice");
    drop(answer);
}

#[test]
fn what_is_written_is_for_its_owner_alone_and_the_admin_interface_for_this_machine() {
    use std::os::unix::fs::PermissionsExt;
    let run = start(free_address());
    let state = run.directory.path().join("state");
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.clone()), 0o700);
    assert_eq!(mode(state.join("envoy.json")), 0o600);
    assert!(run.admin.ip().is_loopback());
    let ready = exchange(run.admin, "GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(ready.contains("LIVE"), "{ready}");
}

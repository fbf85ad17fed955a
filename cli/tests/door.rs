//! The door as it is rendered, in real Envoy: who was let in reaches the upstream, and nobody else does,
//! whatever is missing.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use support::gateway::{Run, exchange, free_address};

const CONFIG: &str = "
version: 1
listen: 127.0.0.1:${PORT}
admin: 127.0.0.1:${ADMIN_PORT}
public_url: http://127.0.0.1:${PORT}
upstream: {url: '${UPSTREAM_URL}'}
services: {google_api_base: '${SERVICES}', metadata_base: '${SERVICES}'}
sign_in:
  tokens: {jwt: [{issuer: '${SERVICES}', jwks_uri: '${SERVICES}/oauth2/v3/certs', audiences: [tests]}]}
  headers: {remote-user: email}
  policies: [{effect: allow, anyone: true}]
routes:
  - {name: open, match: {path_prefix: /open}, guard: public}
  - name: api
    match: {path_prefix: /api, methods: [GET, POST]}
    guard: oidc
    cors: {origins: ['https://page.example.com'], credentials: true, max_age: 10m}
  - {name: form, match: {path_prefix: /form}, guard: oidc, adapter: plain}
  - {name: admin, match: {path_prefix: /admin}, guard: oidc, allow: [{groups: [admins]}]}
";

/// `lockgate local`, whose tokens are taken, the gateway, and an upstream.
struct Stack {
    services: Child,
    gateway: Run,
    token: String,
    heads: Receiver<String>,
}

impl Stack {
    fn start() -> Self {
        let module = support::root().join("dist/lockgate.wasm");
        assert!(module.is_file(), "dist/lockgate.wasm is missing: make wasm");
        let state = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut services = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .args(["local", "--listen", &address.to_string(), "--state-dir"])
            .arg(state.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(services.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}");
        let (upstream, heads) = upstream();
        let gateway = Run::start(CONFIG, upstream, &[("SERVICES", &format!("http://{address}"))]);
        let path =
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience=tests&format=full";
        let asked = exchange(
            address,
            &format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nmetadata-flavor: Google\r\nconnection: close\r\n\r\n"
            ),
        );
        let token = asked.split_once("\r\n\r\n").unwrap().1.to_owned();
        Self { services, gateway, token, heads }
    }

    /// The answer to a request with these lines behind the first.
    fn ask(&self, request: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        exchange(
            self.gateway.address,
            &format!("{request} HTTP/1.1\r\nhost: app\r\n{lines}connection: close\r\n\r\n"),
        )
        .to_lowercase()
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }

    /// What reached the upstream since it was last looked at.
    fn seen(&self) -> Vec<String> {
        self.heads.try_iter().collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.services.kill();
        let _ = self.services.wait();
    }
}

/// Says 200, or echoes over what was a WebSocket; hands out the heads it saw, in lower case.
fn upstream() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || serve(stream, |head| sender.send(head).is_ok()));
        }
    });
    (address, heads)
}

fn serve(stream: TcpStream, saw: impl Fn(String) -> bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let upgrade = head.contains("upgrade: websocket");
        if !saw(head) {
            return Ok(());
        }
        if !upgrade {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")?;
            continue;
        }
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )?;
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
}

#[test]
fn only_who_was_let_in_reaches_the_upstream() {
    let stack = Stack::start();
    let bearer = stack.bearer();
    for path in ["/", "/api/x", "/elsewhere?x=1"] {
        let answer = stack.ask(&format!("GET {path}"), &[]);
        assert!(answer.starts_with("http/1.1 401 "), "{path}: {answer}");
        let answer = stack.ask(&format!("GET {path}"), &[&bearer]);
        assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("done"), "{path}: {answer}");
        let seen = stack.seen();
        assert_eq!(seen.len(), 1, "{path}: {seen:?}");
        assert!(!seen[0].contains("authorization:"), "{path}: {seen:?}");
    }
    let answer = stack.ask("GET /admin", &[&bearer]);
    assert!(answer.starts_with("http/1.1 403 "), "{answer}");
    for path in ["/_lockgate/nothing", "/_lockgate/back-channel-logout"] {
        assert!(stack.ask(&format!("POST {path}"), &[&bearer]).starts_with("http/1.1 404 "), "{path}");
    }
    assert_eq!(stack.seen(), Vec::<String>::new());
}

#[test]
fn an_adapters_route_needs_both_marks() {
    let stack = Stack::start();
    let form = |lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let kind = "content-type: application/x-www-form-urlencoded";
        exchange(
            stack.gateway.address,
            &format!(
                "POST /form HTTP/1.1\r\nhost: app\r\n{lines}{kind}\r\ncontent-length: 3\r\nconnection: close\r\n\r\na=b"
            ),
        )
    };
    assert!(form(&[]).starts_with("HTTP/1.1 401 "));
    assert_eq!(stack.seen(), Vec::<String>::new());
    assert!(form(&[&stack.bearer()]).starts_with("HTTP/1.1 200 "));
    assert!(stack.seen()[0].contains("content-type: application/json"));
}

#[test]
fn a_web_socket_passes_the_door() {
    let stack = Stack::start();
    let upgrade = |bearer: &str| {
        let mut stream = TcpStream::connect(stack.gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!(
            "GET /socket HTTP/1.1\r\nhost: app\r\n{bearer}connection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
        (stream, reader, head)
    };
    assert!(upgrade("").2.starts_with("HTTP/1.1 401 "));
    let (mut stream, mut reader, head) = upgrade(&format!("{}\r\n", stack.bearer()));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"ping").unwrap();
    let mut echo = [0; 4];
    reader.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"ping");
}

#[test]
fn another_origins_page_asks_without_a_session_and_reads_a_refusal() {
    let stack = Stack::start();
    let (origin, other) = ("origin: https://page.example.com", "origin: https://evil.example.com");
    let post = "access-control-request-method: POST";
    let granted = "access-control-allow-origin: https://page.example.com\r\n";

    let answer = stack.ask("OPTIONS /api/x", &[origin, post]);
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains(granted), "{answer}");
    for line in [
        "access-control-allow-methods: get, post",
        "access-control-allow-headers: authorization, content-type",
        "access-control-allow-credentials: true",
        "access-control-max-age: 600",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    let answer = stack.ask("GET /api/x", &[origin]);
    assert!(answer.starts_with("http/1.1 401 ") && answer.contains(granted), "{answer}");
    let answer = stack.ask("GET /api/x", &[origin, &stack.bearer()]);
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains(granted), "{answer}");
    assert_eq!(stack.seen().len(), 1);

    // Another origin's preflight is granted nothing, and what is none has no business there.
    for (lines, status) in [
        (&[other, post][..], "200"),
        (&[origin, "access-control-request-method: DELETE"], "401"),
        (&[origin], "401"),
        (&[post], "401"),
        (&[], "401"),
    ] {
        let answer = stack.ask("OPTIONS /api/x", lines);
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{lines:?}: {answer}");
        assert!(!answer.contains("access-control-allow-origin"), "{lines:?}: {answer}");
    }
    let answer = stack.ask("OPTIONS /elsewhere", &[origin, post]);
    assert!(answer.starts_with("http/1.1 401 ") && !answer.contains("access-control-allow"), "{answer}");
    assert_eq!(stack.seen(), Vec::<String>::new());
}

#[test]
fn a_header_that_says_who_it_is_comes_from_the_door_alone() {
    let stack = Stack::start();
    for path in ["/open", "/"] {
        let forged = ["Remote-User: mallory", "remote_user: mallory", "X-Lockgate-Subject: mallory"];
        let answer = stack.ask(&format!("GET {path}"), &[&[&*stack.bearer()][..], &forged[..]].concat());
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        let seen = stack.seen();
        assert!(!seen[0].contains("mallory"), "{seen:?}");
        assert_eq!(seen[0].contains("remote-user: lockgate@"), path == "/", "{seen:?}");
    }
}

/// Of the chain, as it is rendered, one filter is taken out.
#[test]
fn a_chain_without_its_guard_lets_nobody_in() {
    let stack = Stack::start();
    let rendered = std::fs::read_to_string(stack.gateway.directory.path().join("state/envoy.json")).unwrap();
    let mut tree: Value = serde_norway::from_str(&rendered).unwrap();
    let (address, admin) = (free_address(), free_address());
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let filters = tree.pointer_mut(&format!("{manager}/http_filters")).unwrap().as_array_mut().unwrap();
    filters.retain(|filter| filter["name"] != "lockgate.guard");
    let routes = format!("{manager}/route_config/virtual_hosts/0/routes");
    for route in tree.pointer_mut(&routes).unwrap().as_array_mut().unwrap() {
        if let Some(per_filter) = route.get_mut("typed_per_filter_config") {
            per_filter.as_object_mut().unwrap().remove("lockgate.guard");
        }
    }
    tree["admin"]["address"]["socket_address"]["port_value"] = admin.port().into();
    *tree.pointer_mut("/static_resources/listeners/0/address/socket_address/port_value").unwrap() =
        address.port().into();
    let file = stack.gateway.directory.path().join("without.json");
    std::fs::write(&file, tree.to_string()).unwrap();
    let mut envoy = Command::new(support::envoy())
        .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "off", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while TcpStream::connect(address).is_err() {
        assert!(envoy.try_wait().unwrap().is_none(), "Envoy ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ask = |request: &str| {
        let (bearer, form) = (stack.bearer(), "content-type: application/x-www-form-urlencoded");
        let lines = format!("host: app\r\n{bearer}\r\n{form}\r\ncontent-length: 3\r\nconnection: close");
        exchange(address, &format!("{request} HTTP/1.1\r\n{lines}\r\n\r\na=b"))
    };
    let opened: Vec<String> =
        ["POST /", "POST /api/x", "POST /form", "PUT /admin", "POST /_lockgate/userinfo"]
            .into_iter()
            .map(|request| format!("{request}: {}", ask(request)))
            .filter(|said| !said.contains(": HTTP/1.1 503 "))
            .collect();
    let open = ask("POST /open");
    let _ = envoy.kill();
    let _ = envoy.wait();
    assert_eq!(opened, Vec::<String>::new());
    assert!(open.starts_with("HTTP/1.1 200 "), "{open}");
    assert_eq!(stack.seen().len(), 1);
}

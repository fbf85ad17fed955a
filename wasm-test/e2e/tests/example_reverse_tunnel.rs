//! The example `reverse-tunnel`, as it is shipped: what passes, who may be an agent, and what a client is
//! told while there is none.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_e2e::byte_stream::{ByteServer, ByteStream};
use lockgate_e2e::example::Example;
use lockgate_e2e::h2_call::H2Call;
use lockgate_e2e::h2_upstream::H2Upstream;
use lockgate_e2e::http1::Headers;
use lockgate_e2e::journal::{Journal, PATIENCE};
use lockgate_e2e::ports::free_port;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Answer, Client, Process, Request, Response, Upstream};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CLIENTS: u16 = 8080;
const DOOR: u16 = 8443;
const FRONT_ADMIN: u16 = 9901;
const BACKEND: u16 = 3000;
/// What the front promises for an agent that is gone.
const PROMISED: Duration = Duration::from_secs(30);

/// The running example, and the certificates that it made.
struct Tunnels {
    example: Example,
    certificates: TempDir,
    /// What the test's own agents have printed.
    agents: Arc<Journal<String>>,
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", [self.example.process.log().since(0), self.agents.since(0)].concat().join("\n"));
        }
    }
}

impl Tunnels {
    /// With a backend of the test's own, on [`BACKEND`]'s port.
    async fn start() -> Self {
        let certificates = TempDir::new().unwrap();
        let variables = [("BACKEND", "own"), ("CERTIFICATES", certificates.path().to_str().unwrap())];
        let ports = [CLIENTS, DOOR, 8444, 8445, FRONT_ADMIN, 9902, BACKEND];
        let example = Example::start_with("reverse-tunnel", &ports, &variables).await;
        Self { example, certificates, agents: Arc::default() }
    }

    fn address(&self, named: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.example.port(named)).into()
    }

    /// A client that waits longer than the front does.
    fn client(&self) -> Client {
        Client::new(self.address(CLIENTS)).with_deadline(PROMISED + PATIENCE)
    }

    fn backend(&self) -> Upstream {
        Upstream::start(self.example.port(BACKEND))
    }

    /// Another agent: the example's with these changes. It leads to the port `backend`.
    fn agent(&self, backend: u16, changes: &[(&str, &str)]) -> Process {
        let shipped = workspace().join("envoy/examples/reverse-tunnel/agent.yaml");
        let mut text = std::fs::read_to_string(shipped).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let door = self.example.port(DOOR).to_string();
        for (from, to) in [
            ("port_value: 8443", door),
            ("port_value: 8445", free_port().to_string()),
            ("port_value: 9902", free_port().to_string()),
            ("port_value: 3000", backend.to_string()),
        ] {
            text = text.replace(from, &format!("port_value: {to}"));
        }
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile_in(&self.certificates).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let (_, path) = file.keep().unwrap();
        let mut command = Command::new(std::env::var("ENVOY").unwrap());
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
        command.arg("--config-path").arg(path).current_dir(&self.certificates);
        Process::start("agent", &mut command, Arc::clone(&self.agents))
    }

    /// The agent `warehouse`.
    fn warehouse(&self, backend: u16, changes: &[(&str, &str)]) -> Process {
        self.agent(backend, &[&[("shop", "warehouse")], changes].concat())
    }

    /// Asks until the front's answer is as wanted, which it tells only who asks.
    async fn answers(&self, path: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        let begun = Instant::now();
        loop {
            let answer = self.client().send(&Request::get(path)).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PROMISED, "{path}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stat(&self, name: &str) -> u64 {
        let stats = Client::new(self.address(FRONT_ADMIN)).send(&Request::get("/stats")).await.text();
        let value = stats.lines().find_map(|line| line.split_once(name)?.1.strip_prefix(": "));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Returns when a counter or gauge has come so far.
    async fn wait_for_stat(&self, name: &str, wanted: u64) {
        let counted = async { while self.stat(name).await < wanted {} };
        let in_time = tokio::time::timeout(PATIENCE, counted).await;
        assert!(in_time.is_ok(), "{name} is {} and not {wanted}", self.stat(name).await);
    }

    /// A certificate of the example's own authority for another name.
    fn certify(&self, name: &str, names: &str) {
        let script = format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key |
             openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem \
                -extfile <(echo subjectAltName={names})"
        );
        let output =
            Command::new("bash").args(["-c", &script]).current_dir(&self.certificates).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn marked(answer: &Response) -> Option<String> {
    answer.headers.text("x-tunnel-error")
}

/// The fields, sorted, without those of the connection and without these.
fn fields(headers: &Headers, without: &[&str]) -> Vec<(String, Vec<u8>)> {
    let hop = ["connection", "keep-alive", "transfer-encoding"];
    let name = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    let mut fields: Vec<_> = headers.pairs().map(|(n, value)| (name(n), value.to_vec())).collect();
    fields.retain(|(name, _)| !hop.contains(&&**name) && !without.contains(&&**name));
    fields.sort();
    fields
}

/// What the front adds to a request, as any proxy does.
const ADDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"];

#[tokio::test]
async fn a_request_is_the_same_at_the_backend_and_its_answer_the_same_at_the_client() {
    let tunnels = Tunnels::start().await;
    let backend = tunnels.backend();
    backend.program(|request| {
        let status = request.headers.text("x-wanted")?.parse().ok()?;
        let mut response = Response::new(status);
        for (name, value) in [
            ("server", &b"backend/1.0"[..]),
            ("date", b"Mon, 01 Jan 2001 00:00:00 GMT"),
            ("set-cookie", b"a=1; Path=/"),
            ("set-cookie", b"b=2; HttpOnly"),
            ("x-odd", b"caf\xe9 \xff"),
            ("x-envoy-upstream-service-time", b"7"),
        ] {
            response.headers.push(name, value);
        }
        response.body = request.body.clone();
        Some(Answer::Respond(response, Duration::ZERO))
    });
    let long = format!("/long?{}", "x".repeat(8_000));
    let binary: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    let mut count = 0;
    for (method, target, status) in [
        ("GET", "/", 200),
        ("GET", "/a%2Fb//c/../d/%2e%2e/;p=1?x=1&y=%20&z=a+b&&=?/..", 206),
        ("HEAD", "/head", 200),
        ("OPTIONS", "/options", 204),
        ("POST", "/post?q=%F0%9F%8C%B2", 201),
        ("PUT", "/put", 409),
        ("PATCH", "/patch", 503),
        ("DELETE", "/delete", 429),
        ("PROPFIND", "/propfind", 207),
        ("GET", &long, 302),
    ] {
        let mut request = Request::new(method, target)
            .header("Host", "Shop.example.com:8080")
            .header("Authorization", "Bearer kept")
            .header("Cookie", "a=1; b=2")
            .header("X-Twice", "one")
            .header("x-twice", "two")
            .header("x_underscore", "kept")
            .header("x-odd", b"caf\xe9 \xff")
            .header("x-empty", "")
            .header("user-agent", "a test")
            .header("x-wanted", status.to_string());
        if ["POST", "PUT", "PATCH", "PROPFIND"].contains(&method) {
            request = request.header("content-length", binary.len().to_string()).body(&binary[..]);
        }
        let answer = tunnels.client().send(&request).await;
        let seen = backend.requests().since(count).remove(0);
        count += 1;
        assert_eq!((&*seen.method, &*seen.target), (method, target));
        let mut at_backend = fields(&seen.headers, &ADDED);
        if request.body.is_empty() {
            // No body and one of no bytes are told apart by no proxy.
            at_backend.retain(|field| *field != ("content-length".to_owned(), b"0".to_vec()));
        }
        assert_eq!(at_backend, fields(&request.headers, &[]), "{method} {target}");
        assert!(ADDED.iter().all(|name| seen.headers.all(name).len() == 1), "{:?}", seen.headers);
        assert!(seen.body == request.body && seen.complete, "{method} {target}");
        assert_eq!((answer.status, marked(&answer)), (status, None), "{method} {target}");
        assert_eq!(
            fields(&answer.headers, &["content-length"]),
            [
                ("date", &b"Mon, 01 Jan 2001 00:00:00 GMT"[..]),
                ("server", b"backend/1.0"),
                ("set-cookie", b"a=1; Path=/"),
                ("set-cookie", b"b=2; HttpOnly"),
                ("x-envoy-upstream-service-time", b"7"),
                ("x-odd", b"caf\xe9 \xff"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_vec())),
        );
        assert!(answer.body == request.body, "{method} {target}");
    }
    // What a client says of who it is and whence is its own word, and not passed on.
    let forged =
        Request::get("/forged").header("x-forwarded-proto", "https").header("x-envoy-internal", "true");
    assert_eq!(tunnels.client().send(&forged).await.status, 200);
    let seen = backend.requests().since(count).remove(0);
    assert_eq!(seen.headers.all("x-forwarded-proto"), [b"http"]);
    assert!(!seen.headers.contains("x-envoy-internal"), "{:?}", seen.headers);
    // What is between a client and the front stays there.
    let hop = Request::get("/hop")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive");
    assert_eq!(tunnels.client().send(&hop).await.status, 200);
    let seen = backend.requests().since(count + 1).remove(0);
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!seen.headers.contains(name), "{:?}", seen.headers);
    }
}

#[tokio::test]
async fn bodies_trailers_and_websockets_pass_piece_by_piece() {
    let tunnels = Tunnels::start().await;
    let backend = ByteServer::on(tunnels.example.port(BACKEND)).await;

    // Both ways at once, one piece at a time, each seen before the next is sent.
    let mut client = ByteStream::connect(tunnels.address(CLIENTS)).await;
    client.write(b"POST /pieces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut served = backend.accept().await;
    let head = served.read_until(b"\r\n\r\n").await.unwrap();
    assert!(head.starts_with(b"POST /pieces HTTP/1.1\r\n"), "{}", head.escape_ascii());
    served
        .write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let head = client.read_until(b"\r\n\r\n").await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", head.escape_ascii());
    for number in 0..5 {
        let piece = format!("7\r\npiece-{number}\r\n");
        client.write(piece.as_bytes()).await.unwrap();
        assert_eq!(served.read_exact(piece.len()).await.unwrap(), piece.as_bytes());
        served.write(piece.as_bytes()).await.unwrap();
        assert_eq!(client.read_exact(piece.len()).await.unwrap(), piece.as_bytes());
    }
    let end = b"0\r\nx-sum: 5 pieces\r\n\r\n";
    client.write(end).await.unwrap();
    assert_eq!(served.read_exact(end.len()).await.unwrap(), end);
    served.write(end).await.unwrap();
    assert_eq!(client.read_exact(end.len()).await.unwrap(), end);

    // A WebSocket, on another connection to the backend.
    let mut client = ByteStream::connect(tunnels.address(CLIENTS)).await;
    let upgrade = b"GET /socket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write(upgrade).await.unwrap();
    let mut served = backend.accept().await;
    let head = String::from_utf8(served.read_until(b"\r\n\r\n").await.unwrap()).unwrap();
    for line in ["GET /socket HTTP/1.1", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="]
    {
        assert!(head.lines().any(|each| each == line), "{line}: {head}");
    }
    served
        .write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
        .await
        .unwrap();
    let head = client.read_until(b"\r\n\r\n").await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
    for number in 0..5_u8 {
        client.write(&[0x81, 1, number]).await.unwrap();
        assert_eq!(served.read_exact(3).await.unwrap(), [0x81, 1, number]);
        served.write(&[0x81, 1, number]).await.unwrap();
        assert_eq!(client.read_exact(3).await.unwrap(), [0x81, 1, number]);
    }
}

#[tokio::test]
async fn a_backend_that_speaks_http2_has_its_streams() {
    let tunnels = Tunnels::start().await;
    let backend = H2Upstream::start().await;
    let http2 = ("{http_protocol_options: {enable_trailers: true}}", "{http2_protocol_options: {}}");
    let _agent = tunnels.warehouse(backend.address().port(), &[http2]);
    tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    let request = Request::post("/warehouse/Chat", "application/grpc", "").header("te", "trailers");
    let mut call = H2Call::open(tunnels.address(CLIENTS), &request).await;
    assert_eq!(call.response().await.status, 200);
    for piece in [&b"first"[..], b"second", b"third"] {
        call.write(piece);
        assert_eq!(call.read().await.as_deref(), Some(piece));
    }
    call.finish("x-sum", "3");
    while let Some(rest) = call.read().await {
        assert!(rest.is_empty(), "{rest:?}");
    }
    let trailers = call.trailers().await;
    assert_eq!(trailers.text("grpc-status").as_deref(), Some("0"), "{trailers:?}");
    assert_eq!(trailers.text("x-sum").as_deref(), Some("3"), "{trailers:?}");
}

/// Passes bytes on, one way, and keeps them.
async fn tap(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    kept: Arc<Journal<Vec<u8>>>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        kept.push(bytes[..count].to_vec());
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A place on the way to the front where everything is seen.
async fn wire_tap(front: SocketAddr) -> (u16, Arc<Journal<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Journal::default());
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((agent, _)) = listener.accept().await {
            let (from_agent, to_agent) = agent.into_split();
            let (from_front, to_front) = TcpStream::connect(front).await.unwrap().into_split();
            tokio::spawn(tap(from_agent, to_front, Arc::clone(&kept)));
            tokio::spawn(tap(from_front, to_agent, Arc::clone(&kept)));
        }
    });
    (port, seen)
}

#[tokio::test]
async fn a_second_agent_serves_its_own_path_and_nothing_on_the_way_can_be_read() {
    let tunnels = Tunnels::start().await;
    let (shop, warehouse) = (tunnels.backend(), Upstream::on_free_port());
    let (tapped, seen) = wire_tap(tunnels.address(DOOR)).await;
    let to_tap = format!("port_value: {tapped}");
    let _agent = tunnels.warehouse(warehouse.address().port(), &[("port_value: 8443", &to_tap)]);
    tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    let said = Request::post("/warehouse/said", "text/plain", "said in confidence");
    assert_eq!(tunnels.client().send(&said).await.text(), "upstream");
    for path in ["/warehouses", "/", "/x/warehouse"] {
        assert_eq!(tunnels.client().send(&Request::get(path)).await.status, 200, "{path}");
        assert_eq!(shop.requests().matching(|request| request.target == path).len(), 1, "{path}");
    }
    assert!(warehouse.requests().since(0).iter().all(|request| request.target.starts_with("/warehouse")));
    // All of TLS's records, and neither the tunnel's handshake nor what it carries.
    let seen = seen.since(0).concat();
    assert!(seen.len() > 1_000, "{}", seen.len());
    for secret in ["said in confidence", "upstream", "PRI * HTTP/2.0", "RPING", "reverse_connections"] {
        assert!(!seen.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn nobody_becomes_an_agent_without_the_certificate_of_one() {
    let tunnels = Tunnels::start().await;
    let warehouse = Upstream::on_free_port();
    let port = warehouse.address().port();
    let own =
        "tls_certificates: [{certificate_chain: {filename: shop.pem}, private_key: {filename: shop.key}}]";
    assert_eq!(tunnels.stat("ssl.fail_verify_no_cert").await, 0);
    let without = tunnels.agent(port, &[(own, "alpn_protocols: []")]);
    tunnels.wait_for_stat("ssl.fail_verify_no_cert", 1).await;
    drop(without);

    let other = workspace().join("wasm-test/e2e/fixtures/tls/localhost");
    let other = |kind: &str| format!("filename: {}.{kind}", other.display());
    let foreign =
        tunnels.agent(port, &[("filename: shop.pem", &other("pem")), ("filename: shop.key", &other("key"))]);
    tunnels.wait_for_stat("ssl.fail_verify_error", 1).await;
    drop(foreign);

    // Known to the authority, and nobody's agent.
    tunnels.certify("stranger", "URI:spiffe://example.com/agent/stranger");
    tunnels.certify("nameless", "DNS:nameless.example.com");
    tunnels.certify("both", "URI:spiffe://example.com/agent/stranger,URI:spiffe://example.com/agent/shop2");
    for name in ["stranger", "nameless", "both"] {
        let before = tunnels.stat("http.agents.rbac.denied").await;
        let agent = tunnels.agent(port, &[("filename: shop", &format!("filename: {name}"))]);
        tunnels.wait_for_stat("http.agents.rbac.denied", before + 1).await;
        drop(agent);
    }
    let refused = |line: &str| {
        line.contains("agent/stranger from 127.0.0.1") && line.contains(": 403 rbac_access_denied")
    };
    tunnels.example.process.wait_for_line("the refusal", 0, refused).await;
    assert!(warehouse.requests().is_empty());
}

/// Says by hand what an agent says, with the certificate of `warehouse` and another's name; returns once
/// the front has taken it for an agent.
async fn pretend(tunnels: &Tunnels, claims: &[(&str, &str)]) -> Process {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-no_ign_eof", "-cert", "warehouse.pem", "-key", "warehouse.key"]);
    command.arg("-connect").arg(tunnels.address(DOOR).to_string()).current_dir(&tunnels.certificates);
    let mut process = Process::start("pretender", &mut command, Arc::new(Journal::default()));
    let mut request = Request::get("/reverse_connections/request")
        .header("host", "front")
        .header("connection", "upgrade")
        .header("upgrade", "reverse-tunnel");
    for (name, value) in claims {
        request = request.header(format!("x-envoy-reverse-tunnel-{name}"), value);
    }
    let mut stdin = process.take_stdin().unwrap();
    stdin.write_all(&request.to_bytes()).unwrap();
    process.wait_for_line("the tunnel", 0, |line| line.starts_with("HTTP/1.1 101")).await;
    // It stays open as long as its input does.
    std::mem::forget(stdin);
    process
}

#[tokio::test]
async fn an_agent_gets_no_other_agents_requests_whatever_it_calls_itself() {
    let tunnels = Tunnels::start().await;
    let backend = tunnels.backend();
    let shop = "spiffe://example.com/agent/shop";
    for claims in [
        [("node-id", shop), ("cluster-id", "agents"), ("tenant-id", "none")],
        [("node-id", "warehouse"), ("cluster-id", shop), ("tenant-id", "none")],
        [("node-id", "warehouse"), ("cluster-id", "agents"), ("tenant-id", shop)],
    ] {
        let pretender = pretend(&tunnels, &claims).await;
        for number in 0..20 {
            let path = format!("/of-the-shop/{number}");
            let answer = tunnels.client().send(&Request::get(&path)).await;
            assert_eq!((answer.status, marked(&answer)), (200, None), "{claims:?}: {path}");
        }
        let heard = |text: &str| !pretender.log().matching(|line| line.contains(text)).is_empty();
        assert!(!heard("HTTP/2.0"), "{claims:?}");
        // It is an agent all the same: its own.
        let client = tunnels.client();
        let asked = tokio::spawn(async move { client.try_send(&Request::get("/warehouse/asked")).await });
        pretender.wait_for_line("its own request", 0, |line| line.contains("HTTP/2.0")).await;
        drop(pretender);
        assert_eq!(marked(&asked.await.unwrap().unwrap()).as_deref(), Some("broken"), "{claims:?}");
        tunnels.answers("/warehouse", |answer| marked(answer).as_deref() == Some("no-agent")).await;
    }
    assert_eq!(backend.requests().len(), 60);
}

/// Stops a program, and returns when it has: each of its threads does so when it is its turn.
async fn stop(process: Pid) {
    kill_process(process, Signal::STOP).unwrap();
    let runs = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        !stat.rsplit(')').next().unwrap().starts_with(" T")
    };
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    while std::fs::read_dir(&tasks).unwrap().any(runs) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_vanished_agent_is_an_honest_answer_in_time_and_one_that_is_back_is_served() {
    let tunnels = Tunnels::start().await;
    let backend = tunnels.backend();
    assert_eq!(tunnels.client().send(&Request::get("/before")).await.status, 200);

    // Its machine says nothing any more, and closes nothing.
    let said = |line: &str| line.contains("kill -STOP ");
    let hint = tunnels.example.process.wait_for_line("the agent's number", 0, said).await;
    let hint = hint.split("kill -STOP ").nth(1).unwrap();
    let agent = Pid::from_raw(hint.split(',').next().unwrap().parse().unwrap()).unwrap();
    stop(agent).await;
    let begun = Instant::now();
    let answer = tunnels.client().send(&Request::get("/gone-1")).await;
    assert_eq!((answer.status, marked(&answer).as_deref()), (503, Some("broken")), "{answer:?}");
    assert!(answer.headers.contains("x-request-id") && begun.elapsed() < PROMISED);
    let answer = tunnels.answers("/gone-2", |answer| marked(answer).as_deref() == Some("no-agent")).await;
    assert_eq!((answer.status, &*answer.text()), (503, "No agent is connected for this.\n"));
    kill_process(agent, Signal::CONT).unwrap();
    tunnels.answers("/back-1", |answer| answer.status == 200).await;

    // It ends, and another is started in its place.
    let warehouse = Upstream::on_free_port();
    let start = || tunnels.warehouse(warehouse.address().port(), &[]);
    let mut agent = start();
    tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    for _ in 0..2 {
        agent.kill();
        let answer = tunnels.answers("/warehouse", |answer| answer.status != 200).await;
        assert!(marked(&answer).is_some() && answer.status == 503, "{answer:?}");
        agent = start();
        tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    }

    // The backend alone is gone, and comes back.
    backend.leave().await;
    let answer = tunnels.client().send(&Request::get("/no-backend")).await;
    assert_eq!((answer.status, marked(&answer).as_deref()), (503, Some("no-backend")), "{answer:?}");
    assert_eq!(answer.text(), "The agent cannot reach the backend.\n");
    backend.come_back();
    let answer = tunnels.client().send(&Request::get("/back-2")).await;
    assert_eq!((answer.status, marked(&answer)), (200, None), "{answer:?}");
}

#[tokio::test]
async fn of_two_agents_of_one_name_the_other_serves_when_one_has_ended() {
    let tunnels = Tunnels::start().await;
    let backends = [Upstream::on_free_port(), Upstream::on_free_port()];
    let agents = backends.each_ref().map(|backend| tunnels.warehouse(backend.address().port(), &[]));
    // Two tunnels of each, and the example's own two.
    tunnels.wait_for_stat("http.agents.downstream_cx_upgrades_active", 6).await;
    tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    let served = |which: usize| backends[which].requests().len();
    let (serving, waiting) = if served(0) > 0 { (0, 1) } else { (1, 0) };
    let mut agents = agents.map(Some);
    drop(agents[serving].take());
    tunnels.answers("/warehouse", |answer| answer.status == 200).await;
    assert!(served(waiting) > 0);
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_a_504_with_a_request_id_and_one_that_has_begun_goes_on() {
    let tunnels = Tunnels::start().await;
    let backend = ByteServer::on(tunnels.example.port(BACKEND)).await;
    let mut begun = ByteStream::connect(tunnels.address(CLIENTS)).await;
    begun.write(b"GET /begun HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut serving = backend.accept().await;
    serving.read_until(b"\r\n\r\n").await.unwrap();
    serving.write(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nfirst").await.unwrap();
    begun.read_until(b"first").await.unwrap();

    let client = tunnels.client();
    let since = Instant::now();
    let asked = tokio::spawn(async move { client.send(&Request::get("/slow")).await });
    let mut slow = backend.accept().await;
    let head = String::from_utf8(slow.read_until(b"\r\n\r\n").await.unwrap()).unwrap();
    let answer = asked.await.unwrap();
    let waited = since.elapsed();
    assert!(
        waited > PROMISED - Duration::from_secs(1) && waited < PROMISED + Duration::from_secs(5),
        "{waited:?}"
    );
    assert_eq!((answer.status, marked(&answer).as_deref()), (504, Some("timeout")), "{answer:?}");
    assert_eq!(answer.text(), "There was no answer in time. The request may have been carried out.\n");
    // The name by which the backend knows it too.
    let id = answer.headers.text("x-request-id").unwrap();
    assert!(head.contains(&format!("x-request-id: {id}\r\n")), "{id}: {head}");

    serving.write(b" last.").await.unwrap();
    assert_eq!(begun.read_exact(6).await.unwrap(), b" last.");
}

/// Where an agent can be reached: nowhere but on its own machine.
#[tokio::test]
async fn an_agent_opens_no_port_to_others() {
    let tunnels = Tunnels::start().await;
    let admin = Client::new(tunnels.address(9902));
    let listeners = admin.send(&Request::get("/listeners")).await.text();
    let addresses: Vec<_> = listeners.lines().filter_map(|line| line.split_once("::")).collect();
    let names: Vec<_> = addresses.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["tunnels", "out"]);
    assert!(addresses.iter().all(|(_, address)| address.starts_with("127.0.0.1:")), "{listeners}");
}

//! Attacks on the door's virtual machine and on Envoy around it: no input may trap, a body passes as it
//! comes or not at all, what waits is bounded, and what is abandoned is given back.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lockgate_e2e::byte_stream::{ByteServer, ByteStream};
use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, navigation, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::h2_call::H2Call;
use lockgate_e2e::h2_upstream::H2Upstream;
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::http1::Headers;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::tls_front::{TlsFront, certificate};
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::visitor::until;
use lockgate_e2e::{Answer, Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

fn provider() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, guarded_stack(provider(), |_| {})).await
}

async fn staff(stack: &Stack) -> UserAgent {
    static AGENT: OnceCell<UserAgent> = OnceCell::const_new();
    AGENT.get_or_init(|| signed_in(stack)).await.clone()
}

/// The door lets in whom it should and nobody else, and has not trapped since a log position.
async fn assert_alive(stack: &Stack, provider: &HostileProvider, since: usize) {
    let client = stack.client();
    let token = provider.mint_access_token(AUDIENCE, "alive").compact();
    assert_eq!(client.send(&with_token(Request::get("/alive"), &token)).await.status, 200);
    assert_eq!(client.send(&Request::get("/alive")).await.status, 401);
    assert_eq!(client.send(&navigation("/alive")).await.status, 302);
    assert_eq!(client.send(&Request::get("/public/alive")).await.status, 200);
    assert_eq!(traps(stack, since), [""; 0]);
}

const ODD_BYTES: [&[u8]; 9] = [
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"a\x80b",
    b"\xf0\x9f\x92",
    b"Bearer \xfe",
    b"\xe2\x80\xae\xef\xbb\xbf",
    b"navigate\xff",
    b"lockgate=\xff\xfe; lockgate-login=\xff",
];

#[tokio::test]
async fn bytes_that_are_not_utf8_trap_nothing_in_any_header() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let since = stack.gateway_log().len();
    let names = [
        "authorization",
        "cookie",
        "accept",
        "origin",
        "referer",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-site",
        "sec-fetch-user",
        "sec-purpose",
        "purpose",
        "x-requested-with",
        "upgrade",
        "connection",
        "host",
        "x-request-id",
        "content-type",
        "content-length",
        "user-agent",
        "x-forwarded-for",
        "x-lockgate-subject",
        "x-user-email",
        "access-control-request-method",
        "traceparent",
        "te",
        "expect",
        "x-odd",
        "proxy-authorization",
    ];
    let targets = [
        "/odd-bytes",
        "/admin/odd-bytes",
        "/api/odd-bytes",
        "/wal/odd-bytes",
        "/zapier/odd-bytes",
        "/_lockgate/userinfo",
        "/_lockgate/sign-in",
        "/_lockgate/sign-out",
        "/_lockgate/callback?code=a&state=b",
    ];
    let mut wrong = Vec::new();
    for name in names {
        for value in ODD_BYTES {
            for target in targets {
                let request = Request::get(target).header(name, value);
                let answer = stack.client().try_send(&request).await;
                // To sign in is for everybody; what is read and is no text is refused.
                let sign_in = target == "/_lockgate/sign-in" || target == "/_lockgate/sign-out";
                match &answer {
                    Ok(answer) if (400..500).contains(&answer.status) || answer.status == 501 => {}
                    Ok(answer) if sign_in && matches!(answer.status, 200 | 302) => {}
                    _ => wrong.push(format!("{name} {} on {target}: {answer:?}", value.escape_ascii())),
                }
            }
            let known = with_cookies(&stack, &agent, Request::get("/odd-known")).header(name, value);
            let answer = stack.client().try_send(&known).await;
            if !answer.as_ref().is_ok_and(|answer| answer.status < 500 || answer.status == 501) {
                wrong.push(format!("{name} {} by staff: {answer:?}", value.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("odd-bytes");
    assert_alive(&stack, provider(), since).await;
}

#[tokio::test]
async fn random_bytes_in_place_of_what_the_door_reads_trap_nothing() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let since = stack.gateway_log().len();
    let cookie = with_cookies(&stack, &agent, Request::get("/")).headers.text("cookie").unwrap();
    let begun = stack.client().send(&navigation("/page")).await;
    let state =
        lockgate_e2e::url::Url::parse(&begun.headers.text("location").unwrap()).query("state").unwrap();
    let login = begun.headers.text("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let token = provider().mint_access_token(AUDIENCE, "x").compact();
    let mut generator = fastrand::Rng::with_seed(20_261_123);
    let mut passed = 0;
    for round in 0..600 {
        let mut bytes = match round % 4 {
            0 => cookie.clone().into_bytes(),
            1 => token.clone().into_bytes(),
            2 => state.clone().into_bytes(),
            _ => (0..generator.usize(1..400)).map(|_| generator.u8(0x21..=0xff)).collect(),
        };
        for _ in 0..generator.usize(0..4) {
            let at = generator.usize(..bytes.len());
            match generator.u8(..4) {
                0 => bytes[at] = generator.u8(0x21..=0xff),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, generator.u8(0x21..=0x7e)),
                _ => bytes.truncate(at.max(1)),
            }
            bytes.push(b'A');
        }
        let encoded = lockgate_e2e::url::encode(&String::from_utf8_lossy(&bytes));
        let request = match round % 4 {
            0 => Request::get("/fuzzed").header("cookie", &bytes),
            1 => Request::get("/fuzzed").header("authorization", [b"Bearer ", &bytes[..]].concat()),
            2 => {
                Request::get(&format!("/_lockgate/callback?code=x&state={encoded}")).header("cookie", &login)
            }
            _ => Request::get(&format!("/_lockgate/sign-in?return_to={encoded}&provider={encoded}"))
                .header("cookie", [b"lockgate=1.", &bytes[..]].concat()),
        };
        let answer = stack.client().send(&request).await;
        assert!(answer.status < 500, "{round}: {} {}", answer.status, answer.text());
        passed += usize::from(answer.status == 200);
    }
    // Some rounds change nothing; most do.
    assert!(passed < 150, "{passed} of 600 passed");
    assert_alive(&stack, provider(), since).await;
}

/// A door before a service that a test speaks for, in front of which people sign in for a second at
/// most: their first request finds the session in need of a refresh.
struct Piped {
    stack: Stack,
    provider: HostileProvider,
    upstream: ByteServer,
}

impl Piped {
    async fn start() -> Self {
        let provider = HostileProvider::start();
        let upstream = ByteServer::start().await;
        let stack = guarded_stack(&provider, |config| {
            // All of it is in the ID token, so that nothing else is asked.
            config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
        });
        let stack = stack.upstream(upstream.address()).start().await;
        Self { stack, provider, upstream }
    }

    /// The head of a request with a browser's cookies.
    fn head(&self, agent: &UserAgent, request: Request) -> Vec<u8> {
        let host = self.stack.client().address().to_string();
        with_cookies(&self.stack, agent, request.header("host", host)).to_bytes()
    }

    async fn connect(&self) -> ByteStream {
        ByteStream::connect(self.stack.client().address()).await
    }

    /// Somebody whose session needs a refresh with their next request, and has expired a second later.
    async fn in_need_of_a_refresh(&self) -> UserAgent {
        self.provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
        let agent = signed_in(&self.stack).await;
        self.provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
        agent
    }
}

async fn head_of(stream: &mut ByteStream) -> String {
    String::from_utf8_lossy(&stream.read_until(b"\r\n\r\n").await.unwrap()).into_owned()
}

const MEGABYTE: usize = 1 << 20;

/// A megabyte that is unlike its neighbours.
fn piece(number: usize) -> Vec<u8> {
    (0..MEGABYTE).map(|at| (at.wrapping_mul(31) ^ number.wrapping_mul(131)) as u8).collect()
}

/// The connection of the upstream on which a request with this marker comes.
async fn accept(piped: &Piped, marker: &str) -> (ByteStream, String) {
    let mut stream = piped.upstream.accept().await;
    let head = head_of(&mut stream).await;
    assert!(head.contains(marker), "{head}");
    (stream, head)
}

#[tokio::test]
async fn twenty_megabytes_pass_as_they_come() {
    const PIECES: usize = 20;
    let piped = Piped::start().await;
    let agent = signed_in(&piped.stack).await;
    for chunked in [false, true] {
        let target = format!("/upload-{chunked}");
        let framing = if chunked {
            Request::new("POST", &target).header("transfer-encoding", "chunked")
        } else {
            Request::new("POST", &target).header("content-length", (PIECES * MEGABYTE).to_string())
        };
        let mut client = piped.connect().await;
        client.write(&piped.head(&agent, framing)).await.unwrap();
        let (mut upstream, head) = accept(&piped, &target).await;
        assert!(!head.contains("lockgate=") && head.contains("x-lockgate-subject: person-1"), "{head}");
        for number in 0..PIECES {
            let bytes = piece(number);
            // Each piece has arrived whole before the next is sent.
            let sent = if chunked {
                [format!("{MEGABYTE:x}\r\n").as_bytes(), &bytes, b"\r\n"].concat()
            } else {
                bytes.clone()
            };
            let (written, read) =
                tokio::join!(client.write(&sent), read_body(&mut upstream, chunked, MEGABYTE));
            written.unwrap();
            assert!(read == bytes, "piece {number} of {target} is another");
        }
        if chunked {
            client.write(b"0\r\n\r\n").await.unwrap();
            upstream.read_until(b"0\r\n\r\n").await.unwrap();
        }
        upstream
            .write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndone")
            .await
            .unwrap();
        assert!(head_of(&mut client).await.starts_with("HTTP/1.1 200"), "{target}");
        assert_eq!(client.read_exact(4).await.unwrap(), b"done");
    }
}

/// So many bytes of a body, without the chunks it came in.
async fn read_body(stream: &mut ByteStream, chunked: bool, count: usize) -> Vec<u8> {
    if !chunked {
        return stream.read_exact(count).await.unwrap();
    }
    let mut body = Vec::new();
    while body.len() < count {
        let line = stream.read_until(b"\r\n").await.unwrap();
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
        body.extend(stream.read_exact(size).await.unwrap());
        stream.read_exact(2).await.unwrap();
    }
    body
}

#[tokio::test]
async fn an_upload_that_waits_for_a_refresh_is_held_back_and_arrives_whole() {
    const PIECES: usize = 20;
    let piped = Piped::start().await;
    let agent = piped.in_need_of_a_refresh().await;
    let hold = piped.provider.hold(Endpoint::Token);
    let before = piped.provider.count(Endpoint::Token);
    let request =
        Request::new("POST", "/held-upload").header("content-length", (PIECES * MEGABYTE).to_string());
    let mut client = piped.connect().await;
    client.write(&piped.head(&agent, request)).await.unwrap();
    piped.provider.wait_for_calls(Endpoint::Token, before + 1).await;
    // The client sends as fast as it is let; the door must not take all of it into memory.
    let (taken, watched) = tokio::sync::watch::channel(0);
    let sending = tokio::spawn(async move {
        for number in 0..PIECES {
            client.write(&piece(number)).await.unwrap();
            taken.send_replace(number + 1);
        }
        client
    });
    let stopped = piped.stack.admin();
    stopped
        .wait_for_stat("http.lockgate.downstream_flow_control_paused_reading_total", |paused| paused > 0)
        .await;
    assert!(*watched.borrow() < PIECES, "all of it was taken before anybody was let in");
    hold.release();
    piped.provider.heal();
    let (mut upstream, head) = accept(&piped, "/held-upload").await;
    assert!(head.contains("x-lockgate-subject: person-1"), "{head}");
    for number in 0..PIECES {
        assert!(upstream.read_exact(MEGABYTE).await.unwrap() == piece(number), "piece {number} is another");
    }
    upstream.write(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    let mut client = sending.await.unwrap();
    let answer = head_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("set-cookie: lockgate="), "{answer}");
    assert_eq!(traps(&piped.stack, 0), [""; 0]);
}

#[tokio::test]
async fn an_upload_that_waits_and_is_then_refused_never_reaches_the_upstream() {
    let piped = Piped::start().await;
    let agent = piped.in_need_of_a_refresh().await;
    // The session has expired by the time the provider says that it is over.
    let hold = piped.provider.hold(Endpoint::Token);
    let before = piped.provider.count(Endpoint::Token);
    let request = Request::new("POST", "/over").header("content-length", (8 * MEGABYTE).to_string());
    let mut client = piped.connect().await;
    client.write(&piped.head(&agent, request)).await.unwrap();
    client.write(&vec![b'x'; 300_000]).await.unwrap();
    piped.provider.wait_for_calls(Endpoint::Token, before + 1).await;
    piped.provider.revoke_everything();
    let expired = Instant::now() + Duration::from_millis(2_100);
    until("the session's end", async || (Instant::now() > expired).then_some(())).await;
    hold.release();
    let answer = head_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(piped.stack.admin().stat("cluster.upstream.upstream_cx_total").await, 0);
    assert_eq!(piped.stack.admin().stat("cluster.upstream.upstream_rq_total").await, 0);
}

#[tokio::test]
async fn of_a_refused_request_the_upstream_sees_no_byte() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let client = stack.client();
    let agent = {
        // Signing in does not touch the upstream.
        let agent = signed_in(&stack).await;
        assert_eq!(stack.upstream().requests().len(), 0);
        agent
    };
    let body = vec![b'x'; 3 * MEGABYTE];
    let post = |target: &str| Request::post(target, "text/plain", body.clone());
    for (status, request) in [
        (401, post("/refused")),
        (401, with_token(post("/refused"), "bad")),
        (401, with_token(post("/refused"), "a.b.c")),
        (401, with_token(with_cookies(&stack, &agent, post("/refused")), "bad")),
        (403, with_cookies(&stack, &agent, post("/admin/refused"))),
        (403, with_cookies(&stack, &agent, post("/reports/refused"))),
        (401, post("/api/refused")),
        (401, post("/wal/refused")),
        (401, post("/zapier/refused")),
        (405, post("/_lockgate/userinfo")),
        (403, with_cookies(&stack, &agent, post("/_lockgate/sign-out"))),
        (400, post("/refused").header("cookie", "lockgate=1.a; lockgate=1.b")),
    ] {
        let answer = client.send(&request).await;
        assert_eq!(answer.status, status, "{}: {}", request.target, answer.text());
        let answer = client.send_chunked(&request, 65_536).await;
        assert_eq!(answer.status, status, "{} in chunks: {}", request.target, answer.text());
    }
    // Nor is there a connection to it on which a byte could go.
    for name in ["upstream_cx_total", "upstream_rq_total", "upstream_cx_tx_bytes_total"] {
        assert_eq!(stack.admin().stat(&format!("cluster.upstream.{name}")).await, 0, "{name}");
    }
    stack.assert_no_trace("refused");
    assert_eq!(client.send(&with_cookies(&stack, &agent, Request::get("/let-in"))).await.status, 200);
    for name in ["upstream_cx_total", "upstream_rq_total", "upstream_cx_tx_bytes_total"] {
        assert_ne!(stack.admin().stat(&format!("cluster.upstream.{name}")).await, 0, "{name} counts");
    }
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn events_of_a_server_pass_one_by_one() {
    let piped = Piped::start().await;
    let fresh = signed_in(&piped.stack).await;
    let refreshed = piped.in_need_of_a_refresh().await;
    for (target, agent, written) in [("/events", &fresh, false), ("/refreshed-events", &refreshed, true)] {
        let mut client = piped.connect().await;
        client
            .write(&piped.head(agent, Request::get(target).header("accept", "text/event-stream")))
            .await
            .unwrap();
        let (mut upstream, _) = accept(&piped, target).await;
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        upstream.write(head).await.unwrap();
        let answer = head_of(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("set-cookie: lockgate="), written, "{answer}");
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            upstream.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
            // The next one is not written before this one has been read.
            let read = client.read_until(b"\n\n").await.unwrap();
            assert!(read.ends_with(event.as_bytes()), "{}", read.escape_ascii());
        }
    }
}

const UPGRADE: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";

fn websocket(target: &str) -> Request {
    Request::get(target)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// What is said on one side of an upgraded connection is heard on the other, both ways.
async fn assert_echo(client: &mut ByteStream, upstream: &mut ByteStream) {
    for number in 0..5_u8 {
        client.write(&[0x81, 1, number]).await.unwrap();
        assert_eq!(upstream.read_exact(3).await.unwrap(), [0x81, 1, number]);
        upstream.write(&[0x81, 1, number]).await.unwrap();
        assert_eq!(client.read_exact(3).await.unwrap(), [0x81, 1, number]);
    }
}

#[tokio::test]
async fn a_websocket_passes_for_whoever_is_let_in() {
    let piped = Piped::start().await;
    let agent = signed_in(&piped.stack).await;
    let token = piped.provider.mint_access_token(AUDIENCE, "program-1").compact();
    for (target, request) in [
        ("/socket", websocket("/socket")),
        ("/api/socket", websocket("/api/socket")),
        ("/public/socket", websocket("/public/socket")),
        ("/token-socket", with_token(websocket("/token-socket"), &token)),
    ] {
        let mut client = piped.connect().await;
        client.write(&piped.head(&agent, request)).await.unwrap();
        let (mut upstream, head) = accept(&piped, target).await;
        assert!(head.contains("upgrade: websocket"), "{head}");
        assert!(!head.contains("lockgate=") && !head.contains(&token), "{head}");
        assert_eq!(head.contains("x-lockgate-subject: "), !target.starts_with("/public"), "{head}");
        upstream.write(UPGRADE).await.unwrap();
        assert!(head_of(&mut client).await.starts_with("HTTP/1.1 101"), "{target}");
        assert_echo(&mut client, &mut upstream).await;
    }
}

#[tokio::test]
async fn a_websocket_that_waits_for_a_refresh_is_opened_behind_it() {
    let piped = Piped::start().await;
    let agent = piped.in_need_of_a_refresh().await;
    let hold = piped.provider.hold(Endpoint::Token);
    let before = piped.provider.count(Endpoint::Token);
    let mut client = piped.connect().await;
    client.write(&piped.head(&agent, websocket("/late-socket"))).await.unwrap();
    piped.provider.wait_for_calls(Endpoint::Token, before + 1).await;
    hold.release();
    let (mut upstream, _) = accept(&piped, "/late-socket").await;
    upstream.write(UPGRADE).await.unwrap();
    let answer = head_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert_echo(&mut client, &mut upstream).await;
}

#[tokio::test]
async fn nobody_else_gets_a_websocket() {
    let piped = Piped::start().await;
    let agent = signed_in(&piped.stack).await;
    let client = piped.stack.client();
    let known = |request: Request| with_cookies(&piped.stack, &agent, request);
    for (status, request) in [
        (401, websocket("/socket")),
        (401, with_token(websocket("/socket"), "bad")),
        (401, with_token(known(websocket("/socket")), "bad")),
        (401, websocket("/socket").header("accept", "text/html")),
        (401, websocket("/socket").header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")),
        (403, known(websocket("/admin/socket"))),
        (401, websocket("/api/socket")),
    ] {
        let answer = client.send(&request).await;
        assert_eq!(answer.status, status, "{request:?}: {}", answer.text());
        assert!(!answer.headers.contains("set-cookie"));
    }
    // Where filters answer there is nothing to upgrade to.
    for target in
        ["/wal/socket", "/zapier/socket", "/_lockgate/userinfo", "/_lockgate/sign-in", "/_lockgate/x"]
    {
        let answer = client.send(&known(websocket(target))).await;
        assert!((400..500).contains(&answer.status), "{target}: {}", answer.status);
    }
    assert_eq!(piped.stack.admin().stat("cluster.upstream.upstream_cx_total").await, 0);
    assert_eq!(traps(&piped.stack, 0), [""; 0]);
}

#[tokio::test]
async fn nothing_but_a_websocket_is_an_upgrade() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (number, upgrade) in ["h2c", "TLS/1.0", "connect-udp", "foo", "websocket2"].into_iter().enumerate() {
        let target = format!("/other-upgrade-{number}-");
        let mut request = with_cookies(&stack, &agent, websocket(&target));
        request.headers.remove("upgrade");
        let answer = stack.client().send(&request.header("upgrade", upgrade)).await;
        assert!((400..500).contains(&answer.status) || answer.status == 200, "{upgrade}: {}", answer.status);
        // What passes all the same passes as any other request.
        for reached in stack.upstream().requests().matching(|request| request.path() == target) {
            assert!(!reached.headers.contains("upgrade"), "{upgrade}: {:?}", reached.headers);
        }
    }
}

/// A door before a service with TLS that speaks HTTP/2.
async fn grpc() -> (Stack, HostileProvider, H2Upstream, TlsFront) {
    let provider = HostileProvider::start();
    let upstream = H2Upstream::start().await;
    let front = TlsFront::start(upstream.address(), upstream.address()).await;
    let stack = guarded_stack(&provider, |config| {
        config["ca_file"] = json!(certificate());
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
    });
    let stack = stack.variable("UPSTREAM_URL", &front.url()).start().await;
    (stack, provider, upstream, front)
}

fn grpc_request(target: &str) -> Request {
    Request::new("POST", target).header("content-type", "application/grpc").header("te", "trailers")
}

#[tokio::test]
async fn a_stream_both_ways_passes_over_http2_with_its_trailers() {
    let (stack, provider, upstream, _front) = grpc().await;
    let address = stack.client().address();
    let token = provider.mint_access_token(AUDIENCE, "program-1").compact();
    let agent = signed_in(&stack).await;
    for (target, request) in [
        ("/pkg.Chat/Token", with_token(grpc_request("/pkg.Chat/Token"), &token)),
        ("/pkg.Chat/Cookie", with_cookies(&stack, &agent, grpc_request("/pkg.Chat/Cookie"))),
        ("/public/pkg.Chat/Open", grpc_request("/public/pkg.Chat/Open")),
    ] {
        let mut call = H2Call::open(address, &request).await;
        call.write(b"first");
        let head = call.response().await;
        assert_eq!(head.status, 200, "{target}: {:?}", head.headers);
        assert_eq!(call.read().await.as_deref(), Some(&b"first"[..]));
        for piece in [&b"second"[..], b"third"] {
            call.write(piece);
            assert_eq!(call.read().await.as_deref(), Some(piece), "{target}");
        }
        call.finish("x-sum", "3");
        while let Some(rest) = call.read().await {
            assert!(rest.is_empty(), "{target}: {rest:?}");
        }
        let trailers: Headers = call.trailers().await;
        assert_eq!(trailers.text("grpc-status").as_deref(), Some("0"), "{target}: {trailers:?}");
        assert_eq!(trailers.text("x-sum").as_deref(), Some("3"), "{target}: {trailers:?}");
        let seen = upstream.requests().matching(|request| request.target == target);
        assert_eq!(seen.len(), 1);
        assert!(!seen[0].contains(&token) && !seen[0].contains("lockgate="), "{:?}", seen[0].headers);
        assert_eq!(seen[0].headers.text("te").as_deref(), Some("trailers"));
        assert_eq!(seen[0].headers.contains("x-lockgate-subject"), !target.starts_with("/public"));
    }
    for request in [grpc_request("/pkg.Chat/Nobody"), with_token(grpc_request("/pkg.Chat/Nobody"), "bad")] {
        // A refusal as gRPC has it: Envoy makes one of whatever it answers itself.
        let mut call = H2Call::open(address, &request).await;
        let answer = call.response().await;
        let status = answer.headers.text("grpc-status");
        assert_eq!((answer.status, status.as_deref()), (200, Some("16")), "{:?}", answer.headers);
    }
    assert_eq!(upstream.requests().matching(|request| request.target == "/pkg.Chat/Nobody").len(), 0);
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn a_stream_that_waits_for_a_refresh_keeps_what_was_sent_before() {
    let (stack, provider, upstream, _front) = grpc().await;
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let agent = signed_in(&stack).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    let hold = provider.hold(Endpoint::Token);
    let before = provider.count(Endpoint::Token);
    let request = with_cookies(&stack, &agent, grpc_request("/pkg.Chat/Late"));
    let mut call = H2Call::open(stack.client().address(), &request).await;
    for piece in [&b"one,"[..], b"two,", b"three"] {
        call.write(piece);
    }
    call.finish("x-sum", "3");
    provider.wait_for_calls(Endpoint::Token, before + 1).await;
    assert_eq!(upstream.requests().len(), 0);
    hold.release();
    assert_eq!(call.response().await.status, 200);
    let mut body = Vec::new();
    while let Some(piece) = call.read().await {
        body.extend(piece);
    }
    assert_eq!(body, b"one,two,three");
    assert_eq!(call.trailers().await.text("x-sum").as_deref(), Some("3"));
}

#[tokio::test]
async fn a_connection_is_nobodys_identity() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let address = stack.client().address().to_string();
    let known = with_cookies(&stack, &agent, Request::get("/kept-alive-1").header("host", &address));
    let nobody = Request::get("/kept-alive-2").header("host", &address);
    // One behind the other, each asked alone; and all at once, before the first is answered.
    let mut connection = stack.client().connect().await;
    for (request, status) in [(&known, 200), (&nobody, 401), (&known, 200), (&nobody, 401)] {
        connection.write(&request.to_bytes()).await;
        assert_eq!(connection.read("GET").await.unwrap().status, status);
    }
    for all in [[&known, &nobody, &known], [&nobody, &known, &nobody], [&nobody, &nobody, &known]] {
        let mut connection = stack.client().connect().await;
        connection.write(&all.map(Request::to_bytes).concat()).await;
        for (number, request) in all.into_iter().enumerate() {
            let expected = if request == &known { 200 } else { 401 };
            match connection.read("GET").await {
                Ok(answer) => assert_eq!(answer.status, expected, "{number}"),
                // Envoy may close behind a refusal.
                Err(_) => assert!(number > 0),
            }
        }
    }
    stack.assert_no_trace("/kept-alive-2");
}

#[tokio::test]
async fn every_filter_that_traps_is_loaded_again_and_stays_shut_until_then() {
    let stack = stack().await;
    fn wasm<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                if members.contains_key("vm_config") {
                    found.push(value);
                }
                members.values().for_each(|value| wasm(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| wasm(value, found)),
            _ => {}
        }
    }
    let dump = stack.admin().config_dump().await;
    let mut plugins = Vec::new();
    wasm(&dump, &mut plugins);
    assert!(plugins.iter().any(|plugin| plugin["root_id"] == "oidc"), "{plugins:#?}");
    for plugin in plugins {
        let policy = (&plugin["failure_policy"], &plugin["fail_open"]);
        assert_eq!(policy, (&json!("FAIL_RELOAD"), &Value::Null), "{}", plugin["root_id"]);
    }
}

const ACTIVE: &str = "http.lockgate.downstream_rq_active";

/// What Envoy holds of memory, in bytes, once it has given back what it can.
async fn allocated(stack: &Stack) -> u64 {
    stack.admin().stat("server.memory_allocated").await
}

#[tokio::test]
async fn thousands_who_wait_and_leave_leave_nothing_behind() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let agent = signed_in(&stack).await;
    let since = stack.gateway_log().len();
    assert_alive(&stack, &provider, since).await;
    let address = stack.client().address().to_string();
    // Opaque tokens wait for tokeninfo, and a browser without a session for nothing.
    let hold = provider.hold(Endpoint::Tokeninfo);
    let mut after = Vec::new();
    for round in 0..8 {
        let mut connections = Vec::new();
        for caller in 0..400 {
            let request = match caller % 2 {
                // Half of them ask for one token, the others each for one of their own.
                0 => with_token(Request::get("/left"), "one-for-all"),
                _ => with_token(Request::get("/left"), &format!("opaque-{round}-{caller}")),
            };
            let request = request.header("host", &address).header("x-pad", "p".repeat(4_000));
            let mut connection = stack.client().connect().await;
            connection.write(&request.to_bytes()).await;
            connections.push(connection);
        }
        stack.admin().wait_for_stat(ACTIVE, |active| active >= 1).await;
        drop(connections);
        stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
        after.push(allocated(&stack).await);
        // Whoever has a session or a signed token waits for none of it.
        let known = with_cookies(&stack, &agent, Request::get("/meanwhile"));
        assert_eq!(stack.client().send(&known).await.status, 200);
        let token = provider.mint_access_token(AUDIENCE, &format!("meanwhile-{round}")).compact();
        assert_eq!(stack.client().send(&with_token(Request::get("/meanwhile"), &token)).await.status, 200);
    }
    hold.release();
    provider.heal();
    stack.assert_no_trace("/left");
    let grown = after[7].saturating_sub(after[3]);
    assert!(grown < 4 << 20, "{grown} bytes more after each of the last rounds: {after:?}");
    let token = provider.access_token(&json!({"sub": "x", "email": "x@example.com", "email_verified": true}));
    let recovered = with_token(Request::get("/recovered"), &token);
    until("tokens are asked for again", async || {
        (stack.client().send(&recovered).await.status == 200).then_some(())
    })
    .await;
    assert_alive(&stack, &provider, since).await;
}

#[tokio::test]
async fn people_who_leave_while_their_session_is_refreshed_do_not_stop_it() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
    });
    let stack = stack.start().await;
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let agent = signed_in(&stack).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    let hold = provider.hold(Endpoint::Token);
    let before = provider.count(Endpoint::Token);
    let address = stack.client().address().to_string();
    let mut connections = Vec::new();
    for _ in 0..200 {
        let request = with_cookies(&stack, &agent, Request::get("/left").header("host", &address));
        let mut connection = stack.client().connect().await;
        connection.write(&request.to_bytes()).await;
        connections.push(connection);
    }
    provider.wait_for_calls(Endpoint::Token, before + 1).await;
    drop(connections);
    stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
    hold.release();
    stack.admin().wait_for_stat("wasmcustom.lockgate.oidc.refreshed", |refreshed| refreshed == 1).await;
    let answer = stack.client().send(&with_cookies(&stack, &agent, Request::get("/stayed"))).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.text("set-cookie").unwrap().starts_with("lockgate="), "the newer session");
    assert_eq!((provider.count(Endpoint::Token), provider.reuses()), (before + 1, 0));
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn six_hundred_who_wait_for_slow_metadata_are_answered_in_time_and_then_it_heals() {
    let provider = HostileProvider::start();
    let hold = provider.hold(Endpoint::Discovery);
    let stack = guarded_stack(&provider, |_| {}).start().await;
    provider.wait_for_calls(Endpoint::Discovery, 1).await;
    let client = stack.client();
    let begin = Instant::now();
    let callers = (0..600).map(|_| {
        tokio::spawn(async move {
            let answer = client.try_send(&navigation("/page")).await;
            (answer, begin.elapsed())
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut answers: Vec<(Response, Duration)> = Vec::new();
    let mut unanswered = Vec::new();
    for caller in callers {
        match caller.await.unwrap() {
            (Ok(answer), took) => answers.push((answer, took)),
            (Err(error), took) => unanswered.push(format!("{error} after {took:?}")),
        }
    }
    assert!(unanswered.is_empty(), "{} were not answered: {:#?}", unanswered.len(), unanswered.first());
    for (answer, took) in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains("retry-after") && !answer.headers.contains("set-cookie"));
        assert!(answer.text().contains("<h1>"), "a page for a browser: {}", answer.text());
        assert!(*took < Duration::from_secs(9), "{took:?}");
    }
    // Only so many wait at all; the others are told at once.
    let at_once = answers.iter().filter(|(_, took)| *took < Duration::from_secs(3)).count();
    assert!(at_once >= 60, "{at_once} of 600 were told at once");
    // Programs and what is open do not wait for it.
    assert_eq!(client.send(&Request::get("/public/meanwhile")).await.status, 200);
    assert_eq!(client.send(&Request::get("/page")).await.status, 401);
    assert!(provider.count(Endpoint::Discovery) < 20, "{} calls", provider.count(Endpoint::Discovery));
    hold.release();
    provider.heal();
    until("a sign-in begins", async || (client.send(&navigation("/page")).await.status == 302).then_some(()))
        .await;
    signed_in(&stack).await;
    stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn more_than_may_wait_for_a_tokens_issuer_are_sent_away_and_it_serves_on() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    assert_alive(&stack, &provider, 0).await;
    let hold = provider.hold(Endpoint::Tokeninfo);
    let client = stack.client();
    let begin = Instant::now();
    let callers = (0..700).map(|caller| {
        tokio::spawn(async move {
            let token = format!("crowd-{}", caller % 100);
            client.send(&with_token(Request::get("/crowd"), &token)).await
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        let answer = caller.await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains("retry-after"));
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // No more than 64 tokens are asked for at once.
    assert!(provider.count(Endpoint::Tokeninfo) <= 2 * 64, "{} calls", provider.count(Endpoint::Tokeninfo));
    stack.assert_no_trace("/crowd");
    hold.release();
    provider.heal();
    assert_alive(&stack, &provider, 0).await;
}

/// As many as may wait at once, in one worker, and a few more.
const CROWD: usize = 520;

/// What a crowd is told that waits for one answer of the provider, which comes when all are there.
async fn crowd(request: Request, stack: &Stack, release: impl Future<Output = ()>) -> Vec<u16> {
    let client = stack.client();
    let callers = (0..CROWD).map(|_| {
        let request = request.clone();
        tokio::spawn(async move { client.try_send(&request).await.map_or(0, |answer| answer.status) })
    });
    let callers: Vec<_> = callers.collect();
    // Those that may not wait have been answered; the others are there.
    stack.admin().wait_for_stat(ACTIVE, |active| (400..=512).contains(&active)).await;
    release.await;
    let mut told = Vec::new();
    for caller in callers {
        told.push(caller.await.unwrap());
    }
    told
}

#[tokio::test]
async fn a_crowd_that_waits_for_one_answer_is_told_it_without_a_trap() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    assert_alive(&stack, &provider, 0).await;
    let good = provider.access_token(&json!({"sub": "x"}));
    let body = "b".repeat(2_000);
    let mut wrong = Vec::new();
    for (name, status, request) in [
        ("let in", 200, with_token(Request::get("/crowd-in"), &good)),
        ("refused", 401, with_token(Request::get("/crowd-out"), "opaque")),
        ("refused pages", 401, with_token(navigation("/crowd-out"), "opaque-page")),
        (
            "refused with bodies",
            401,
            with_token(Request::post("/crowd-out", "text/plain", body.clone()), "opaque-b"),
        ),
        ("let in with bodies", 200, {
            let good = provider.access_token(&json!({"sub": "y"}));
            with_token(Request::post("/crowd-in", "text/plain", body), &good)
        }),
    ] {
        let since = stack.gateway_log().len();
        let hold = provider.hold(Endpoint::Tokeninfo);
        let told = crowd(request, &stack, async {
            hold.release();
            provider.heal();
        })
        .await;
        let others: Vec<u16> = told.iter().copied().filter(|told| *told != status && *told != 503).collect();
        wrong.extend(traps(&stack, since).into_iter().map(|trap| format!("{name}: {trap}")));
        if !others.is_empty() {
            wrong.push(format!("{name}: {} of {CROWD} were told {:?}", others.len(), others.first()));
        }
        let sent_away = told.iter().filter(|told| **told == 503).count();
        if sent_away > CROWD - 400 {
            wrong.push(format!("{name}: {sent_away} were sent away"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("/crowd-out");
    assert_alive(&stack, &provider, 0).await;
}

#[tokio::test]
async fn a_crowd_that_waits_for_one_refresh_goes_on_without_a_trap() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
    });
    let stack = stack.start().await;
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let agent = signed_in(&stack).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    // Expired, so that everybody waits for the one who asks.
    let expired = Instant::now() + Duration::from_millis(2_100);
    until("the session's end", async || (Instant::now() > expired).then_some(())).await;
    let hold = provider.hold(Endpoint::Token);
    let before = provider.count(Endpoint::Token);
    let request = with_cookies(&stack, &agent, Request::get("/crowd-refreshed"));
    let told = crowd(request, &stack, async {
        hold.release();
        provider.heal();
    })
    .await;
    let wrong: Vec<u16> = told.iter().copied().filter(|told| !matches!(told, 200 | 503)).collect();
    assert_eq!(traps(&stack, 0), [""; 0]);
    assert!(wrong.is_empty(), "{} of {CROWD} were told {:?}", wrong.len(), wrong.first());
    assert!(told.iter().filter(|told| **told == 200).count() >= 400);
    assert_eq!((provider.count(Endpoint::Token), provider.reuses()), (before + 1, 0));
}

#[tokio::test]
async fn a_flood_of_headers_and_cookies_is_answered() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let cookies = |count: usize, name: &str| {
        let pairs: Vec<String> =
            (0..count).map(|number| format!("{name}{number}=1.{}", "A".repeat(20))).collect();
        pairs.join("; ")
    };
    for (name, request) in [
        ("a thousand cookies", Request::get("/flood").header("cookie", cookies(1_000, "c"))),
        ("a thousand chunks", Request::get("/flood").header("cookie", cookies(1_000, "lockgate."))),
        (
            "a session of nine chunks",
            Request::get("/flood").header("cookie", format!("lockgate=9.A; {}", cookies(9, "lockgate."))),
        ),
        (
            "a session of 50 kB",
            Request::get("/flood").header("cookie", format!("lockgate=1.{}", "A".repeat(50_000))),
        ),
        ("separators", Request::get("/flood").header("cookie", ";=; ".repeat(10_000))),
        ("a return address of 50 kB", navigation(&format!("/{}", "p".repeat(50_000)))),
        ("a query of 50 kB", Request::get(&format!("/_lockgate/callback?{}", "a=b&".repeat(12_000)))),
        (
            "a state of 50 kB",
            Request::get(&format!("/_lockgate/callback?code=x&state={}", "A".repeat(50_000))),
        ),
        ("accepts", Request::get("/flood").header("accept", "text/html;q=0,".repeat(3_000))),
        ("200 headers", (0..200).fold(Request::get("/flood"), |r, n| r.header(format!("x-{n}"), "1"))),
    ] {
        let answer = stack.client().send(&request).await;
        assert!((300..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
    }
    for (name, request) in [
        ("2,000 headers", (0..2_000).fold(Request::get("/flood"), |r, n| r.header(format!("x-{n}"), "1"))),
        ("200 kB", Request::get("/flood").header("cookie", format!("lockgate=1.{}", "A".repeat(200_000)))),
        ("a path of 200 kB", navigation(&format!("/flood/{}", "p".repeat(200_000)))),
    ] {
        let answer = stack.client().try_send(&request).await;
        assert!(
            answer.as_ref().is_ok_and(|answer| (400..500).contains(&answer.status)),
            "{name}: {answer:?}"
        );
    }
    stack.assert_no_trace("/flood");
    assert_alive(&stack, provider(), since).await;
}

#[tokio::test]
async fn an_upstream_that_fails_does_not_open_or_harm_the_door() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let agent = signed_in(&stack).await;
    let other = public_url(&stack).replace("http://", "");
    stack.upstream().program(move |request| match request.path() {
        "/reset" => Some(Answer::Reset),
        "/garbage" => Some(Answer::Raw(b"not http\r\n\r\n".to_vec())),
        "/cookie" => {
            let mut response = Response::new(200);
            response.headers.push("set-cookie", "lockgate=1.evil; Path=/");
            response.headers.push("set-cookie", "app=1");
            response.headers.push("location", format!("http://{other}/x"));
            Some(Answer::Respond(response, Duration::ZERO))
        }
        "/cut" => Some(Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour".to_vec())),
        _ => None,
    });
    let known = |target: &str| with_cookies(&stack, &agent, Request::get(target));
    for target in ["/reset", "/garbage"] {
        let answer = stack.client().send(&known(target)).await;
        assert!(matches!(answer.status, 502 | 503), "{target}: {}", answer.status);
    }
    assert!(stack.client().try_send(&known("/cut")).await.is_err());
    assert_eq!(stack.client().send(&known("/cookie")).await.status, 200);
    stack.upstream().leave().await;
    assert_eq!(stack.client().send(&known("/absent")).await.status, 503);
    assert_eq!(stack.client().send(&Request::get("/absent")).await.status, 401);
    stack.upstream().come_back();
    let back = async { while stack.client().send(&known("/back")).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, back).await.expect("the upstream is back");
    assert_eq!(traps(&stack, 0), [""; 0]);
}

//! inverting-proxy in the simulated host: what a client sends is what the agent reads, what the agent brings
//! is what the client gets, and nothing waits without a bound. The agent is this file: it follows the
//! protocol of google/inverting-proxy's own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wasm_test::{Builder, Gateway, Headers, Level, Request, Response, Stream};

const BACKEND: &str = "x-inverting-proxy-backend-id";
const ID: &str = "x-inverting-proxy-request-id";

fn module() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/inverting-proxy.wasm");
    std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()))
}

/// Where the workers' lease is.
const LEASE: &str = "lockgate.inverting-proxy.worker.edge";

fn builder(limits: Value, client: Value) -> Builder {
    marked("passed", limits, client)
}

/// With what the guard has left.
fn marked(mark: &str, limits: Value, client: Value) -> Builder {
    let mut rule = json!({"match": {"path_prefix": "/"}, "backend": "reports", "max_body_bytes": 1000});
    rule.as_object_mut().unwrap().extend(client.as_object().unwrap().clone());
    let configuration = json!({"version": 1, "public_url": "https://app.example.com", "limits": limits, "rules": [
        {"match": {"path_prefix": "/agent"}, "agent_of": ["reports", "other"], "after": ["oidc"],
         "max_body_bytes": 5000},
        {"match": {"path_prefix": "/other"}, "backend": "other"},
        rule,
    ]});
    Gateway::builder(&module())
        .filter("inverting-proxy", configuration.to_string())
        .allow_on_headers_stop_iteration()
        .property(&["lockgate_oidc"], mark)
        .property(&["plugin_name"], "edge")
        .body_limit(10_000)
        .max_stream_duration(Duration::from_secs(300))
        .stream_idle_timeout(Duration::from_secs(300))
}

fn gateway() -> Gateway {
    builder(json!({}), json!({})).start().unwrap()
}

fn call(method: &str, path: &str, backend: &str) -> Request {
    Request::new(method, path).header(BACKEND, backend)
}

fn pending() -> Request {
    call("GET", "/agent/pending", "reports")
}

fn ids(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

/// The id of the one request that waits.
fn next(gateway: &Gateway) -> String {
    let ids = ids(&gateway.send(pending()));
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

fn fetch(gateway: &Gateway, id: &str) -> Response {
    gateway.send(call("GET", "/agent/request", "reports").header(ID, id))
}

fn post(gateway: &Gateway, id: &str, message: impl AsRef<[u8]>) -> Response {
    gateway.send(call("POST", "/agent/response", "reports").header(ID, id).chunk(message.as_ref()).chunked())
}

/// A request that an agent has fetched.
fn fetched(gateway: &Gateway, request: Request) -> (Stream, String) {
    let stream = gateway.open(request);
    let id = next(gateway);
    assert_eq!(fetch(gateway, &id).status, 200);
    (stream, id)
}

fn answer(stream: &Stream) -> Response {
    stream.response().unwrap_or_else(|| panic!("not answered yet"))
}

fn names(headers: &Headers) -> Vec<String> {
    headers.iter().map(|(name, _)| name.to_owned()).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[test]
fn the_agent_reads_what_the_client_sent() {
    let gateway = gateway();
    let body = b"\x00\xff\r\nbinary";
    let request = Request::new("PUT", "/a%20b/c?d=e&f=%2F")
        .host("app.example.com")
        .header("x-a", "1")
        .header("x-a", "2")
        .header("x-odd", b"\xff")
        .header("cookie", "theirs=1")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "secret")
        .header("x-inverting-proxy-user-id", "somebody@example.com")
        .header("x-envoy-internal", "true")
        .body(body);
    let stream = gateway.open(request);
    assert!(stream.is_paused());
    let id = next(&gateway);
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let fetched = fetch(&gateway, &id);
    let start = fetched.headers.text("x-inverting-proxy-request-start-time").unwrap();
    assert_eq!(start, "2026-11-22T04:00:00.000Z");
    assert_eq!(fetched.headers.text("x-inverting-proxy-user-id"), None);
    let end = fetched.body.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert_eq!(&fetched.body[end + 4..], body);
    let head: Vec<&[u8]> = fetched.body[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    assert_eq!(head[0], b"PUT /a%20b/c?d=e&f=%2F HTTP/1.1");
    for line in ["host: app.example.com", "x-a: 1", "x-a: 2", "cookie: theirs=1", "content-length: 10"] {
        assert!(head.contains(&line.as_bytes()), "{line}");
    }
    assert!(head.contains(&b"x-odd: \xff".as_slice()));
    for name in ["connection", "x-hop", "te", "proxy-", "x-inverting-", "x-envoy-", ":"] {
        assert!(!head.iter().any(|line| line.starts_with(name.as_bytes())), "{name}");
    }
}

#[test]
fn the_client_gets_what_the_agent_brings() {
    let gateway = gateway();
    let (stream, id) = fetched(&gateway, Request::get("/"));
    let message = b"HTTP/1.1 404 Not Found\r\nContent-Type: image/png\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
        X-Odd: \xff\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nX-Lockgate-Refused: forged\r\n\
        Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\x00\xff\r\r\n2;x=y\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(post(&gateway, &id, message).status, 200);
    let response = answer(&stream);
    assert_eq!((response.status, response.body.as_slice()), (404, b"\x00\xff\rok".as_slice()));
    assert_eq!(
        names(&response.headers),
        ["content-type", "set-cookie", "set-cookie", "x-odd", "content-length"]
    );
    assert_eq!(response.headers.text("content-length"), Some("5"));
    assert!(response.headers.iter().any(|(name, value)| name == "x-odd" && value == b"\xff"));
    assert!(!gateway.trapped());
}

#[test]
fn answers_without_a_body_have_none() {
    let gateway = gateway();
    for (method, message, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n", 200, Some("70")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, None),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n", 304, None),
        ("GET", "HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n", 200, Some("0")),
    ] {
        let (stream, id) = fetched(&gateway, Request::new(method, "/"));
        assert_eq!(post(&gateway, &id, message).status, 200, "{message}");
        let response = answer(&stream);
        assert_eq!((response.status, response.body.len()), (status, 0), "{message}");
        assert_eq!(response.headers.text("content-length"), length, "{message}");
    }
}

#[test]
fn what_is_no_whole_answer_is_a_502() {
    let gateway = gateway();
    for message in [
        "",
        "nonsense",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\nok",
        "HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (stream, id) = fetched(&gateway, Request::get("/"));
        let told = post(&gateway, &id, message);
        assert_eq!(told.status, 400, "{message:?}");
        let response = answer(&stream);
        assert_eq!((response.status, response.headers.text("x-lockgate-refused")), (502, Some("unreadable")));
    }
    assert!(!gateway.trapped());
}

#[test]
fn a_question_waits_for_a_request_and_ends_empty() {
    let gateway = gateway();
    let question = gateway.open(pending());
    gateway.advance(Duration::from_secs(29));
    assert!(question.is_paused());
    gateway.advance(Duration::from_secs(2));
    assert_eq!(answer(&question).text(), "[]");

    let question = gateway.open(pending());
    let (first, second) = (gateway.open(Request::get("/1")), gateway.open(Request::get("/2")));
    let given = ids(&answer(&question));
    assert_eq!(given.len(), 1, "woken by the first");
    assert_eq!(ids(&gateway.send(pending())).len(), 1, "and the second is the next one's");
    assert!(first.is_paused() && second.is_paused());
}

#[test]
fn each_id_is_handed_out_once_and_again_when_nobody_fetched_it() {
    let gateway = gateway();
    gateway.open(Request::get("/"));
    let id = next(&gateway);
    let question = gateway.open(pending());
    gateway.advance(Duration::from_millis(4_900));
    assert!(question.is_paused());
    gateway.advance(Duration::from_millis(200));
    assert_eq!(ids(&answer(&question)), std::slice::from_ref(&id));
    assert_eq!(fetch(&gateway, &id).status, 200);
    let question = gateway.open(pending());
    gateway.advance(Duration::from_secs(31));
    assert_eq!(ids(&answer(&question)), [""; 0], "a fetched one is never handed out again");
}

#[test]
fn what_could_do_harm_twice_is_fetched_once() {
    for (method, second) in [("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 404), ("PATCH", 404)] {
        let gateway = gateway();
        let (_stream, id) = fetched(&gateway, Request::new(method, "/"));
        assert_eq!(fetch(&gateway, &id).status, second, "{method}");
    }
}

#[test]
fn the_first_answer_is_the_clients_and_ids_are_good_once() {
    let gateway = gateway();
    let (stream, id) = fetched(&gateway, Request::get("/"));
    assert_eq!(post(&gateway, &id, OK).status, 200);
    assert_eq!(post(&gateway, &id, OK.replace("ok", "no")).status, 404);
    assert_eq!(fetch(&gateway, &id).status, 404);
    assert_eq!(answer(&stream).text(), "ok");
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.answered"), 1);
}

#[test]
fn nobody_fetched_it_or_nobody_answered_is_a_504_that_names_the_request() {
    let gateway = gateway();
    let question = gateway.open(pending());
    let stream = gateway.open(Request::get("/"));
    let id = ids(&answer(&question))[0].clone();
    gateway.advance(Duration::from_millis(29_900));
    assert!(stream.is_paused());
    gateway.advance(Duration::from_millis(200));
    let response = answer(&stream);
    assert_eq!((response.status, response.headers.text("x-lockgate-refused")), (504, Some("not_fetched")));
    assert_eq!(response.headers.text(ID), Some(id.as_str()));
    assert_eq!(fetch(&gateway, &id).status, 404, "forgotten");

    let (stream, id) = fetched(&gateway, Request::get("/"));
    gateway.advance(Duration::from_secs(59));
    assert!(stream.is_paused());
    gateway.advance(Duration::from_secs(2));
    let response = answer(&stream);
    assert_eq!((response.status, response.headers.text("x-lockgate-refused")), (504, Some("not_answered")));
    assert_eq!(post(&gateway, &id, OK).status, 404);
}

#[test]
fn without_an_agent_nobody_waits() {
    let gateway = gateway();
    let early = gateway.open(Request::get("/"));
    assert!(early.is_paused(), "one that has just started waits for its agent");
    gateway.advance(Duration::from_secs(60));
    let response = gateway.send(Request::get("/"));
    assert_eq!((response.status, response.headers.text("x-lockgate-refused")), (503, Some("no_agent")));
    assert_eq!(response.headers.text("retry-after"), Some("1"));
    let question = gateway.open(pending());
    assert!(gateway.open(Request::get("/")).is_paused());
    assert!(question.is_done());
    assert_eq!(gateway.send(Request::get("/other")).status, 503, "that is another one's agent");
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let gateway = gateway();
    let (stream, id) = fetched(&gateway, Request::get("/"));
    stream.reset();
    assert_eq!(fetch(&gateway, &id).status, 404);
    assert_eq!(post(&gateway, &id, OK).status, 404);
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.left"), 1);
    // Before it was handed out.
    gateway.open(Request::get("/")).reset();
    let question = gateway.open(pending());
    assert!(question.is_paused());
}

#[test]
fn an_agent_that_leaves_takes_no_request_with_it() {
    let gateway = gateway();
    gateway.open(pending()).reset();
    gateway.open(Request::get("/"));
    next(&gateway);
}

#[test]
fn an_agent_must_say_whose_it_is_and_be_let_in() {
    let gateway = gateway();
    let status = |request: Request| gateway.send(request).status;
    assert_eq!(status(Request::get("/agent/pending")), 400);
    assert_eq!(status(pending().header(BACKEND, "reports")), 400);
    assert_eq!(status(call("GET", "/agent/pending", "unknown")), 403);
    assert_eq!(status(call("GET", "/agent/request", "reports")), 400);
    assert_eq!(status(call("GET", "/agent/request", "reports").header(ID, "0")), 404);
    assert_eq!(status(call("POST", "/agent/response", "reports")), 400);
    assert_eq!(status(call("POST", "/agent/response", "reports").header(ID, "0")), 404);
    assert_eq!(status(call("POST", "/agent/pending", "reports")), 405);
    assert_eq!(status(call("GET", "/agent/response", "reports")), 405);
    assert_eq!(status(call("GET", "/agent/other", "reports")), 404);
    let (stream, id) = fetched(&gateway, Request::get("/"));
    assert_eq!(status(call("GET", "/agent/request", "other").header(ID, &id)), 404, "another backend's");
    assert_eq!(status(call("POST", "/agent/response", "other").header(ID, &id).body(OK)), 404);
    assert!(stream.is_paused());

    for mark in ["", "failed"] {
        let unguarded = marked(mark, json!({}), json!({})).start().unwrap();
        assert_eq!(unguarded.send(pending()).status, 503);
        assert_eq!(unguarded.metrics().counter("lockgate.inverting_proxy.refused.not_guarded"), 1);
    }
}

#[test]
fn a_client_behind_a_guard_is_named_to_the_agent() {
    for (principal, user) in [
        (json!({"filter": "oidc", "subject": "1", "email": "eva@example.com"}), Some("eva@example.com")),
        (json!({"filter": "oidc", "subject": "1"}), Some("1")),
        (json!({"filter": "oidc", "subject": "a\r\nb: c"}), None),
    ] {
        let gateway = builder(json!({}), json!({"after": ["oidc"]}))
            .property(&["lockgate_principal"], principal.to_string())
            .start()
            .unwrap();
        gateway.open(Request::get("/"));
        let fetched = fetch(&gateway, &next(&gateway));
        assert_eq!(fetched.headers.text("x-inverting-proxy-user-id"), user);
    }
}

#[test]
fn a_session_stands_for_the_backends_cookies() {
    let gateway = builder(json!({"sessions": 1}), json!({"session_cookie": "sid"}))
        .log_level(Level::Warn)
        .start()
        .unwrap();
    let mut held = String::new();
    let mut visit = |cookies: &str, set: &[String]| {
        let (stream, id) = fetched(&gateway, Request::get("/").header("cookie", cookies));
        let sent = fetch(&gateway, &id).text();
        let lines: String = set.iter().map(|cookie| format!("Set-Cookie: {cookie}\r\n")).collect();
        assert_eq!(post(&gateway, &id, format!("HTTP/1.1 200 OK\r\n{lines}\r\nok")).status, 200);
        if let Some(line) = answer(&stream).headers.text("set-cookie") {
            held = line.to_owned();
        }
        let cookie = sent.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or_default();
        (cookie.to_owned(), held.split(';').next().unwrap().to_owned())
    };
    let (_, first) = visit("theirs=1", &["a=1".into(), "b=2; Path=/elsewhere".into()]);
    assert!(first.starts_with("__Host-sid=") && first.len() == 11 + 32, "{first}");
    assert_eq!(visit(&format!("theirs=1; {first}"), &[]).0, "a=1; theirs=1");
    // More than it may hold, twice.
    let many: Vec<String> = (0..51).map(|number| format!("c{number}=x")).collect();
    for _ in 0..2 {
        let (_, same) = visit(&first, &many);
        assert_eq!(same, first);
    }
    let (_, second) = visit("", &["a=2".into()]);
    assert_eq!((visit(&first, &[]).0, visit(&second, &[]).0), (String::new(), "a=2".into()));
    let counted = |name: &str| gateway.metrics().counter(&format!("lockgate.inverting_proxy.{name}"));
    assert_eq!((counted("sessions.began"), counted("sessions.evicted")), (2, 1));
    assert!(counted("cookies.dropped") >= 4, "{}", counted("cookies.dropped"));
    let logs = gateway.logs();
    assert_eq!(logs.matching("cookies dropped: the session is full backend=reports").count(), 1, "once");
    gateway.advance(Duration::from_secs(12 * 3_600));
    gateway.open(pending()).reset();
    assert_eq!(visit(&second, &[]).0, "", "over");
}

#[test]
fn bodies_have_a_limit_on_both_ways() {
    let gateway = gateway();
    let largest = gateway.open(Request::post("/").body([b'x'; 1_000]));
    assert!(largest.is_paused());
    assert_eq!(gateway.send(Request::post("/").body([b'x'; 1_001])).status, 413);
    assert_eq!(gateway.send(Request::post("/").chunk([b'x'; 600]).chunk([b'x'; 600]).chunked()).status, 413);

    largest.reset();
    let (stream, id) = fetched(&gateway, Request::get("/"));
    let message = ["HTTP/1.1 200 OK\r\n\r\n", &"x".repeat(5_000)].concat();
    assert_eq!(post(&gateway, &id, message).status, 413);
    let response = answer(&stream);
    assert_eq!(
        (response.status, response.headers.text("x-lockgate-refused")),
        (502, Some("response_too_large"))
    );
}

#[test]
fn what_waits_is_bounded() {
    let gateway =
        builder(json!({"parked": 2, "polls": 2, "parked_bytes": 1_000}), json!({})).start().unwrap();
    let first = gateway.open(Request::get("/"));
    let second = gateway.open(Request::get("/"));
    let third = gateway.send(Request::get("/"));
    assert_eq!((third.status, third.headers.text("x-lockgate-refused")), (503, Some("busy")));
    first.reset();
    assert!(gateway.open(Request::get("/")).is_paused(), "a place is free again");
    second.reset();
    assert_eq!(gateway.send(Request::post("/").body([b'x'; 1_000])).status, 503, "too many bytes");
    assert_eq!(ids(&gateway.send(pending())).len(), 1);

    let polls = [gateway.open(pending()), gateway.open(pending())];
    assert_eq!(gateway.send(pending()).status, 503);
    polls[0].reset();
    assert!(gateway.open(pending()).is_paused());
}

#[test]
fn many_at_once_are_all_answered() {
    let gateway = gateway();
    let streams: Vec<Stream> =
        (0..250).map(|number| gateway.open(Request::get(&format!("/{number}")))).collect();
    let mut given = Vec::new();
    while given.len() < streams.len() {
        let ids = ids(&gateway.send(pending()));
        assert!((1..=100).contains(&ids.len()), "{}", ids.len());
        given.extend(ids);
    }
    // The last first: each gets its own.
    for id in given.iter().rev() {
        let request = fetch(&gateway, id).text();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(post(&gateway, id, format!("HTTP/1.1 200 OK\r\n\r\n{path}")).status, 200);
    }
    for (number, stream) in streams.iter().enumerate() {
        assert_eq!(answer(stream).text(), format!("/{number}"));
    }
}

#[test]
fn a_second_worker_is_found_out() {
    let gateway = gateway();
    let now = gateway.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    gateway.set_shared_data(LEASE, format!("another {}", now + 6_000));
    for request in [Request::get("/"), pending()] {
        assert_eq!(gateway.send(request).status, 503);
    }
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.refused.several_workers"), 2);
    // Where it was this worker's, before a trap, its lease ends.
    gateway.advance(Duration::from_millis(6_100));
    let stream = gateway.open(Request::get("/"));
    assert!(stream.is_paused());
    // And it holds its own for as long as somebody waits.
    gateway.advance(Duration::from_secs(20));
    let lease = String::from_utf8(gateway.shared_data(LEASE).unwrap()).unwrap();
    let until: u128 = lease.split_once(' ').unwrap().1.parse().unwrap();
    let now = gateway.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(until > now, "{lease} at {now}");
}

#[test]
fn what_cannot_pass_is_refused() {
    let gateway = gateway();
    let grpc = Request::post("/").header("content-type", "application/grpc+proto");
    assert_eq!(gateway.send(grpc).status, 501);
    assert_eq!(gateway.send(Request::new("CONNECT", "/")).status, 400);
    assert_eq!(gateway.send(Request::get("/a b")).status, 400);
    assert_eq!(gateway.send(Request::get("/").host("a b")).status, 400);
}

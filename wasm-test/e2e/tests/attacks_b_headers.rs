//! Attacks by header: what the filters and Envoy say to the upstream, nobody else can say.

use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Answer, Envelope, Recorded, Request, Shared, Stack, h2c, slack};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

/// Every header by which the upstream is told something, and others of the same prefix.
const TOLD: [&str; 10] = [
    "x-lockgate-principal",
    "x-lockgate-message-id",
    "x-lockgate-delivery-attempt",
    "x-lockgate-publish-time",
    "x-lockgate-received-at",
    "x-lockgate-dedup-id",
    "x-lockgate-user",
    "x-lockgate-disposition",
    "x-lockgate-pubsub-playback",
    "x-lockgate-",
];

/// The spellings that one server or another takes for the same name.
fn spellings(name: &str) -> Vec<String> {
    let title: Vec<String> = name
        .split('-')
        .map(|word| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default())
        .collect();
    vec![
        name.to_owned(),
        name.to_uppercase(),
        title.join("-"),
        name.replace('-', "_"),
        title.join("_"),
        name.replacen("x-lockgate", "x_lockgate", 1),
        name.replacen("x-lockgate", "X-Lockgate", 1),
    ]
}

fn with_forgeries(mut request: Request) -> Request {
    for name in TOLD {
        for spelling in spellings(name) {
            for value in ["forged", "", "forged, forged"] {
                request = request.header(&spelling, value);
            }
        }
    }
    request
}

fn is_forged(request: &Recorded) -> bool {
    request.contains("forged")
}

#[tokio::test]
async fn a_forged_header_of_ours_reaches_the_upstream_on_no_path() {
    let config =
        lockgate_e2e::stack::CONFIG.replace("public_url:", "limits: { header_count: 1024 }\npublic_url:");
    let stack = Stack::builder().config(&config).start().await;
    let client = stack.client();
    let open = with_forgeries(Request::post("/public/header-trust-open", "text/plain", "x"));
    assert_eq!(client.send(&open).await.status, 200);
    let adapted = with_forgeries(Request::post("/form/header-trust-adapted", "application/json", "{}"));
    assert_eq!(client.send(&adapted).await.status, 200);
    let stored = with_forgeries(Request::post("/wal/header-trust-stored", "text/plain", "x"));
    assert_eq!(client.send(&stored).await.status, 202);
    let payload = serde_json::json!({"type": "view_submission", "view": {"id": "header-trust-passed"}});
    let passed = with_forgeries(slack::interactive("/slack/interactive", &payload));
    assert_eq!(client.send(&slack::signed(passed, SLACK_SECRET)).await.status, 200);
    let command = with_forgeries(slack::command("/slack/command", "header-trust-command"));
    assert_eq!(client.send(&slack::signed(command, SLACK_SECRET)).await.status, 200);
    let push = lockgate_e2e::push_request(
        &Envelope::new("header-trust-pushed", "POST", "/header-trust-pushed")
            .body("x")
            .sealed(lockgate_e2e::stack::LOG_KEY),
        serde_json::json!({"x-lockgate-principal": "forged", "lockgate_principal": "forged"}),
    );
    let push = with_forgeries(push).header("authorization", format!("Bearer {}", stack.tokens().push()));
    assert_eq!(client.send(&push).await.status, 204);
    for marker in ["open", "adapted", "stored", "passed", "command", "pushed"] {
        let delivered = stack.delivered(&format!("header-trust-{marker}")).await;
        assert!(!is_forged(&delivered), "{marker}: {:?}", delivered.headers);
    }
    for message in stack.stored("header-trust-") {
        assert!(!message.contains("forged"), "{}", message.envelope());
    }
}

#[tokio::test]
async fn a_forged_mark_opens_no_route() {
    let stack = stack().await;
    for name in [
        "lockgate_pubsub_playback",
        "wasm.lockgate_pubsub_playback",
        "lockgate-pubsub-playback",
        "lockgate_slack_signature",
        "wasm.lockgate_disposition",
        "lockgate_disposition",
        "x-envoy-filter-state",
    ] {
        for target in ["/admin/marked", "/slack/command", "/wal-playback"] {
            let request = Request::post(target, "text/plain", "marked-by-header").header(name, "passed");
            let answer = stack.client().send(&request).await;
            assert!(answer.status >= 400, "{name} on {target}: {}", answer.status);
        }
    }
    stack.assert_no_trace("marked-by-header");
}

#[tokio::test]
async fn another_path_or_method_named_in_a_header_is_not_used() {
    let stack = stack().await;
    for name in
        ["x-original-url", "x-rewrite-url", "x-envoy-original-path", "x-forwarded-path", "x-forwarded-uri"]
    {
        let request = Request::get("/public/original").header(name, "/admin").header("x-marker", name);
        assert_eq!(stack.client().send(&request).await.status, 200);
        let delivered = stack.delivered(name).await;
        assert_eq!(delivered.target, "/public/original");
        assert!(!delivered.headers.contains(name), "{name} reached the upstream");
        let request = Request::get("/admin/original").header(name, "/public/x");
        assert_eq!(stack.client().send(&request).await.status, 403, "{name}");
    }
}

#[tokio::test]
async fn what_a_client_says_about_the_way_it_came_is_not_believed() {
    let stack = stack().await;
    let request = Request::get("/public/forwarded")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-port", "444")
        .header("x-forwarded-prefix", "/evil")
        .header("forwarded", "for=10.0.0.1;host=evil.example")
        .header("x-real-ip", "10.0.0.1")
        .header("x-envoy-external-address", "10.0.0.1")
        .header("x-envoy-internal", "true");
    assert_eq!(stack.client().send(&request).await.status, 200);
    let delivered = stack.delivered("/public/forwarded").await;
    for told in ["10.0.0.1", "evil", "444"] {
        assert!(!delivered.contains(told), "{told}: {:?}", delivered.headers);
    }
    assert_ne!(delivered.headers.text("x-forwarded-proto").as_deref(), Some("https"));
}

#[tokio::test]
async fn a_clients_headers_do_not_change_timeouts_retries_or_the_answer() {
    let stack = stack().await;
    let slow = std::time::Duration::from_millis(300);
    stack.upstream().program(move |request| {
        (request.path() == "/public/envoy-headers").then(|| Answer::status(503).after(slow))
    });
    let request = Request::get("/public/envoy-headers")
        .header("x-envoy-upstream-rq-timeout-ms", "1")
        .header("x-envoy-expected-rq-timeout-ms", "1")
        .header("x-envoy-upstream-rq-per-try-timeout-ms", "1")
        .header("x-envoy-max-retries", "5")
        .header("x-envoy-retry-on", "5xx")
        .header("x-envoy-retriable-status-codes", "503")
        .header("x-envoy-force-trace", "1")
        .header("x-envoy-decorator-operation", "evil")
        .header("x-envoy-upstream-alt-stat-name", "evil");
    let answer = stack.client().send(&request).await;
    assert_eq!(answer.status, 503);
    let seen = stack.upstream().requests().matching(|request| request.path() == "/public/envoy-headers");
    assert_eq!(seen.len(), 1, "retried on a client's word");
    let sent = request.headers.pairs().filter(|(name, _)| name.starts_with(b"x-envoy-"));
    for (name, _) in sent {
        assert!(!seen[0].headers.contains(&String::from_utf8_lossy(name)), "{:?}", seen[0].headers);
    }
}

#[tokio::test]
async fn the_host_is_the_configured_one_whatever_the_client_says() {
    let stack = stack().await;
    let upstream = stack.upstream().address().to_string();
    for (number, host) in
        ["evil.example", "evil.example:80", "127.0.0.1:1", "a_b", "[::1]"].into_iter().enumerate()
    {
        let marker = format!("/public/host-{number}-");
        let request = Request::get(&marker).header("host", host);
        assert_eq!(stack.client().send(&request).await.status, 200, "{host}");
        assert_eq!(stack.delivered(&marker).await.headers.all("host"), [upstream.as_bytes()], "{host}");
    }
    let none = b"GET /public/no-host HTTP/1.1\r\n\r\n";
    assert_eq!(stack.client().exchange(none, "GET").await.unwrap().status, 400);
    stack.assert_no_trace("/public/no-host");
    // Envoy joins the two; no rule for a host matches that, and the upstream sees its own.
    let two = b"GET /public/two-hosts HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    if stack.client().exchange(two, "GET").await.unwrap().status != 400 {
        assert_eq!(stack.delivered("/two-hosts").await.headers.all("host"), [upstream.as_bytes()]);
    }
}

#[tokio::test]
async fn framing_that_two_servers_would_read_differently_is_refused() {
    let stack = stack().await;
    let smuggled = "GET /admin/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len();
    for framing in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("content-length: 5\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("content-length: 5, {length}\r\n\r\n{smuggled}"),
        format!("content-length: -1\r\n\r\n{smuggled}"),
        format!("content-length: +5\r\n\r\n{smuggled}"),
        format!("content-length: 0x10\r\n\r\n{smuggled}"),
        format!("transfer-encoding: xchunked\r\n\r\n{smuggled}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding: chunked\r\n\r\nxyz\r\n{smuggled}"),
    ] {
        for path in ["/public/framing", "/wal/framing", "/form/framing"] {
            let bytes = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}");
            let answer = stack.client().exchange(bytes.as_bytes(), "POST").await;
            assert!(answer.as_ref().is_ok_and(|a| a.status >= 400), "{}: {answer:?}", bytes.escape_debug());
        }
    }
    stack.assert_no_trace("smuggled");
}

#[tokio::test]
async fn a_header_with_a_control_character_is_refused() {
    let stack = stack().await;
    for (number, header) in ["x-a: b\0c", "x-a\0: b", "x a: b", ": b", "x-a\r: b"].iter().enumerate() {
        let path = format!("/public/control-{number}");
        let bytes = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n");
        let answer = stack.client().exchange(bytes.as_bytes(), "GET").await;
        assert!(answer.as_ref().is_ok_and(|a| a.status == 400), "{}: {answer:?}", header.escape_debug());
        stack.assert_no_trace(&path);
    }
}

#[tokio::test]
async fn what_might_end_a_line_stays_within_its_value() {
    let stack = stack().await;
    for (number, header) in
        ["x-a: b\rx-injected: 1", "x-a: b\r\n x-injected: 1", "x-a: b\r\n\tx-injected: 1"].iter().enumerate()
    {
        for prefix in ["/public", "/wal"] {
            let marker = format!("/end-of-line-{number}");
            let bytes = format!("GET {prefix}{marker} HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n");
            let answer = stack.client().exchange(bytes.as_bytes(), "GET").await.unwrap();
            if answer.status == 400 {
                continue;
            }
            let delivered = stack.delivered(&marker).await;
            assert!(!delivered.headers.contains("x-injected"), "{:?}", delivered.headers);
            let value = delivered.headers.text("x-a").unwrap();
            assert!(!value.contains(['\r', '\n']), "{value:?}");
        }
    }
}

#[tokio::test]
async fn what_a_connection_header_names_is_still_checked() {
    // A signature that is dropped on the way must not be one that was checked.
    let stack = stack().await;
    for named in
        ["x-slack-signature", "x-slack-signature, x-slack-request-timestamp", "authorization", "cdn-loop"]
    {
        let request = slack::command("/slack/command", "named-by-connection").header("connection", named);
        let answer = stack.client().send(&request).await;
        assert!(matches!(answer.status, 400 | 401), "{named}: {}", answer.status);
    }
    stack.assert_no_trace("named-by-connection");
}

#[tokio::test]
async fn over_http2_the_same_holds() {
    let stack = stack().await;
    let address = stack.client().address();
    let request = with_forgeries(Request::post("/wal/over-http2", "text/plain", "x"));
    let lower = request.headers.pairs().filter(|(name, _)| !name.iter().any(u8::is_ascii_uppercase)).take(90);
    let mut sent = Request::new("POST", "/wal/over-http2").body("x");
    lower.for_each(|(name, value)| sent.headers.push(name, value));
    assert_eq!(h2c::send(address, &sent).await.unwrap().status, 202);
    assert!(!is_forged(&stack.delivered("/over-http2").await));
    for path in ["/admin/http2-admin", "/slack/command?http2-admin", "/wal-playback?http2-admin"] {
        let answer = h2c::send(address, &Request::post(path, "text/plain", "http2-admin")).await.unwrap();
        assert!(matches!(answer.status, 401 | 403), "{path}: {}", answer.status);
    }
    stack.assert_no_trace("http2-admin");
}

//! Attacks on the write-ahead log: a queue that fails, and envelopes that lie.

use std::time::{Duration, Instant};

use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Envelope, Fault, Request, Shared, Stack, slack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

/// Slack gives up after this long.
const SLACKS_PATIENCE: Duration = Duration::from_secs(3);

const FAULTS: [(&str, Fault); 12] = [
    ("bad-request", Fault::Refused(400)),
    ("forbidden", Fault::Refused(403)),
    ("not-found", Fault::Refused(404)),
    ("quota", Fault::Refused(429)),
    ("internal", Fault::Refused(500)),
    ("unavailable", Fault::Refused(503)),
    ("no-ids", Fault::Refused(200)),
    ("slow", Fault::Slow(Duration::from_secs(4))),
    ("reset", Fault::Reset),
    ("answer-lost", Fault::AnswerLost),
    ("answer-cut", Fault::AnswerCut),
    ("hang", Fault::Hang),
];

#[tokio::test]
async fn what_the_queue_has_not_confirmed_is_never_acknowledged() {
    // Its own: publishes share a call, so a fault meant for one would meet what goes with it.
    let stack = Stack::builder().start().await;
    let client = stack.client();
    let mut waiting = Vec::new();
    for (name, fault) in FAULTS {
        let slack_marker = format!("unconfirmed-slack-{name}-");
        let wal_marker = format!("unconfirmed-wal-{name}-");
        stack.proxy().fail_publishes_with(&slack_marker, fault);
        stack.proxy().fail_publishes_with(&wal_marker, fault);
        let command = slack::signed(slack::command("/slack/command", &slack_marker), SLACK_SECRET);
        let plain = Request::post(&format!("/wal/{wal_marker}"), "text/plain", "x");
        for (marker, request, patience) in
            [(slack_marker, command, SLACKS_PATIENCE), (wal_marker, plain, Duration::from_secs(11))]
        {
            waiting.push(tokio::spawn(async move {
                let started = Instant::now();
                let answer = client.send(&request).await;
                let elapsed = started.elapsed();
                assert!(answer.status >= 500, "{marker}: {} {}", answer.status, answer.text());
                assert!(answer.headers.contains("retry-after"), "{marker}: {answer:?}");
                assert!(elapsed < patience, "{marker}: {elapsed:?}");
                for told in ["in_channel", "id\"", "programmed", "pubsub"] {
                    assert!(!answer.text().contains(told), "{marker}: {}", answer.text());
                }
            }));
        }
    }
    for answered in waiting {
        answered.await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_retried_within_the_reply_budget() {
    // Its own: publishes share a call, so a fault meant for one would meet what goes with it.
    let stack = Stack::builder().start().await;
    for (name, fault) in FAULTS {
        if matches!(fault, Fault::Refused(400..=404 | 200) | Fault::Slow(_) | Fault::Hang) {
            continue;
        }
        let marker = format!("passing-{name}-");
        let failed = std::sync::atomic::AtomicBool::new(false);
        let holds = marker.clone();
        stack.proxy().program(move |call| {
            let concerned = lockgate_e2e::pubsub::published(call).iter().any(|m| m.contains(&holds));
            (concerned && !failed.swap(true, std::sync::atomic::Ordering::SeqCst)).then_some(fault)
        });
        let request = slack::signed(slack::command("/slack/command", &marker), SLACK_SECRET);
        let started = Instant::now();
        assert_eq!(stack.client().send(&request).await.status, 200, "{marker}");
        assert!(started.elapsed() < SLACKS_PATIENCE, "{marker}: {:?}", started.elapsed());
        stack.delivered(&marker).await;
    }
}

#[tokio::test]
async fn without_the_services_nothing_is_acknowledged_and_all_recovers_by_itself() {
    let stack = Stack::builder().start().await;
    let send = async |marker: &str| {
        let started = Instant::now();
        let command = slack::signed(slack::command("/slack/command", marker), SLACK_SECRET);
        let answer = stack.client().send(&command).await;
        assert!(started.elapsed() < SLACKS_PATIENCE, "{marker}: {:?}", started.elapsed());
        answer
    };
    stack.proxy().leave().await;
    assert!(send("services-absent").await.status >= 500);
    stack.proxy().come_back();
    let recovered = async {
        // The access token's fetch has a cool-down, so the first tries may still be refused.
        while send("services-back").await.status != 200 {}
    };
    tokio::time::timeout(Duration::from_secs(15), recovered).await.expect("the filters recover");
    stack.delivered("services-back").await;
    assert!(!stack.upstream().requests().since(0).iter().any(|request| request.contains("services-absent")));
}

#[tokio::test]
async fn a_rejected_access_token_is_replaced() {
    let stack = Stack::builder().start().await;
    let rejected = std::sync::atomic::AtomicBool::new(false);
    stack.proxy().program(move |call| {
        let first = call.contains(":publish") && !rejected.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then_some(Fault::Refused(401))
    });
    let answer = stack.client().send(&Request::post("/wal/token-rejected", "text/plain", "x")).await;
    assert_eq!(answer.status, 202);
    let tokens = stack.proxy().calls().matching(|call| call.request.path().ends_with("/default/token"));
    assert_eq!(tokens.len(), 2);
    for call in tokens {
        assert_eq!(call.request.headers.all("metadata-flavor"), [b"Google"]);
        assert!(!call.request.headers.contains("x-forwarded-for"), "{:?}", call.request.headers);
    }
}

/// What a publisher without the door's rights might write into an envelope. With the log key these
/// could not be sealed; without one the checks stand alone, and so must hold.
#[tokio::test]
async fn an_envelope_chooses_neither_the_upstream_nor_who_it_speaks_for() {
    let stack = Stack::builder().variable("LOG_KEY", "").start().await;
    let control = Envelope::new("control", "POST", "/control").body("x");
    assert_eq!(stack.push_data(&control.unsealed()).await.status, 204);
    stack.delivered("/control").await;

    let path = |path: &str| Envelope::new("liar", "POST", path);
    let header = |name: &str, value: Value| Envelope::new("liar", "POST", "/liar").header(name, value);
    let method = |method: &str| Envelope::new("liar", method, "/liar");
    let odd_value = |bytes: &[u8]| {
        use base64::Engine;
        json!({"base64": base64::engine::general_purpose::STANDARD.encode(bytes)})
    };
    let liars = [
        ("bad_path", path("liar")),
        ("bad_path", path("@evil.example/")),
        ("bad_path", path(".evil.example/")),
        ("bad_path", path(":9901/quitquitquit")),
        ("bad_path", path("//evil.example/")),
        ("bad_path", path("http://evil.example/")),
        ("bad_path", path("*")),
        ("bad_path", path("/a b")),
        ("bad_path", path("/a\r\nx-injected: 1")),
        ("bad_path", path("/a#b")),
        ("bad_path", path("/a/../admin")),
        ("bad_path", path("/a/%2e%2e/admin")),
        ("bad_path", path("/a/.%2E/admin")),
        ("bad_path", path("/a/..;x=1/admin")),
        ("bad_path", path("/a%2f..%2fadmin")),
        ("bad_path", path("/a\\..\\admin")),
        ("bad_path", path("/a%5c..%5cadmin")),
        ("bad_path", path("/a%00")),
        ("bad_path", path("/ü")),
        ("bad_method", method("")),
        ("bad_method", method("CONNECT")),
        ("bad_method", method("GET /admin HTTP/1.1\r\nx:")),
        ("bad_method", method("PO ST")),
        ("forbidden_header", header("host", json!("evil.example"))),
        ("forbidden_header", header(":authority", json!("evil.example"))),
        ("forbidden_header", header(":path", json!("/admin"))),
        ("forbidden_header", header(":scheme", json!("https"))),
        ("forbidden_header", header("x-lockgate-principal", json!("{}"))),
        ("forbidden_header", header("x-lockgate-message-id", json!("1"))),
        ("forbidden_header", header("x-forwarded-for", json!("127.0.0.1"))),
        ("forbidden_header", header("x-forwarded-host", json!("evil.example"))),
        ("forbidden_header", header("x-forwarded-proto", json!("https"))),
        ("forbidden_header", header("forwarded", json!("for=127.0.0.1"))),
        ("forbidden_header", header("x-envoy-upstream-rq-timeout-ms", json!("1"))),
        ("forbidden_header", header("x-envoy-original-path", json!("/admin"))),
        ("forbidden_header", header("authorization", json!("Bearer x"))),
        ("forbidden_header", header("proxy-authorization", json!("Basic x"))),
        ("forbidden_header", header("cookie", json!("session=x"))),
        ("forbidden_header", header("x-serverless-authorization", json!("Bearer x"))),
        ("forbidden_header", header("x-goog-iap-jwt-assertion", json!("x"))),
        ("forbidden_header", header("x-goog-authenticated-user-email", json!("x"))),
        ("forbidden_header", header("x-original-url", json!("/admin"))),
        ("forbidden_header", header("content-length", json!("0"))),
        ("forbidden_header", header("transfer-encoding", json!("chunked"))),
        ("forbidden_header", header("connection", json!("close"))),
        ("forbidden_header", header("upgrade", json!("websocket"))),
        ("forbidden_header", header("expect", json!("100-continue"))),
        ("forbidden_header", header("te", json!("trailers"))),
        ("forbidden_header", header("Authorization", json!("Bearer x"))),
        ("forbidden_header", header("x-upper-Case", json!("x"))),
        ("forbidden_header", header("x injected", json!("x"))),
        ("forbidden_header", header("x-a: b\r\nx-injected", json!("x"))),
        ("forbidden_header", header("", json!("x"))),
        ("forbidden_header", header("x-a", json!("b\r\nx-injected: 1"))),
        ("forbidden_header", header("x-a", json!("b\nx-injected: 1"))),
        ("forbidden_header", header("x-a", json!("b\0"))),
        ("forbidden_header", header("x-a", odd_value(b"b\r\nx-injected: 1"))),
        ("forbidden_header", path("/liar").field("dedup", "a\r\nx-injected: 1")),
        ("forbidden_header", path("/liar").field("received_at", "a\r\nx-injected: 1")),
        ("forbidden_header", Envelope::new("liar\r\nx-injected: 1", "POST", "/liar")),
        ("loop", header("cdn-loop", json!("lockgate"))),
        ("loop", header("cdn-loop", json!("other, LOCKGATE; x=1"))),
    ];
    let before = stack.upstream().requests().len();
    for (number, (reason, envelope)) in liars.into_iter().enumerate() {
        let marker = format!("liar-number-{number}-");
        let data = envelope.body(marker.as_str()).unsealed();
        let told = stack.push_data(&data).await;
        assert_eq!(told.status, 204, "{}", data.escape_ascii());
        let letter = stack.dead_letters().wait_for(&marker).await;
        let given = letter.attribute("lockgate_reason").unwrap_or_default();
        let malformed = given == "not_an_envelope" && reason != "loop";
        assert!(given == reason || malformed, "{given}: {}", data.escape_ascii());
    }
    let reached = stack.upstream().requests().since(before);
    assert!(reached.is_empty(), "{reached:?}");
}

#[tokio::test]
async fn without_a_seal_nobody_is_believed_to_be_anybody() {
    let stack = Stack::builder().variable("LOG_KEY", "").start().await;
    let envelope = Envelope::new("no-seal", "POST", "/no-seal")
        .field("principal", json!({"filter": "oidc", "subject": "root"}))
        .body("x");
    assert_eq!(stack.push_data(&envelope.unsealed()).await.status, 204);
    assert!(!stack.delivered("/no-seal").await.headers.contains("x-lockgate-principal"));
}

#[tokio::test]
async fn a_seal_covers_every_byte() {
    let stack = stack().await;
    let envelope = Envelope::new("sealed-1", "POST", "/sealed-1").header("x-a", "b").body("body");
    let sealed = envelope.sealed(lockgate_e2e::stack::LOG_KEY);
    let before = stack.upstream().requests().len();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let answer = stack.push_data(&changed).await;
        // A changed version or key id is one that may be known soon; all else is a forgery.
        assert!(matches!(answer.status, 204 | 503), "byte {at}: {}", answer.status);
    }
    let reached = stack.upstream().requests().since(before);
    assert!(
        !reached.iter().any(|request| request.contains("sealed-1") || request.contains("body")),
        "{reached:?}"
    );
    assert_eq!(stack.push_data(&sealed).await.status, 204);
    stack.delivered("sealed-1").await;
}

#[tokio::test]
async fn pushes_that_cannot_be_read_are_buried_and_do_no_harm() {
    let stack = stack().await;
    let token = format!("Bearer {}", stack.tokens().push());
    for (number, body) in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"message":null}"#,
        r#"{"message":{}}"#,
        r#"{"message":{"data":5}}"#,
        r#"{"message":{"data":"!!!","messageId":"1"}}"#,
        r#"{"message":{"messageId":"1"}}"#,
        "not json",
        &"[".repeat(100_000),
    ]
    .into_iter()
    .enumerate()
    {
        let request =
            Request::post("/wal-playback", "application/json", body).header("authorization", &token);
        let answer = stack.client().send(&request).await;
        assert!(matches!(answer.status, 204 | 400), "{number}: {} {}", answer.status, answer.text());
    }
    let good = Envelope::new("after-odd-pushes", "POST", "/after-odd-pushes").body("x");
    assert_eq!(stack.push(&good).await.status, 204);
    stack.delivered("after-odd-pushes").await;
}

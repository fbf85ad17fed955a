//! The write-ahead log: whatever it acknowledges comes back whole.

use lockgate_e2e::{Request, Response, Shared, Stack};
use serde_json::json;
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder().concurrency(2)).await
}

fn id(answer: &Response) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_method_with_and_without_a_body_comes_back_as_it_was() {
    let stack = stack().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for body in [&b""[..], b"\x00\xff\r\n\r\nbinary \x80"] {
            let marker = format!("/m-{method}-{}", body.len());
            let target = format!("/wal{marker}?a=1&a=%2F&b");
            let answer = stack.client().send(&Request::new(method, &target).body(body)).await;
            assert_eq!(answer.status, 202, "{marker}");
            let delivered = stack.delivered(&marker).await;
            assert_eq!(delivered.method, method);
            assert_eq!(delivered.target, target["/wal".len()..]);
            assert_eq!(delivered.body, body);
            assert_eq!(delivered.headers.text("x-lockgate-message-id"), Some(id(&answer)));
            assert_eq!(stack.stored(&marker)[0].envelope()["id"], id(&answer));
        }
    }
}

#[tokio::test]
async fn the_bare_prefix_is_the_root_and_a_longer_word_is_no_match() {
    let stack = stack().await;
    let answer = stack.client().send(&Request::get("/wal?marker=bare-prefix")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(stack.delivered("bare-prefix").await.target, "/?marker=bare-prefix");
    assert_eq!(stack.client().send(&Request::get("/walX?marker=longer-word")).await.status, 403);
    stack.assert_no_trace("longer-word");
}

#[tokio::test]
async fn headers_come_back_in_order_with_their_duplicates_and_their_odd_bytes() {
    let stack = stack().await;
    let long = "v".repeat(9_000);
    let mut request = Request::post("/wal/headers", "text/plain", "x")
        .header("x-marker", "headers-1")
        .header("x-twice", "first")
        .header("x-long", &long)
        .header("x-odd", b"caf\xc3\xa9 \xe9")
        .header("x-twice", "second, third")
        .header("user-agent", "tester/1.0");
    for number in 0..120 {
        request = request.header(format!("x-many-{number}"), format!("{number}"));
    }
    assert_eq!(stack.client().send(&request).await.status, 202);
    let delivered = stack.delivered("headers-1").await;
    assert_eq!(delivered.headers.all("x-twice"), [&b"first"[..], b"second, third"]);
    assert_eq!(delivered.headers.all("x-long"), [long.as_bytes()]);
    assert_eq!(delivered.headers.all("x-odd"), [b"caf\xc3\xa9 \xe9"]);
    assert_eq!(delivered.headers.all("user-agent"), [b"tester/1.0"]);
    let many: Vec<_> = delivered.headers.pairs().filter(|(name, _)| name.starts_with(b"x-many-")).collect();
    assert_eq!(many.len(), 120);
    assert!(many.iter().enumerate().all(|(n, (_, value))| *value == n.to_string().as_bytes()));
}

#[tokio::test]
async fn who_somebody_is_and_what_holds_for_one_connection_is_not_stored() {
    let stack = stack().await;
    let left_out = [
        ("authorization", "Bearer not-stored"),
        ("proxy-authorization", "Basic not-stored"),
        ("cookie", "session=not-stored"),
        ("x-serverless-authorization", "Bearer not-stored"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-host", "not-stored.example"),
        ("forwarded", "for=203.0.113.7"),
        ("x-envoy-original-path", "/not-stored"),
        ("x-goog-iap-jwt-assertion", "not-stored"),
        ("x-goog-authenticated-user-email", "not-stored"),
        ("x-slack-signature", "v0=not-stored"),
        ("webhook-signature", "v1,not-stored"),
        ("te", "trailers"),
        ("x-lockgate-principal", "not-stored"),
    ];
    let mut request = Request::post("/wal/credentials", "text/plain", "x");
    for (name, value) in left_out {
        request = request.header(name, value);
    }
    assert_eq!(stack.client().send(&request).await.status, 202);
    let delivered = stack.delivered("/credentials").await;
    let message = &stack.stored("/credentials")[0];
    assert!(!message.contains("not-stored") && !message.contains("203.0.113.7"), "{}", message.envelope());
    assert!(!delivered.contains("not-stored"), "{delivered:?}");
}

#[tokio::test]
async fn what_is_acknowledged_fits_the_way_back() {
    const LIMIT: usize = 1 << 20;
    let stack = stack().await;
    for size in [7_000, 8_192, 9_000, 10_000, 11_000, LIMIT - 1, LIMIT] {
        let body: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        let target = format!("/wal/size-{size}-");
        let request = Request::new("POST", &target).body(body.clone());
        assert_eq!(stack.client().send(&request).await.status, 202, "{size}");
        assert_eq!(stack.client().send_chunked(&request, 4_000).await.status, 202, "{size}, chunked");
        let marker = format!("/size-{size}-");
        let requests = stack.upstream().requests();
        for delivered in requests.wait_for(&marker, 2, |request| request.target == marker).await {
            assert!(delivered.body == body, "{size}: another body of {}", delivered.body.len());
        }
    }
}

#[tokio::test]
async fn a_larger_body_is_refused_whether_announced_or_not() {
    const LIMIT: usize = 1 << 20;
    let stack = stack().await;
    for size in [LIMIT + 1, 2 * LIMIT, 20 * LIMIT] {
        let request = Request::new("POST", "/wal/too-large").body(vec![b'x'; size]);
        assert_eq!(stack.client().send(&request).await.status, 413, "{size}");
        assert_eq!(stack.client().send_chunked(&request, 65_536).await.status, 413, "{size}, chunked");
    }
    stack.assert_no_trace("/too-large");
}

#[tokio::test]
async fn a_request_that_was_played_back_is_not_stored_again() {
    let stack = stack().await;
    for value in ["lockgate", "cdn-a; x=1, LockGate ;y", "lockgate;v=2"] {
        let request = Request::post("/wal/looped", "text/plain", "x").header("cdn-loop", value);
        assert_eq!(stack.client().send(&request).await.status, 508, "{value}");
    }
    stack.assert_no_trace("/looped");
    let request = Request::post("/wal/cdn", "text/plain", "x").header("cdn-loop", "another-cdn");
    assert_eq!(stack.client().send(&request).await.status, 202);
    let delivered = stack.delivered("/cdn").await;
    assert_eq!(delivered.headers.text("cdn-loop").as_deref(), Some("another-cdn, lockgate"));
}

#[tokio::test]
async fn the_senders_own_id_is_kept_beside_ours() {
    let stack = stack().await;
    for name in ["idempotency-key", "webhook-id"] {
        let request = Request::post(&format!("/wal/{name}"), "text/plain", "x").header(name, "own-id-1");
        let answer = stack.client().send(&request).await;
        let delivered = stack.delivered(&format!("/{name}")).await;
        assert_eq!(delivered.headers.text("x-lockgate-dedup-id").as_deref(), Some("own-id-1"));
        assert_eq!(delivered.headers.all("webhook-id"), [id(&answer).as_bytes()]);
        assert_eq!(stack.stored(&format!("/{name}"))[0].attribute("dedup"), Some("own-id-1"));
    }
}

#[tokio::test]
async fn attributes_stay_within_pubsubs_limits_whatever_is_sent() {
    let stack = stack().await;
    let long = "i".repeat(5_000);
    let target = format!("/wal/attributes/{}", "p".repeat(2_000));
    let request = Request::post(&target, "text/plain", "x")
        .header("idempotency-key", &long)
        .header("traceparent", &long)
        .header("x-request-id", &long);
    assert_eq!(stack.client().send(&request).await.status, 202);
    let delivered = stack.delivered("/attributes/").await;
    assert_eq!(delivered.headers.text("idempotency-key"), Some(long.clone()));
    let message = &stack.stored("/attributes/")[0];
    assert_eq!(message.envelope()["dedup"], json!(long));
    for (name, value) in &message.attributes {
        assert!(value.as_str().unwrap().len() <= 1_024, "{name}");
    }
}

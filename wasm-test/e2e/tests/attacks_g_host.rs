//! Attacks on the filters' virtual machine and on Envoy around it: no input may trap, nothing of a
//! refused request reaches the upstream, and what is abandoned is given back.

use std::collections::BTreeSet;
use std::time::Duration;

use lockgate_e2e::client::Connection;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Fault, Request, Shared, Stack, h2c, slack};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

fn signed(request: Request) -> Request {
    slack::signed(request, SLACK_SECRET)
}

/// Every filter answers as it should, and none of them has trapped since the log position `since`.
async fn assert_alive(stack: &Stack, since: usize) {
    let client = stack.client();
    assert_eq!(client.send(&signed(slack::command("/slack/command", "alive"))).await.status, 200);
    assert_eq!(client.send(&Request::post("/wal/alive", "text/plain", "x")).await.status, 202);
    assert_eq!(client.send(&slack::form("/form/alive", &[("a", "b")])).await.status, 200);
    assert_eq!(client.send(&Request::post("/wal-playback", "text/plain", "x")).await.status, 401);
    let trapped = |line: &String| {
        ["panicked", "Function: proxy_on", "VM failed", "[critical]"].iter().any(|t| line.contains(t))
    };
    let lines: Vec<_> = stack.gateway_log().since(since).into_iter().filter(trapped).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

#[tokio::test]
async fn bytes_that_are_not_utf8_trap_nothing_in_any_header() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let names = [
        "x-slack-signature",
        "x-slack-request-timestamp",
        "content-type",
        "content-encoding",
        "authorization",
        "x-request-id",
        "traceparent",
        "x-cloud-trace-context",
        "idempotency-key",
        "webhook-id",
        "cdn-loop",
        "cookie",
        "user-agent",
        "accept",
        "origin",
        "referer",
        "x-forwarded-for",
        "x-lockgate-principal",
        "x-odd",
        "connection",
        "te",
        "expect",
        "x-slack-retry-num",
    ];
    let values: [&[u8]; 6] =
        [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"a\x80b", b"\xf0\x9f\x92", b"Bearer \xfe"];
    for name in names {
        for value in values {
            for target in
                ["/slack/command", "/wal/odd-bytes", "/wal-playback", "/form/odd-bytes", "/public/odd-bytes"]
            {
                let request = slack::command(target, "odd-bytes").header(name, value);
                let answer = stack.client().try_send(&request).await;
                let status = answer.as_ref().map_or(0, |answer| answer.status);
                assert!(status != 0 && status != 500 && status != 503, "{name} on {target}: {answer:?}");
            }
        }
    }
    assert_alive(&stack, since).await;
}

#[tokio::test]
async fn odd_bytes_in_place_of_every_part_of_a_signed_request_trap_nothing() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let mut generator = fastrand::Rng::with_seed(20_261_122);
    for round in 0..400 {
        let target = generator.choice(["/slack/command", "/slack/event", "/slack/interactive"]).unwrap();
        let types = [
            "application/json",
            "application/x-www-form-urlencoded",
            "",
            "text/plain",
            "application/json;\u{ff}",
        ];
        let content_type = generator.choice(types).unwrap();
        let mut body: Vec<u8> = match round % 4 {
            0 => slack::event("/", "Ev1", "text").body,
            1 => slack::command("/", "text").body,
            2 => slack::interactive("/", &slack::block_actions("x")).body,
            _ => (0..generator.usize(..600)).map(|_| generator.u8(..)).collect(),
        };
        for _ in 0..generator.usize(..6) {
            if let Some(at) = (!body.is_empty()).then(|| generator.usize(..body.len())) {
                body[at] = generator.u8(..);
            }
        }
        let request = Request::post(target, content_type, body);
        let answer = stack.client().send(&signed(request)).await;
        assert!(matches!(answer.status, 200 | 400), "{round}: {} {}", answer.status, answer.text());
    }
    assert_alive(&stack, since).await;
}

#[tokio::test]
async fn a_signed_body_is_whole_however_it_arrives() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let one_byte_chunks = signed(slack::command("/slack/command", "one-byte-chunks"));
    assert_eq!(stack.client().send_chunked(&one_byte_chunks, 1).await.status, 200);

    let mut trailers = signed(slack::command("/slack/command", "with-trailers"));
    trailers.trailers.push("x-checksum", "1");
    trailers.trailers.push("x-slack-signature", "v0=00");
    assert_eq!(stack.client().send_chunked(&trailers, 7).await.status, 200);

    let mut h2 = signed(slack::command("/slack/command", "over-http2-with-trailers"));
    h2.trailers.push("x-checksum", "1");
    assert_eq!(h2c::send(stack.client().address(), &h2).await.unwrap().status, 200);

    for marker in ["one-byte-chunks", "with-trailers", "over-http2-with-trailers"] {
        let text = stack.delivered(marker).await.json()["text"].clone();
        assert_eq!(text, marker);
    }
    assert_alive(&stack, since).await;
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_goes_nowhere() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let targets = ["/slack/command", "/wal/half", "/form/half", "/wal-playback"];
    let mut connections = Vec::new();
    for target in targets {
        let bytes = signed(slack::command(target, "half-a-body")).header("host", "x").to_bytes();
        let mut connection: Connection = stack.client().connect().await;
        connection.write(&bytes[..bytes.len() - 3]).await;
        connections.push(connection);
    }
    // A request that came later, and is through, shows that the others have been looked at.
    assert_alive(&stack, since).await;
    stack.delivered("/alive").await;
    stack.assert_no_trace("half-a-body");
    drop(connections);
    assert_alive(&stack, since).await;
    stack.assert_no_trace("half-a-body");
}

#[tokio::test]
async fn nothing_is_checked_on_a_part_of_a_body() {
    let stack = stack().await;
    let marker = "part-of-a-body";
    let small = slack::command("/slack/command", marker);
    // The signature covers what fits; the rest would make it another request.
    let mut request = signed(small);
    request.body.extend(vec![b'x'; 2 << 20]);
    assert_eq!(stack.client().send(&request).await.status, 413);
    assert_eq!(stack.client().send_chunked(&request, 65_536).await.status, 413);
    stack.assert_no_trace(marker);
}

const ACTIVE: &str = "http.lockgate.downstream_rq_active";

#[tokio::test]
async fn thousands_of_callers_that_leave_while_they_wait_leave_nothing_behind() {
    let stack = Stack::builder().start().await;
    let since = stack.gateway_log().len();
    let client = stack.client();
    assert_alive(&stack, since).await;
    stack.proxy().program(|call| call.contains(":publish").then_some(Fault::Hang));
    for round in 0..6 {
        let mut connections = Vec::new();
        for caller in 0..400 {
            let marker = format!("left-{round}-{caller}");
            let request = signed(slack::command("/slack/command", &marker)).header("host", "x");
            let mut connection = client.connect().await;
            connection.write(&request.to_bytes()).await;
            connections.push(connection);
        }
        stack.admin().wait_for_stat(ACTIVE, |active| active >= 1).await;
        drop(connections);
        stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
    }
    stack.proxy().heal();
    let recovered = async {
        while client.send(&signed(slack::command("/slack/command", "after-they-left"))).await.status != 200 {}
    };
    tokio::time::timeout(Duration::from_secs(15), recovered).await.expect("the filters recover");
    assert_alive(&stack, since).await;
    let arrived = stack.upstream().requests().matching(|request| request.contains("left-5-"));
    assert!(arrived.is_empty(), "{} messages of callers who were told nothing", arrived.len());
}

#[tokio::test]
async fn more_callers_than_may_wait_are_sent_away_and_not_forgotten() {
    let stack = Stack::builder().start().await;
    let client = stack.client();
    stack
        .proxy()
        .program(|call| call.contains(":publish").then_some(Fault::Slow(Duration::from_millis(300))));
    let callers = (0..900).map(|caller| {
        tokio::spawn(async move {
            let request = signed(slack::command("/slack/command", &format!("crowd-{caller}-")));
            (caller, client.try_send(&request).await.map_or(0, |answer| answer.status))
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut acknowledged = BTreeSet::new();
    for caller in callers {
        let (caller, status) = caller.await.unwrap();
        assert!(matches!(status, 200 | 503 | 504), "caller {caller}: {status}");
        if status == 200 {
            acknowledged.insert(caller);
        }
    }
    assert!(!acknowledged.is_empty(), "nobody was acknowledged");
    stack.proxy().heal();
    // Each request is looked at once: whoever looks holds up the server that records them, and with it the
    // servers of all stacks in this process.
    let (requests, mut seen) = (stack.upstream().requests(), 0);
    while !acknowledged.is_empty() {
        let new = requests.reaches(PATIENCE, |all| all.len() > seen).await;
        assert!(
            new,
            "{} were acknowledged and not delivered, as {:?}",
            acknowledged.len(),
            acknowledged.first()
        );
        for request in requests.since(seen) {
            seen += 1;
            let body = String::from_utf8_lossy(&request.body);
            let caller = body.split_once("crowd-").and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
            acknowledged.remove(&caller.expect("a caller's number"));
        }
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_refused_before_a_filter_sees_it() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let mut many = Request::post("/wal/flood-of-headers", "text/plain", "x");
    for number in 0..2_000 {
        many = many.header(format!("x-{number}"), "1");
    }
    let long =
        Request::post("/wal/flood-of-headers", "text/plain", "x").header("x-long", "v".repeat(200_000));
    let target = format!("/wal/flood-of-headers/{}", "p".repeat(200_000));
    for request in [many, long, Request::get(&target)] {
        let answer = stack.client().try_send(&request).await;
        assert!(answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
    }
    stack.assert_no_trace("flood-of-headers");
    assert_alive(&stack, since).await;
}

//! Bodies pass as they come, or not at all.

use std::time::{Duration, Instant};

use lockgate_e2e::Request;
use lockgate_e2e::byte_stream::ByteStream;
use lockgate_e2e::guarded_routes::{guarded_stack, signed_in, traps, with_cookies, with_token};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::visitor::until;

use crate::{Piped, accept, head_of};

const MEGABYTE: usize = 1 << 20;

/// A megabyte that is unlike its neighbours.
fn piece(number: usize) -> Vec<u8> {
    (0..MEGABYTE).map(|at| (at.wrapping_mul(31) ^ number.wrapping_mul(131)) as u8).collect()
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

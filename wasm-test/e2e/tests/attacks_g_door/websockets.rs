//! Upgraded connections.

use lockgate_e2e::Request;
use lockgate_e2e::byte_stream::ByteStream;
use lockgate_e2e::guarded_routes::{AUDIENCE, signed_in, traps, with_cookies, with_token};
use lockgate_e2e::hostile_provider::Endpoint;

use crate::{Piped, accept, head_of, stack, staff};

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

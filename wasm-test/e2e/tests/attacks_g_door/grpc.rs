//! Streams both ways over HTTP/2, as gRPC has them.

use std::time::Duration;

use lockgate_e2e::guarded_routes::{AUDIENCE, guarded_stack, signed_in, traps, with_cookies, with_token};
use lockgate_e2e::h2_call::H2Call;
use lockgate_e2e::h2_upstream::H2Upstream;
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::http1::Headers;
use lockgate_e2e::tls_front::{TlsFront, certificate};
use lockgate_e2e::{Request, Stack};
use serde_json::json;

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

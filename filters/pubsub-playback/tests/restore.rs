//! What an envelope may ask of the upstream, and what it may not.

use lockgate_common::envelope::Envelope;
use lockgate_common::http::Headers;
use pubsub_playback::push::Push;
use pubsub_playback::restore::{RestoreError, headers};

fn envelope<'a>(path: &'a str, extra: &[(&'a str, &'a [u8])]) -> Envelope<'a> {
    let content_type = ("content-type", b"text/plain".as_slice());
    let headers = std::iter::once(&content_type).chain(extra);
    Envelope {
        id: "id-1".into(),
        dedup: None,
        received_at: "2026-11-22T04:00:00.000Z".into(),
        route: "r".into(),
        method: "POST".into(),
        path: path.into(),
        headers: headers.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        principal: None,
        trace: None,
    }
}

fn pushed() -> Headers {
    let pairs =
        [(":method", "POST"), (":scheme", "https"), (":authority", "proxy"), (":path", "/wal-playback")];
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.push(name, value.as_bytes());
    }
    headers.push("authorization", b"Bearer push");
    headers.push("x-forwarded-for", b"1.2.3.4");
    headers
}

fn restore(envelope: &Envelope<'_>) -> Result<Headers, RestoreError> {
    let push = Push { delivery_attempt: Some(3), publish_time: "t".into(), ..Push::default() };
    headers(envelope, &push, &["cookie".to_owned()], &pushed())
}

#[test]
fn the_request_is_restored_and_the_push_is_gone() {
    let restored = restore(&envelope("/a?b=c", &[("x-odd", b"\xff")])).unwrap();
    assert_eq!(restored.first(":path"), Some(b"/a?b=c".as_slice()));
    assert_eq!(restored.first("x-odd"), Some(b"\xff".as_slice()));
    assert_eq!(restored.first("x-lockgate-message-id"), Some(b"id-1".as_slice()));
    assert_eq!(restored.first("webhook-id"), Some(b"id-1".as_slice()));
    assert_eq!(restored.first("x-lockgate-delivery-attempt"), Some(b"3".as_slice()));
    assert_eq!(restored.first("authorization"), None);
    assert_eq!(restored.first("x-forwarded-for"), None);
}

#[test]
fn a_path_that_could_be_another_is_refused() {
    let paths = [
        "",
        "x",
        "@evil.example/",
        ".evil.example/",
        ":9105/steal",
        "//evil.example/",
        "http://evil.example/",
        "/a/../b",
        "/a/./b",
        "/..",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a/..;x=1/b",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a b",
        "/a\tb",
        "/a#b",
        "/a%00",
        "/é",
    ];
    for path in paths {
        assert_eq!(restore(&envelope(path, &[])).err(), Some(RestoreError::Path), "{path}");
    }
    for path in ["/", "/a..b", "/...", "/a;b=1", "/a?x=../y", "/%20", "/a//b"] {
        assert!(restore(&envelope(path, &[])).is_ok(), "{path}");
    }
}

#[test]
fn a_header_that_is_never_stored_is_a_forgery() {
    let names = [
        "authorization",
        "proxy-authorization",
        "x-serverless-authorization",
        "x-goog-iap-jwt-assertion",
        "x-goog-authenticated-user-email",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-envoy-original-path",
        "x-lockgate-principal",
        "x-lockgate-assertion",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        ":authority",
        ":scheme",
        "x-original-url",
        "X-Upper",
        "bad name",
        "",
    ];
    for name in names {
        let restored = restore(&envelope("/", &[(name, b"x")]));
        assert_eq!(restored.err(), Some(RestoreError::Header), "{name}");
    }
    for value in [&b"a\r\nb"[..], b"a\nb", b"a\0b"] {
        assert_eq!(restore(&envelope("/", &[("x-a", value)])).err(), Some(RestoreError::Header));
    }
    assert!(restore(&envelope("/", &[("cookie", b"named by a route")])).is_ok());
}

#[test]
fn a_signature_of_the_past_is_left_out() {
    let restored = restore(&envelope("/", &[("x-slack-signature", b"v0=1")])).unwrap();
    assert_eq!(restored.first("x-slack-signature"), None);
}

#[test]
fn what_has_been_here_before_is_a_loop() {
    for value in [&b"lockgate"[..], b"other, lockgate", b"LOCKGATE; x=1"] {
        assert_eq!(restore(&envelope("/", &[("cdn-loop", value)])).err(), Some(RestoreError::Loop));
    }
    let restored = restore(&envelope("/", &[("cdn-loop", b"other")])).unwrap();
    assert_eq!(restored.first("cdn-loop"), Some(b"other, lockgate".as_slice()));
}

#[test]
fn a_method_is_a_token_and_opens_no_tunnel() {
    for method in ["", "CONNECT", "GET /", "G\nET"] {
        let envelope = Envelope { method: method.into(), ..envelope("/", &[]) };
        assert_eq!(restore(&envelope).err(), Some(RestoreError::Method), "{method}");
    }
}

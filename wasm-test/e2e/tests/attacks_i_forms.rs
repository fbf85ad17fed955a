//! Attacks on the adapter: it converts, or it refuses; it never guesses and never falls over.

use lockgate_e2e::{Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn send(marker: &str, content_type: &str, body: &[u8]) -> Response {
    let stack = stack().await;
    let request = Request::post(&format!("/form/{marker}"), content_type, body);
    stack.client().send(&request).await
}

async fn assert_refused(marker: &str, content_type: &str, body: &[u8], statuses: &[u16]) {
    let answer = send(marker, content_type, body).await;
    assert!(statuses.contains(&answer.status), "{marker}: {} {}", answer.status, answer.text());
    stack().await.assert_no_trace(&format!("/form/{marker}"));
}

async fn adapted(marker: &str, body: &[u8]) -> Value {
    let answer = send(marker, FORM, body).await;
    assert_eq!(answer.status, 200, "{marker}: {}", answer.text());
    stack().await.delivered(&format!("/form/{marker}")).await.json()
}

#[tokio::test]
async fn broken_escapes_and_invalid_utf8_are_refused() {
    for (marker, body) in [
        ("escape-1", &b"a=%"[..]),
        ("escape-2", b"a=%2"),
        ("escape-3", b"a=%zz"),
        ("escape-4", b"%=a"),
        ("escape-5", b"a=%u0041"),
        ("utf8-1", b"a=\xff"),
        ("utf8-2", b"a=%ff"),
        ("utf8-3", b"a=%c3"),
        ("utf8-4", b"a=%c0%af"),
        ("utf8-5", b"a=%ed%a0%80"),
        ("utf8-6", b"\xc3=a"),
    ] {
        assert_refused(marker, FORM, body, &[400]).await;
    }
}

#[tokio::test]
async fn names_that_mean_something_elsewhere_are_just_names() {
    for (marker, body, expected) in [
        ("proto", &b"__proto__=1&constructor=2"[..], json!({"__proto__": "1", "constructor": "2"})),
        ("empty-name", b"=1&=2", json!({"": ["1", "2"]})),
        ("brackets", b"a[b]=1&a[]=2&a.b=3", json!({"a[b]": "1", "a[]": "2", "a.b": "3"})),
        ("pointer", b"%24ptr=%2Fa&%24each=x", json!({"$ptr": "/a", "$each": "x"})),
        ("json-in-a-value", b"a=%7B%22b%22%3A1%7D", json!({"a": "{\"b\":1}"})),
        ("quote-in-a-name", b"a%22%2C%22b=1", json!({"a\",\"b": "1"})),
        ("line-separators", b"a=%E2%80%A8%7F%1B", json!({"a": "\u{2028}\u{7f}\u{1b}"})),
        ("semicolon", b"a=1;b=2", json!({"a": "1;b=2"})),
    ] {
        assert_eq!(adapted(marker, body).await, expected, "{marker}");
    }
}

#[tokio::test]
async fn an_embedded_payload_cannot_break_out() {
    for (marker, body, expected) in [
        ("payload-object", &b"payload=%7B%22a%22%3A%5B%5D%7D"[..], json!({"payload": {"a": []}})),
        ("payload-broken", b"payload=%7B%22a%22%3A", json!({"payload": "{\"a\":"})),
        ("payload-two", b"payload=%7B%7D%2C%7B%7D", json!({"payload": "{},{}"})),
        ("payload-text", b"payload=%22a%22", json!({"payload": "\"a\""})),
    ] {
        assert_eq!(adapted(marker, body).await, expected, "{marker}");
    }
    let deep = format!("payload={}", "%5B".repeat(50_000));
    assert_eq!(adapted("payload-deep", deep.as_bytes()).await, json!({"payload": "[".repeat(50_000)}));
}

#[tokio::test]
async fn too_many_fields_are_refused_whatever_their_names() {
    let many = |name: fn(usize) -> String| {
        let fields: Vec<String> = (0..10_000).map(|n| format!("{}=x", name(n))).collect();
        fields.join("&")
    };
    assert_refused("fields-different", FORM, many(|n| format!("f{n}")).as_bytes(), &[413]).await;
    assert_refused("fields-same", FORM, many(|_| "f".to_owned()).as_bytes(), &[413]).await;
    let separators = adapted("separators", "&".repeat(500_000).as_bytes()).await;
    assert_eq!(separators, json!({}));
}

#[tokio::test]
async fn other_types_and_charsets_are_refused() {
    for (marker, content_type) in [
        ("latin1", "application/x-www-form-urlencoded; charset=iso-8859-1"),
        ("utf16", "application/json; charset=utf-16"),
        ("multipart", "multipart/form-data; boundary=x"),
        ("text", "text/plain"),
        ("xml", "application/xml"),
        ("prefix", "application/jsonx"),
        ("two", "application/json, text/plain"),
        ("empty", ""),
    ] {
        assert_refused(&format!("type-{marker}"), content_type, b"a=b", &[400, 415]).await;
    }
    let stack = stack().await;
    let request = Request::post("/form/type-twice", FORM, "a=b").header("content-type", "application/json");
    // Envoy joins the two into one value, which is then no media type.
    assert_eq!(stack.client().send(&request).await.status, 415);
    stack.assert_no_trace("/form/type-twice");
}

#[tokio::test]
async fn json_that_is_not_json_is_refused() {
    let deep = "[".repeat(200_000);
    for (marker, body) in [
        ("json-empty", &b""[..]),
        ("json-cut", b"{\"a\":"),
        ("json-two", b"{}{}"),
        ("json-comma", b"{\"a\":1,}"),
        ("json-single", b"{'a':1}"),
        ("json-nan", b"NaN"),
        ("json-control", b"\"a\nb\""),
        ("json-utf8", b"\"\xff\""),
        ("json-bom", b"\xef\xbb\xbf{}"),
        ("json-deep", deep.as_bytes()),
    ] {
        assert_refused(marker, "application/json", body, &[400]).await;
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_on_both_kinds_of_route() {
    let stack = stack().await;
    for path in ["/form/too-large", "/zapier/too-large"] {
        for size in [(1 << 20) + 1, 4 << 20] {
            let body = format!("a={}", "x".repeat(size - 2));
            let request = Request::post(path, FORM, body);
            assert_eq!(stack.client().send(&request).await.status, 413, "{path} {size}");
            assert_eq!(stack.client().send_chunked(&request, 32_768).await.status, 413, "{path} {size}");
        }
    }
    stack.assert_no_trace("too-large");
}

#[tokio::test]
async fn what_grows_when_it_is_converted_is_bounded() {
    // Each control character becomes six bytes of JSON.
    let body = format!("a={}", "\u{1}".repeat(400_000));
    assert_refused("grows", FORM, body.as_bytes(), &[413]).await;
    let body = format!("a={}", "\u{1}".repeat(100_000));
    assert_eq!(adapted("grows-little", body.as_bytes()).await, json!({"a": "\u{1}".repeat(100_000)}));
}

//! pubsub-enqueue in the simulated host: nothing is said to be stored before it is.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use lockgate_common::encoding::from_base64;
use serde_json::{Value, json};
use support::{Google, TOPIC, builder, command, with};
use wasm_test::{Answer, Gateway, Request, Response};

fn rules() -> Value {
    json!([
        {"match": {"path_prefix": "/slack"}, "name": "slack", "topic": TOPIC, "after": ["slack-signature"],
         "reply": {"status": 200, "content_type": "application/json", "body": "{\"response_type\":\"in_channel\"}"}},
        {"match": {"path_prefix": "/wal"}, "name": "wal", "topic": TOPIC, "strip_prefix": "/wal",
         "reply": {"status": 202, "content_type": "application/json", "body": "{\"id\":\"{id}\"}"}},
    ])
}

fn gateway(google: &Google) -> Gateway {
    with(builder(google), "pubsub-enqueue", rules()).start().unwrap()
}

fn post(body: &str) -> Request {
    Request::post("/wal/a?b=c").header("content-type", "text/plain").header("x-request-id", "corr").body(body)
}

/// The envelope's line, and the body behind it.
fn opened(message: &Value) -> (Value, Vec<u8>) {
    let data = from_base64(message["data"].as_str().unwrap().as_bytes()).unwrap();
    let end = data.iter().position(|byte| *byte == b'\n').unwrap();
    (serde_json::from_slice(&data[..end]).unwrap(), data[end + 1..].to_vec())
}

#[test]
fn a_request_is_stored_whole_and_answered_with_its_id() {
    let google = Google::new();
    let gateway = gateway(&google);
    let body = b"\x00\xff\nbinary";
    let request = Request::new("PUT", "/wal/a/b?c=d&e")
        .header("x-a", "1")
        .header("x-a", "2")
        .header("x-odd", b"\xff")
        .header("authorization", "Bearer user")
        .header("cookie", "session=1")
        .header("x-request-id", "corr")
        .body(body);
    let response = gateway.send(request);
    assert_eq!(response.status, 202);
    let message = &google.stored(TOPIC)[0];
    let (line, stored) = opened(message);
    assert_eq!(stored, body);
    assert_eq!((&line["method"], &line["path"]), (&json!("PUT"), &json!("/a/b?c=d&e")));
    assert_eq!(response.text(), format!("{{\"id\":{}}}", line["id"]));
    let headers = line["headers"].as_array().unwrap();
    for pair in [
        json!(["x-a", "1"]),
        json!(["x-a", "2"]),
        json!(["x-odd", {"base64": "/w=="}]),
        json!(["x-request-id", "corr"]),
    ] {
        assert!(headers.contains(&pair), "{pair}");
    }
    let text = line.to_string();
    assert!(!text.contains("Bearer") && !text.contains("session"), "{text}");
    assert_eq!(message["attributes"]["path"], "/a/b");
    assert!(gateway.upstream_requests().is_empty());
}

#[test]
fn a_request_without_a_body_is_a_request_too() {
    let google = Google::new();
    let gateway = gateway(&google);
    assert_eq!(gateway.send(Request::get("/wal/a")).status, 202);
    assert_eq!(gateway.send(Request::new("DELETE", "/wal/a").chunked().trailer("x", "y")).status, 202);
    assert_eq!(google.stored(TOPIC).len(), 2);
    assert!(!gateway.trapped());
}

#[test]
fn a_failed_publish_is_a_5xx_in_time_and_never_a_2xx() {
    let permanent: Vec<Answer> = [400, 403, 404].map(|status| Response::new(status).into()).into();
    let transient: Vec<Answer> = [429, 500, 503].map(|status| Response::new(status).into()).into();
    let lost = vec![
        Answer::Refuse,
        Answer::Reset,
        Answer::Hold,
        Response::new(200).body("{}").into(),
        Response::new(200).body("{\"messageIds\":[]}").into(),
        Response::new(200).body("not json").into(),
        Response::new(302).into(),
    ];
    for answer in permanent.into_iter().chain(transient).chain(lost) {
        let google = Google::new();
        google.set(|state| state.publish = Some(answer.clone()));
        let gateway = gateway(&google);
        let began = gateway.now();
        let response = gateway.send(post("a"));
        assert_eq!(response.status, 503, "{answer:?}");
        assert_eq!(response.headers.text("retry-after"), Some("1"));
        assert!(!response.text().contains("id"), "no success body");
        let took = gateway.now().duration_since(began).unwrap();
        assert!(took <= Duration::from_millis(2_750), "{answer:?} took {took:?}");
    }
}

#[test]
fn a_passing_failure_is_tried_once_more() {
    let google = Google::new();
    google.set(|state| state.publish = Some(Answer::Hold));
    let gateway = gateway(&google);
    let stream = gateway.open(post("a"));
    let first = gateway.held().pop().unwrap();
    google.set(|state| state.publish = None);
    gateway.answer(&first, Response::new(503));
    assert_eq!(stream.wait().status, 202);
    assert_eq!(google.calls(":publish"), 2);
}

#[test]
fn a_revoked_access_token_is_fetched_anew() {
    let google = Google::new();
    let gateway = gateway(&google);
    assert_eq!(gateway.send(post("a")).status, 202);
    google.set(|state| state.publish = Some(Answer::Hold));
    let stream = gateway.open(post("b"));
    google.set(|state| state.publish = None);
    gateway.answer(&gateway.held().pop().unwrap(), Response::new(401));
    assert_eq!(stream.wait().status, 202);
    assert_eq!(google.calls("/token"), 2);
}

#[test]
fn without_an_access_token_nothing_is_stored() {
    let error_text = support::ok(&json!({"access_token": "{\"error\": \"no account\"}", "expires_in": 3600}));
    for answer in [
        Response::new(500).into(),
        Answer::Refuse,
        Answer::Hold,
        error_text,
        Response::new(200).body("<html>").into(),
    ] {
        let google = Google::new();
        google.set(|state| state.token = Some(answer.clone()));
        let gateway = gateway(&google);
        assert_eq!(gateway.send(post("a")).status, 503, "{answer:?}");
        assert_eq!(google.calls(":publish"), 0);
    }
}

#[test]
fn an_access_token_found_expired_on_arrival_is_fetched_within_the_request() {
    let google = Google::new();
    let gateway = gateway(&google);
    assert_eq!(gateway.send(post("a")).status, 202);
    // An instance that was frozen: no timer has fired meanwhile.
    gateway.advance(Duration::from_secs(3_600));
    assert_eq!(gateway.send(post("b")).status, 202);
    assert_eq!(google.calls("/token"), 2);
}

#[test]
fn a_lone_request_goes_at_once_and_a_burst_goes_together() {
    let google = Google::new();
    let gateway = gateway(&google);
    assert_eq!(gateway.send(post("warm")).status, 202);
    google.set(|state| state.publish = Some(Answer::Hold));
    let first = gateway.open(post("first"));
    let rest: Vec<_> = (0..20).map(|index| gateway.open(post(&index.to_string()))).collect();
    assert_eq!(gateway.held().len(), 1, "the rest waits for the first");
    google.set(|state| state.publish = None);
    gateway.answer(&gateway.held()[0], support::ok(&json!({"messageIds": ["1"]})));
    assert_eq!(first.wait().status, 202);
    assert!(rest.iter().all(|stream| stream.wait().status == 202));
    assert_eq!(google.calls(":publish"), 3, "one each for the first two, one for twenty");
    assert_eq!(google.stored(TOPIC).len(), 21);
}

#[test]
fn a_publish_that_hangs_does_not_hold_up_those_behind_it() {
    let google = Google::new();
    let gateway = gateway(&google);
    assert_eq!(gateway.send(post("warm")).status, 202);
    google.set(|state| state.publish = Some(Answer::Hold));
    let _hangs = gateway.open(post("hangs"));
    google.set(|state| state.publish = None);
    let began = gateway.now();
    assert_eq!(gateway.send(post("behind")).status, 202);
    assert!(gateway.now().duration_since(began).unwrap() <= Duration::from_millis(250));
}

#[test]
fn a_client_that_leaves_takes_nobody_with_it() {
    let google = Google::new();
    google.set(|state| state.token = Some(Answer::Hold));
    let gateway = gateway(&google);
    let (leaves, stays) = (gateway.open(post("leaves")), gateway.open(post("stays")));
    leaves.reset();
    google.set(|state| state.token = None);
    let token = json!({"access_token": "ya29.token", "expires_in": 3600});
    gateway.answer(&gateway.held()[0], support::ok(&token));
    assert_eq!(stays.wait().status, 202);
    assert!(!gateway.trapped());
    assert!(google.stored(TOPIC).iter().any(|message| opened(message).1 == b"stays"));
}

#[test]
fn thousands_that_wait_and_leave_cost_nothing_in_the_end() {
    let google = Google::new();
    google.set(|state| state.publish = Some(Answer::Hold));
    let gateway = gateway(&google);
    for _ in 0..4 {
        let streams: Vec<_> = (0..600).map(|_| gateway.open(post("x"))).collect();
        let refused =
            streams.iter().filter(|stream| stream.response().is_some_and(|r| r.status == 503)).count();
        assert!(refused >= 600 - 512, "{refused}");
        streams.iter().for_each(|stream| stream.reset());
    }
    google.set(|state| state.publish = None);
    gateway.advance(Duration::from_secs(5));
    assert_eq!(gateway.send(post("after")).status, 202);
    assert!(!gateway.trapped());
}

#[test]
fn a_guard_that_left_no_mark_closes_the_route() {
    let google = Google::new();
    let gateway = gateway(&google);
    let response = gateway.send(command(&gateway));
    assert_eq!(response.status, 503);
    assert_eq!(google.calls(""), 0);
    assert!(gateway.logs().contains("refused reason=not_guarded"));
}

#[test]
fn what_was_played_back_is_not_stored_again() {
    let gateway = gateway(&Google::new());
    assert_eq!(gateway.send(post("a").header("cdn-loop", "lockgate")).status, 508);
}

#[test]
fn what_could_not_be_played_back_is_not_acknowledged() {
    let google = Google::new();
    let gateway = gateway(&google);
    for path in ["/wal/a/%2e%2e/b", "/wal//evil.example/x", "/wal/a%2fb"] {
        assert_eq!(gateway.send(Request::post(path).body("a")).status, 400, "{path}");
    }
    let many = (0..2_500).fold(Request::post("/wal/a").body(vec![b'a'; 1 << 20]), |request, index| {
        request.header(&format!("x-{index}"), "\"".repeat(40))
    });
    assert_eq!(gateway.send(many).status, 413);
    assert!(google.stored(TOPIC).is_empty());
}

#[test]
fn bodies_up_to_the_limit_are_stored_and_none_above() {
    let google = Google::new();
    let gateway = gateway(&google);
    for (size, status) in [(7_000, 202), (11_000, 202), (1 << 20, 202), ((1 << 20) + 1, 413)] {
        let response = gateway.send(Request::post("/wal/a").body(vec![b'x'; size]));
        assert_eq!(response.status, status, "{size}");
    }
    assert_eq!(google.stored(TOPIC).len(), 3);
}

//! slack-signature in the simulated host: who passes, what is answered, what is fetched.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Google, SECRET, builder, command, signed, with};
use wasm_test::{Answer, Gateway, Request, Response};

const FORM: &str = "application/x-www-form-urlencoded";

fn gateway(google: &Google, secret: Value) -> Gateway {
    let rules = json!([{"match": {"path_prefix": "/slack"}, "signing_secrets": secret}]);
    with(builder(google), "slack-signature", rules).start().unwrap()
}

fn plain() -> (Google, Gateway) {
    let google = Google::new();
    let gateway = gateway(&google, json!({"env": "SLACK_SIGNING_SECRET"}));
    (google, gateway)
}

#[test]
fn a_signed_request_passes_as_it_came() {
    let (google, gateway) = plain();
    let response = gateway.send(command(&gateway));
    assert_eq!(response.status, 200);
    let upstream = &gateway.upstream_requests()[0];
    assert_eq!(upstream.body, b"command=%2Fx&text=a");
    assert_eq!(google.calls(""), 0, "a secret in the environment needs no call");
    assert_eq!(gateway.metrics().counter("lockgate.slack_signature.verified"), 1);
}

#[test]
fn whatever_is_wrong_with_it_the_upstream_sees_no_byte() {
    let (_, gateway) = plain();
    let good = command(&gateway);
    let mut changed = good.clone();
    changed.body = b"command=%2Fy&text=a".to_vec();
    let doubled = good.clone().header("x-slack-signature", "v0=0");
    let not_utf8 = Request::post("/slack/command")
        .header("x-slack-signature", b"v0=\xff\xfe")
        .header("x-slack-request-timestamp", b"\xff")
        .header("content-type", b"\xff");
    let unsigned = Request::post("/slack/command").body("command=x");
    let cases = [
        (signed(&gateway, "other", "/slack/command", FORM, b"a=b"), 401),
        (doubled, 401),
        (not_utf8, 401),
        (unsigned, 401),
        (Request::get("/slack/command"), 401),
        (Request::post("/elsewhere").body("a"), 403),
    ];
    for (request, status) in cases {
        assert_eq!(gateway.send(request.clone()).status, status, "{request:?}");
    }
    assert!(gateway.upstream_requests().is_empty());
    assert!(!gateway.trapped());
    for line in gateway.logs().matching("lockgate filter=slack-signature") {
        assert!(!line.message.contains("v0="), "{}", line.message);
    }
}

#[test]
fn a_body_in_pieces_or_with_trailers_is_the_same_body() {
    let (_, gateway) = plain();
    let request = command(&gateway);
    let (mut pieces, body) = (request.clone().chunked(), request.body.clone());
    pieces.body.clear();
    let stream = gateway.open_body(request.clone().chunked());
    for byte in &body {
        stream.push([*byte]);
        assert!(stream.is_paused());
    }
    stream.trailers([("x-trailer", "a")]);
    assert_eq!(stream.wait().status, 200);
    assert_eq!(gateway.upstream_requests()[0].body, body);
}

#[test]
fn too_much_is_refused_before_it_has_all_arrived() {
    let (_, gateway) = plain();
    let request = signed(&gateway, SECRET, "/slack/command", FORM, b"").chunked();
    let stream = gateway.open_body(request);
    stream.push(vec![b'a'; 1 << 20]);
    assert!(stream.is_paused() && stream.response().is_none());
    stream.push(b"a");
    assert_eq!(stream.wait().status, 413);
    assert!(gateway.upstream_requests().is_empty() && !gateway.trapped());
}

#[test]
fn a_challenge_is_answered_only_when_signed() {
    let (_, gateway) = plain();
    let body = br#"{"type":"url_verification","challenge":"3eZbrw1aB","token":"x"}"#;
    let answered = gateway.send(signed(&gateway, SECRET, "/slack/event", "application/json", body));
    assert_eq!((answered.status, answered.body.as_slice()), (200, b"3eZbrw1aB".as_slice()));
    assert_eq!(answered.headers.text("content-type"), Some("text/plain"));
    let unsigned = Request::post("/slack/event").header("content-type", "application/json").body(body);
    let refused = gateway.send(unsigned);
    assert_eq!(refused.status, 401);
    assert!(!refused.text().contains("3eZbrw1aB"), "never reflected");
}

#[test]
fn an_ssl_check_is_answered_unsigned_and_goes_nowhere() {
    let (_, gateway) = plain();
    let post = Request::post("/slack/command").header("content-type", FORM).body("token=x&ssl_check=1");
    for request in [post, Request::get("/slack/command?ssl_check=1&token=x")] {
        let response = gateway.send(request);
        assert_eq!((response.status, response.body.len()), (200, 0));
    }
    let with_bad_signature = command(&gateway).header("x-slack-signature", "v0=0").body("ssl_check=1");
    assert_eq!(gateway.send(with_bad_signature).status, 401);
    assert!(gateway.upstream_requests().is_empty());
}

fn secret_answer(secret: &str) -> Answer {
    support::ok(
        &json!({"name": "n", "payload": {"data": lockgate_common::encoding::base64(secret.as_bytes())}}),
    )
}

const ROTATED: &str = "ROTATED";

/// A gateway whose secret comes from Secret Manager and overlaps with the one before for 60 s.
fn rotating(google: &Google) -> Gateway {
    let rules = json!([{"match": {"path_prefix": "/slack"}, "signing_secrets": {"env": ROTATED},
                        "overlap_seconds": 60}]);
    with(builder(google), "slack-signature", rules).start().unwrap()
}

#[test]
fn a_secret_is_fetched_once_and_a_rotated_one_without_a_restart() {
    let google = Google::new();
    google.set(|state| state.secret = Some(secret_answer("s+e/c=r~et")));
    let gateway = rotating(&google);
    let send = |secret: &str| gateway.send(signed(&gateway, secret, "/slack/command", FORM, b"a=b")).status;
    assert_eq!([send("s+e/c=r~et"), send("s+e/c=r~et")], [200, 200]);
    assert_eq!(google.calls(":access"), 1);

    google.set(|state| state.secret = Some(secret_answer("newer")));
    assert_eq!(send("newer"), 200, "looked at once more, though that was done a moment ago");
    assert_eq!(google.calls(":access"), 2);
    assert_eq!([send("s+e/c=r~et"), send("newer")], [200, 200], "both, while they overlap");
    assert_eq!(google.calls(":access"), 2, "which needs no further look");
    gateway.advance(Duration::from_secs(58));
    assert_eq!([send("s+e/c=r~et"), send("newer")], [200, 200]);
    gateway.advance(Duration::from_secs(2));
    assert_eq!([send("s+e/c=r~et"), send("newer")], [401, 200], "and not a second longer");
}

#[test]
fn forged_signatures_make_a_worker_look_twice_a_second_and_only_some_wait_for_it() {
    let google = Google::new();
    google.set(|state| state.secret = Some(secret_answer(SECRET)));
    let gateway = rotating(&google);
    assert_eq!(gateway.send(command(&gateway)).status, 200);
    gateway.advance(Duration::from_secs(1));
    let forged = || gateway.open(signed(&gateway, "forged", "/slack/command", FORM, b"a=b"));
    assert_eq!(forged().wait().status, 401);
    assert_eq!(google.calls(":access"), 2);

    let flood: Vec<_> = (0..400).map(|_| forged()).collect();
    let waiting = flood.iter().filter(|stream| stream.response().is_none()).count();
    assert_eq!(waiting, 128, "the others are refused at once");
    assert_eq!(gateway.send(command(&gateway)).status, 200, "and nobody else waits for them");
    for stream in &flood {
        assert_eq!(stream.wait().status, 401);
    }
    assert_eq!(google.calls(":access"), 3);
}

#[test]
fn a_rotation_under_load_refuses_nothing_valid_and_ends() {
    let google = Google::new();
    google.set(|state| state.secret = Some(secret_answer("first")));
    let gateway = rotating(&google);
    let open = |secret: &str| gateway.open(signed(&gateway, secret, "/slack/command", FORM, b"a=b"));
    assert_eq!(open("first").wait().status, 200);
    google.set(|state| state.secret = Some(secret_answer("second")));
    let streams: Vec<_> = (0..100).map(|index| open(["first", "second"][index % 2])).collect();
    for stream in &streams {
        assert_eq!(stream.wait().status, 200);
    }
    assert_eq!(google.calls(":access"), 2);
    gateway.advance(Duration::from_secs(61));
    assert_eq!([open("first").wait().status, open("second").wait().status], [401, 200]);
}

#[test]
fn a_secret_that_was_replaced_while_nobody_came_is_good_for_the_overlap_alone() {
    let google = Google::new();
    google.set(|state| state.secret = Some(secret_answer("first")));
    let gateway = rotating(&google);
    let send = |secret: &str| gateway.send(signed(&gateway, secret, "/slack/command", FORM, b"a=b")).status;
    assert_eq!(send("first"), 200);
    google.set(|state| state.secret = Some(secret_answer("second")));
    gateway.advance(Duration::from_secs(3_600));
    assert_eq!(send("first"), 200, "the overlap begins when the new one is seen");
    gateway.advance(Duration::from_secs(60));
    assert_eq!([send("first"), send("second")], [401, 200]);
}

#[test]
fn without_its_secret_it_refuses_and_tells_nothing() {
    let google = Google::new();
    for answer in [
        Response::new(403).body("{\"error\":\"denied to sa@p\"}").into(),
        Answer::Refuse,
        Answer::Reset,
        Answer::Hold,
    ] {
        google.set(|state| state.secret = Some(answer));
        let gateway = gateway(&google, json!({"sm": "projects/p/secrets/s/versions/latest"}));
        let response = gateway.send(command(&gateway));
        assert_eq!(response.status, 503);
        assert_eq!(response.text(), "Signatures cannot be checked right now.\n");
        assert!(gateway.upstream_requests().is_empty());
    }
}

#[test]
fn the_last_good_secret_outlives_an_outage() {
    let google = Google::new();
    google.set(|state| state.secret = Some(secret_answer(SECRET)));
    let gateway = gateway(&google, json!({"env": "ROTATED"}));
    assert_eq!(gateway.send(command(&gateway)).status, 200);
    google.set(|state| state.secret = Some(Answer::Refuse));
    gateway.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(gateway.send(command(&gateway)).status, 200);
    assert_eq!(gateway.send(command(&gateway)).status, 200);
}

#[test]
fn a_configuration_that_cannot_work_stops_the_start_with_the_fields_name() {
    let match_ = json!({"path": "/slack"});
    let cases = [
        (
            json!({"match": match_, "signing_secrets": {"env": "UNSET"}}),
            "rules[0].signing_secrets.env: given \"UNSET\"",
        ),
        (json!({"match": match_}), "rules[0].signing_secrets: given nothing"),
        (json!({"match": match_, "signing_secrets": {"env": "EMPTY"}}), "rules[0].signing_secrets"),
        (
            json!({"match": match_, "signing_secrets": {"sm": "x"}}),
            "rules[0].signing_secrets.sm: given \"x\"",
        ),
        (json!({"signing_secrets": {"env": "SLACK_SIGNING_SECRET"}}), "rules[0].match: given nothing"),
        (json!({"match": match_, "secret": "x"}), "rules[0].secret: given \"x\", expected no such field"),
        (
            json!({"match": match_, "signing_secrets": {"env": "SLACK_SIGNING_SECRET"}, "kinds": {"commmand": "pass"}}),
            "rules[0].kinds",
        ),
        (
            json!({"match": match_, "signing_secrets": {"env": "SLACK_SIGNING_SECRET"}, "tolerance_seconds": 0}),
            "rules[0].tolerance_seconds: given 0, expected a whole number from 1 to 3600",
        ),
    ];
    for (rule, expected) in cases {
        let builder = builder(&Google::new()).env("EMPTY", ",");
        let error = with(builder, "slack-signature", json!([rule.clone()])).start().err().unwrap();
        assert!(error.logs.contains(expected), "{rule}: {error:?}");
    }
}

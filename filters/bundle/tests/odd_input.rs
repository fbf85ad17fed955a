//! Whatever comes in, no VM dies: random requests and pushes through the modules that ship.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use support::{Google, SECRET, TOPIC, builder, push_token, signed, with};
use wasm_test::{Gateway, Request};

fn chain(google: &Google) -> Gateway {
    let slack =
        json!([{"match": {"path_prefix": "/slack"}, "signing_secrets": {"env": "SLACK_SIGNING_SECRET"}}]);
    let form = json!([{"match": {"path_prefix": "/slack"},
                       "template": {"a": {"$each": "", "key": {"$ptr": "/key"}, "value": {"$json": "/value"}}}}]);
    let enqueue =
        json!([{"match": {"path_prefix": "/slack"}, "name": "s", "topic": TOPIC, "reply": {"status": 200}}]);
    let builder = with(builder(google), "slack-signature", slack);
    with(with(builder, "form-to-json", form), "pubsub-enqueue", enqueue).start().unwrap()
}

fn playback(google: &Google) -> Gateway {
    let rules = json!([{"match": {"path": "/wal-playback"},
        "push": {"issuer": support::BASE, "audience": "https://proxy/wal-playback", "email": "push@p.iam",
                 "jwks_uri": format!("{}/oauth2/v3/certs", support::BASE)}, "dead_letter_topic": support::DEAD}]);
    with(builder(google), "pubsub-playback", rules).start().unwrap()
}

/// Bytes that look like something, and bytes that do not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[a-z%&=+{}\\[\\]\":,0-9\\\\]{0,200}".prop_map(String::into_bytes),
        Just(br#"{"type":"url_verification","challenge":"\ud800"}"#.to_vec()),
        Just(b"payload=%7B%22type%22%3A1%7D&ssl_check=1".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_signed_body_of_any_bytes_is_answered(body in bytes(), content_type in bytes(), pieces in any::<bool>()) {
        let gateway = chain(&Google::new());
        let mut request = signed(&gateway, SECRET, "/slack/x", "", &body);
        request.headers.set("content-type", &content_type);
        let response = gateway.send(if pieces { request.chunked() } else { request });
        prop_assert!(response.status >= 200 && !gateway.trapped(), "{response:?}");
    }

    #[test]
    fn headers_of_any_bytes_are_answered(time in bytes(), signature in bytes(), id in bytes(), path in "[!-~]{0,60}") {
        let gateway = chain(&Google::new());
        let request = Request::post(&format!("/slack{path}"))
            .header("x-slack-request-timestamp", &time)
            .header("x-slack-signature", &signature)
            .header("x-request-id", &id)
            .header("connection", &id)
            .body("a=b");
        let response = gateway.send(request);
        prop_assert!((400..500).contains(&response.status) && !gateway.trapped(), "{response:?}");
    }

    #[test]
    fn a_push_of_any_bytes_is_answered(body in bytes(), data in bytes(), wrapped in any::<bool>()) {
        let google = Google::new();
        let gateway = playback(&google);
        let token = push_token(&google, gateway.now(), |_| {});
        let push = json!({"message": {"messageId": "m", "data": lockgate_common::encoding::base64(&data)}});
        let body = if wrapped { push.to_string().into_bytes() } else { body };
        let response = gateway.send(Request::post("/wal-playback").header("authorization", format!("Bearer {token}")).body(&body));
        prop_assert!(response.status == 204 && !gateway.trapped(), "{response:?}");
        prop_assert_eq!(google.stored(support::DEAD).len(), 1);
    }

    #[test]
    fn a_token_of_any_bytes_is_refused(token in bytes()) {
        let google = Google::new();
        let gateway = playback(&google);
        let value = [b"Bearer ".as_slice(), &token].concat();
        let response = gateway.send(Request::post("/wal-playback").header("authorization", value).body("{}"));
        prop_assert!(response.status == 401 && !gateway.trapped(), "{response:?}");
    }
}

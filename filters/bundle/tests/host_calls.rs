//! What a request costs in host calls, exactly: each crosses the VM's border and is paid by everybody.
//! A change that needs more raises a number here in the same commit, and says what it buys.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;
mod support;

use provider::{HOST, ISSUER, Provider, configuration, door_with, now_s, signed_in};
use serde_json::json;
use support::{Google, TOPIC, builder, command, with};
use wasm_test::Request;

#[test]
fn a_warm_slack_command_is_within_its_budget() {
    let google = Google::new();
    let slack =
        json!([{"match": {"path": "/slack/command"}, "signing_secrets": {"env": "SLACK_SIGNING_SECRET"}}]);
    let enqueue = json!([{"match": {"path": "/slack/command"}, "name": "slack", "topic": TOPIC,
                          "after": ["slack-signature"], "reply": {"status": 200}}]);
    let builder = with(builder(&google), "slack-signature", slack);
    let gateway = with(builder, "pubsub-enqueue", enqueue).start().unwrap();
    assert_eq!(gateway.send(command(&gateway)).status, 200);

    let before = gateway.host_calls();
    assert_eq!(gateway.send(command(&gateway)).status, 200);
    let calls = gateway.host_calls().since(&before);
    assert_eq!(calls.total(), 30, "\n{calls}");
}

#[test]
fn a_known_visitor_is_within_their_budget() {
    let provider = Provider::new();
    let mut configuration = configuration();
    configuration["tokens"] = json!({"jwt": [{"issuer": ISSUER, "audiences": ["api"]}]});
    configuration["policies"] = json!([{"effect": "allow", "anyone": true}]);
    let gateway = door_with(&provider, &configuration);
    let browser = signed_in(&gateway, &provider);
    let now = now_s(&gateway);
    let claims = json!({"iss": ISSUER, "aud": "api", "sub": "p", "iat": now, "exp": now + 300});
    let token = provider.mint(&json!({"alg": "ES256", "kid": "p1"}), &claims);
    let bearer = Request::get("/").host(HOST).header("authorization", format!("Bearer {token}"));
    let cases =
        [("session", browser.fetch("/"), 10), ("token", bearer, 8), ("public", Request::get("/public/x"), 2)];
    for (name, request, budget) in cases {
        gateway.send(request.clone());
        let before = gateway.host_calls();
        assert_eq!(gateway.send(request).status, 200, "{name}");
        let calls = gateway.host_calls().since(&before);
        assert_eq!(calls.total(), budget, "{name}\n{calls}");
    }
}

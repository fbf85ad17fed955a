//! A provider signs somebody out (OpenID Connect Back-Channel Logout 1.0), in the simulated host.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;

use std::time::Duration;

use provider::{Browser, CLIENT, HOST, ISSUER, Provider, door, now_s, signed_in, tell_time};
use serde_json::{Value, json};
use wasm_test::{Gateway, Request};

/// The plugin that reads logout tokens. The simulated host runs every plugin on every request, so it has
/// a gateway of its own, and what it shares is carried over.
fn back_channel(provider: &Provider) -> Gateway {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/lockgate.wasm");
    let configuration = json!({
        "version": 1,
        "providers": [{"name": "company", "issuer": ISSUER, "client_id": CLIENT}],
        "rules": [{"match": {"path": "/_lockgate/back-channel-logout", "methods": ["POST"]}}],
    });
    let backend = provider.clone();
    let gateway = Gateway::builder(&std::fs::read(path).unwrap())
        .backend("callout_http", move |request: &Request| backend.answer(request))
        .filter("oidc-back-channel", configuration.to_string())
        .allow_on_headers_stop_iteration()
        .start()
        .unwrap();
    tell_time(provider, &gateway);
    gateway
}

fn carry_over(from: &Gateway, to: &Gateway) {
    for slot in 0..64 {
        let key = format!("lockgate.oidc.revoked.{slot}");
        if let Some(value) = from.shared_data(&key) {
            to.set_shared_data(&key, value);
        }
    }
    to.set_shared_data("lockgate.oidc.revision", "1");
}

fn claims(now: u64) -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": "j1", "sub": "user-1", "sid": "sid-1",
           "events": {"http://schemas.openid.net/event/backchannel-logout": {}}})
}

fn send(gateway: &Gateway, token: &str) -> u16 {
    let request = Request::post("/_lockgate/back-channel-logout").host(HOST);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    gateway.send(request.body(format!("logout_token={token}"))).status
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "p1", "typ": "logout+jwt"})
}

fn status(gateway: &Gateway, browser: &Browser) -> u16 {
    gateway.send(browser.fetch("/")).status
}

#[test]
fn the_session_it_names_is_over_and_another_of_the_same_person_is_not() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let named = signed_in(&gateway, &provider);
    provider.set(|state| state.claims = json!({"sid": "sid-2"}));
    let other = signed_in(&gateway, &provider);
    assert_eq!((status(&gateway, &named), status(&gateway, &other)), (200, 200));

    let channel = back_channel(&provider);
    assert_eq!(send(&channel, &provider.mint(&header(), &claims(now_s(&channel)))), 200);
    carry_over(&channel, &gateway);
    assert_eq!((status(&gateway, &named), status(&gateway, &other)), (401, 200));
    assert_eq!(channel.metrics().counter("lockgate.oidc_back_channel.signed_out"), 1);
}

#[test]
fn without_a_session_it_is_every_session_of_the_subject_until_the_next_sign_in() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let first = signed_in(&gateway, &provider);
    provider.set(|state| state.claims = json!({"sid": "sid-2"}));
    let second = signed_in(&gateway, &provider);
    let channel = back_channel(&provider);
    let mut claims = claims(now_s(&channel));
    claims["sid"] = Value::Null;
    claims.as_object_mut().unwrap().remove("sid");
    assert_eq!(send(&channel, &provider.mint(&header(), &claims)), 200);
    carry_over(&channel, &gateway);
    assert_eq!((status(&gateway, &first), status(&gateway, &second)), (401, 401));
    gateway.advance(Duration::from_secs(2));
    tell_time(&provider, &gateway);
    let third = signed_in(&gateway, &provider);
    assert_eq!(status(&gateway, &third), 200);
}

#[test]
fn every_check_of_the_logout_token_refuses() {
    let provider = Provider::new();
    let channel = back_channel(&provider);
    let now = now_s(&channel);
    let with = |name: &str, value: Value| {
        let mut claims = claims(now);
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        provider.mint(&header(), &claims)
    };
    let headed = |name: &str, value: Value| {
        let mut header = header();
        header[name] = value;
        provider.mint(&header, &claims(now))
    };
    let neither = {
        let mut claims = claims(now);
        claims.as_object_mut().unwrap().retain(|name, _| name != "sub" && name != "sid");
        provider.mint(&header(), &claims)
    };
    let cases = [
        (with("iss", json!("https://evil.example")), "logout_token_issuer"),
        (with("aud", json!("another")), "logout_token_audience"),
        (with("exp", json!(now - 60)), "logout_token_expired"),
        (with("exp", Value::Null), "logout_token_expired"),
        (with("iat", Value::Null), "logout_token_claims"),
        (with("jti", Value::Null), "logout_token_claims"),
        (with("nonce", json!("n")), "logout_token_claims"),
        (with("events", Value::Null), "logout_token_event"),
        (with("events", json!({"other": {}})), "logout_token_event"),
        (
            with("events", json!({"http://schemas.openid.net/event/backchannel-logout": 1})),
            "logout_token_event",
        ),
        (with("sid", json!(7)), "logout_token_claims"),
        (headed("alg", json!("none")), "logout_token_algorithm"),
        (headed("typ", json!("at+jwt")), "logout_token_type"),
        (headed("kid", json!("k")), "logout_token_unknown_key"),
        (neither, "logout_token_of_nobody"),
        ("x".to_owned(), "logout_token_malformed"),
    ];
    for (token, reason) in cases {
        assert_eq!(send(&channel, &token), 400, "{reason}");
        let counted = channel.metrics().counter(&format!("lockgate.oidc_back_channel.refused.{reason}"));
        assert!(counted > 0, "{reason}: {:?}", channel.logs());
    }
    let post = |body: &str| {
        channel.send(Request::post("/_lockgate/back-channel-logout").host(HOST).body(body)).status
    };
    assert_eq!((post(""), post("logout_token=a&logout_token=b"), post("logout_token=%")), (400, 400, 400));
    assert_eq!(post(&"x".repeat(40_000)), 413);
    assert_eq!(channel.send(Request::get("/_lockgate/back-channel-logout").host(HOST)).status, 403);
    assert!((0..64).all(|slot| channel.shared_data(&format!("lockgate.oidc.revoked.{slot}")).is_none()));
}

#[test]
fn a_logout_token_is_good_once() {
    let provider = Provider::new();
    let channel = back_channel(&provider);
    let token = provider.mint(&header(), &claims(now_s(&channel)));
    assert_eq!((send(&channel, &token), send(&channel, &token)), (200, 400));
}

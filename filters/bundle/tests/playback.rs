//! pubsub-playback in the simulated host: who may push, what is restored, what becomes of a message.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use lockgate_common::assertion::AssertionKeys;
use lockgate_common::encoding::{base64, base64url, from_base64url};
use lockgate_common::envelope::{Envelope, LogKeys};
use lockgate_common::hmac;
use lockgate_common::secret::Secret;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use support::{BASE, DEAD, Google, KEY_ID, SECRET, builder, push_token, sign_parts, with};
use wasm_test::{Answer, Builder, Gateway, Release, Request, Response};

fn rule(extra: Value) -> Value {
    let mut rule = json!({
        "match": {"path": "/wal-playback", "methods": ["POST"]},
        "push": {"issuer": BASE, "audience": "https://proxy/wal-playback", "email": "push@p.iam",
                 "jwks_uri": format!("{BASE}/oauth2/v3/certs")},
        "dead_letter_topic": DEAD,
    });
    rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!([rule])
}

fn gateway(google: &Google, extra: Value, upstream: impl Into<Answer>) -> Gateway {
    let upstream = upstream.into();
    let builder = builder(google)
        .max_stream_duration(Duration::from_secs(600))
        .upstream(move |_: &Request| upstream.clone());
    with(builder, "pubsub-playback", rule(extra)).start().unwrap()
}

fn envelope(method: &str, path: &str, body: &[u8], key: Option<&LogKeys>) -> Vec<u8> {
    envelope_of(Some(r#"{"issuer":"x"}"#), method, path, body, key)
}

fn envelope_of(
    principal: Option<&str>,
    method: &str,
    path: &str,
    body: &[u8],
    key: Option<&LogKeys>,
) -> Vec<u8> {
    let header = |name: &'static str, value: &'static [u8]| (name.into(), value.into());
    let envelope = Envelope {
        id: "id-1".into(),
        dedup: Some("Ev1".into()),
        received_at: "2026-11-22T04:00:00.000Z".into(),
        route: "r".into(),
        method: method.into(),
        path: path.into(),
        headers: vec![header("content-type", b"text/x"), header("x-request-id", b"corr")],
        principal: principal.map(Into::into),
        trace: None,
    };
    envelope.encode(body, key)
}

fn push_body(data: &[u8]) -> Value {
    json!({"message": {"data": base64(data), "attributes": {"route": "r"}, "messageId": "m1", "message_id": "m1",
                       "publishTime": "2026-11-22T04:00:01Z"},
           "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 2})
}

fn push_with(token: &str, body: &Value) -> Request {
    Request::post("/wal-playback")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("x-forwarded-proto", "https")
        .body(body.to_string())
}

fn push(google: &Google, gateway: &Gateway, data: &[u8]) -> Request {
    push_with(&push_token(google, gateway.now(), |_| {}), &push_body(data))
}

#[test]
fn the_request_is_restored_and_the_answer_becomes_an_acknowledgement() {
    let google = Google::new();
    let gateway =
        gateway(&google, json!({}), Response::new(201).header("set-cookie", "a").body("secret answer"));
    let response =
        gateway.send(push(&google, &gateway, &envelope("PUT", "/slack/command?x=1", b"\xffbody", None)));
    assert_eq!((response.status, response.body.len()), (204, 0));
    assert_eq!(response.headers.text("set-cookie"), None);
    let restored = &gateway.upstream_requests()[0];
    assert_eq!((restored.method.as_str(), restored.path.as_str()), ("PUT", "/slack/command?x=1"));
    assert_eq!(restored.body, b"\xffbody");
    let header = |name: &str| restored.headers.text(name);
    assert_eq!(header("authorization"), None, "the push token stays here");
    assert_eq!(header("x-lockgate-message-id"), Some("id-1"));
    assert_eq!(header("webhook-id"), Some("id-1"));
    assert_eq!(header("x-lockgate-delivery-attempt"), Some("2"));
    assert_eq!(header("x-lockgate-dedup-id"), Some("Ev1"));
    assert_eq!(header("x-request-id"), Some("corr"));
    assert_eq!(header("x-lockgate-principal"), None, "not sealed, so not told");
    assert_eq!(gateway.filter_state("wasm.lockgate_pubsub_playback").as_deref(), Some(b"passed".as_slice()));
}

#[test]
fn keys_and_verified_tokens_are_kept() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(200));
    let request = push(&google, &gateway, &envelope("POST", "/", b"", None));
    let mut verifications = 0;
    for _ in 0..3 {
        assert_eq!(gateway.send(request.clone()).status, 204);
        verifications = gateway.host_calls().of("proxy_call_foreign_function");
    }
    assert_eq!((google.calls("/certs"), verifications), (1, 1));
    gateway.advance(Duration::from_secs(3_600 + 60));
    assert_eq!(gateway.send(request).status, 401, "a remembered token expires all the same");
}

#[test]
fn only_the_subscriptions_own_token_opens() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(200));
    let now_s = support::now_s(&gateway);
    let claims: Vec<(&str, Value)> = vec![
        ("aud", json!("https://proxy")),
        ("aud", json!(["https://proxy/wal-playback/"])),
        ("aud", Value::Null),
        ("iss", json!("https://accounts.google.com")),
        ("iss", Value::Null),
        ("email", json!("other@p.iam")),
        ("email", Value::Null),
        ("email_verified", json!(false)),
        ("email_verified", json!("true")),
        ("exp", json!(now_s - 31)),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("nbf", json!(now_s + 31)),
        ("iat", json!(now_s + 31)),
    ];
    let body = push_body(&envelope("POST", "/", b"", None));
    for (claim, value) in claims {
        let token = push_token(&google, gateway.now(), |claims| match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            _ => claims[claim] = value.clone(),
        });
        let status = gateway.send(push_with(&token, &body)).status;
        assert!(matches!(status, 401 | 403), "{claim}={value}: {status}");
    }
    assert!(gateway.upstream_requests().is_empty());
}

#[test]
fn a_token_forged_in_its_form_does_not_open() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(200));
    let body = push_body(&envelope("POST", "/", b"", None));
    let good = push_token(&google, gateway.now(), |_| {});
    let claims: Value = {
        let payload = good.split('.').nth(1).unwrap();
        serde_json::from_slice(&lockgate_common::encoding::from_base64url(payload.as_bytes()).unwrap())
            .unwrap()
    };
    let header = |header: Value| sign_parts(&google, &header, &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let mut forged = vec![
        header(json!({"alg": "none", "kid": KEY_ID})),
        header(json!({"alg": "HS256", "kid": KEY_ID})),
        header(json!({"alg": "RS256", "kid": KEY_ID})),
        header(json!({"alg": "ES256", "kid": "other"})),
        header(json!({"alg": "ES256", "kid": KEY_ID, "crit": ["exp"]})),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{good}A"),
        ".".into(),
        "..".into(),
        "\u{e9}.\u{e9}.\u{e9}".into(),
        "x".repeat(20_000),
        String::new(),
    ];
    forged.push(good[..good.len() - 4].to_owned() + "AAAA");
    for token in forged {
        assert_eq!(gateway.send(push_with(&token, &body)).status, 401, "{}", &token[..token.len().min(40)]);
    }
    for authorization in ["", "Basic x", "Bearer", &good] {
        let request =
            Request::post("/wal-playback").header("authorization", authorization).body(body.to_string());
        assert_eq!(gateway.send(request).status, 401);
    }
    let twice = push_with(&good, &body).header("authorization", format!("Bearer {good}"));
    assert_eq!(gateway.send(twice).status, 401);
    assert_eq!(
        gateway.send(Request::get("/wal-playback").header("authorization", format!("Bearer {good}"))).status,
        403
    );
    assert!(gateway.upstream_requests().is_empty() && !gateway.trapped());
    let lower = Request::post("/wal-playback")
        .header("authorization", format!("bEARER  {good}"))
        .body(body.to_string());
    assert_eq!(gateway.send(lower).status, 204, "a scheme's case does not matter");
    let unnamed = push_with(&header(json!({"alg": "ES256"})), &body);
    assert_eq!(gateway.send(unnamed).status, 204, "a set of one key needs no id to choose by");
}

#[test]
fn a_flood_of_unknown_keys_fetches_once_in_ten_seconds() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(200));
    let body = push_body(&envelope("POST", "/", b"", None));
    assert_eq!(gateway.send(push(&google, &gateway, &envelope("POST", "/", b"", None))).status, 204);
    gateway.advance(Duration::from_secs(11));
    let mut claims = json!({"email": "push@p.iam", "email_verified": true, "iss": BASE, "aud": "https://proxy/wal-playback"});
    claims["exp"] = json!(support::now_s(&gateway) + 100);
    for index in 0..30 {
        let token = sign_parts(&google, &json!({"alg": "ES256", "kid": format!("k{}", index + 2)}), &claims);
        assert_eq!(gateway.send(push_with(&token, &body)).status, 401);
    }
    assert_eq!(google.calls("/certs"), 2);
}

#[test]
fn without_keys_it_refuses_and_with_old_ones_it_works_on() {
    let google = Google::new();
    google.set(|state| state.keys = Some(Answer::Refuse));
    let gateway = gateway(&google, json!({}), Response::new(200));
    let data = envelope("POST", "/", b"", None);
    assert_eq!(gateway.send(push(&google, &gateway, &data)).status, 503);
    google.set(|state| state.keys = None);
    gateway.advance(Duration::from_secs(2));
    assert_eq!(gateway.send(push(&google, &gateway, &data)).status, 204);
    google.set(|state| state.keys = Some(Response::new(500).into()));
    gateway.advance(Duration::from_secs(23 * 3_600));
    assert_eq!(gateway.send(push(&google, &gateway, &data)).status, 204);
    gateway.advance(Duration::from_secs(2 * 3_600));
    assert_eq!(gateway.send(push(&google, &gateway, &data)).status, 503, "a day is the stated age");
}

#[test]
fn the_upstreams_answer_decides() {
    let cases = [
        (200, 204, 0),
        (203, 204, 0),
        (206, 204, 0),
        (302, 204, 1),
        (304, 204, 1),
        (400, 204, 1),
        (404, 204, 1),
        (408, 503, 0),
        (425, 503, 0),
        (429, 503, 0),
        (500, 503, 0),
        (503, 503, 0),
        (508, 204, 1),
    ];
    for (status, told, dead) in cases {
        let google = Google::new();
        let gateway = gateway(&google, json!({}), Response::new(status).body("x".repeat(100_000)));
        let response = gateway.send(push(&google, &gateway, &envelope("POST", "/", b"b", None)));
        assert_eq!((response.status, response.body.len()), (told, 0), "{status}");
        let letters = google.stored(DEAD);
        assert_eq!(letters.len(), dead, "{status}");
        if let Some(letter) = letters.first() {
            let attributes = &letter["attributes"];
            assert_eq!(attributes["lockgate_status"], status.to_string());
            assert_eq!(
                (&attributes["lockgate_message_id"], &attributes["route"]),
                (&json!("m1"), &json!("r"))
            );
            assert_eq!(letter["data"], json!(base64(&envelope("POST", "/", b"b", None))), "as it came");
        }
    }
    for upstream in [Answer::Refuse, Answer::Hold] {
        let google = Google::new();
        let gateway = gateway(&google, json!({}), upstream.clone());
        let status = gateway.send(push(&google, &gateway, &envelope("POST", "/", b"", None))).status;
        assert!(status == 0 || status >= 500, "{upstream:?}: {status}");
        assert!(google.stored(DEAD).is_empty());
    }
}

#[test]
fn a_message_that_can_never_be_played_back_is_kept_and_only_then_acknowledged() {
    let not_base64 = json!({"message": {"data": "%%%", "messageId": "m1"}});
    let bodies = [
        push_body(b"garbage"),
        push_body(&envelope("POST", "@evil.example/", b"", None)),
        push_body(&envelope("CONNECT", "/", b"", None)),
        not_base64,
        json!({"message": {"messageId": "m1"}}),
        json!({"hello": 1}),
        json!([]),
    ];
    for body in bodies {
        let google = Google::new();
        let gateway = gateway(&google, json!({}), Response::new(200));
        let token = push_token(&google, gateway.now(), |_| {});
        assert_eq!(gateway.send(push_with(&token, &body)).status, 204, "{body}");
        assert_eq!(google.stored(DEAD).len(), 1, "{body}");
        google.set(|state| state.publish = Some(Response::new(500).into()));
        assert_eq!(gateway.send(push_with(&token, &body)).status, 503, "{body}");
        assert!(gateway.upstream_requests().is_empty() && !gateway.trapped());
    }
}

#[test]
fn a_dead_letter_that_cannot_be_kept_is_not_acknowledged() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(404));
    google.set(|state| state.publish = Some(Answer::Refuse));
    assert_eq!(gateway.send(push(&google, &gateway, &envelope("POST", "/", b"", None))).status, 503);
}

#[test]
fn with_a_log_key_only_what_is_sealed_is_played_back_and_then_its_principal_is_told() {
    let google = Google::new();
    let extra = json!({"log_key": {"env": "LOG_KEY"}});
    let gateway = gateway(&google, extra, Response::new(200));
    let keys = |byte: u8| LogKeys::parse(&Secret::new(base64(&[byte; 32]).into_bytes())).unwrap();
    let send = |data: &[u8]| gateway.send(push(&google, &gateway, data)).status;
    assert_eq!(send(&envelope("POST", "/", b"sealed", Some(&keys(7)))), 204);
    assert_eq!(
        gateway.upstream_requests()[0].headers.text("x-lockgate-principal"),
        Some(r#"{"issuer":"x"}"#)
    );
    assert_eq!(send(&envelope("POST", "/", b"", None)), 204);
    assert_eq!(send(&envelope("POST", "/", b"", Some(&keys(8)))), 503, "a key may still be on its way");
    let mut forged = envelope("POST", "/", b"a", Some(&keys(7)));
    *forged.last_mut().unwrap() = b'b';
    assert_eq!(send(&forged), 204);
    assert_eq!(gateway.upstream_requests().len(), 1);
    let reasons: Vec<Value> =
        google.stored(DEAD).iter().map(|letter| letter["attributes"]["lockgate_reason"].clone()).collect();
    assert_eq!(reasons, [json!("not_sealed"), json!("bad_seal")]);
}

#[test]
fn a_newer_envelope_waits_for_the_rollout() {
    let google = Google::new();
    let gateway = gateway(&google, json!({}), Response::new(200));
    assert_eq!(gateway.send(push(&google, &gateway, b"{\"v\":2}\n")).status, 503);
    assert!(google.stored(DEAD).is_empty());
}

#[test]
fn a_restored_request_is_signed_afresh() {
    let google = Google::new();
    let extra = json!({"sign": [{"match": {"path": "/slack"}, "slack": {"env": "SLACK_SIGNING_SECRET"}}]});
    let seen: Rc<RefCell<Vec<Request>>> = Rc::default();
    let gateway = gateway(&google, extra, Response::new(200));
    assert_eq!(
        gateway.send(push(&google, &gateway, &envelope("POST", "/slack?x", b"a=b", None))).status,
        204
    );
    seen.borrow_mut().extend(gateway.upstream_requests());
    let headers = &seen.borrow()[0].headers;
    let time = headers.text("x-slack-request-timestamp").unwrap().to_owned();
    assert_eq!(time, support::now_s(&gateway).to_string());
    let mut expected = String::from("v0=");
    let tag = hmac::sign(SECRET.as_bytes(), &[b"v0:", time.as_bytes(), b":a=b"]);
    lockgate_common::encoding::push_hex(&mut expected, &tag);
    assert_eq!(headers.text("x-slack-signature"), Some(expected.as_str()));
}

#[test]
fn a_standard_webhook_is_signed_over_id_time_and_body() {
    let google = Google::new();
    let extra = json!({"sign": [{"match": {"path_prefix": "/"}, "standard_webhooks": {"env": "WEBHOOK"}}]});
    let key = [3_u8; 24];
    let builder = builder(&google).env("WEBHOOK", &format!("whsec_{}", base64(&key)));
    let gateway = with(builder, "pubsub-playback", rule(extra)).start().unwrap();
    assert_eq!(gateway.send(push(&google, &gateway, &envelope("POST", "/x", b"body", None))).status, 204);
    let request = &gateway.upstream_requests()[0];
    let time = request.headers.text("webhook-timestamp").unwrap();
    let tag = hmac::sign(&key, &[b"id-1.", time.as_bytes(), b".body"]);
    assert_eq!(request.headers.text("webhook-signature"), Some(format!("v1,{}", base64(&tag)).as_str()));
}

const PERSON: &str =
    r#"{"filter":"oidc","issuer":"https://idp","subject":"u1","email":"a@b","groups":["staff"]}"#;

/// A private key in PEM, with the public part of another or its own.
fn pem(key: &SigningKey, public: &SigningKey) -> String {
    // PKCS #8 up to the scalar, and from there up to the point.
    let head = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let point = public.verifying_key().to_sec1_point(false);
    let rest = [&key.to_bytes()[..], &[0xa1, 0x44, 0x03, 0x42, 0x00], point.as_bytes()].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{head}{}\n-----END PRIVATE KEY-----\n", base64(&rest))
}

fn assertion_key() -> SigningKey {
    SigningKey::from_slice(&[9; 32]).unwrap()
}

/// Playback with assertions, signed by the key in the variable `keys`.
fn asserting(google: &Google, log_key: bool, keys: &str) -> Builder {
    let mut extra =
        json!({"assertion": {"keys": {"env": keys}, "issuer": "https://app", "audience": "https://up"}});
    if log_key {
        extra["log_key"] = json!({"env": "LOG_KEY"});
    }
    let own = assertion_key();
    let builder = builder(google)
        .env("ASSERTION_KEY", &pem(&own, &own).replace('\n', "\\n"))
        .env("NOT_A_KEY", "secret-in-a-variable");
    with(builder, "pubsub-playback", rule(extra))
}

fn sealed(principal: Option<&str>) -> Vec<u8> {
    let keys = LogKeys::parse(&Secret::new(base64(&[7; 32]).into_bytes())).unwrap();
    envelope_of(principal, "POST", "/x", b"body", Some(&keys))
}

/// The assertion of the last request that was restored.
fn assertion(gateway: &Gateway) -> Option<String> {
    gateway.upstream_requests().last()?.headers.text("x-lockgate-assertion").map(str::to_owned)
}

/// The claims of an assertion that is what an upstream would accept.
fn verified(token: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&from_base64url(signature.as_bytes()).unwrap()).unwrap();
    assertion_key().verifying_key().verify(signed.as_bytes(), &signature).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let part =
        |part: &str| -> Value { serde_json::from_slice(&from_base64url(part.as_bytes()).unwrap()).unwrap() };
    assert_eq!((&part(header)["alg"], &part(header)["typ"]), (&json!("ES256"), &json!("JWT")));
    part(claims)
}

#[test]
fn the_upstream_is_told_who_was_verified_in_a_form_it_can_check() {
    let google = Google::new();
    let gateway = asserting(&google, true, "ASSERTION_KEY").start().unwrap();
    let send = |principal: &str| {
        assert_eq!(gateway.send(push(&google, &gateway, &sealed(Some(principal)))).status, 204);
        assertion(&gateway).unwrap()
    };
    let first = send(PERSON);
    let now_s = support::now_s(&gateway);
    let expected = json!({"sub": "u1", "idp": "https://idp", "email": "a@b", "groups": ["staff"],
                          "iss": "https://app", "aud": "https://up", "iat": now_s, "exp": now_s + 300});
    assert_eq!(verified(&first), expected);
    let slack =
        verified(&send(r#"{"filter":"slack-signature","issuer":"https://slack.com","subject":"T1"}"#));
    assert_eq!((&slack["sub"], &slack["idp"]), (&json!("slack:T1"), &json!("slack")));

    let before = gateway.host_calls();
    assert_eq!(send(PERSON), first);
    assert_eq!(gateway.host_calls().since(&before).of("proxy_call_foreign_function"), 0, "kept");
    gateway.advance(Duration::from_secs(240));
    assert_eq!(verified(&send(PERSON))["iat"], now_s + 240);
}

#[test]
fn nobody_is_asserted_who_was_not_verified() {
    let google = Google::new();
    let unsealed = asserting(&google, false, "ASSERTION_KEY").start().unwrap();
    let data = envelope_of(Some(PERSON), "POST", "/x", b"", None);
    let brought = push(&google, &unsealed, &data).header("x-lockgate-assertion", "brought");
    assert_eq!(unsealed.send(brought).status, 204);
    assert_eq!((unsealed.upstream_requests().len(), assertion(&unsealed)), (1, None));

    let gateway = asserting(&google, true, "ASSERTION_KEY").start().unwrap();
    assert_eq!(gateway.send(push(&google, &gateway, &sealed(None))).status, 204);
    assert_eq!((gateway.upstream_requests().len(), assertion(&gateway)), (1, None));

    assert_eq!(gateway.send(push(&google, &gateway, &sealed(Some(r#"{"issuer":"x"}"#)))).status, 204);
    assert_eq!(gateway.upstream_requests().len(), 1);
    assert_eq!(google.stored(DEAD)[0]["attributes"]["lockgate_reason"], "bad_principal");
}

#[test]
fn without_an_assertion_a_principals_request_is_not_restored() {
    let google = Google::new();
    let gateway = asserting(&google, true, "ROTATED").start().unwrap();
    let send = || {
        gateway.advance(Duration::from_secs(301));
        gateway.send(push(&google, &gateway, &sealed(Some(PERSON))))
    };
    let reason = |response: &Response| String::from_utf8_lossy(&response.body).into_owned();
    let keep = |secret: &str| {
        let answer = support::ok(&json!({"payload": {"data": base64(secret.as_bytes())}}));
        google.set(|state| state.secret = Some(answer));
    };
    let own = assertion_key();
    let none = send();
    assert_eq!(none.status, 503, "{}", reason(&none));
    for unusable in ["not a key", &pem(&own, &SigningKey::from_slice(&[8; 32]).unwrap())] {
        keep(unusable);
        send();
        assert_eq!(send().status, 503);
    }
    assert!(gateway.upstream_requests().is_empty() && google.stored(DEAD).is_empty());
    keep(&pem(&own, &own));
    send();
    assert_eq!(send().status, 204);
    assert_eq!(verified(&assertion(&gateway).unwrap())["sub"], "u1");
    assert!(!gateway.trapped());
}

#[test]
fn a_proxy_or_a_key_that_cannot_sign_stops_the_start_with_the_reason() {
    let google = Google::new();
    for keys in ["ASSERTION_KEY", "ROTATED"] {
        let old = asserting(&google, true, keys).release(Release::V1_36).start();
        let told = old.err().unwrap().to_string();
        assert!(told.contains("rules[0].assertion.keys") && told.contains("Envoy 1.37"), "{told}");
    }
    let told = asserting(&google, true, "NOT_A_KEY").start().err().unwrap().to_string();
    assert!(told.contains("rules[0].assertion.keys") && told.contains("openssl"), "{told}");
    assert!(!told.contains("secret-in-a-variable"));
}

#[test]
fn the_key_of_an_assertion_is_named_by_its_thumbprint() {
    let google = Google::new();
    let gateway = asserting(&google, true, "ASSERTION_KEY").start().unwrap();
    assert_eq!(gateway.send(push(&google, &gateway, &sealed(Some(PERSON)))).status, 204);
    let own = assertion_key();
    let token = assertion(&gateway).unwrap();
    let header = from_base64url(token.split('.').next().unwrap().as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let keys = AssertionKeys::parse(&Secret::new(pem(&own, &own).into_bytes())).unwrap().jwks();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(header["kid"], keys["keys"][0]["kid"]);
    let point = own.verifying_key().to_sec1_point(false);
    assert_eq!(keys["keys"][0]["x"], base64url(&point.as_bytes()[1..33]));
}

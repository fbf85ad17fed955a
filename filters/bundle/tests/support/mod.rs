//! The modules that ship, in the simulated host, with the services they call.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses what it needs")]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_common::encoding::{base64, push_hex};
use lockgate_common::hmac;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use wasm_test::{Answer, Builder, Gateway, Request, Response};

pub(crate) const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(crate) const BASE: &str = "http://127.0.0.1:8085";
pub(crate) const TOPIC: &str = "projects/p/topics/log";
pub(crate) const DEAD: &str = "projects/p/topics/dead";
pub(crate) const KEY_ID: &str = "k1";

/// The module with all filters of the log.
pub(crate) fn module() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/log.wasm");
    std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()))
}

/// Google's services, as far as a test lets them work.
#[derive(Clone)]
pub(crate) struct Google(pub(crate) Rc<RefCell<State>>);

pub(crate) struct State {
    /// What a publish is answered, by default stored.
    pub(crate) publish: Option<Answer>,
    /// What the metadata server answers, by default a token.
    pub(crate) token: Option<Answer>,
    /// What Secret Manager answers.
    pub(crate) secret: Option<Answer>,
    /// What the key set's address answers, by default the keys.
    pub(crate) keys: Option<Answer>,
    /// All calls, by path.
    pub(crate) calls: Vec<String>,
    /// All messages that were stored, with their topic.
    pub(crate) stored: Vec<(String, Value)>,
    pub(crate) signer: SigningKey,
}

impl Google {
    pub(crate) fn new() -> Self {
        let signer = SigningKey::from_slice(&[5; 32]).unwrap();
        Self(Rc::new(RefCell::new(State {
            publish: None,
            token: None,
            secret: None,
            keys: None,
            calls: Vec::new(),
            stored: Vec::new(),
            signer,
        })))
    }

    pub(crate) fn set(&self, set: impl FnOnce(&mut State)) {
        set(&mut self.0.borrow_mut());
    }

    /// How many calls had a path that contains `part`.
    pub(crate) fn calls(&self, part: &str) -> usize {
        self.0.borrow().calls.iter().filter(|path| path.contains(part)).count()
    }

    /// The messages stored in a topic.
    pub(crate) fn stored(&self, topic: &str) -> Vec<Value> {
        let state = self.0.borrow();
        state.stored.iter().filter(|(other, _)| other == topic).map(|(_, message)| message.clone()).collect()
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.0.borrow_mut();
        let path = request.path.clone();
        state.calls.push(path.clone());
        if path.ends_with("/token") {
            assert_eq!(request.headers.text("metadata-flavor"), Some("Google"));
            let token = json!({"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"});
            return state.token.clone().unwrap_or_else(|| ok(&token));
        }
        if path.ends_with("/certs") {
            let keys = json!({"keys": [jwk(&state.signer)]});
            return state.keys.clone().unwrap_or_else(|| ok(&keys));
        }
        if request.headers.text("authorization") != Some("Bearer ya29.token") {
            return Response::new(401).into();
        }
        if path.ends_with(":access") {
            return state.secret.clone().unwrap_or_else(|| Response::new(404).into());
        }
        let topic =
            path.strip_prefix("/v1/").and_then(|path| path.strip_suffix(":publish")).unwrap().to_owned();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let messages = body["messages"].as_array().unwrap().clone();
        if let Some(answer) = state.publish.clone() {
            return answer;
        }
        let ids: Vec<String> = (0..messages.len()).map(|index| index.to_string()).collect();
        state.stored.extend(messages.into_iter().map(|message| (topic.clone(), message)));
        ok(&json!({"messageIds": ids}))
    }
}

pub(crate) fn ok(body: &Value) -> Answer {
    Response::new(200).header("content-type", "application/json").body(body.to_string()).into()
}

fn jwk(key: &SigningKey) -> Value {
    let point = key.verifying_key().to_sec1_point(false);
    let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point.as_bytes()[range]);
    json!({"kty": "EC", "crv": "P-256", "kid": KEY_ID, "alg": "ES256", "use": "sig",
           "x": coordinate(1..33), "y": coordinate(33..65)})
}

/// A gateway builder with the module, the services and a filter.
pub(crate) fn builder(google: &Google) -> Builder {
    let backend = google.clone();
    Gateway::builder(&module())
        .env("SLACK_SIGNING_SECRET", SECRET)
        .env("LOG_KEY", &base64(&[7; 32]))
        .env("ROTATED", "sm://projects/p/secrets/s/versions/latest")
        .backend("callout_http", move |request: &Request| backend.answer(request))
        .body_limit(1_700_000)
        .max_stream_duration(Duration::from_millis(2_800))
}

/// Adds a filter as the proxy's configuration does.
pub(crate) fn with(builder: Builder, filter: &str, rules: Value) -> Builder {
    let services = json!({"pubsub": BASE, "secret_manager": BASE, "metadata": BASE});
    let mut document = json!({"version": 1, "rules": rules});
    if filter != "form-to-json" {
        document["services"] = services;
    }
    builder.filter(filter, document.to_string()).allow_on_headers_stop_iteration()
}

pub(crate) fn now_s(gateway: &Gateway) -> u64 {
    gateway.now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A request signed as Slack does.
pub(crate) fn signed(
    gateway: &Gateway,
    secret: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> Request {
    let time = now_s(gateway).to_string();
    let mut signature = String::from("v0=");
    push_hex(&mut signature, &hmac::sign(secret.as_bytes(), &[b"v0:", time.as_bytes(), b":", body]));
    Request::post(path)
        .header("content-type", content_type)
        .header("x-slack-request-timestamp", time)
        .header("x-slack-signature", signature)
        .header("x-request-id", "corr-1")
        .body(body)
}

pub(crate) fn command(gateway: &Gateway) -> Request {
    signed(gateway, SECRET, "/slack/command", "application/x-www-form-urlencoded", b"command=%2Fx&text=a")
}

/// A push token that is right unless `change` makes it wrong.
pub(crate) fn push_token(google: &Google, now: SystemTime, change: impl FnOnce(&mut Value)) -> String {
    let now_s = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"email": "push@p.iam", "email_verified": true, "iss": BASE, "aud": "https://proxy/wal-playback",
                            "iat": now_s, "exp": now_s + 3600});
    change(&mut claims);
    sign_parts(google, &json!({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}), &claims)
}

/// Any header and claims, signed with the right key.
pub(crate) fn sign_parts(google: &Google, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature: Signature = google.0.borrow().signer.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

//! upstream-identity in the simulated host: what the upstream is shown, when it is fetched, and that
//! nothing else is ever shown in its place.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::pkcs8::DecodePrivateKey;
use rsa::sha2::{Digest, Sha256};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};
use wasm_test::{Answer, Builder, Gateway, Release, Request, Response};

const AUDIENCE: &str = "https://private-abc123-ew.a.run.app";
const BASE: &str = "http://127.0.0.1:8085";

/// The metadata server, or the token endpoint: what it says in turn, and what it was asked.
#[derive(Clone, Default)]
struct Said {
    answer: Rc<RefCell<Option<Answer>>>,
    life_s: Rc<Cell<u64>>,
    now_s: Rc<Cell<u64>>,
    asked: Rc<RefCell<Vec<Request>>>,
}

impl Said {
    fn new() -> Self {
        let said = Self::default();
        said.life_s.set(3_600);
        said
    }

    fn set(&self, answer: impl Into<Answer>) {
        self.answer.replace(Some(answer.into()));
    }

    fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    fn answer(&self, request: &Request) -> Answer {
        self.asked.borrow_mut().push(request.clone());
        if let Some(answer) = &*self.answer.borrow() {
            return answer.clone();
        }
        let token = token(AUDIENCE, self.now_s.get() + self.life_s.get());
        match request.path.ends_with("/oauth2/token") {
            true => Response::new(200).body(json!({ "id_token": token }).to_string()).into(),
            false => Response::new(200).body(format!("{token}\n")).into(),
        }
    }
}

/// A token as Google signs them; its signature is the upstream's to check.
fn token(audience: &str, expires_s: u64) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"aud": audience, "exp": expires_s, "iss": "https://accounts.google.com"});
    format!("{}.{}.c2lnbmF0dXJl", encode(json!({"alg": "RS256", "kid": "k"})), encode(claims))
}

fn module(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(name);
    std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is missing: make wasm wasm-jwt-simple", path.display()))
}

fn builder(said: &Said, rules: &Value) -> Builder {
    builder_of("upstream-identity.wasm", said, rules)
}

fn builder_of(name: &str, said: &Said, rules: &Value) -> Builder {
    let backend = said.clone();
    let document = json!({"version": 1, "rules": rules, "ready_path": "/_lockgate/ready",
                          "services": {"metadata": BASE, "secret_manager": BASE}});
    Gateway::builder(&module(name))
        .filter("upstream-identity", document.to_string())
        .backend("callout_http", move |request: &Request| backend.answer(request))
}

fn start(said: &Said, rule: &Value) -> Gateway {
    let gateway = builder(said, &json!([rule])).start().unwrap();
    follow_the_clock(said, &gateway);
    gateway
}

fn follow_the_clock(said: &Said, gateway: &Gateway) {
    said.now_s.set(gateway.now().duration_since(UNIX_EPOCH).unwrap().as_secs());
}

fn advance(said: &Said, gateway: &Gateway, seconds: u64) {
    gateway.advance(Duration::from_secs(seconds));
    follow_the_clock(said, gateway);
}

fn plain() -> Value {
    json!({"match": {"path_prefix": "/"}, "audience": AUDIENCE})
}

/// What the upstream saw in a header of its last request.
fn shown(gateway: &Gateway, header: &str) -> Option<String> {
    let requests = gateway.upstream_requests();
    let all: Vec<&[u8]> = requests.last().unwrap().headers.all(header).collect();
    assert!(all.len() <= 1, "{header} stands once at most");
    all.first().map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn the_upstream_sees_the_proxys_token_and_no_clients_in_its_place() {
    let said = Said::new();
    let gateway = start(&said, &plain());
    let request = Request::get("/x?y=z")
        .header("authorization", "Bearer users-own")
        .header("authorization", "Bearer another")
        .header("x-serverless-authorization", "Bearer forged")
        .header("x-forwarded-for", "203.0.113.9")
        .header("cookie", "a=b");
    assert_eq!(gateway.send(request).status, 200);
    let expected = format!("Bearer {}", token(AUDIENCE, said.now_s.get() + 3_600));
    assert_eq!(shown(&gateway, "authorization"), Some(expected));
    assert_eq!(shown(&gateway, "x-serverless-authorization"), None);
    assert_eq!(gateway.upstream_requests()[0].path, "/x?y=z");

    let asked = said.asked.borrow();
    assert_eq!(
        asked[0].path,
        "/computeMetadata/v1/instance/service-accounts/default/identity?format=full\
         &audience=https%3A%2F%2Fprivate-abc123-ew.a.run.app"
    );
    assert_eq!(asked[0].headers.text("metadata-flavor"), Some("Google"));
    for header in ["authorization", "cookie", "x-forwarded-for", "x-serverless-authorization"] {
        assert_eq!(asked[0].headers.get(header), None, "{header} goes to nobody else");
    }
}

#[test]
fn in_the_serverless_header_the_senders_own_authorization_survives() {
    let said = Said::new();
    let mut rule = plain();
    rule["header"] = json!("x-serverless-authorization");
    let gateway = start(&said, &rule);
    let request = Request::get("/")
        .header("authorization", "Bearer users-own")
        .header("x-serverless-authorization", "Bearer forged")
        .header("X-Serverless-Authorization", "");
    assert_eq!(gateway.send(request).status, 200);
    assert_eq!(shown(&gateway, "authorization").as_deref(), Some("Bearer users-own"));
    let expected = format!("Bearer {}", token(AUDIENCE, said.now_s.get() + 3_600));
    assert_eq!(shown(&gateway, "x-serverless-authorization"), Some(expected));
}

#[test]
fn a_crowd_and_rules_of_one_audience_share_one_fetch() {
    let said = Said::new();
    said.set(Answer::Hold);
    let other = json!({"match": {"path_prefix": "/other"}, "audience": AUDIENCE, "deadline_ms": 2_000});
    let gateway = builder(&said, &json!([other, plain()])).start().unwrap();
    follow_the_clock(&said, &gateway);
    let paths = ["/a", "/other/b"];
    let streams: Vec<_> = (0..100).map(|index| gateway.open(Request::get(paths[index % 2]))).collect();
    assert_eq!(said.count(), 1);
    let call = gateway.held().pop().unwrap();
    let token = token(AUDIENCE, said.now_s.get() + 3_600);
    assert!(gateway.answer(&call, Response::new(200).body(&token)));
    for stream in &streams {
        assert_eq!(stream.wait().status, 200);
    }
    assert_eq!(gateway.send(Request::get("/later")).status, 200);
    assert_eq!(said.count(), 1);
}

#[test]
fn a_token_is_renewed_before_its_end_and_no_request_fails_meanwhile() {
    let said = Said::new();
    let gateway = start(&said, &plain());
    let send = |path: &str| {
        assert_eq!(gateway.send(Request::get(path)).status, 200, "{path}");
        shown(&gateway, "authorization").unwrap()
    };
    let first = send("/1");
    advance(&said, &gateway, 2_900);
    assert_eq!(send("/2"), first, "renewed behind the request");
    let second = send("/3");
    assert_ne!(second, first);
    assert_eq!(said.count(), 2);
    // Nobody came for hours; the instance may have been frozen.
    advance(&said, &gateway, 30_000);
    assert_ne!(send("/4"), second);
    assert_eq!(said.count(), 3);
    // The metadata server is gone while the token is good.
    said.set(Answer::Refuse);
    advance(&said, &gateway, 3_400);
    assert_eq!([send("/5"), send("/6")], [shown(&gateway, "authorization").unwrap(), send("/7")]);
    // And over it is over.
    advance(&said, &gateway, 200);
    assert_eq!(gateway.send(Request::get("/8")).status, 503);
}

#[test]
fn a_token_that_is_about_to_end_is_used_for_half_of_what_is_left() {
    let said = Said::new();
    said.life_s.set(40);
    let gateway = start(&said, &plain());
    assert_eq!(gateway.send(Request::get("/")).status, 200);
    advance(&said, &gateway, 25);
    assert_eq!(gateway.send(Request::get("/")).status, 200);
    assert_eq!(said.count(), 2);
}

#[test]
fn whatever_is_no_token_for_the_upstream_is_never_sent() {
    let far = 4_102_444_800;
    let said = |status: u16, body: &str| -> Answer { Response::new(status).body(body).into() };
    let padded = format!("{}=", token(AUDIENCE, far));
    for answer in [
        said(500, "{\"error\":\"backend\"}"),
        said(200, "{\"error\":\"backend\"}"),
        said(200, "<html>503</html>"),
        said(200, ""),
        said(200, "a.b.c"),
        said(200, "e30.e30.e30"),
        said(403, &token(AUDIENCE, far)),
        said(200, &token("https://somebody-else.example", far)),
        said(200, &token(AUDIENCE, 1_000)),
        said(200, &format!("{} {}", token(AUDIENCE, far), "x")),
        said(200, &format!("{}\r\nx-injected: 1", token(AUDIENCE, far))),
        said(200, &padded),
        said(200, &format!("{}.{}", token(AUDIENCE, far), "x")),
        said(302, "https://elsewhere.example"),
        Answer::Refuse,
        Answer::Reset,
        Answer::Hold,
    ] {
        let metadata = Said::new();
        metadata.set(answer.clone());
        let gateway = start(&metadata, &plain());
        let response = gateway.send(Request::get("/").header("authorization", "Bearer users-own"));
        assert_eq!(response.status, 503, "{answer:?}");
        assert_eq!(response.text(), "The service cannot be reached right now. Please try again.\n");
        assert_eq!(response.headers.text("retry-after"), Some("1"));
        assert!(gateway.upstream_requests().is_empty(), "{answer:?}");
        assert!(!gateway.trapped());
        assert_eq!(gateway.metrics().counter("lockgate.upstream_identity.refused.no_identity"), 1);
        let logs = gateway.logs();
        assert!(logs.contains("filter=upstream-identity refused reason=no_identity status=503"));
        assert!(!logs.contains("eyJ") && !logs.contains("backend"), "no answer is written down");

        metadata.answer.replace(None);
        advance(&metadata, &gateway, 5);
        assert_eq!(gateway.send(Request::get("/")).status, 200, "it heals by itself: {answer:?}");
    }
}

#[test]
fn it_is_ready_when_the_token_is_there() {
    let said = Said::new();
    said.set(Answer::Refuse);
    let gateway = start(&said, &plain());
    let ready = || gateway.send(Request::get("/_lockgate/ready?x")).status;
    assert_eq!(ready(), 503);
    said.answer.replace(None);
    advance(&said, &gateway, 2);
    assert_eq!(ready(), 200, "asking has it fetched");
    let request = gateway.upstream_requests().pop().unwrap();
    assert_eq!(request.headers.get("authorization"), None, "a probe is given no token");
    assert_eq!(gateway.send(Request::get("/_lockgate/readyx")).status, 200);
}

#[test]
fn few_probes_wait_and_the_others_are_answered_at_once() {
    let said = Said::new();
    said.set(Answer::Hold);
    let gateway = start(&said, &plain());
    let probes: Vec<_> = (0..100).map(|_| gateway.open(Request::get("/_lockgate/ready"))).collect();
    let waiting = probes.iter().filter(|probe| probe.response().is_none()).count();
    assert_eq!(waiting, 8);
    for probe in &probes {
        assert_eq!(probe.wait().status, 503);
    }
    said.answer.replace(None);
    advance(&said, &gateway, 5);
    assert_eq!(gateway.send(Request::get("/_lockgate/ready")).status, 200, "those that left are not counted");
}

/// A key for tests; no account has it.
const KEY: &str = include_str!("../../../wasm-test/e2e/fixtures/keys/rsa-1.pem");

fn key_file() -> Value {
    json!({"type": "service_account", "client_email": "lockgate@p.iam.gserviceaccount.com",
           "private_key_id": "key-7", "private_key": KEY, "token_uri": format!("{BASE}/oauth2/token")})
}

fn with_key(said: &Said, key: &str) -> Builder {
    let mut rule = plain();
    rule["key"] = json!({"env": "KEY"});
    builder(said, &json!([rule])).env("KEY", key)
}

#[test]
fn a_key_is_exchanged_for_a_token_by_a_signed_assertion() {
    for key in [key_file().to_string(), STANDARD.encode(key_file().to_string())] {
        let said = Said::new();
        exchanges(&said, with_key(&said, &key));
    }
}

#[test]
fn a_module_that_signs_by_itself_needs_no_function_of_the_proxys() {
    let said = Said::new();
    let mut rule = plain();
    rule["key"] = json!({"env": "KEY"});
    let builder = builder_of("upstream-identity-jwt-simple.wasm", &said, &json!([rule]));
    exchanges(&said, builder.env("KEY", &key_file().to_string()).release(Release::V1_36));
}

/// Two requests, one exchange, and an assertion as Google wants it.
fn exchanges(said: &Said, builder: Builder) {
    let gateway = builder.start().unwrap();
    follow_the_clock(said, &gateway);
    for path in ["/1", "/2"] {
        assert_eq!(gateway.send(Request::get(path)).status, 200);
    }
    let expected = format!("Bearer {}", token(AUDIENCE, said.now_s.get() + 3_600));
    assert_eq!(shown(&gateway, "authorization"), Some(expected));

    let asked = said.asked.borrow();
    assert_eq!(asked.len(), 1, "one exchange for both");
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/oauth2/token"));
    assert_eq!(asked[0].headers.text("content-type"), Some("application/x-www-form-urlencoded"));
    let form = asked[0].text();
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let digest = Sha256::digest(signed);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = RsaPrivateKey::from_pkcs8_pem(KEY).unwrap().to_public_key();
    public.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &signature).unwrap();
    let part =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(part(header), json!({"alg": "RS256", "typ": "JWT", "kid": "key-7"}));
    let now = said.now_s.get();
    let expected = json!({"iss": "lockgate@p.iam.gserviceaccount.com", "aud": format!("{BASE}/oauth2/token"),
                          "target_audience": AUDIENCE, "iat": now, "exp": now + 3_600});
    let mut claims = part(claims);
    // jwt-simple says from when on, too.
    if let Some(not_before) = claims.as_object_mut().unwrap().remove("nbf") {
        assert_eq!(not_before, now);
    }
    assert_eq!(claims, expected);
}

#[test]
fn an_exchange_that_brings_no_token_sends_nothing_on() {
    let refused: [Answer; 4] = [
        Response::new(400).body("{\"error\":\"invalid_grant\"}").into(),
        Response::new(200).body("{\"access_token\":\"ya29.x\"}").into(),
        Response::new(200)
            .body(json!({"id_token": token("https://other.example", 4_102_444_800)}).to_string())
            .into(),
        Answer::Reset,
    ];
    for answer in refused {
        let said = Said::new();
        said.set(answer);
        let gateway = with_key(&said, &key_file().to_string()).start().unwrap();
        assert_eq!(gateway.send(Request::get("/")).status, 503);
        assert!(gateway.upstream_requests().is_empty());
        assert!(!gateway.logs().contains("invalid_grant") && !gateway.logs().contains("eyJ"));
    }
}

#[test]
fn a_configuration_that_cannot_work_stops_the_start_with_the_fields_name() {
    let changed = |name: &str, value: Value| {
        let mut key = key_file();
        key[name] = value;
        key.to_string()
    };
    let curve = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglNOwceQYWYhIzsyE\n\
                 fgxNB2SQ1nTcxaImNTmx4/pgzo+hRANCAARP0j3FJlM/1F7c5Sw88/BnHIBu69un\n\
                 6ybnbve9Swn6j788b9TWfQhq6T1avLAyZD2KS3S7GdZUUXQhYnxCph+C\n-----END PRIVATE KEY-----";
    for key in [
        "not a key".to_owned(),
        "{}".to_owned(),
        changed("client_email", Value::Null),
        changed("private_key", json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
        changed("private_key", json!(curve)),
        changed("private_key", json!(include_str!("../../../wasm-test/e2e/fixtures/keys/rsa-1024.pem"))),
        changed("token_uri", json!("http://oauth2.example.com/token")),
    ] {
        let error = with_key(&Said::new(), &key).start().err().unwrap();
        assert!(error.logs.contains("rules[0].key: given another value, expected "), "{error:?}");
        assert!(!error.logs.contains("iam.gserviceaccount.com"), "nothing of the key is repeated");
    }
    for (name, value, expected) in [
        ("audience", Value::Null, "rules[0].audience: given null"),
        ("audience", json!("a b"), "rules[0].audience: given \"a b\", expected one word"),
        ("header", json!("cookie"), "rules[0].header: given \"cookie\", expected authorization or"),
        ("key", json!({"env": "UNSET"}), "rules[0].key.env: given \"UNSET\""),
        ("deadline_ms", json!(1), "rules[0].deadline_ms: given 1"),
        ("audiences", json!([]), "rules[0].audiences: given [], expected no such field"),
    ] {
        let mut rule = plain();
        rule[name] = value;
        let error = builder(&Said::new(), &json!([rule])).start().err().unwrap();
        assert!(error.logs.contains(expected), "{expected}: {}", error.logs);
    }
}

#[test]
fn a_proxy_that_cannot_sign_is_told_so_at_the_start_and_needs_no_key_for_the_metadata_server() {
    let said = Said::new();
    let error = with_key(&said, &key_file().to_string()).release(Release::V1_36).start().err().unwrap();
    assert!(
        error.logs.contains("rules[0].key: given another value, expected Envoy 1.37 or newer"),
        "{error:?}"
    );
    let gateway = builder(&said, &json!([plain()])).release(Release::V1_36).start().unwrap();
    follow_the_clock(&said, &gateway);
    assert_eq!(gateway.send(Request::get("/")).status, 200);
}

//! Programs at the door: bearer tokens of every kind, in the simulated host.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;

use std::time::Duration;

use lockgate_common::jwks::{Algorithm, Keys};
use provider::{HOST, ISSUER, Provider, configuration, door_with, error, now_s, signed_in, tell_time};
use serde_json::{Value, json};
use wasm_test::{Answer, Gateway, Request, Response};

fn jwt_door(provider: &Provider) -> Gateway {
    let mut configuration = configuration();
    configuration["tokens"] = json!({"jwt": [{"issuer": ISSUER, "audiences": ["https://api.example.com"]}]});
    configuration["policies"] = json!([{"effect": "allow", "anyone": true}]);
    door_with(provider, &configuration)
}

fn claims(gateway: &Gateway) -> Value {
    let now = now_s(gateway);
    json!({"iss": ISSUER, "aud": "https://api.example.com", "sub": "program-1", "iat": now, "exp": now + 300,
           "scope": "read write"})
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "p1", "typ": "at+jwt"})
}

fn ask(gateway: &Gateway, token: &str) -> Response {
    gateway.send(Request::get("/api").host(HOST).header("authorization", format!("Bearer {token}")))
}

#[test]
fn a_good_token_passes_and_goes_no_further() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    let token = provider.mint(&header(), &claims(&gateway));
    for scheme in ["Bearer", "bearer", "BEARER  "] {
        let request = Request::get("/api").host(HOST).header("authorization", format!("{scheme} {token}"));
        assert_eq!(gateway.send(request).status, 200, "{scheme}");
    }
    for upstream in gateway.upstream_requests() {
        assert_eq!(upstream.headers.text("authorization"), None);
        assert_eq!(upstream.headers.text("x-lockgate-subject"), Some("program-1"));
    }
    assert_eq!(provider.calls("/jwks"), 1, "verified once, and its keys fetched once");
    assert!(gateway.metrics().counter("lockgate.oidc.cache.hit") >= 2);
}

#[test]
fn every_wrong_token_is_401_invalid_token_so_that_programs_refresh() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    let now = now_s(&gateway);
    let with = |name: &str, value: Value| {
        let mut claims = claims(&gateway);
        claims[name] = value;
        provider.mint(&header(), &claims)
    };
    let headed = |name: &str, value: Value| {
        let mut header = header();
        header[name] = value;
        provider.mint(&header, &claims(&gateway))
    };
    let good = provider.mint(&header(), &claims(&gateway));
    let parts: Vec<&str> = good.split('.').collect();
    let other = provider.mint(&header(), &json!({"iss": ISSUER, "sub": "admin"}));
    let cases = [
        (with("exp", json!(now - 31)), "token_expired"),
        (with("exp", Value::Null), "token_malformed"),
        (with("nbf", json!(now + 60)), "token_not_yet"),
        (with("iss", json!("https://evil.example")), "token_issuer"),
        (with("aud", json!("https://other.example.com")), "token_audience"),
        (with("aud", Value::Null), "token_audience"),
        (with("nonce", json!("n")), "token_is_an_id_token"),
        (with("events", json!({})), "token_is_an_id_token"),
        (headed("alg", json!("none")), "token_algorithm"),
        (headed("alg", json!("HS256")), "token_algorithm"),
        (headed("alg", json!("RS256")), "token_algorithm"),
        (headed("kid", json!("unknown")), "token_unknown_key"),
        (headed("typ", json!("logout+jwt")), "token_type"),
        (headed("crit", json!(["x"])), "token_malformed"),
        (format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]), "token_audience"),
        (format!("{}.{}.", parts[0], parts[1]), "token_signature"),
        (format!("{good}.x"), "token_malformed"),
        ("not-a-token".to_owned(), "token_malformed"),
    ];
    for (token, reason) in cases {
        let before = gateway.metrics().counter(&format!("lockgate.oidc.refused.{reason}"));
        let response = ask(&gateway, &token);
        let counted = gateway.metrics().counter(&format!("lockgate.oidc.refused.{reason}")) - before;
        assert_eq!((response.status, counted), (401, 1), "{reason}: {:?}", gateway.logs());
        let challenge = response.headers.text("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer realm=\"lockgate\", error=\"invalid_token\"", "{reason}");
    }
    for claims in [json!({"exp": now - 29}), json!({"nbf": now + 29})] {
        let (name, value) = claims.as_object().unwrap().iter().next().unwrap();
        assert_eq!(ask(&gateway, &with(name, value.clone())).status, 200, "clocks may differ: {claims}");
    }
    let twice = Request::get("/").host(HOST).header("authorization", format!("Bearer {good}"));
    assert_eq!(gateway.send(twice.header("authorization", "Bearer x")).status, 401);
    let binary = Request::get("/").host(HOST).header("authorization", b"Bearer \xff\xfe");
    assert_eq!(gateway.send(binary).status, 401);
    assert_eq!(provider.calls("/jwks"), 1, "an unknown key id is not asked for within the throttle");
    assert!(!gateway.trapped());
}

#[test]
fn a_token_decides_alone_whatever_the_cookie_says() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    let browser = signed_in(&gateway, &provider);
    let good = provider.mint(&header(), &claims(&gateway));
    let bad_cookie = Request::get("/").host(HOST).header("cookie", "lockgate=1.AAAA");
    assert_eq!(gateway.send(bad_cookie.header("authorization", format!("Bearer {good}"))).status, 200);
    assert_eq!(gateway.send(browser.fetch("/").header("authorization", "Bearer x.y.z")).status, 401);
    let basic = gateway.send(browser.fetch("/").header("authorization", "Basic dTpw"));
    assert_eq!(basic.status, 200, "another scheme is the upstream's affair");
    assert_eq!(gateway.upstream_requests().pop().unwrap().headers.text("authorization"), Some("Basic dTpw"));
}

#[test]
fn rotated_keys_are_found_and_an_outage_leaves_the_last_good_ones() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    assert_eq!(ask(&gateway, &provider.mint(&header(), &claims(&gateway))).status, 200);
    gateway.advance(Duration::from_secs(11));
    provider.rotate();
    let mut rotated = header();
    rotated["kid"] = json!("p2");
    assert_eq!(ask(&gateway, &provider.mint(&rotated, &claims(&gateway))).status, 200);
    provider.set(|state| {
        state.answers.insert("/jwks", Response::new(500).into());
        state.answers.insert("/.well-known/openid-configuration", Answer::Refuse);
    });
    gateway.advance(Duration::from_secs(20 * 3_600));
    assert_eq!(ask(&gateway, &provider.mint(&rotated, &claims(&gateway))).status, 200, "20 hours on");
    gateway.advance(Duration::from_secs(5 * 3_600));
    assert_eq!(
        ask(&gateway, &provider.mint(&rotated, &claims(&gateway))).status,
        503,
        "over a day: 503, not 401"
    );
}

#[test]
fn a_flood_of_unknown_keys_makes_one_fetch_in_the_throttle_window() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    gateway.advance(Duration::from_secs(20));
    for number in 0..200 {
        let mut header = header();
        header["kid"] = json!(format!("k{number}"));
        assert_eq!(ask(&gateway, &provider.mint(&header, &claims(&gateway))).status, 401);
    }
    assert_eq!(provider.calls("/jwks"), 2, "the first, and one more");
}

#[test]
fn cognitos_access_tokens_are_checked_by_client_and_use() {
    let provider = Provider::new();
    let mut configuration = configuration();
    configuration["tokens"] = json!({"jwt": [{
        "issuer": ISSUER, "audiences": ["app-client"], "audience_claim": "client_id",
        "claims": {"token_use": "access"}, "groups_claim": "cognito:groups",
    }]});
    configuration["policies"] = json!([{"effect": "allow", "groups": ["admins"]}]);
    let gateway = door_with(&provider, &configuration);
    let now = now_s(&gateway);
    let token = |client: &str, usage: &str, groups: Value| {
        let claims = json!({"iss": ISSUER, "sub": "u", "client_id": client, "token_use": usage,
                            "cognito:groups": groups, "iat": now, "exp": now + 60});
        provider.mint(&json!({"alg": "ES256", "kid": "p1"}), &claims)
    };
    assert_eq!(ask(&gateway, &token("app-client", "access", json!(["admins"]))).status, 200);
    assert_eq!(ask(&gateway, &token("app-client", "access", json!(["users"]))).status, 403);
    assert_eq!(ask(&gateway, &token("app-client", "access", Value::Null)).status, 403, "no groups, no claim");
    assert_eq!(ask(&gateway, &token("app-client", "id", json!(["admins"]))).status, 401);
    assert_eq!(ask(&gateway, &token("other", "access", json!(["admins"]))).status, 401);
}

fn introspecting(provider: &Provider, own_token: bool) -> Gateway {
    let mut configuration = configuration();
    let mut introspection = json!({"endpoint": format!("{ISSUER}/introspect"), "client_id": "proxy",
                                   "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "issuer": "hydra"});
    if own_token {
        introspection["token_endpoint"] = json!(format!("{ISSUER}/token"));
    }
    configuration["tokens"] = json!({"introspection": introspection});
    configuration["identity"] = json!({"x-client": "client_id"});
    configuration["policies"] = json!([{"effect": "allow", "issuers": ["hydra"], "scopes": ["read"]}]);
    door_with(provider, &configuration)
}

#[test]
fn an_opaque_token_is_introspected_once_and_until_it_expires() {
    let provider = Provider::new();
    let gateway = introspecting(&provider, false);
    let exp = now_s(&gateway) + 30;
    let active = json!({"active": true, "sub": "u", "client_id": "c1", "scope": "read", "exp": exp});
    provider.set(|state| drop(state.introspection.insert("opaque".to_owned(), active.clone())));
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "opaque").status, 200);
    }
    assert_eq!(provider.calls("/introspect"), 1);
    let call = provider.last("/introspect");
    assert_eq!(
        (call.method.as_str(), call.text().as_str()),
        ("POST", "token=opaque&token_type_hint=access_token")
    );
    assert_eq!(call.headers.text("authorization"), Some("Basic cHJveHk6Y2xpZW50JTJCc2VjcmV0"));
    let upstream = gateway.upstream_requests().pop().unwrap();
    assert_eq!(
        (upstream.headers.text("x-client"), upstream.headers.text("authorization")),
        (Some("c1"), None)
    );
    gateway.advance(Duration::from_secs(31));
    assert_eq!(ask(&gateway, "opaque").status, 401, "its own end, before the cache's");
    let mut narrow = active;
    narrow["scope"] = json!("write");
    narrow["exp"] = json!(exp + 600);
    provider.set(|state| drop(state.introspection.insert("narrow".to_owned(), narrow)));
    let response = ask(&gateway, "narrow");
    assert_eq!(response.status, 403);
    assert!(response.headers.text("www-authenticate").unwrap().contains("insufficient_scope"));
}

#[test]
fn introspection_that_says_no_is_401_and_one_that_says_nothing_is_503() {
    let provider = Provider::new();
    let gateway = introspecting(&provider, false);
    assert_eq!(ask(&gateway, "unknown").status, 401);
    assert_eq!(ask(&gateway, "unknown").status, 401);
    assert_eq!(provider.calls("/introspect"), 1, "remembered for a moment");
    let answers: [Answer; 6] = [
        Response::new(500).into(),
        Answer::Refuse,
        Answer::Hold,
        error(401, "invalid_client"),
        Response::new(200).body("{").into(),
        Response::new(200).body("{\"active\":\"true\"}").into(),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        provider.set(|state| drop(state.answers.insert("/introspect", answer.clone())));
        assert_eq!(ask(&gateway, &format!("t{number}")).status, 503, "{answer:?}");
    }
    assert!(gateway.upstream_requests().is_empty());
}

#[test]
fn many_requests_with_one_new_token_make_one_call_and_many_tokens_are_bounded() {
    let provider = Provider::new();
    let gateway = introspecting(&provider, false);
    provider.set(|state| drop(state.answers.insert("/introspect", Answer::Hold)));
    let request =
        |token: &str| Request::get("/").host(HOST).header("authorization", format!("Bearer {token}"));
    let same: Vec<_> = (0..50).map(|_| gateway.open(request("same"))).collect();
    assert_eq!(gateway.held().len(), 1);
    let many: Vec<_> = (0..100).map(|number| gateway.open(request(&format!("t{number}")))).collect();
    assert_eq!(gateway.held().len(), 64);
    assert_eq!(many.iter().filter(|stream| stream.is_done()).count(), 37, "the rest is told to come again");
    gateway.answer(&gateway.held()[0], provider::ok(&json!({"active": true, "sub": "u", "scope": "read"})));
    assert!(same.iter().all(|stream| stream.response().unwrap().status == 200));
}

#[test]
fn the_proxys_own_token_is_renewed_once_for_all_who_need_it() {
    let provider = Provider::new();
    let gateway = introspecting(&provider, true);
    let request =
        |token: &str| Request::get("/").host(HOST).header("authorization", format!("Bearer {token}"));
    let streams: Vec<_> = (0..20).map(|number| gateway.open(request(&format!("t{number}")))).collect();
    assert!(streams.iter().all(|stream| stream.wait().status == 401));
    assert_eq!(provider.calls("/token"), 1);
    assert_eq!(provider.last("/introspect").headers.text("authorization"), Some("Bearer own-token"));
    gateway.advance(Duration::from_secs(61));
    let streams: Vec<_> = (0..20).map(|number| gateway.open(request(&format!("u{number}")))).collect();
    assert!(streams.iter().all(|stream| stream.wait().status == 401));
    assert_eq!(provider.calls("/token"), 2);
}

#[test]
fn googles_access_tokens_are_checked_by_tokeninfo() {
    let provider = Provider::new();
    let mut configuration = configuration();
    configuration["tokens"] =
        json!({"google": {"client_ids": ["zapier-client"], "tokeninfo": format!("{ISSUER}/tokeninfo")}});
    let gateway = door_with(&provider, &configuration);
    let info = |change: Value| {
        let mut info = json!({"aud": "zapier-client", "azp": "zapier-client", "sub": "108", "scope": "email",
                              "email": "ann@example.com", "email_verified": "true",
                              "exp": (now_s(&gateway) + 600).to_string(), "expires_in": "600"});
        info.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        provider.set(|state| drop(state.answers.insert("/tokeninfo", provider::ok(&info))));
    };
    info(json!({}));
    assert_eq!(ask(&gateway, "ya29.good").status, 200);
    assert_eq!(
        provider.last("/tokeninfo").text(),
        "access_token=ya29.good",
        "in the body, not in the address"
    );
    for (number, (change, status)) in [
        (json!({"aud": "another"}), 401),
        (json!({"exp": "1"}), 401),
        (json!({"email_verified": "false"}), 403),
        (json!({"email": "ann@example.com.evil.org"}), 403),
        (json!({"email": "ann@exampleXcom"}), 403),
    ]
    .into_iter()
    .enumerate()
    {
        info(change.clone());
        assert_eq!(ask(&gateway, &format!("ya29.{number}")).status, status, "{change}");
    }
    provider.set(|state| drop(state.answers.insert("/tokeninfo", error(400, "invalid_token"))));
    assert_eq!(ask(&gateway, "ya29.expired").status, 401);
    provider.set(|state| drop(state.answers.insert("/tokeninfo", Response::new(500).into())));
    assert_eq!(ask(&gateway, "ya29.unknown").status, 503, "Google being down is not a bad token");
}

#[test]
fn the_upstream_gets_a_signed_assertion_that_the_published_keys_verify() {
    let provider = Provider::new();
    let mut configuration = configuration();
    configuration["assertion"] = json!({"keys": {"env": "ASSERTION_KEY"}, "audience": "https://upstream"});
    let gateway = door_with(&provider, &configuration);
    let mut browser = signed_in(&gateway, &provider);
    for _ in 0..3 {
        let forged =
            browser.page("/").header("x-lockgate-assertion", "forged").header("X-Lockgate-Email", "eve@x.y");
        assert_eq!(gateway.send(forged).status, 200);
    }
    let tokens: Vec<String> = gateway
        .upstream_requests()
        .iter()
        .map(|upstream| upstream.headers.text("x-lockgate-assertion").unwrap().to_owned())
        .collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "signed once");
    let upstream = gateway.upstream_requests().pop().unwrap();
    assert_eq!(upstream.headers.text("x-lockgate-email"), Some("ann@example.com"));
    let token = lockgate_common::jwt::Token::parse(tokens[0].as_bytes()).unwrap();
    token.expect(&[provider::SITE.to_owned()], "https://upstream", now_s(&gateway) * 1_000).unwrap();
    assert_eq!(token.claims().field("email").unwrap().text(), b"\"ann@example.com\"");
    let keys = browser.open(&gateway, "/_lockgate/jwks");
    assert!(Keys::parse(&keys.body).unwrap().find(None, Algorithm::Es256).is_some(), "{}", keys.text());
}

#[test]
fn userinfo_says_who_it_is() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    assert_eq!(gateway.send(Request::get("/_lockgate/userinfo").host(HOST)).status, 401);
    let mut browser = signed_in(&gateway, &provider);
    let info: Value = serde_json::from_slice(&browser.open(&gateway, "/_lockgate/userinfo").body).unwrap();
    assert_eq!(
        (&info["sub"], &info["email"], &info["iss"]),
        (&json!("user-1"), &json!("ann@example.com"), &json!(ISSUER))
    );
    let token = provider.mint(&header(), &claims(&gateway));
    let request =
        Request::get("/_lockgate/userinfo").host(HOST).header("authorization", format!("Bearer {token}"));
    let info: Value = serde_json::from_slice(&gateway.send(request).body).unwrap();
    assert_eq!(info["sub"], json!("program-1"));
    tell_time(&provider, &gateway);
}

#[test]
fn a_token_for_a_push_and_one_for_a_person_do_not_open_each_others_routes() {
    let provider = Provider::new();
    let gateway = jwt_door(&provider);
    let mut push = claims(&gateway);
    push["aud"] = json!("https://proxy/wal-playback");
    push["email"] = json!("push@p.iam");
    assert_eq!(ask(&gateway, &provider.mint(&header(), &push)).status, 401);
}

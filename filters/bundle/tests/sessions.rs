//! Staying signed in, and no longer: cookies, lifetimes, refreshes, revocations, in the simulated host.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;

use std::time::Duration;

use lockgate_common::encoding::base64;
use provider::{
    Browser, HOST, Provider, configuration, door, door_with, error, location, signed_in, tell_time,
};
use serde_json::json;
use wasm_test::{Answer, Gateway, Request, Response};

const SESSION: &str = "lockgate";

fn login_value(browser: &Browser) -> String {
    let login = browser.0.iter().find(|(name, _)| name.starts_with("lockgate-login-"));
    login.unwrap().1.clone()
}

fn status(gateway: &Gateway, browser: &Browser) -> u16 {
    gateway.send(browser.fetch("/api")).status
}

fn wait(gateway: &Gateway, provider: &Provider, seconds: u64) {
    gateway.advance(Duration::from_secs(seconds));
    tell_time(provider, gateway);
}

#[test]
fn a_changed_cookie_is_no_session_and_the_filter_lives() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let browser = signed_in(&gateway, &provider);
    let good = browser.0[SESSION].clone();
    assert_eq!(status(&gateway, &browser), 200);
    let mut changed: Vec<String> = Vec::new();
    for at in (0..good.len()).step_by(37) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        changed.push(String::from_utf8(bytes).unwrap());
    }
    changed.extend([good[..good.len() - 1].to_owned(), format!("{good}A"), String::new(), "1.".to_owned()]);
    changed.extend(["%".to_owned(), "9.x".to_owned(), "2.".to_owned() + &good[2..], "\u{e9}".to_owned()]);
    changed.push(format!("1.{}", login_value(&browser)));
    for value in changed {
        let mut other = browser.clone();
        other.0.insert(SESSION.to_owned(), value.clone());
        assert_eq!(status(&gateway, &other), 401, "{value}");
    }
    let binary = browser.fetch("/").header("cookie", b"lockgate=\xff\xfe");
    assert!((400..402).contains(&gateway.send(binary).status));
    let twice = Request::get("/").host(HOST).header("cookie", format!("lockgate={good}; lockgate={good}"));
    assert_eq!(gateway.send(twice).status, 400, "two are refused, even if they are the same");
    assert_eq!(status(&gateway, &browser), 200);
    assert!(!gateway.trapped());
}

#[test]
fn other_cookies_reach_the_upstream_byte_for_byte() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let browser = signed_in(&gateway, &provider);
    let ours: Vec<String> = browser.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let line = format!("a=\"b c\"; {}; lockgatex=1; {}; odd", ours[0], ours[1]);
    let response = gateway.send(Request::get("/public/x").host(HOST).header("cookie", &line));
    assert_eq!(response.status, 200);
    gateway.send(Request::get("/").host(HOST).header("cookie", line));
    for upstream in gateway.upstream_requests() {
        assert_eq!(upstream.headers.text("cookie"), Some("a=\"b c\"; lockgatex=1; odd"), "{}", upstream.path);
    }
}

#[test]
fn a_session_ends_by_idleness_and_by_age() {
    let provider = Provider::new();
    provider.set(|state| state.tokens = json!({"refresh_token": null}));
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    let idle = browser.clone();
    for _ in 0..3 {
        wait(&gateway, &provider, 1_800);
        assert_eq!(browser.open(&gateway, "/").status, 200, "it is used, so it is not idle");
    }
    assert_eq!(status(&gateway, &idle), 401, "an hour unused, as this cookie tells");
    wait(&gateway, &provider, 1_700);
    assert_eq!(browser.open(&gateway, "/").status, 200);
    wait(&gateway, &provider, 200);
    assert_eq!(status(&gateway, &browser), 401, "two hours old");
}

#[test]
fn an_expiring_session_is_refreshed_once_for_a_hundred_requests() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let browser = signed_in(&gateway, &provider);
    wait(&gateway, &provider, 250);
    provider.set(|state| {
        state.answers.insert("/token", Answer::Hold);
    });
    let streams: Vec<_> = (0..100).map(|_| gateway.open(browser.fetch("/api"))).collect();
    let waiting = streams.iter().filter(|stream| !stream.is_done()).count();
    assert_eq!(waiting, 1, "the others go on with the session, which is still good");
    provider.set(|state| state.answers.clear());
    let held = gateway.held();
    assert_eq!(held.len(), 1);
    let answer = refresh_answer(&provider);
    gateway.answer(&held[0], answer);
    assert!(streams.iter().all(|stream| stream.response().unwrap().status == 200));
    assert_eq!(gateway.metrics().counter("lockgate.oidc.refreshed"), 1);
}

/// What the provider would have answered to the refresh under way.
fn refresh_answer(provider: &Provider) -> Answer {
    provider.set(|state| state.refreshes += 1);
    let number = provider.0.borrow().refreshes;
    provider::ok(&json!({"access_token": format!("access-{number}"), "expires_in": 300,
                         "refresh_token": format!("refresh-{number}")}))
}

#[test]
fn an_expired_session_waits_for_the_one_refresh_and_all_get_the_newer_cookie() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    let old = browser.clone();
    wait(&gateway, &provider, 400);
    provider.set(|state| {
        state.answers.insert("/token", Answer::Hold);
    });
    let streams: Vec<_> = (0..100).map(|_| gateway.open(browser.fetch("/api"))).collect();
    assert!(streams.iter().all(|stream| !stream.is_done()));
    provider.set(|state| state.answers.clear());
    let held = gateway.held();
    assert_eq!(held.len(), 1, "one refresh for all");
    gateway.answer(&held[0], refresh_answer(&provider));
    let responses: Vec<Response> = streams.iter().map(|stream| stream.wait()).collect();
    assert!(
        responses
            .iter()
            .all(|response| response.status == 200 && response.headers.text("set-cookie").is_some())
    );
    browser.take(&responses[99]);
    assert_eq!(status(&gateway, &old), 200, "a request that still has the old cookie, within a minute");
    assert_eq!(status(&gateway, &browser), 200);
    assert_eq!(provider.0.borrow().reused, 0);
    assert_eq!(provider.0.borrow().refreshes, 1);
}

#[test]
fn rotated_refresh_tokens_are_followed_for_hours() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    for _ in 0..20 {
        wait(&gateway, &provider, 250);
        assert_eq!(browser.open(&gateway, "/").status, 200);
    }
    assert_eq!(provider.0.borrow().refreshes, 20);
    assert_eq!(provider.0.borrow().reused, 0);
}

#[test]
fn a_providers_bad_minute_ends_no_session_before_its_own_end() {
    for answer in [Response::new(500).into(), Answer::Refuse, Answer::Hold, error(400, "invalid_grant")] {
        let provider = Provider::new();
        let gateway = door(&provider);
        let mut browser = signed_in(&gateway, &provider);
        wait(&gateway, &provider, 250);
        provider.set(|state| {
            state.answers.insert("/token", answer.clone());
        });
        assert_eq!(browser.open(&gateway, "/").status, 200, "{answer:?}");
        let calls = provider.calls("/token");
        for _ in 0..20 {
            assert_eq!(browser.open(&gateway, "/").status, 200);
        }
        assert_eq!(provider.calls("/token"), calls, "and it is not asked again at once");
        wait(&gateway, &provider, 30);
        if !matches!(&answer, Answer::Response(response) if response.status == 400) {
            provider.set(|state| state.answers.clear());
            assert_eq!(browser.open(&gateway, "/").status, 200);
            wait(&gateway, &provider, 60);
            assert_eq!(browser.open(&gateway, "/").status, 200, "it has healed: {answer:?}");
        }
    }
}

#[test]
fn when_the_tokens_have_expired_a_dead_provider_is_503_and_a_refusal_is_a_sign_in() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let browser = signed_in(&gateway, &provider);
    wait(&gateway, &provider, 400);
    provider.set(|state| {
        state.answers.insert("/token", Response::new(500).into());
    });
    assert_eq!(status(&gateway, &browser), 503);
    wait(&gateway, &provider, 20);
    provider.set(|state| {
        state.answers.insert("/token", error(400, "invalid_grant"));
    });
    assert_eq!(status(&gateway, &browser), 401);
    assert_eq!(gateway.send(browser.page("/x")).status, 302);
}

#[test]
fn a_refreshed_cookie_comes_with_the_doors_own_answers_too() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    for (path, status) in [("/_lockgate/userinfo", 200), ("/admin", 403), ("/_lockgate/userinfo", 200)] {
        wait(&gateway, &provider, 250);
        let response = browser.open(&gateway, path);
        assert_eq!(response.status, status, "{path}");
        assert!(response.headers.text("set-cookie").is_some(), "{path}");
        wait(&gateway, &provider, 1_000);
        assert_eq!(browser.open(&gateway, "/").status, 200, "{path}: the browser has the token that is good");
    }
    assert_eq!(provider.0.borrow().reused, 0);
}

#[test]
fn a_sign_in_that_would_make_no_session_is_refused_and_does_not_go_round() {
    let provider = Provider::new();
    let gateway = door(&provider);
    provider.set(|state| state.claims = json!({"sub": "x".repeat(300)}));
    let response = Browser::default().sign_in(&gateway, &provider, "/");
    assert_eq!((response.status, response.headers.text("set-cookie")), (400, None));
}

#[test]
fn claims_are_those_of_the_last_refresh() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    assert_eq!(browser.open(&gateway, "/admin").status, 403);
    wait(&gateway, &provider, 250);
    provider.set(|state| state.claims = json!({"groups": ["admins"]}));
    assert_eq!(browser.open(&gateway, "/admin").status, 200);
    wait(&gateway, &provider, 250);
    provider.set(|state| state.claims = json!({"sub": "user-2"}));
    assert_eq!(
        browser.open(&gateway, "/").status,
        200,
        "another subject is no refresh; the old one is still good"
    );
    wait(&gateway, &provider, 100);
    assert_eq!(status(&gateway, &browser), 401);
}

#[test]
fn signing_out_needs_this_sites_own_page_and_ends_copies_of_the_cookie_too() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    let copy = browser.clone();
    let page = browser.open(&gateway, "/_lockgate/sign-out");
    assert!(page.status == 200 && page.text().contains("ann@example.com"), "{}", page.text());
    let post = |browser: &Browser| browser.with_cookies(Request::post("/_lockgate/sign-out").host(HOST));
    let foreign = [
        post(&browser),
        post(&browser).header("origin", "https://evil.example"),
        post(&browser).header("origin", "null"),
        post(&browser).header("origin", provider::SITE).header("sec-fetch-site", "cross-site"),
    ];
    for request in foreign {
        assert_eq!(gateway.send(request.clone()).status, 403, "{request:?}");
    }
    assert_eq!(status(&gateway, &browser), 200);

    let response = gateway.send(post(&browser).header("origin", provider::SITE));
    assert_eq!(response.status, 303);
    let there = location(&response);
    assert!(
        there.starts_with("http://127.0.0.1:9400/end?client_id=the-client&post_logout_redirect_uri="),
        "{there}"
    );
    browser.take(&response);
    assert!(!browser.0.contains_key(SESSION));
    assert_eq!(status(&gateway, &copy), 401, "a copy of the cookie is worth nothing");
    let form = String::from_utf8(provider.last("/revoke").body).unwrap();
    assert_eq!(provider::parameter(&form, "token").as_deref(), Some("refresh-0"));
    assert_eq!(browser.open(&gateway, "/_lockgate/signed-out").status, 200);
    assert_eq!(gateway.metrics().counter("lockgate.oidc.signed_out"), 1);
}

#[test]
fn a_response_that_was_slow_does_not_bring_back_what_was_signed_out() {
    let provider = Provider::new();
    provider.set(|state| state.tokens = json!({"refresh_token": null}));
    let gateway = provider::builder(&provider, &configuration())
        .upstream(|request: &Request| match request.path.as_str() {
            "/slow" => Answer::After(Duration::from_secs(5), Box::new(Response::new(200).into())),
            _ => Response::new(200).into(),
        })
        .start()
        .unwrap();
    tell_time(&provider, &gateway);
    let browser = signed_in(&gateway, &provider);
    wait(&gateway, &provider, 1_800);
    let slow = gateway.open(browser.fetch("/slow"));
    let out = browser.with_cookies(Request::post("/_lockgate/sign-out").host(HOST));
    assert_eq!(gateway.send(out.header("origin", provider::SITE)).status, 303);
    let response = slow.wait();
    assert_eq!((response.status, response.headers.text("set-cookie")), (200, None));
}

#[test]
fn a_large_session_is_chunked_and_a_smaller_one_deletes_what_is_left_over() {
    let provider = Provider::new();
    let mut configuration = configuration();
    configuration["token_page"] = json!(true);
    let gateway = door_with(&provider, &configuration);
    provider.set(|state| state.tokens = json!({"access_token": "x".repeat(9_000)}));
    let mut browser = signed_in(&gateway, &provider);
    assert!(browser.0.contains_key("lockgate.2"), "{:?}", browser.0.keys());
    assert_eq!(browser.open(&gateway, "/").status, 200);
    let mut missing = browser.clone();
    missing.0.remove("lockgate.1");
    assert_eq!(status(&gateway, &missing), 401);
    provider.set(|state| state.tokens = json!({}));
    wait(&gateway, &provider, 250);
    assert_eq!(browser.open(&gateway, "/").status, 200);
    assert!(
        !browser.0.contains_key("lockgate.1") && !browser.0.contains_key("lockgate.2"),
        "{:?}",
        browser.0.keys()
    );
    assert_eq!(browser.open(&gateway, "/").status, 200);
    assert!(browser.open(&gateway, "/_lockgate/token").text().contains("access-1"));
}

/// `COOKIE_SECRET` with these keys, newest first.
fn cookie_secret(keys: &[u8]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| base64(&[*key; 32])).collect();
    keys.join(",")
}

#[test]
fn an_old_key_opens_until_it_is_removed() {
    let provider = Provider::new();
    let start = |keys: &[u8]| {
        let gateway = provider::sealed_by(&provider, &configuration(), &cookie_secret(keys)).start().unwrap();
        tell_time(&provider, &gateway);
        gateway
    };
    let browser = signed_in(&start(&[1]), &provider);
    assert_eq!(status(&start(&[2, 1]), &browser), 200);
    assert_eq!(status(&start(&[2]), &browser), 401);
}

#[test]
fn what_a_key_has_opened_is_closed_when_the_key_is_removed_from_secret_manager() {
    let provider = Provider::new();
    let keep = |keys: &[u8]| {
        let secret = json!({"payload": {"data": base64(cookie_secret(keys).as_bytes())}});
        let path = "/v1/projects/p/secrets/cookie/versions/latest:access";
        provider.set(|state| _ = state.answers.insert(path, provider::ok(&secret)));
    };
    let token =
        provider::ok(&json!({"access_token": "proxys-own", "expires_in": 3600, "token_type": "Bearer"}));
    let metadata = "/computeMetadata/v1/instance/service-accounts/default/token";
    provider.set(|state| _ = state.answers.insert(metadata, token));
    provider.set(|state| state.tokens = json!({"expires_in": 7200}));
    keep(&[1]);
    let secret = "sm://projects/p/secrets/cookie/versions/latest";
    let gateway = provider::sealed_by(&provider, &configuration(), secret).start().unwrap();
    tell_time(&provider, &gateway);
    let browser = signed_in(&gateway, &provider);
    for (keys, expected) in [(&[2, 1][..], 200), (&[2], 401), (&[1], 200)] {
        keep(keys);
        // The secret is four minutes old then, and this request has it fetched behind itself.
        wait(&gateway, &provider, 241);
        status(&gateway, &browser);
        assert_eq!([status(&gateway, &browser), status(&gateway, &browser)], [expected; 2], "{keys:?}");
    }
}

#[test]
fn what_cannot_be_used_stops_the_start_and_names_the_field() {
    let provider = Provider::new();
    let cases = [
        ("/public_url", json!("http://app.example.com"), "public_url"),
        ("/public_url", json!("https://app.example.com/path"), "public_url"),
        ("/providers/0/issuer", json!("http://login.example.com"), "providers[0].issuer"),
        ("/rules/0/match", json!({"pattern": "admin"}), "rules[0].match"),
        ("/rules/1/allow", json!([{}]), "rules[1].allow"),
        ("/rules/1/allow", json!([]), "rules[1].allow"),
        ("/policies", json!([]), "rules[2].allow"),
        ("/policies/0", json!({"effect": "allow", "domains": ["@example.com"]}), "policies[0].domains"),
        ("/session/idle_s", json!(0), "session.idle_s"),
    ];
    for (pointer, value, field) in cases {
        let mut configuration = configuration();
        *configuration.pointer_mut(pointer).unwrap() = value;
        let error = provider::builder(&provider, &configuration).start().err().unwrap();
        let said = format!("{error:?}");
        assert!(said.contains(field), "{field}: {said}");
    }
    let short = provider::sealed_by(&provider, &configuration(), "c2hvcnQ=").start();
    let said = format!("{:?}", short.err().unwrap());
    assert!(said.contains("session.secret") && !said.contains("c2hvcnQ="), "{said}");
}

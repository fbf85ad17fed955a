//! Signing in at the door, in the simulated host: what a browser is sent, and what comes back.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;

use provider::{Browser, Provider, SITE, configuration, door, door_with, location, parameter, signed_in};
use serde_json::json;
use wasm_test::{Request, Response};

#[test]
fn a_page_leads_to_the_provider_and_back_with_both_query_parameters() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = Browser::default();
    let response = browser.open(&gateway, "/x?a=1&b=2");
    assert_eq!(response.status, 302);
    let query = location(&response).split_once('?').unwrap().1.to_owned();
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "the-client"),
        ("redirect_uri", "http://localhost:8080/_lockgate/callback"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&query, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(browser.0.len(), 1, "one cookie for the login: {:?}", browser.0.keys());

    let callback = browser.at_provider(&provider, &response);
    let response = browser.open(&gateway, &callback);
    assert_eq!((response.status, location(&response).as_str()), (302, "/x?a=1&b=2"), "{}", response.text());
    let form = String::from_utf8(provider.last("/token").body).unwrap();
    assert_eq!(parameter(&form, "code").as_deref(), Some("code-1"));
    assert!(parameter(&form, "code_verifier").unwrap().len() >= 43, "RFC 7636, 4.1");
    let basic = provider.last("/token").headers.text("authorization").unwrap().to_owned();
    assert_eq!(basic, "Basic dGhlLWNsaWVudDpjbGllbnQlMkJzZWNyZXQ=", "both parts encoded as in a form");

    let response = browser.open(&gateway, "/x?a=1&b=2");
    assert_eq!(response.status, 200);
    let upstream = gateway.upstream_requests().pop().unwrap();
    assert_eq!(upstream.path, "/x?a=1&b=2");
    assert_eq!(upstream.headers.text("x-lockgate-email"), Some("ann@example.com"));
    assert_eq!(upstream.headers.text("x-lockgate-subject"), Some("user-1"));
    assert_eq!(upstream.headers.text("cookie"), None, "the door's cookies stay here");
    assert_eq!(gateway.metrics().counter("lockgate.oidc.signed_in"), 1);
    assert!(!gateway.trapped(), "{:?}", gateway.traps());
}

#[test]
fn what_is_no_navigation_is_told_401_and_gets_no_cookie() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let browser = Browser::default();
    let form = Request::post("/form").host("localhost:8080").header("accept", "text/html").body("a=1");
    let cases = [
        browser.fetch("/api"),
        Request::get("/api").host("localhost:8080"),
        browser.page("/x").header("sec-purpose", "prefetch"),
        Request::new("OPTIONS", "/api").host("localhost:8080").header("origin", "https://evil.example"),
        form,
    ];
    for request in cases {
        let response = gateway.send(request.clone());
        assert_eq!(response.status, 401, "{request:?}");
        assert_eq!(response.headers.text("set-cookie"), None, "{request:?}");
        assert!(response.headers.text("www-authenticate").unwrap().starts_with("Bearer"), "{request:?}");
    }
    assert!(gateway.upstream_requests().is_empty());
    assert_eq!(provider.calls("/token"), 0);
}

#[test]
fn a_callback_that_did_not_begin_here_is_refused() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = Browser::default();
    let first = browser.open(&gateway, "/a");
    let callback = browser.at_provider(&provider, &first);
    let state = parameter(callback.split_once('?').unwrap().1, "state").unwrap();
    let mut other = Browser::default();
    other.open(&gateway, "/b");

    let cases = [
        (browser.page("/_lockgate/callback?code=c"), "state_missing"),
        (browser.page("/_lockgate/callback?code=c&state=x"), "state_invalid"),
        (browser.page(&format!("{callback}&code=d")), "callback_malformed"),
        (browser.page(&format!("{callback}&state={state}")), "callback_malformed"),
        (browser.page(&format!("{callback}&iss=https%3A%2F%2Fevil.example")), "issuer_mismatch"),
        (other.page(&callback), "state_of_another_browser"),
        (Browser::default().page(&callback), "state_of_another_browser"),
        (browser.page(&format!("/_lockgate/callback?state={state}&error=access_denied")), "sign_in_denied"),
    ];
    for (request, reason) in cases {
        let response = gateway.send(request.clone());
        let counted = gateway.metrics().counter(&format!("lockgate.oidc.refused.{reason}"));
        assert!(
            (400..500).contains(&response.status) && counted > 0,
            "{reason}: {} {}",
            response.status,
            response.text()
        );
    }
    assert_eq!(provider.calls("/token"), 0, "no code was spent");

    assert_eq!(browser.open(&gateway, &callback).status, 302);
    let replayed = gateway.send(browser.page(&callback));
    assert_eq!(replayed.status, 400, "a state is good once");
    assert_eq!(provider.calls("/token"), 1);
}

#[test]
fn every_check_of_the_id_token_refuses() {
    let now = 1_000_000_000_000_u64;
    let cases = [
        (json!({"nonce": "other"}), json!({}), "id_token_nonce"),
        (json!({"nonce": null}), json!({}), "id_token_nonce"),
        (json!({"iss": "https://evil.example"}), json!({}), "id_token_issuer"),
        (json!({"aud": "another"}), json!({}), "id_token_audience"),
        (json!({"aud": ["the-client", "another"]}), json!({}), "id_token_audience"),
        (json!({"azp": "another"}), json!({}), "id_token_audience"),
        (json!({"exp": 1}), json!({}), "id_token_expired"),
        (json!({"exp": null}), json!({}), "id_token_expired"),
        (json!({"iat": null}), json!({}), "id_token_malformed"),
        (json!({"iat": now}), json!({}), "id_token_not_yet"),
        (json!({"sub": null}), json!({}), "id_token_malformed"),
        (json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), json!({}), "id_token_at_hash"),
        (json!({}), json!({"alg": "none"}), "id_token_algorithm"),
        (json!({}), json!({"alg": "HS256"}), "id_token_algorithm"),
        (json!({}), json!({"alg": "RS256"}), "id_token_algorithm"),
        (json!({}), json!({"kid": "unknown"}), "id_token_unknown_key"),
        (json!({}), json!({"typ": "at+jwt"}), "id_token_type"),
        (json!({}), json!({"crit": ["b64"]}), "id_token_malformed"),
    ];
    for (claims, header, reason) in cases {
        let provider = Provider::new();
        let gateway = door(&provider);
        provider.set(|state| {
            state.claims = claims.clone();
            for (name, value) in header.as_object().unwrap() {
                state.header[name] = value.clone();
            }
        });
        let response = Browser::default().sign_in(&gateway, &provider, "/");
        let counted = gateway.metrics().counter(&format!("lockgate.oidc.refused.{reason}"));
        assert!(response.status >= 400 && counted == 1, "{reason}: {} {:?}", response.status, gateway.logs());
        let session = response.headers.iter().any(|(name, _)| name == "set-cookie");
        assert!(!session, "{reason}");
    }
}

#[test]
fn a_provider_that_is_down_is_a_503_page_that_heals() {
    let provider = Provider::new();
    provider.set(|state| {
        state.answers.insert("/.well-known/openid-configuration", Response::new(500).into());
    });
    let gateway = door(&provider);
    let response = gateway.send(Browser::default().page("/"));
    assert_eq!(response.status, 503);
    assert!(response.text().contains("<h1>"), "a page");
    assert_eq!(gateway.send(Request::get("/_lockgate/ready").host("localhost:8080")).status, 503);
    provider.set(|state| state.answers.clear());
    gateway.advance(std::time::Duration::from_secs(2));
    assert_eq!(gateway.send(Browser::default().page("/")).status, 302);
    let ready = || gateway.send(Request::get("/_lockgate/ready").host("localhost:8080")).status;
    assert!(ready() == 204 || ready() == 204, "being asked, it asks for what is missing");
}

#[test]
fn the_door_is_not_ready_before_its_secret_is_there() {
    let provider = Provider::new();
    let secret = "sm://projects/p/secrets/s/versions/latest";
    let gateway = provider::sealed_by(&provider, &configuration(), secret).start().unwrap();
    let ready = || {
        gateway.advance(std::time::Duration::from_secs(2));
        gateway.send(Request::get("/_lockgate/ready").host("localhost:8080")).status
    };
    assert_eq!((ready(), ready()), (503, 503), "metadata and keys are there by then");
    let payload = lockgate_common::encoding::base64(lockgate_common::encoding::base64(&[3; 32]).as_bytes());
    provider.set(|state| {
        let token = json!({"access_token": "t", "expires_in": 3600});
        let path = "/computeMetadata/v1/instance/service-accounts/default/token";
        state.answers.insert(path, provider::ok(&token));
        let path = "/v1/projects/p/secrets/s/versions/latest:access";
        state.answers.insert(path, provider::ok(&json!({"payload": {"data": payload}})));
    });
    assert!(ready() == 204 || ready() == 204, "being asked, it asks for what is missing");
    provider::tell_time(&provider, &gateway);
    assert_eq!(signed_in(&gateway, &provider).open(&gateway, "/").status, 200);
}

#[test]
fn another_issuers_metadata_is_not_taken_and_the_log_names_the_field() {
    let provider = Provider::new();
    provider.set(|state| state.discovery = json!({"issuer": "http://127.0.0.1:9400/"}));
    let gateway = door(&provider);
    assert_eq!(gateway.send(Browser::default().page("/")).status, 503);
    let logs = format!("{:?}", gateway.logs());
    assert!(logs.contains("providers[0].issuer: given http://127.0.0.1:9400, but"), "{logs}");
}

#[test]
fn the_return_address_is_a_path_of_this_site() {
    let provider = Provider::new();
    let gateway = door(&provider);
    for evil in
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/%2f%2fevil"]
    {
        let mut path = String::from("/_lockgate/sign-in?return_to=");
        lockgate_common::encoding::push_percent(&mut path, evil);
        let mut browser = Browser::default();
        let response = browser.open(&gateway, &path);
        let callback = browser.at_provider(&provider, &response);
        assert_eq!(location(&browser.open(&gateway, &callback)), "/", "{evil}");
    }
}

#[test]
fn any_number_of_tabs_sign_in_with_one_login_cookie() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = Browser::default();
    let tabs: Vec<Response> = (0..30).map(|tab| browser.open(&gateway, &format!("/tab/{tab}"))).collect();
    assert_eq!(browser.0.len(), 1);
    for (tab, response) in tabs.iter().enumerate().rev() {
        let callback = browser.at_provider(&provider, response);
        assert_eq!(location(&browser.open(&gateway, &callback)), format!("/tab/{tab}"));
    }
}

#[test]
fn tabs_opened_at_the_same_instant_sign_in_too() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = Browser::default();
    let without_cookies = browser.clone();
    let tabs: Vec<Response> =
        (0..10).map(|tab| gateway.send(without_cookies.page(&format!("/tab/{tab}")))).collect();
    tabs.iter().for_each(|response| browser.take(response));
    for (tab, response) in tabs.iter().enumerate() {
        let callback = browser.at_provider(&provider, response);
        assert_eq!(location(&browser.open(&gateway, &callback)), format!("/tab/{tab}"));
    }
}

#[test]
fn a_path_that_is_another_to_some_upstreams_must_be_under_one_rule() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    for path in ["/admin;", "/admin;x=y/z", "/;x/admin", "/public;x", "/admin%3Bx"] {
        assert_eq!(browser.open(&gateway, path).status, 400, "{path}");
    }
    assert_eq!(browser.open(&gateway, "/rest;x=y/z").status, 200);
}

#[test]
fn another_host_is_led_to_the_public_address_first() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let response = gateway.send(Browser::default().page("/x?y").host("evil.example"));
    assert_eq!(location(&response), format!("{SITE}/x?y"));
    assert_eq!(response.headers.text("set-cookie"), None);
}

#[test]
fn claims_that_the_id_token_leaves_out_come_from_userinfo() {
    let provider = Provider::new();
    provider.set(|state| {
        state.claims = json!({"email": null, "email_verified": null, "groups": null});
        state.userinfo = json!({"sub": "user-1", "email": "bob@example.com", "email_verified": true});
    });
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    assert_eq!(browser.open(&gateway, "/").status, 200);
    assert_eq!(provider.last("/me").headers.text("authorization"), Some("Bearer access-0"));

    provider.set(|state| state.userinfo = json!({"sub": "user-2", "email": "eve@example.com"}));
    let response = Browser::default().sign_in(&gateway, &provider, "/");
    assert_eq!(response.status, 503, "userinfo of another subject is not used");
}

#[test]
fn several_providers_are_offered_each_with_a_callback_of_its_own() {
    let provider = Provider::new();
    let mut configuration = configuration();
    let second = json!({"name": "other", "title": "Other <b>login</b>", "issuer": provider::ISSUER, "client_id": "x",
                        "callback_path": "/_lockgate/callback/other"});
    configuration["providers"].as_array_mut().unwrap().push(second);
    let gateway = door_with(&provider, &configuration);
    let mut browser = Browser::default();
    let response = browser.open(&gateway, "/deep?a=1&b=2");
    let chooser = location(&response);
    let page = browser.open(&gateway, &chooser).text();
    assert!(page.contains("Other &lt;b&gt;login") && page.contains("provider=company"), "{page}");
    let begun = browser.open(&gateway, &format!("{chooser}&provider=company"));
    let callback = browser.at_provider(&provider, &begun);
    let wrong = callback.replace("/callback?", "/callback/other?");
    assert_eq!(gateway.send(browser.page(&wrong)).status, 400, "a state is good at its own address");
    assert_eq!(location(&browser.open(&gateway, &callback)), "/deep?a=1&b=2");
}

#[test]
fn signed_in_but_not_allowed_is_a_page_and_no_loop() {
    let provider = Provider::new();
    let gateway = door(&provider);
    let mut browser = signed_in(&gateway, &provider);
    let response = browser.open(&gateway, "/admin");
    assert_eq!(response.status, 403);
    assert!(response.text().contains("/_lockgate/sign-out"));
    provider.set(|state| state.claims = json!({"email": "ann@exampleXcom"}));
    let mut stranger = signed_in(&gateway, &provider);
    assert_eq!(stranger.open(&gateway, "/").status, 403);
    assert!(gateway.upstream_requests().is_empty());
}

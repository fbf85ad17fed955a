//! The kit's OpenID providers, its browsers and its login helper, without a gateway: what the tests
//! of the door rest on.

use std::time::Duration;

use lockgate_e2e::browser::Browser;
use lockgate_e2e::oidc_login::{confirm_sign_out, sign_in, sign_in_until};
use lockgate_e2e::oidc_mock::OidcMock;
use lockgate_e2e::oidc_provider::{OidcProvider, ProviderFault, Wrong};
use lockgate_e2e::relying_party::RelyingParty;
use lockgate_e2e::signing_keys::unverified;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Request, Upstream};
use serde_json::{Value, json};

#[path = "oidc_kit/hostile.rs"]
mod hostile;

/// A client that is called back at a recording server.
fn callback(upstream: &Upstream) -> String {
    format!("{}/callback", upstream.url())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// The names of the keys a provider publishes.
async fn published_keys(party: &RelyingParty) -> Vec<Value> {
    let url = party.endpoint("jwks_uri");
    let keys = Client::new(url.address()).send(&Request::get(&url.target)).await.json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn a_person_logs_in_by_forms_and_again_without_them() {
    let alice = json!({"email": "alice@example.com", "email_verified": true, "groups": ["staff"]});
    let provider = OidcProvider::builder().account("alice", alice).start().await;
    let upstream = Upstream::on_free_port();
    let party = provider.relying_party(&callback(&upstream)).await;
    let mut agent = UserAgent::new();

    let asked = party.ask();
    let page = sign_in(&mut agent, &asked.url, "alice").await;
    assert_eq!(page.response.text(), "upstream");
    assert_eq!(page.url.query("state"), Some(asked.state));
    assert_eq!(page.url.query("iss").as_deref(), Some(provider.issuer()));
    let answer = party.exchange(&page.url.query("code").unwrap(), &asked.verifier).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (header, claims) = unverified(text(&answer.json(), "id_token"));
    assert_eq!((&header["alg"], &claims["nonce"]), (&json!("RS256"), &json!(asked.nonce)));
    assert_eq!((text(&claims, "sub"), text(&claims, "email")), ("alice", "alice@example.com"));
    assert_eq!(claims["groups"], json!(["staff"]));
    assert_eq!(agent.jar.refused(), [""; 0]);

    let seen = agent.history.len();
    let again = party.ask();
    sign_in(&mut agent, &again.url, "somebody else").await;
    assert!(agent.history[seen..].iter().all(|page| page.forms().is_empty()), "it knows who that is");
}

#[tokio::test]
async fn a_code_needs_its_verifier_and_the_client_its_secret() {
    let provider = OidcProvider::builder().start().await;
    let party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let mut agent = UserAgent::new();
    let asked = party.ask();
    let page = sign_in_until(&mut agent, &asked.url, "bob", |url| url.port == 1).await;
    let code = page.location().unwrap().query("code").unwrap();
    assert_eq!(party.exchange(&code, "another-verifier-of-43-characters-or-more-0").await.status, 400);

    let stranger = RelyingParty::discover(provider.issuer(), provider.client_id(), "wrong", "").await;
    assert_eq!(stranger.exchange(&code, &asked.verifier).await.status, 401);

    // A query without a challenge is refused before anybody logs in.
    let plain = Url::parse(&asked.url);
    let pairs: Vec<_> = plain.pairs().into_iter().filter(|(name, _)| !name.starts_with("code_")).collect();
    let page = agent.open(&plain.with_pairs(&pairs).to_string()).await;
    assert_eq!(page.location().unwrap().query("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn a_refresh_token_is_replaced_and_its_reuse_ends_the_sign_in() {
    let provider = OidcProvider::builder().start().await;
    let party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let tokens = party.sign_in(&mut UserAgent::new(), "carol").await;
    let first = text(&tokens, "refresh_token");
    let refreshed = party.refresh(first).await.json();
    let second = text(&refreshed, "refresh_token");
    assert_ne!(first, second);
    assert_eq!(unverified(text(&refreshed, "id_token")).1["sub"], "carol");
    assert_eq!(party.refresh(first).await.json()["error"], "invalid_grant");
    assert_eq!(provider.reuses().await, 1);
    assert_eq!(party.refresh(second).await.json()["error"], "invalid_grant");
    assert_eq!(party.userinfo(text(&refreshed, "access_token")).await.status, 401);
}

#[tokio::test]
async fn claims_come_by_userinfo_alone_where_the_provider_is_strict() {
    let provider = OidcProvider::builder().claims_by_userinfo().refresh_token_for_offline_access();
    let provider = provider.start().await;
    let mut party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let tokens = party.sign_in(&mut UserAgent::new(), "dave").await;
    let (_, claims) = unverified(text(&tokens, "id_token"));
    assert_eq!((text(&claims, "sub"), &claims["email"]), ("dave", &Value::Null));
    assert_eq!(tokens["refresh_token"], Value::Null);
    let told = party.userinfo(text(&tokens, "access_token")).await.json();
    assert_eq!(told["email"], "dave@example.com");
    assert_eq!(told["email_verified"], true);

    // It gives offline access only to whoever asks for consent (OpenID Connect Core, section 11).
    party.scope.push_str(" offline_access");
    let tokens = party.sign_in(&mut UserAgent::new(), "dave").await;
    assert_eq!(tokens["refresh_token"], Value::Null);
    party.parameters = vec![("prompt".into(), "consent".into())];
    let tokens = party.sign_in(&mut UserAgent::new(), "dave").await;
    assert_eq!(party.refresh(text(&tokens, "refresh_token")).await.status, 200);
}

#[tokio::test]
async fn keys_are_rotated_with_and_without_the_old_ones() {
    let builder = OidcProvider::builder().client("id_token_signed_response_alg", json!("ES256"));
    let provider = builder.start().await;
    let party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let mut kids = Vec::new();
    for keep in [None, Some(true), Some(false)] {
        if let Some(keep) = keep {
            provider.rotate_keys(keep).await;
        }
        let tokens = party.sign_in(&mut UserAgent::new(), "erin").await;
        let (header, _) = unverified(text(&tokens, "id_token"));
        assert_eq!(header["alg"], "ES256");
        kids.push(header["kid"].clone());
        let published = published_keys(&party).await;
        assert!(published.contains(&kids[kids.len() - 1]), "{published:?}");
        assert_eq!(published.len(), if keep == Some(true) { 4 } else { 2 });
    }
    assert!(kids[0] != kids[1] && kids[1] != kids[2]);
}

#[tokio::test]
async fn access_tokens_are_jwts_for_a_resource_and_opaque_otherwise() {
    let api = "https://api.example.com";
    let builder = OidcProvider::builder().resource(api).token_claims(&["email", "groups"]);
    let provider = builder.ttl("AccessToken", Duration::from_secs(7)).start().await;
    let mut party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let token = party.client_credentials("read", Some(api)).await;
    let (header, claims) = unverified(&token);
    assert_eq!((&header["typ"], &claims["aud"]), (&json!("at+jwt"), &json!(api)));
    assert_eq!((text(&claims, "client_id"), text(&claims, "scope")), (provider.client_id(), "read"));

    let tokens = party.sign_in(&mut UserAgent::new(), "frank").await;
    assert_eq!(tokens["expires_in"], 7);
    let opaque = text(&tokens, "access_token");
    assert!(!opaque.contains('.'), "{opaque}");
    let told = party.post("introspection_endpoint", &[("token", opaque)]).await.json();
    assert_eq!((&told["active"], text(&told, "sub")), (&json!(true), "frank"));
    assert_eq!(told["email"], "frank@example.com");
    party.post("revocation_endpoint", &[("token", opaque)]).await;
    let told = party.post("introspection_endpoint", &[("token", opaque)]).await.json();
    assert_eq!(told, json!({"active": false}));

    party.parameters = vec![("resource".into(), api.into())];
    let tokens = party.sign_in(&mut UserAgent::new(), "frank").await;
    let jwt = text(&tokens, "access_token");
    assert_eq!(unverified(jwt).1["email"], "frank@example.com");
    assert_eq!(party.userinfo(jwt).await.status, 401, "a token for another is none for the provider");
}

#[tokio::test]
async fn the_provider_fails_as_it_is_told_and_recovers() {
    let provider = OidcProvider::builder().start().await;
    let party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let tokens = party.sign_in(&mut UserAgent::new(), "grace").await;
    let [token, discovery] = ["token_endpoint", "authorization_endpoint"].map(|name| party.endpoint(name));
    let before = provider.count("token").await;

    provider.fail(&[ProviderFault::at("token", Wrong::Status(500, "down")).times(1)]).await;
    let answer = party.refresh(text(&tokens, "refresh_token")).await;
    assert_eq!((answer.status, answer.text().as_str()), (500, "down"));

    provider.fail(&[ProviderFault::at("*", Wrong::Reset)]).await;
    let client = Client::new(discovery.address());
    assert!(client.try_send(&Request::get(&discovery.target)).await.is_err());
    provider.fail(&[ProviderFault::at("token", Wrong::Hang)]).await;
    let hasty = Client::new(token.address()).with_deadline(Duration::from_millis(50));
    let error = hasty.try_send(&Request::post(&token.target, "text/plain", "")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);

    provider.fail(&[ProviderFault::at("token", Wrong::Hold)]).await;
    let refresh = text(&tokens, "refresh_token").to_owned();
    let held = tokio::spawn({
        let party = party.clone();
        async move { party.refresh(&refresh).await }
    });
    provider.wait_for_calls("token", before + 3).await;
    assert!(!held.is_finished());
    provider.heal().await;
    let refreshed = held.await.unwrap();
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());

    // An answer that is lost has taken effect: the next try is a reuse.
    provider.fail(&[ProviderFault::at("token", Wrong::AnswerLost).times(1)]).await;
    let newest = refreshed.json();
    let lost = [("grant_type", "refresh_token"), ("refresh_token", text(&newest, "refresh_token"))];
    let url = party.endpoint("token_endpoint");
    let form = Request::post(
        &url.target,
        "application/x-www-form-urlencoded",
        lockgate_e2e::url::encode_form(&lost),
    )
    .header("authorization", lockgate_e2e::relying_party::basic(provider.client_id(), provider.secret()));
    assert!(Client::new(url.address()).try_send(&form).await.is_err());
    assert_eq!(party.refresh(lost[1].1).await.status, 400);
    assert_eq!(provider.reuses().await, 1);
    let calls = provider.calls("token").await;
    let last = &calls[calls.len() - 2];
    assert_eq!((&last["fault"], &last["status"]), (&json!("lose"), &json!(200)));
    assert_eq!(last["form"]["grant_type"], "refresh_token");
}

#[tokio::test]
async fn an_administrators_logout_reaches_the_back_channel_and_ends_the_tokens() {
    let provider = OidcProvider::builder().start().await;
    let gateway = Upstream::on_free_port();
    provider.register_gateway(&gateway.url(), &["other"]).await;
    let redirect_uri = format!("{}/_lockgate/callback/other", gateway.url());
    let party =
        RelyingParty::discover(provider.issuer(), provider.client_id(), provider.secret(), &redirect_uri)
            .await;
    let tokens = party.sign_in(&mut UserAgent::new(), "heidi").await;
    let (_, claims) = unverified(text(&tokens, "id_token"));

    let told = provider.logout_everywhere("heidi").await;
    assert_eq!(told, json!([{"client": provider.client_id(), "sid": claims["sid"], "error": null}]));
    let [call] = &gateway.requests().matching(|r| r.path() == "/_lockgate/back-channel-logout")[..] else {
        panic!("not one call")
    };
    let (name, token) = lockgate_e2e::url::decode_form(&call.text()).swap_remove(0);
    let (header, logout) = unverified(&token);
    assert_eq!((&*name, &header["typ"]), ("logout_token", &json!("logout+jwt")));
    assert_eq!((&logout["sub"], &logout["sid"]), (&json!("heidi"), &claims["sid"]));
    assert!(logout["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    assert_eq!(logout["nonce"], Value::Null);
    assert_eq!(party.refresh(text(&tokens, "refresh_token")).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_person_signs_out_at_the_provider_and_comes_back() {
    let provider = OidcProvider::builder().start().await;
    let gateway = Upstream::on_free_port();
    provider.register_gateway(&gateway.url(), &[]).await;
    let redirect_uri = format!("{}/_lockgate/callback", gateway.url());
    let party =
        RelyingParty::discover(provider.issuer(), provider.client_id(), provider.secret(), &redirect_uri)
            .await;
    let mut agent = UserAgent::new();
    let tokens = party.sign_in(&mut agent, "ivan").await;
    let signed_out = format!("{}/_lockgate/signed-out", gateway.url());
    for hint in [("id_token_hint", text(&tokens, "id_token")), ("client_id", provider.client_id())] {
        let pairs = [hint, ("post_logout_redirect_uri", &signed_out), ("state", "s-1")];
        let page = agent.follow(&party.endpoint("end_session_endpoint").with_pairs(&pairs).to_string()).await;
        let page = confirm_sign_out(&mut agent, &page).await;
        assert_eq!(page.url.to_string(), format!("{signed_out}?state=s-1"));
    }
    assert_eq!(party.refresh(text(&tokens, "refresh_token")).await.status, 400);
    let called = gateway.requests().matching(|r| r.path() == "/_lockgate/back-channel-logout");
    assert_eq!(called.len(), 1, "the second time nobody was logged in");
}

#[tokio::test]
async fn a_changed_account_shows_at_the_next_refresh_and_a_closed_one_has_none() {
    let provider = OidcProvider::builder().start().await;
    let party = provider.relying_party("http://127.0.0.1:1/callback").await;
    let tokens = party.sign_in(&mut UserAgent::new(), "judy").await;
    provider.set_account("judy", json!({"email": "judy@example.org", "groups": ["admins"]})).await;
    let refreshed = party.refresh(text(&tokens, "refresh_token")).await.json();
    assert_eq!(unverified(text(&refreshed, "id_token")).1["groups"], json!(["admins"]));
    provider.close_account("judy").await;
    assert_eq!(party.refresh(text(&refreshed, "refresh_token")).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn the_mock_takes_anybody_and_gives_claims_and_refresh_tokens() {
    let known =
        json!({"sub": "kate", "email": "kate@example.com", "email_verified": true, "groups": ["staff"]});
    let mock = OidcMock::with_lifetime(&[known], Duration::from_secs(60)).await;
    let party = mock.relying_party("http://127.0.0.1:1/callback").await;
    let tokens = party.sign_in(&mut UserAgent::new(), "kate").await;
    let (header, claims) = unverified(text(&tokens, "id_token"));
    assert_eq!((text(&claims, "iss"), text(&claims, "email")), (&*mock.issuer(), "kate@example.com"));
    assert_eq!(claims["groups"], json!(["staff"]));
    assert_eq!(tokens["expires_in"], 60);
    assert_eq!(published_keys(&party).await.len(), 1);
    assert_eq!(header["alg"], "RS256");

    let refreshed = party.refresh(text(&tokens, "refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert_eq!(party.userinfo(text(&refreshed.json(), "access_token")).await.json()["sub"], "kate");
    mock.revoke("kate").await;
    assert_ne!(party.refresh(text(&tokens, "refresh_token")).await.status, 200);

    mock.set_account("leo", json!({"email": "leo@example.com", "email_verified": true})).await;
    for (name, verified) in [("leo", json!(true)), ("mia@example.com", Value::Null)] {
        let tokens = party.sign_in(&mut UserAgent::new(), name).await;
        assert_eq!(unverified(text(&tokens, "id_token")).1["email_verified"], verified, "{name}");
    }
}

#[tokio::test]
async fn chromium_logs_in_at_both_providers() {
    let (provider, mock) = tokio::join!(OidcProvider::builder().start(), OidcMock::start(&[]));
    let upstream = Upstream::on_free_port();
    let browser = Browser::start().await;
    let context = browser.context().await;
    let tab = context.tab().await;

    let party = provider.relying_party(&callback(&upstream)).await;
    tab.goto(&party.ask().url).await;
    assert_eq!(tab.title().await, "Sign-in");
    let landing = tab.sign_in_at_oidc_provider("nina").await;
    assert!(landing.url.starts_with(&callback(&upstream)), "{landing:?}");
    assert_eq!((landing.status, tab.text("body").await.as_str()), (200, "upstream"));
    let names: Vec<_> =
        context.cookies().await.iter().map(|cookie| text(cookie, "name").to_owned()).collect();
    assert!(names.contains(&"_session".to_owned()), "{names:?}");

    let other = browser.context().await;
    assert!(other.cookies().await.is_empty(), "contexts are apart");
    let stranger = other.tab().await;
    let party = mock.relying_party(&callback(&upstream)).await;
    let asked = party.ask();
    stranger.goto(&asked.url).await;
    let landing = stranger.sign_in_at_oidc_mock("olga@example.com").await;
    let code = Url::parse(&landing.url).query("code").unwrap();
    assert_eq!(party.exchange(&code, &asked.verifier).await.status, 200);
    assert!(stranger.navigations().await.iter().any(|landing| landing.status == 302));
}

#[tokio::test]
async fn chromium_does_what_tests_ask_of_it() {
    let upstream = Upstream::on_free_port();
    let page = "<title>A page</title><a href=/next>On</a><button onclick=\"missing()\">Break</button>";
    upstream.program(move |request| match request.path() {
        "/page" => Some(lockgate_e2e::Answer::with_body(200, "text/html", page)),
        "/refused" => Some(lockgate_e2e::Answer::with_body(401, "application/json", r#"{"error":"no"}"#)),
        _ => None,
    });
    let browser = Browser::start().await;
    let context = browser.context().await;
    let tab = context.tab().await;
    let landing = tab.goto(&format!("{}/page", upstream.url())).await;
    assert_eq!((landing.status, tab.title().await.as_str()), (200, "A page"));
    let answer = tab.fetch("/refused", json!({"method": "POST", "body": "x"})).await;
    assert_eq!((&answer["status"], &answer["text"]), (&json!(401), &json!(r#"{"error":"no"}"#)));
    let elsewhere = tab.fetch("http://example.com/", json!({})).await;
    assert!(elsewhere["error"].is_string(), "{elsewhere}");
    tab.click("text=Break").await;
    assert_eq!(tab.evaluate("1 + 1").await, 2);
    let errors = tab.errors().await;
    assert!(errors.iter().any(|error| error.contains("missing is not defined")), "{errors:?}");

    context.set_cookies(json!([{"name": "a", "value": "1", "url": upstream.url()}])).await;
    assert_eq!(tab.follow("text=On").await.url, format!("{}/next", upstream.url()));
    let next = upstream.requests().wait_for("the next page", 1, |r| r.path() == "/next").await;
    assert_eq!(next[0].headers.text("cookie").as_deref(), Some("a=1"));
    assert_eq!(tab.back().await.url, format!("{}/page", upstream.url()));

    let refused = tab.goto(&format!("{}/refused", upstream.url())).await;
    assert_eq!(refused.status, 401);
    let picture = tempfile::tempdir().unwrap();
    let picture = picture.path().join("page.png");
    tab.screenshot(&picture).await;
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
}

//! The scripted provider: honest first, then not.

use std::time::Duration;

use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET};
use lockgate_e2e::relying_party::RelyingParty;
use lockgate_e2e::signing_keys::{Jwt, SigningKey, unverified};
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Client, Request, Response};
use serde_json::{Value, json};

use crate::text;

const CALLBACK: &str = "http://127.0.0.1:1/callback?kept=1";

async fn party(provider: &HostileProvider) -> RelyingParty {
    RelyingParty::discover(provider.issuer(), CLIENT_ID, CLIENT_SECRET, CALLBACK).await
}

async fn get(url: &str) -> Response {
    let url = Url::parse(url);
    Client::new(url.address()).send(&Request::get(&url.target)).await
}

#[tokio::test]
async fn it_is_honest_until_told_otherwise() {
    for provider in [HostileProvider::start(), HostileProvider::named("localhost", "/tenant/v2")] {
        let party = party(&provider).await;
        let asked = party.ask();
        let mut agent = UserAgent::new();
        let back = agent.follow_until(&asked.url, |url| url.port == 1).await.location().unwrap();
        assert_eq!((back.path(), back.query("kept").as_deref()), ("/callback", Some("1")));
        assert_eq!(back.query("iss").as_deref(), Some(provider.issuer()));
        let answer = party.exchange(&back.query("code").unwrap(), &asked.verifier).await.json();
        let (header, claims) = unverified(text(&answer, "id_token"));
        assert_eq!(header["kid"], provider.key().kid());
        assert_eq!(claims["nonce"], json!(asked.nonce));
        assert_eq!((text(&claims, "iss"), text(&claims, "aud")), (provider.issuer(), CLIENT_ID));
        let told = party.userinfo(text(&answer, "access_token")).await.json();
        assert_eq!((text(&told, "sub"), text(&told, "email")), ("person-1", "person@example.com"));
        assert_eq!(party.exchange(&back.query("code").unwrap(), &asked.verifier).await.status, 400);
        assert_eq!(provider.count(Endpoint::Token), 2);
    }
}

#[tokio::test]
async fn it_checks_what_an_honest_provider_checks() {
    let provider = HostileProvider::start();
    let party = party(&provider).await;
    let stranger = RelyingParty::discover(provider.issuer(), CLIENT_ID, "wrong", CALLBACK).await;
    let mut agent = UserAgent::new();
    for (asker, verifier, status) in
        [(&party, None, 400), (&stranger, Some(()), 401), (&party, Some(()), 200)]
    {
        let asked = party.ask();
        let back = agent.follow_until(&asked.url, |url| url.port == 1).await.location().unwrap();
        let verifier = verifier.map_or("another", |()| &asked.verifier);
        assert_eq!(asker.exchange(&back.query("code").unwrap(), verifier).await.status, status);
    }
}

#[tokio::test]
async fn a_reused_refresh_token_revokes_its_family_and_no_other() {
    let provider = HostileProvider::start();
    let party = party(&provider).await;
    let mut agent = UserAgent::new();
    let [one, other] = [party.sign_in(&mut agent, "").await, party.sign_in(&mut agent, "").await];
    let second = party.refresh(text(&one, "refresh_token")).await.json();
    assert_eq!(unverified(text(&second, "id_token")).1["nonce"], Value::Null);
    assert_eq!(party.refresh(text(&one, "refresh_token")).await.json()["error"], "invalid_grant");
    assert_eq!(provider.reuses(), 1);
    assert_eq!(party.refresh(text(&second, "refresh_token")).await.status, 400);
    assert_eq!(party.userinfo(text(&second, "access_token")).await.status, 401);
    assert_eq!(party.refresh(text(&other, "refresh_token")).await.status, 200);

    provider.behave(|manners| manners.rotates = false);
    let kept = party.sign_in(&mut agent, "").await;
    let refreshed = party.refresh(text(&kept, "refresh_token")).await.json();
    assert_eq!(refreshed["refresh_token"], kept["refresh_token"]);
    provider.revoke_everything();
    assert_eq!(party.refresh(text(&kept, "refresh_token")).await.status, 400);
    assert_eq!(provider.reuses(), 1);
}

#[tokio::test]
async fn every_answer_can_be_changed() {
    let provider = HostileProvider::start();
    let party = party(&provider).await;
    let mut agent = UserAgent::new();
    provider.set_person(json!({"sub": "mallory", "email": "admin@example.com", "email_verified": false}));
    provider.edit_id_token(|token| {
        *token = token.clone().claim("aud", json!(["another", CLIENT_ID])).unsigned("none");
    });
    provider.edit_redirect(|pairs| pairs.push(("code".into(), "a second one".into())));
    provider.edit_json(Endpoint::Discovery, |document| document["issuer"] = json!("https://another.example"));
    provider.edit_json(Endpoint::Jwks, |keys| keys["padding"] = json!("x".repeat(3 << 20)));
    let tokens = party.sign_in(&mut agent, "").await;
    let (header, claims) = unverified(text(&tokens, "id_token"));
    assert_eq!((&header["alg"], &claims["aud"][0]), (&json!("none"), &json!("another")));
    assert_eq!(claims["email_verified"], false);
    let back = agent.follow_until(&party.ask().url, |url| url.port == 1).await.location().unwrap();
    assert_eq!(back.pairs().iter().filter(|(name, _)| name == "code").count(), 2);
    let discovery = get(&provider.url("/.well-known/openid-configuration")).await.json();
    assert_eq!(discovery["issuer"], "https://another.example");
    assert!(get(&provider.url("/jwks")).await.body.len() > 3 << 20);

    provider.heal();
    provider.answer_json(Endpoint::Token, 400, &json!({"error": "<script>"}));
    assert_eq!(party.refresh("any").await.json()["error"], "<script>");
    provider.answer(Endpoint::Token, |_| Some(Answer::Reset));
    assert!(
        Client::new(party.endpoint("token_endpoint").address())
            .try_send(&Request::post("/token", "text/plain", ""))
            .await
            .is_err()
    );
    provider.heal();
    provider.rotate_keys(SigningKey::p256(0), true);
    let tokens = party.sign_in(&mut agent, "").await;
    assert_eq!(unverified(text(&tokens, "id_token")).0["alg"], "ES256");
    assert_eq!(get(&provider.url("/jwks")).await.json()["keys"].as_array().unwrap().len(), 2);
    provider.rotate_keys(SigningKey::rsa(1), false);
    let keys = get(&provider.url("/jwks")).await.json();
    assert_eq!(keys["keys"], json!([SigningKey::rsa(1).jwk()]));
}

#[tokio::test]
async fn calls_are_held_until_the_test_lets_them_go_and_answers_are_lost() {
    let provider = HostileProvider::start();
    let party = party(&provider).await;
    let tokens = party.sign_in(&mut UserAgent::new(), "").await;
    let refresh = text(&tokens, "refresh_token").to_owned();
    let hold = provider.hold(Endpoint::Token);
    let waiting = tokio::spawn({
        let (party, refresh) = (party.clone(), refresh.clone());
        async move { party.refresh(&refresh).await }
    });
    let calls = provider.wait_for_calls(Endpoint::Token, 2).await;
    assert_eq!(calls[1].parameter("refresh_token"), Some(refresh));
    assert!(!waiting.is_finished());
    hold.release();
    let refreshed = waiting.await.unwrap().json();

    provider.lose_answers(Endpoint::Token, 1);
    let newest = text(&refreshed, "refresh_token").to_owned();
    let lost = tokio::spawn({
        let (party, newest) = (party.clone(), newest.clone());
        async move { party.refresh(&newest).await }
    });
    assert!(lost.await.is_err(), "the connection is reset");
    assert_eq!(party.refresh(&newest).await.status, 400);
    assert_eq!(provider.reuses(), 1);

    provider.delay(Endpoint::Userinfo, Duration::from_millis(20));
    assert_eq!(party.userinfo("unknown").await.status, 401);
    provider.leave().await;
    assert!(Client::new(party.endpoint("jwks_uri").address()).try_send(&Request::get("/")).await.is_err());
    provider.come_back();
    assert_eq!(get(&provider.url("/jwks")).await.status, 200);
}

#[tokio::test]
async fn bearer_tokens_are_minted_and_looked_up() {
    let provider = HostileProvider::start();
    let party = party(&provider).await;
    let token =
        provider.access_token(&json!({"sub": "u-1", "email": "u@example.com", "email_verified": true}));
    let told = party.post("introspection_endpoint", &[("token", &token)]).await.json();
    assert_eq!((&told["active"], text(&told, "sub")), (&json!(true), "u-1"));
    let own = party.client_credentials("introspect", None).await;
    let request = Request::post("/introspect", "application/x-www-form-urlencoded", format!("token={token}"))
        .header("authorization", format!("Bearer {own}"));
    let answer = Client::new(party.endpoint("token_endpoint").address()).send(&request).await;
    assert_eq!(answer.json()["active"], true);
    let unknown = party.post("introspection_endpoint", &[("token", "unknown")]).await.json();
    assert_eq!(unknown, json!({"active": false}));
    let info = get(&provider.url(&format!("/tokeninfo?access_token={token}"))).await.json();
    assert_eq!((text(&info, "aud"), text(&info, "email_verified")), (CLIENT_ID, "true"));
    assert_eq!(get(&provider.url("/tokeninfo?access_token=unknown")).await.status, 400);

    let minted = provider.mint_access_token("https://api.example.com", "u-2").claim("exp", json!(1));
    let (header, claims) = unverified(&minted.compact());
    assert_eq!((&header["typ"], &claims["exp"]), (&json!("at+jwt"), &json!(1)));
    let logout = provider.mint_logout_token(None, Some("sid-1"));
    assert_eq!((logout.claims.get("sub"), &logout.claims["sid"]), (None, &json!("sid-1")));
    let confused = Jwt::new(&provider.key(), json!({})).with_hs256(provider.key().public_pem());
    assert_eq!(unverified(&confused.compact()).0["alg"], "HS256");

    provider.behave(|manners| manners.jwt_access_tokens_for = Some("https://api.example.com".into()));
    let tokens = party.sign_in(&mut UserAgent::new(), "").await;
    assert_eq!(unverified(text(&tokens, "access_token")).1["aud"], "https://api.example.com");
}

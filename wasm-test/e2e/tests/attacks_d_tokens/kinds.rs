//! Good tokens of another kind, or of another issuer.

use lockgate_e2e::Request;
use lockgate_e2e::door::OTHER_COOKIE_SECRET;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, no_invalid_token, sign_in, signed_in, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::signing_keys::{Jwt, SigningKey, unverified};
use lockgate_e2e::user_agent::UserAgent;
use serde_json::{Value, json};

use crate::{ask, assert_all_refused, honest, issuer, named, other, stack};

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let stack = stack().await;
    // What a sign-in really gives: the provider makes it for its client, not for this audience.
    let party = lockgate_e2e::relying_party::RelyingParty::discover(
        issuer().issuer(),
        CLIENT_ID,
        lockgate_e2e::oidc_provider::CLIENT_SECRET,
        "http://127.0.0.1:1/callback",
    );
    let tokens = party.await.sign_in(&mut UserAgent::new(), "").await;
    let real = tokens["id_token"].as_str().unwrap().to_owned();
    assert_eq!(unverified(&real).1["aud"], CLIENT_ID);
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    let mut cases = named([
        ("with a nonce", honest().claim("nonce", json!("n-1"))),
        ("with an empty nonce", honest().claim("nonce", json!(""))),
        (
            "of both audiences",
            honest().claim("aud", json!([CLIENT_ID, AUDIENCE])).claim("nonce", json!("n-1")),
        ),
        ("a logout token", issuer().mint_logout_token(Some("program-1"), None).claim("aud", json!(AUDIENCE))),
        (
            "a logout token called an access token",
            issuer()
                .mint_logout_token(Some("program-1"), None)
                .claim("aud", json!(AUDIENCE))
                .head("typ", json!("at+jwt")),
        ),
    ]);
    cases.push(("a real one".to_owned(), real));
    cases.push(("a refresh token".to_owned(), refresh));
    assert_all_refused(&stack, "/id-token", cases).await;
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    assert_eq!(sign_in(&stack, &mut UserAgent::new()).await.response.status, 302, "honest");
    // Each is as good an ID token as it can be but for its kind.
    for (name, kind) in
        [("at+jwt", "at+jwt"), ("application/at+jwt", "application/at+jwt"), ("logout+jwt", "logout+jwt")]
    {
        provider.heal();
        provider.edit_id_token(move |token| *token = token.clone().head("typ", json!(kind)));
        let page = sign_in(&stack, &mut UserAgent::new()).await;
        assert_eq!(page.response.status, 400, "{name}: {}", page.response.text());
        assert!(!page.response.headers.contains("set-cookie"));
    }
    provider.heal();
    let key = provider.key();
    let (at, other) =
        (provider.issuer().to_owned(), provider.mint_access_token(CLIENT_ID, "person-1").compact());
    for (name, token) in [
        ("an access token for this client", other),
        (
            "of another time",
            Jwt::new(&key, json!({"iss": at, "aud": CLIENT_ID, "sub": "p", "iat": 1, "exp": 2})).compact(),
        ),
        ("opaque", "opaque-token".to_owned()),
    ] {
        provider.heal();
        provider.edit_json(Endpoint::Token, move |answer| answer["id_token"] = json!(token));
        let page = sign_in(&stack, &mut UserAgent::new()).await;
        assert_eq!(page.response.status, 400, "{name}: {}", page.response.text());
        assert!(!page.response.headers.contains("set-cookie"));
    }
}

#[tokio::test]
async fn a_push_and_a_program_do_not_open_each_others_routes() {
    let stack = stack().await;
    let push = stack.tokens().push();
    for target in ["/push-as-program", "/one/push", "/two/push", "/admin/push", "/wal/push", "/zapier/push"] {
        let answer = ask(&stack, &push, target).await;
        assert_eq!(no_invalid_token(&answer), None, "{target}");
    }
    // The same issuer, for programs: what it makes for this audience may come in, and may not push.
    let program = stack.tokens().push_with(|claims| {
        claims.insert("aud".to_owned(), json!(AUDIENCE));
    });
    assert_eq!(ask(&stack, &program, "/program").await.status, 200);
    let envelope = lockgate_e2e::Envelope::new("pushed-by-program", "POST", "/pushed-by-program").body("x");
    let data = envelope.sealed(lockgate_e2e::stack::LOG_KEY);
    let session = signed_in(&stack).await;
    for (name, token) in [
        ("of the same issuer", program),
        ("a program's", honest().compact()),
        ("a program's for the push", honest().claim("aud", json!(stack.push_audience())).compact()),
    ] {
        let request = with_token(lockgate_e2e::push_request(&data, json!({})), &token);
        for request in [request.clone(), with_cookies(&stack, &session, request)] {
            let answer = stack.client().send(&request).await;
            assert!(matches!(answer.status, 401 | 403), "{name}: {} {}", answer.status, answer.text());
        }
    }
    let by_session = with_cookies(&stack, &session, lockgate_e2e::push_request(&data, json!({})));
    assert!(matches!(stack.client().send(&by_session).await.status, 401 | 403));
    stack.assert_no_trace("pushed-by-program");
}

#[tokio::test]
async fn one_issuer_cannot_speak_for_the_other() {
    let stack = stack().await;
    let (one, two) = (issuer(), other());
    let claims =
        |token: Jwt| token.claim("email", json!("boss@example.com")).claim("email_verified", json!(true));
    let for_one = |token: Jwt| token.claim("iss", json!(one.issuer()));
    let mint = || claims(two.mint_access_token(AUDIENCE, "boss"));
    let shared = SigningKey::rsa(1).kid();
    let taken = SigningKey::p256(7);
    let by_taken =
        |token: Jwt| token.head("kid", json!(shared)).head("alg", json!("ES256")).sealed_by(&taken);
    // In its own name its tokens are good, by each of its keys, and are its own.
    for token in [mint(), by_taken(mint())] {
        let token = token.compact();
        assert_eq!(ask(&stack, &token, "/two/own").await.status, 200);
        for target in ["/one/own", "/mail/own"] {
            let answer = ask(&stack, &token, target).await;
            assert_eq!(answer.status, 403, "{target}: {}", answer.text());
        }
    }
    let delivered = stack.delivered("/two/own").await;
    assert_eq!(delivered.headers.text("x-issuer").as_deref(), Some(two.issuer()));
    let nested =
        mint().claim("iss", json!(two.issuer())).claim("realm", json!({"iss": one.issuer()})).compact();
    assert_eq!(ask(&stack, &nested, "/one/nested").await.status, 403);
    // In the other's name they are not.
    let cases = named([
        ("its own key", for_one(mint())),
        ("its key of the other's name", for_one(by_taken(mint()))),
        ("its key by the other's name and algorithm", for_one(by_taken(mint())).head("alg", json!("RS256"))),
        ("its older key", for_one(mint()).sealed_by(&SigningKey::rsa(0)).head("kid", json!(shared))),
        ("no key named", for_one(by_taken(mint())).head("kid", Value::Null)),
        ("the first issuer's key for the second", {
            let token = claims(one.mint_access_token(AUDIENCE, "boss"));
            token.claim("iss", json!(two.issuer()))
        }),
        ("both", mint().claim("iss", json!([two.issuer(), one.issuer()]))),
        ("issuer in the header", for_one(mint()).head("iss", json!(two.issuer()))),
    ]);
    assert_all_refused(&stack, "/one/speaks", cases).await;
}

#[tokio::test]
async fn where_no_tokens_are_taken_none_is_good() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |config| {
        config["sign_in"].as_object_mut().unwrap().remove("tokens");
    });
    let stack = stack.variable("COOKIE_SECRET", OTHER_COOKIE_SECRET).start().await;
    let agent = signed_in(&stack).await;
    for token in
        [provider.mint_access_token(AUDIENCE, "x").compact(), "opaque".to_owned(), "a.b.c".to_owned()]
    {
        let request = with_token(Request::get("/no-tokens"), &token);
        for request in [request.clone(), with_cookies(&stack, &agent, request)] {
            assert_eq!(no_invalid_token(&stack.client().send(&request).await), None, "{token}");
        }
    }
    stack.assert_no_trace("/no-tokens");
    let calls = [Endpoint::Introspection, Endpoint::Tokeninfo];
    assert_eq!(calls.map(|endpoint| provider.count(endpoint)), [0, 0], "nobody was asked");
}

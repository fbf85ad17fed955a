//! Keys that change, and issuers that cannot be asked for them.

use std::time::{Duration, Instant};

use lockgate_e2e::guarded_routes::{AUDIENCE, guarded_stack, no_invalid_token, traps, with_token};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::signing_keys::SigningKey;
use lockgate_e2e::slack::now;
use lockgate_e2e::{Answer, Request, Response, Stack};
use serde_json::json;

use crate::{ask, attacker, issuer, until_good};

/// A door that takes tokens of this provider, by discovery, and nothing else.
async fn jwt_stack(provider: &HostileProvider, workers: u8) -> Stack {
    let builder = guarded_stack(provider, |config| {
        config["sign_in"]["tokens"] =
            json!({"jwt": [{"issuer": provider.issuer(), "audiences": [AUDIENCE]}]});
    });
    let stack = builder.concurrency(workers).start().await;
    // Envoy's main thread has a machine, too, which fetches once and is never asked for anything.
    provider.wait_for_calls(Endpoint::Jwks, usize::from(workers) + 1).await;
    until_good(&stack, &provider.mint_access_token(AUDIENCE, "warm").compact()).await;
    stack
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch_in_ten_seconds_and_worker() {
    const WORKERS: u8 = 2;
    let provider = HostileProvider::start();
    let begin = Instant::now();
    let stack = jwt_stack(&provider, WORKERS).await;
    let before = provider.count(Endpoint::Jwks);
    let allowed = |since: Instant| before + usize::from(WORKERS) * (since.elapsed().as_secs() as usize / 10);
    let mut number = 0;
    let mut first = None;
    while first.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(2)) {
        let mut asked = Vec::new();
        for _ in 0..40 {
            number += 1;
            let token =
                provider.mint_access_token(AUDIENCE, "flood").head("kid", json!(format!("unknown-{number}")));
            let (client, token) = (stack.client(), token.compact());
            asked.push(tokio::spawn(async move {
                client.send(&with_token(Request::get("/flood"), &token)).await
            }));
        }
        for answer in asked {
            assert_eq!(no_invalid_token(&answer.await.unwrap()), None);
        }
        let fetches = provider.count(Endpoint::Jwks);
        assert!(fetches <= allowed(begin), "{fetches} fetches in {:?}", begin.elapsed());
        if fetches > before {
            first.get_or_insert_with(Instant::now);
        }
        assert!(begin.elapsed() < PATIENCE + PATIENCE, "no fetch for an unknown key");
    }
    assert!(number > 400, "{number} tokens are no flood");
    assert_eq!(provider.count(Endpoint::Discovery), before, "metadata is not asked for again");
    stack.assert_no_trace("/flood");
}

#[tokio::test]
async fn rotated_keys_are_found_and_withdrawn_ones_forgotten() {
    let provider = HostileProvider::start();
    let stack = jwt_stack(&provider, 1).await;
    let before = provider.count(Endpoint::Jwks);
    let old = provider.mint_access_token(AUDIENCE, "old");
    provider.rotate_keys(SigningKey::p256(3), false);
    let new = provider.mint_access_token(AUDIENCE, "new").compact();
    let found = async {
        loop {
            let answer = ask(&stack, &new, "/rotated").await;
            match answer.status {
                200 => return,
                _ => assert_eq!(no_invalid_token(&answer), None),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the new key is found");
    let answer = ask(&stack, &old.claim("jti", json!("fresh")).compact(), "/withdrawn").await;
    assert_eq!(no_invalid_token(&answer), None, "a key that is published no more");
    assert_eq!(provider.count(Endpoint::Jwks), before + 1);
    stack.assert_no_trace("/withdrawn");
}

#[tokio::test]
async fn through_an_outage_the_last_good_keys_hold() {
    let provider = HostileProvider::start();
    let stack = jwt_stack(&provider, 1).await;
    provider.leave().await;
    for number in 0..5 {
        let token = provider.mint_access_token(AUDIENCE, &format!("during-{number}")).compact();
        assert_eq!(ask(&stack, &token, "/outage").await.status, 200);
        let forged = provider.mint_access_token(AUDIENCE, "forged").sealed_by(&SigningKey::rsa(1)).compact();
        assert_eq!(no_invalid_token(&ask(&stack, &forged, "/outage-forged").await), None);
    }
    stack.assert_no_trace("/outage-forged");
    provider.come_back();
    assert_eq!(
        ask(&stack, &provider.mint_access_token(AUDIENCE, "after").compact(), "/outage").await.status,
        200
    );
}

#[tokio::test]
async fn a_token_whose_key_cannot_be_asked_for_is_503_and_not_wrong() {
    let provider = HostileProvider::start();
    let stack = jwt_stack(&provider, 1).await;
    provider.answer(Endpoint::Jwks, |_| Some(Answer::status(500)));
    let before = provider.count(Endpoint::Jwks);
    let asked = async {
        loop {
            let token = provider
                .mint_access_token(AUDIENCE, "x")
                .head("kid", json!(format!("k-{}", now())))
                .compact();
            let answer = ask(&stack, &token, "/rotated-in-an-outage").await;
            if provider.count(Endpoint::Jwks) > before {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("the keys are asked for");
    stack.assert_no_trace("/rotated-in-an-outage");
    assert_eq!(answer.status, 503, "it may be good: {}", answer.text());
}

#[tokio::test]
async fn without_any_keys_it_is_503_until_there_are_some() {
    let provider = HostileProvider::start();
    provider.leave().await;
    let builder = guarded_stack(&provider, |config| {
        let (issuer, keys) = (provider.issuer(), provider.url("/jwks"));
        let jwt = json!([{"issuer": issuer, "jwks_uri": keys, "audiences": [AUDIENCE]}]);
        config["sign_in"]["tokens"] = json!({"jwt": jwt});
    });
    let stack = builder.start().await;
    let token = provider.mint_access_token(AUDIENCE, "x").compact();
    let down = ask(&stack, &token, "/no-keys").await;
    assert_eq!(down.status, 503, "{}", down.text());
    assert!(down.headers.contains("retry-after") && !down.headers.contains("www-authenticate"));
    provider.come_back();
    let big = "x".repeat(3 << 20);
    let foreign = json!({"keys": [SigningKey::p256(66).jwk()]});
    let answers = [
        Answer::status(500),
        Answer::status(204),
        Answer::with_body(200, "application/json", ""),
        Answer::with_body(200, "text/html", "<html>Sign in to the hotel's Wi-Fi</html>"),
        Answer::with_body(200, "application/json", "{}"),
        Answer::with_body(200, "application/json", "{\"keys\":{}}"),
        Answer::with_body(200, "application/json", "{\"keys\":[]}"),
        Answer::with_body(
            200,
            "application/json",
            "{\"keys\":[null,1,{},{\"kty\":\"RSA\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        ),
        Answer::with_body(
            200,
            "application/json",
            &json!({"keys": [SigningKey::weak_rsa().jwk()]}).to_string(),
        ),
        Answer::with_body(200, "application/json", &"[".repeat(10_000)),
        Answer::with_body(
            200,
            "application/json",
            &json!({"keys": [issuer().key().jwk()], "pad": big}).to_string(),
        ),
        Answer::with_body(500, "application/json", &json!({"keys": [provider.key().jwk()]}).to_string()),
        Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n{\"keys\":[".to_vec()),
        Answer::Reset,
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        provider.heal();
        provider.answer(Endpoint::Jwks, move |_| Some(answer.clone()));
        let before = provider.count(Endpoint::Jwks);
        let asked = async {
            loop {
                let answer = ask(&stack, &token, "/no-keys").await;
                assert_eq!(answer.status, 503, "{index}: {}", answer.text());
                if provider.count(Endpoint::Jwks) > before {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("keys are asked for again");
    }
    provider.heal();
    provider.answer(Endpoint::Jwks, move |_| {
        let mut redirect = Response::new(302);
        redirect.headers.push("location", attacker().url("/jwks"));
        redirect.body = foreign.to_string().into_bytes();
        Some(Answer::Respond(redirect, Duration::ZERO))
    });
    let calls = attacker().calls().len();
    assert_eq!(ask(&stack, &token, "/no-keys").await.status, 503);
    assert_eq!(attacker().calls().len(), calls, "a redirect was followed");
    stack.assert_no_trace("/no-keys");
    provider.heal();
    let healed = async { while ask(&stack, &token, "/healed").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, healed).await.expect("it heals");
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn metadata_that_cannot_be_read_are_asked_for_again() {
    let provider = HostileProvider::start();
    provider.answer(Endpoint::Discovery, |_| Some(Answer::with_body(200, "text/html", "<html>Wi-Fi</html>")));
    let builder = guarded_stack(&provider, |config| {
        config["sign_in"]["tokens"] =
            json!({"jwt": [{"issuer": provider.issuer(), "audiences": [AUDIENCE]}]});
    });
    let stack = builder.start().await;
    let token = provider.mint_access_token(AUDIENCE, "x").compact();
    assert_eq!(ask(&stack, &token, "/metadata").await.status, 503);
    assert_eq!(provider.count(Endpoint::Jwks), 0, "where are its keys?");
    assert_eq!(stack.client().send(&Request::get("/_lockgate/ready")).await.status, 503);
    stack.assert_no_trace("/metadata");
    provider.heal();
    until_good(&stack, &token).await;
    assert_eq!(stack.client().send(&Request::get("/_lockgate/ready")).await.status, 204);
}

//! Attacks with tokens: forged, malformed, of another kind, of another issuer, at the wrong time; and

use std::sync::OnceLock;

use lockgate_e2e::guarded_routes::{AUDIENCE, guarded_stack, no_invalid_token, traps, with_token};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::signing_keys::{Jwt, SigningKey};
use lockgate_e2e::slack::now;
use lockgate_e2e::{Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "attacks_d_tokens/claims.rs"]
mod claims;
#[path = "attacks_d_tokens/forged.rs"]
mod forged;
#[path = "attacks_d_tokens/form.rs"]
mod form;
#[path = "attacks_d_tokens/introspection.rs"]
mod introspection;
#[path = "attacks_d_tokens/keys.rs"]
mod keys;
#[path = "attacks_d_tokens/kinds.rs"]
mod kinds;

/// Signs with RSA, and publishes beside that key another RSA key, one on P-256, and one of 1,024 bits.
fn issuer() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let provider = HostileProvider::start();
        for key in [SigningKey::weak_rsa(), SigningKey::p256(0), SigningKey::rsa(1)] {
            provider.rotate_keys(key, true);
        }
        provider
    })
}

/// Another issuer, whose tokens are good, too, but not everywhere. It publishes a key of the same name
/// as the first issuer's.
fn other() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let provider = HostileProvider::start();
        provider.rotate_keys(SigningKey::p256(7), true);
        provider.edit_json(Endpoint::Jwks, |keys| {
            let mut taken = SigningKey::p256(7).jwk();
            taken["kid"] = json!(SigningKey::rsa(1).kid());
            keys["keys"].as_array_mut().unwrap().push(taken);
        });
        provider
    })
}

/// Nobody's issuer: whatever is fetched here was fetched at an attacker's word.
fn attacker() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let provider = HostileProvider::start();
        provider.rotate_keys(SigningKey::p256(66), true);
        provider
    })
}

fn only(issuer: &str) -> Value {
    json!([{"issuers": [issuer]}])
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let builder = guarded_stack(issuer(), |config| {
        let (one, two) = (issuer().issuer(), other().issuer());
        config["sign_in"]["tokens"] = json!({"jwt": [
            {"issuer": one, "audiences": [AUDIENCE, "https://second.example"]},
            {"issuer": two, "jwks_uri": other().url("/jwks"), "audiences": [AUDIENCE]},
            {"issuer": "${PUSH_ISSUER}", "audiences": [AUDIENCE],
             "jwks_uri": "${GOOGLE_API_BASE}/oauth2/v3/certs"},
        ]});
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub", "x-issuer": "iss"});
        let route = |name: &str, allow: Value| {
            let matching = json!({"path_prefix": format!("/{name}")});
            json!({"name": name, "match": matching, "guard": "oidc", "allow": allow})
        };
        let routes = config["routes"].as_array_mut().unwrap();
        let mail = json!([{"issuers": [one], "domains": ["example.com", "my-domain.com"]}]);
        routes.splice(0..0, [route("one", only(one)), route("two", only(two)), route("mail", mail)]);
    });
    Shared::of(&STACK, builder).await
}

/// A good token of the first issuer.
fn honest() -> Jwt {
    issuer().mint_access_token(AUDIENCE, "program-1")
}

async fn ask(stack: &Stack, token: &str, target: &str) -> Response {
    stack.client().send(&with_token(Request::get(target), token)).await
}

/// Each of these tokens is answered as a program needs it to fetch another, and nothing reaches the
/// upstream.
async fn assert_all_refused(stack: &Stack, marker: &str, tokens: impl IntoIterator<Item = (String, String)>) {
    let since = stack.gateway_log().len();
    assert_eq!(ask(stack, &honest().compact(), "/before").await.status, 200);
    let mut wrong = Vec::new();
    for (name, token) in tokens {
        let answer = ask(stack, &token, marker).await;
        wrong.extend(no_invalid_token(&answer).map(|why| format!("{name}: {why}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace(marker);
    assert_eq!(ask(stack, &honest().compact(), "/behind").await.status, 200);
    assert_eq!(traps(stack, since), [""; 0]);
}

fn named<const N: usize>(cases: [(&str, Jwt); N]) -> Vec<(String, String)> {
    cases.into_iter().map(|(name, token)| (name.to_owned(), token.compact())).collect()
}

#[tokio::test]
async fn every_honest_token_passes() {
    let stack = stack().await;
    for (name, token) in named([
        ("RS256", honest()),
        (
            "ES256",
            honest()
                .head("alg", json!("ES256"))
                .head("kid", json!(SigningKey::p256(0).kid()))
                .sealed_by(&SigningKey::p256(0)),
        ),
        (
            "an older key",
            honest().head("kid", json!(SigningKey::rsa(0).kid())).sealed_by(&SigningKey::rsa(0)),
        ),
        (
            "the one ES256 key, not named",
            honest().head("alg", json!("ES256")).head("kid", Value::Null).sealed_by(&SigningKey::p256(0)),
        ),
        ("typ JWT", honest().head("typ", json!("JWT"))),
        ("no typ", honest().head("typ", Value::Null)),
        ("application/at+jwt", honest().head("typ", json!("application/at+jwt"))),
        ("several audiences", honest().claim("aud", json!(["other", AUDIENCE]))),
        ("the other audience", honest().claim("aud", json!("https://second.example"))),
        ("a fraction", honest().claim("exp", json!(now() as f64 + 60.5))),
        ("no iat", honest().claim("iat", Value::Null)),
    ]) {
        let answer = ask(&stack, &token, "/one/honest").await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    assert_eq!(
        ask(&stack, &other().mint_access_token(AUDIENCE, "x").compact(), "/two/honest").await.status,
        200
    );
}

/// Returns once this token is taken.
async fn until_good(stack: &Stack, token: &str) {
    let good = async { while ask(stack, token, "/until-good").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, good).await.expect("the door takes a good token");
}

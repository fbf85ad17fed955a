//! Attacks with tokens: forged, malformed, of another kind, of another issuer, at the wrong time; and
//! issuers that are down, slow, or answer anything.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lockgate_e2e::door::{OTHER_COOKIE_SECRET, public_url};
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, no_invalid_token, sign_in, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::signing_keys::{Jwt, Seal, SigningKey, in_seconds, unverified};
use lockgate_e2e::slack::now;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

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
            {"issuer": "${PUSH_ISSUER}", "jwks_uri": "${GOOGLE_API_BASE}/oauth2/v3/certs", "audiences": [AUDIENCE]},
        ]});
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub", "x-issuer": "iss"});
        let route = |name: &str, allow: Value| json!({"name": name, "match": {"path_prefix": format!("/{name}")}, "guard": "oidc", "allow": allow});
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

#[tokio::test]
async fn a_token_without_a_signature_is_none() {
    let stack = stack().await;
    let mut tokens = Vec::new();
    for none in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "no\u{130}e",
        "null",
        "",
        "n\u{0}one",
        "NoNe;RS256",
    ] {
        tokens.push((format!("alg {none:?}"), honest().unsigned(none).compact()));
        let signed = honest().compact();
        let (_, signature) = signed.rsplit_once('.').unwrap();
        let text = honest().unsigned(none).compact();
        tokens.push((format!("alg {none:?} and another's signature"), format!("{text}{signature}")));
    }
    let honest = honest().compact();
    let parts: Vec<&str> = honest.split('.').collect();
    let [header, claims, signature] = parts[..] else { unreachable!() };
    for (name, token) in [
        ("an empty signature", format!("{header}.{claims}.")),
        ("no signature", format!("{header}.{claims}")),
        ("no signature, and the dot of another", format!("{header}.{claims}..")),
        ("four parts", format!("{header}.{claims}.{signature}.")),
        ("five parts", format!("{header}.{claims}.{signature}.{signature}.{signature}")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("dots", "..".to_owned()),
        ("a dot", ".".to_owned()),
        ("alg absent", Jwt::new(&issuer().key(), json!({})).head("alg", Value::Null).compact()),
    ] {
        tokens.push((name.to_owned(), token));
    }
    assert_all_refused(&stack, "/no-signature", tokens).await;
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let stack = stack().await;
    let mut tokens = Vec::new();
    for key in [SigningKey::rsa(1), SigningKey::rsa(0), SigningKey::p256(0)] {
        let pem = key.public_pem();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(&body).unwrap();
        let jwk = key.jwk();
        let number = jwk["n"].as_str().or(jwk["x"].as_str()).unwrap();
        let secrets = [
            pem.clone().into_bytes(),
            pem.trim_end().as_bytes().to_vec(),
            pem.replace('\n', "\r\n").into_bytes(),
            body.clone().into_bytes(),
            der,
            jwk.to_string().into_bytes(),
            number.as_bytes().to_vec(),
            URL_SAFE_NO_PAD.decode(number).unwrap(),
            key.kid().into_bytes(),
            Vec::new(),
        ];
        for (index, secret) in secrets.into_iter().enumerate() {
            let token = honest().head("kid", json!(key.kid())).with_hs256(secret);
            for algorithm in ["HS256", "hs256", "RS256", "ES256", "HS384"] {
                let name = format!("{} {index} as {algorithm}", key.algorithm());
                tokens.push((name, token.clone().head("alg", json!(algorithm)).compact()));
            }
        }
    }
    assert_all_refused(&stack, "/shared-secret", tokens).await;
}

#[tokio::test]
async fn a_key_that_a_token_brings_itself_is_never_used_or_fetched() {
    let stack = stack().await;
    let evil = SigningKey::p256(66);
    let own = |token: Jwt| token.head("kid", json!(evil.kid())).head("alg", json!("ES256")).sealed_by(&evil);
    let urls = [
        attacker().url("/jwks"),
        attacker().url("/.well-known/openid-configuration"),
        attacker().url("/x5c.pem"),
    ];
    let mut tokens = named([
        ("jwk", honest().with_own_jwk(&evil)),
        ("jwk and its name", own(honest().with_own_jwk(&evil))),
        ("jwk without a name", own(honest().with_own_jwk(&evil)).head("kid", Value::Null)),
        ("x5c", honest().with_own_x5c(&evil)),
        ("x5c and its name", own(honest().with_own_x5c(&evil))),
        ("an issuer's url", own(honest()).claim("iss", json!(attacker().issuer()))),
        ("a name that is a path", honest().head("kid", json!("../../../../dev/null")).with_hs256("")),
        ("a name that is a query", honest().head("kid", json!("x' OR '1'='1"))),
        ("a name that is a url", honest().head("kid", json!(attacker().url("/jwks")))),
    ]);
    for url in urls {
        for name in ["jku", "x5u", "jwks_uri", "iss", "issuer"] {
            tokens.push((format!("{name} {url}"), own(honest()).head(name, json!(url)).compact()));
        }
        let claims = json!({"jwks_uri": url, "jku": url, "_claim_sources": {"src": {"endpoint": url}}});
        let mut token = own(honest());
        token.claims.extend(claims.as_object().unwrap().clone());
        tokens.push((format!("claims {url}"), token.compact()));
    }
    let thumbprint = URL_SAFE_NO_PAD.encode("thumbprint");
    tokens.push((
        "x5t".into(),
        own(honest()).head("x5t", json!(thumbprint)).head("x5t#S256", json!(thumbprint)).compact(),
    ));
    assert_all_refused(&stack, "/own-key", tokens).await;
    assert_eq!(attacker().calls().len(), 0, "{:?}", attacker().calls().since(0));
}

#[tokio::test]
async fn a_key_signs_with_its_own_algorithm_alone() {
    let stack = stack().await;
    let (rsa, ec) = (SigningKey::rsa(1), SigningKey::p256(0));
    let as_ec = || honest().head("alg", json!("ES256")).head("kid", json!(ec.kid())).sealed_by(&ec);
    let good = as_ec().compact();
    let signature = URL_SAFE_NO_PAD.decode(good.rsplit('.').next().unwrap()).unwrap();
    let (r, s) = signature.split_at(32);
    let der = {
        let integer = |number: &[u8]| [&[2, 33, 0][..], number].concat();
        let integers = [integer(r), integer(s)].concat();
        [vec![0x30, integers.len() as u8], integers].concat()
    };
    // The order of P-256.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let bytes = |bytes: Vec<u8>| {
        let mut token = as_ec();
        token.seal = Seal::Bytes(bytes);
        token
    };
    let one = [&[0; 31][..], &[1]].concat();
    let mut tokens = named([
        ("an RSA signature as ES256", honest().head("alg", json!("ES256"))),
        ("an RSA signature by the name of the other", honest().head("kid", json!(ec.kid()))),
        (
            "an RSA signature as ES256 of the other",
            honest().head("alg", json!("ES256")).head("kid", json!(ec.kid())),
        ),
        ("an ES256 signature as RS256", as_ec().head("alg", json!("RS256"))),
        (
            "an ES256 signature as RS256 of the other",
            as_ec().head("alg", json!("RS256")).head("kid", json!(rsa.kid())),
        ),
        ("an ES256 signature by the name of the other", as_ec().head("kid", json!(rsa.kid()))),
        ("another RSA key", honest().sealed_by(&SigningKey::rsa(0))),
        ("RS256 without a name, where there are two", honest().head("kid", Value::Null)),
        ("zeros (CVE-2022-21449)", bytes(vec![0; 64])),
        ("r zero", bytes([&[0; 32][..], s].concat())),
        ("s zero", bytes([r, &[0; 32]].concat())),
        ("ones", bytes([&one[..], &one].concat())),
        ("r the order", bytes([&order[..], s].concat())),
        ("s the order", bytes([r, &order].concat())),
        ("r and s changed places", bytes([s, r].concat())),
        ("DER", bytes(der)),
        ("too short", bytes(signature[..63].to_vec())),
        ("too long", bytes([&signature[..], &[0]].concat())),
        ("twice", bytes([&signature[..], &signature].concat())),
        ("empty", bytes(Vec::new())),
        (
            "1,024 bits",
            honest().head("kid", json!(SigningKey::weak_rsa().kid())).sealed_by(&SigningKey::weak_rsa()),
        ),
        ("1,024 bits without a name", honest().head("kid", Value::Null).sealed_by(&SigningKey::weak_rsa())),
        ("1,024 bits by the name of the other", honest().sealed_by(&SigningKey::weak_rsa())),
    ]);
    for algorithm in [
        "RS384", "RS512", "PS256", "ES256K", "ES384", "EdDSA", "rs256", "Rs256", "RSA-OAEP", "RS256 ",
        "A128KW", "dir",
    ] {
        tokens.push((algorithm.to_owned(), honest().head("alg", json!(algorithm)).compact()));
    }
    for algorithm in
        [json!(["RS256"]), json!({"RS256": true}), json!(256), json!(true), json!(["none", "RS256"])]
    {
        tokens.push((algorithm.to_string(), honest().head("alg", algorithm).compact()));
    }
    assert_all_refused(&stack, "/key-and-algorithm", tokens).await;
}

#[tokio::test]
async fn a_header_that_must_be_understood_is_refused() {
    let stack = stack().await;
    let tokens = named([
        ("crit", honest().head("crit", json!(["exp"]))),
        ("crit b64", honest().head("crit", json!(["b64"])).head("b64", json!(false))),
        ("crit empty", honest().head("crit", json!([]))),
        ("crit unknown", honest().head("crit", json!(["x"])).head("x", json!(1))),
        ("a logout token", honest().head("typ", json!("logout+jwt"))),
        ("DPoP", honest().head("typ", json!("dpop+jwt"))),
        ("a security event", honest().head("typ", json!("secevent+jwt"))),
        ("an authorization request", honest().head("typ", json!("oauth-authz-req+jwt"))),
        ("an introspection answer", honest().head("typ", json!("token-introspection+jwt"))),
        ("a kind of no text", honest().head("typ", json!(["at+jwt"]))),
        ("a name of no text", honest().head("kid", json!([SigningKey::rsa(1).kid()]))),
        ("a name of an object", honest().head("kid", json!({}))),
        ("an unknown name", honest().head("kid", json!("unknown"))),
        ("an empty name", honest().head("kid", json!(""))),
        ("a name and more", honest().head("kid", json!(format!("{} ", SigningKey::rsa(1).kid())))),
    ]);
    assert_all_refused(&stack, "/critical", tokens).await;
}

#[tokio::test]
async fn what_must_be_there_must_be_there_and_fit() {
    let stack = stack().await;
    let mut tokens = Vec::new();
    for name in ["exp", "aud", "iss", "sub"] {
        let mut token = honest().claim(name, Value::Null);
        if name == "sub" {
            token = token.claim("client_id", Value::Null);
        }
        tokens.push((format!("no {name}"), token.compact()));
        for value in
            [json!(""), json!([]), json!({}), json!(true), json!([[]]), json!([null]), json!({"x": "y"})]
        {
            let described = format!("{name} {value}");
            let mut token = honest();
            token.claims.insert(name.to_owned(), value);
            tokens.push((described, token.compact()));
        }
        let mut token = honest();
        token.claims.insert(name.to_owned(), Value::Null);
        token.claims.remove("client_id");
        tokens.push((format!("{name} null"), token.compact()));
    }
    let at = issuer().issuer();
    for audience in [
        json!(format!("{AUDIENCE}/")),
        json!(format!("{AUDIENCE} ")),
        json!(&AUDIENCE[..AUDIENCE.len() - 1]),
        json!(AUDIENCE.to_uppercase()),
        json!(format!("{AUDIENCE},other")),
        json!(format!("{AUDIENCE} other")),
        json!([[AUDIENCE]]),
        json!({"0": AUDIENCE}),
        json!(["other"]),
        json!("*"),
        json!(CLIENT_ID),
        json!(public_url(&stack)),
        json!(7),
    ] {
        tokens.push((format!("aud {audience}"), honest().claim("aud", audience).compact()));
    }
    for name in [
        json!(format!("{at}/")),
        json!(at.to_uppercase()),
        json!(at.replace("127.0.0.1", "localhost")),
        json!(at.replace("127.0.0.1", "127.0.0.1:80@127.0.0.1")),
        json!(at.replace("http", "https")),
        json!(format!("{at}?x")),
        json!(format!(" {at}")),
        json!(format!("{at}\u{0}")),
        json!([at]),
        json!({"iss": at}),
        json!(7),
    ] {
        tokens.push((format!("iss {name}"), honest().claim("iss", name).compact()));
    }
    assert_all_refused(&stack, "/must-be-there", tokens).await;
}

#[tokio::test]
async fn times_of_the_wrong_kind_are_refused() {
    let stack = stack().await;
    let key = issuer().key();
    let header = json!({"alg": "RS256", "kid": key.kid()}).to_string();
    let mut tokens = Vec::new();
    for time in [
        "\"4102444800\"",
        "\"never\"",
        "\"\"",
        "null",
        "true",
        "[4102444800]",
        "{\"v\":4102444800}",
        "-1",
        "-4102444800",
        "0",
        "1",
        "0.0",
        "1e400",
        "-1e400",
        "1e309",
        "1E+999",
        "99999999999999999999999999",
        "18446744073709551616",
        "-0",
        "4102444800e0",
        "0x7fffffff",
        "NaN",
        "Infinity",
        "1_000_000_000_000",
        "04102444800",
        "+4102444800",
        ".5e10",
        "4102444800.",
        "\"2099-01-01T00:00:00Z\"",
        "1000",
    ] {
        for name in ["exp", "nbf", "iat"] {
            // What is long over is a good beginning, and an end is none.
            if name != "exp" && matches!(time, "0" | "1" | "0.0" | "1000") {
                continue;
            }
            let mut others =
                json!({"iss": issuer().issuer(), "aud": AUDIENCE, "sub": "program-1", "exp": now() + 60});
            others.as_object_mut().unwrap().remove(name);
            let others = others.to_string();
            let claims = format!("{},\"{name}\":{time}}}", others.strip_suffix('}').unwrap());
            tokens.push((format!("{name} {time}"), key.token_of(header.as_bytes(), claims.as_bytes())));
        }
    }
    let mut absent = Vec::new();
    tokens.retain(|(name, token)| {
        // A beginning that is null is none.
        let good = matches!(name.as_str(), "nbf null" | "iat null" | "nbf -0" | "iat -0");
        if good {
            absent.push(token.clone());
        }
        !good
    });
    assert_all_refused(&stack, "/odd-times", tokens).await;
    for token in absent {
        assert!(matches!(ask(&stack, &token, "/null-times").await.status, 200 | 401));
    }
}

#[tokio::test]
async fn a_time_as_large_as_can_be_counts_as_what_it_is_and_traps_nothing() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let key = issuer().key();
    let header = json!({"alg": "RS256", "kid": key.kid()}).to_string();
    for time in [
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 29,
        u64::MAX - 30,
        u64::MAX - 31,
        u64::MAX / 1_000,
        i64::MAX as u64,
    ] {
        for (name, allowed) in [("exp", true), ("nbf", false), ("iat", false)] {
            let mut claims =
                json!({"iss": issuer().issuer(), "aud": AUDIENCE, "sub": "program-1", "exp": now() + 60});
            claims[name] = json!(time);
            let token = key.token_of(header.as_bytes(), claims.to_string().as_bytes());
            let status = ask(&stack, &token, "/large-times").await.status;
            let fits = if allowed { matches!(status, 200 | 401) } else { status == 401 };
            assert!(fits, "{name} {time}: {status}");
        }
    }
    assert_eq!(traps(&stack, since), [""; 0]);
    assert_eq!(ask(&stack, &honest().compact(), "/behind").await.status, 200);
}

#[tokio::test]
async fn two_clocks_may_differ_by_half_a_minute_and_no_more() {
    let stack = stack().await;
    for (name, seconds, status) in [
        ("exp", -24, 200),
        ("exp", -36, 401),
        ("nbf", 24, 200),
        ("nbf", 40, 401),
        ("iat", 24, 200),
        ("iat", 40, 401),
        ("nbf", 1_000_000, 401),
        ("exp", -1_000_000, 401),
    ] {
        let token = honest().claim(name, in_seconds(seconds)).compact();
        let answer = ask(&stack, &token, "/one/clocks").await;
        assert_eq!(answer.status, status, "{name} {seconds}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_remembered_token_stops_at_its_end() {
    let stack = stack().await;
    let end = now() - 27;
    let token = honest().claim("exp", json!(end)).compact();
    assert_eq!(ask(&stack, &token, "/remembered").await.status, 200);
    let ended = async {
        loop {
            let asked = now();
            let answer = ask(&stack, &token, "/remembered").await;
            match answer.status {
                200 => assert!(asked <= end + 30, "{} s behind its end", asked - end),
                _ => return (answer, now()),
            }
        }
    };
    let (answer, at) = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(no_invalid_token(&answer), None);
    assert!(at >= end + 30, "{} s before its end and the half minute", end + 30 - at);
}

#[tokio::test]
async fn names_that_stand_twice_are_refused() {
    let stack = stack().await;
    let key = issuer().key();
    let at = issuer().issuer();
    let header = format!("{{\"alg\":\"RS256\",\"kid\":\"{}\"}}", key.kid());
    let end = now() + 60;
    let claims = format!("\"iss\":\"{at}\",\"aud\":\"{AUDIENCE}\",\"sub\":\"program-1\",\"exp\":{end}");
    let mut tokens = Vec::new();
    for twice in [
        "\"sub\":\"admin\"".to_owned(),
        "\"sub\":\"program-1\"".to_owned(),
        "\"s\\u0075b\":\"admin\"".to_owned(),
        "\"iss\":\"https://other.example\"".to_owned(),
        format!("\"iss\":\"{at}\""),
        "\"aud\":\"other\"".to_owned(),
        "\"exp\":1".to_owned(),
        "\"exp\":4102444800".to_owned(),
        "\"e\\u0078p\":4102444800".to_owned(),
        "\"groups\":[\"staff\"],\"groups\":[\"admins\"]".to_owned(),
        "\"email\":\"a@b.example\",\"email\":\"a@example.com\"".to_owned(),
        "\"x\":{\"y\":1,\"y\":2}".to_owned(),
        "\"nbf\":1,\"nbf\":4102444800".to_owned(),
        "\"scope\":\"a\",\"scope\":\"b\"".to_owned(),
    ] {
        for text in [format!("{{{claims},{twice}}}"), format!("{{{twice},{claims}}}")] {
            tokens.push((twice.clone(), key.token_of(header.as_bytes(), text.as_bytes())));
        }
    }
    let kid = key.kid();
    let good = format!("{{{claims}}}");
    for odd in [
        format!("{{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"{kid}\"}}"),
        format!("{{\"alg\":\"RS256\",\"alg\":\"none\",\"kid\":\"{kid}\"}}"),
        format!("{{\"alg\":\"RS256\",\"a\\u006cg\":\"HS256\",\"kid\":\"{kid}\"}}"),
        format!("{{\"alg\":\"RS256\",\"kid\":\"x\",\"kid\":\"{kid}\"}}"),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"typ\":\"logout+jwt\",\"kid\":\"{kid}\"}}"),
    ] {
        tokens.push((odd.clone(), key.token_of(odd.as_bytes(), good.as_bytes())));
    }
    assert_eq!(ask(&stack, &key.token_of(header.as_bytes(), good.as_bytes()), "/once").await.status, 200);
    assert_all_refused(&stack, "/twice", tokens).await;
}

#[tokio::test]
async fn what_is_no_json_is_refused_and_traps_nothing() {
    let stack = stack().await;
    let key = issuer().key();
    let at = issuer().issuer();
    let header = format!("{{\"alg\":\"RS256\",\"kid\":\"{}\"}}", key.kid()).into_bytes();
    let end = now() + 60;
    let claims = format!("{{\"iss\":\"{at}\",\"aud\":\"{AUDIENCE}\",\"sub\":\"program-1\",\"exp\":{end}}}")
        .into_bytes();
    let behind = |addition: &[u8]| [&claims[..], addition].concat();
    let within = |addition: &[u8]| [&claims[..claims.len() - 1], b",\"x\":", addition, b"}"].concat();
    let deep = |open: &str, close: &str, depth: usize| {
        (open.repeat(depth) + "0" + &close.repeat(depth)).into_bytes()
    };
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("two values", behind(b"{}")),
        ("a comma", behind(b",")),
        ("a NUL", behind(b"\0")),
        ("not closed", claims[..claims.len() - 1].to_vec()),
        ("nothing", Vec::new()),
        ("white space", b" \n\t ".to_vec()),
        ("a text", b"\"{}\"".to_vec()),
        ("a list", [b"[", &claims[..], b"]"].concat()),
        ("null", b"null".to_vec()),
        ("a byte order mark", [b"\xef\xbb\xbf", &claims[..]].concat()),
        ("UTF-16", claims.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("not UTF-8", within(b"\"\xff\xfe\"")),
        ("half a character", within(b"\"\xf0\x9f\"")),
        ("a surrogate in bytes", within(b"\"\xed\xa0\x80\"")),
        ("half a surrogate pair", within(b"\"\\ud800\"")),
        ("a control character", within(b"\"a\nb\"")),
        ("a broken escape", within(b"\"\\x41\"")),
        ("a broken \\u", within(b"\"\\u12\"")),
        ("a comment", within(b"1 /* x */")),
        ("a trailing comma", within(b"[1,]")),
        ("single quotes", within(b"'a'")),
        ("NaN", within(b"NaN")),
        ("5,000 brackets", within(&deep("[", "]", 5_000))),
        ("1,600 objects", within(&deep("{\"a\":", "}", 1_600))),
        ("5,000 open brackets", within("[".repeat(5_000).as_bytes())),
        ("10,000 open brackets", "[".repeat(10_000).into_bytes()),
    ];
    let mut tokens: Vec<(String, String)> =
        cases.drain(..).map(|(name, claims)| (name.to_owned(), key.token_of(&header, &claims))).collect();
    for (name, odd) in [
        ("a header of nothing", Vec::new()),
        ("a header of a list", b"[]".to_vec()),
        ("a header of brackets", "[".repeat(9_000).into_bytes()),
        ("a header of objects", "{\"a\":".repeat(2_000).into_bytes()),
        ("a header that is not UTF-8", [&header[..header.len() - 1], b",\"x\":\"\xff\"}"].concat()),
    ] {
        tokens.push((name.to_owned(), key.token_of(&odd, &claims)));
    }
    assert_all_refused(&stack, "/no-json", tokens).await;
}

#[tokio::test]
async fn what_is_no_base64url_is_refused() {
    let stack = stack().await;
    let token = honest().compact();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { unreachable!() };
    let mut tokens = vec![
        ("padding".to_owned(), format!("{header}.{claims}.{signature}==")),
        ("padding within".to_owned(), format!("{header}=.{claims}.{signature}")),
        ("a space within".to_owned(), format!("{header}. {claims}.{signature}")),
        ("a line within".to_owned(), format!("{header}.{claims}%0A.{signature}")),
        (
            "the other alphabet".to_owned(),
            format!("{header}.{claims}.{}", signature.replace(['-', '_'], "+")),
        ),
        ("a percent sign".to_owned(), format!("{header}.{claims}.%{signature}")),
        ("encoded dots".to_owned(), token.replace('.', "%2e")),
        (
            "JSON serialisation".to_owned(),
            json!({"protected": header, "payload": claims, "signature": signature}).to_string(),
        ),
        (
            "flattened".to_owned(),
            json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]})
                .to_string(),
        ),
        ("reversed".to_owned(), token.chars().rev().collect()),
        ("twice".to_owned(), format!("{token}{token}")),
        ("twice, with a comma".to_owned(), format!("{token},{token}")),
    ];
    for at in [0, header.len() / 2, header.len() + 5, header.len() + claims.len(), token.len() - 40] {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        tokens.push((format!("byte {at} changed"), String::from_utf8(bytes).unwrap()));
    }
    for length in [1, 10, header.len(), header.len() + claims.len() + 1, token.len() - 1, token.len() - 3] {
        tokens.push((format!("cut at {length}"), token[..length].to_owned()));
    }
    if !signature.contains(['-', '_']) {
        tokens.retain(|(name, _)| name != "the other alphabet");
    }
    assert_all_refused(&stack, "/no-base64", tokens).await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_and_giant_tokens_are_4xx() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let long = |length: usize| {
        issuer().mint(json!({"aud": AUDIENCE, "sub": "x", "pad": "x".repeat(length)})).compact()
    };
    let mut values: Vec<Vec<u8>> = vec![
        b"Bearer \xff\xfe".to_vec(),
        b"Bearer \xc3\x28.\xc3\x28.\xc3\x28".to_vec(),
        [b"Bearer ", honest().compact().as_bytes(), b"\xff"].concat(),
        [b"Bearer \xe2\x80\x8b", honest().compact().as_bytes()].concat(),
        b"Bearer \xf0\x9f\x92\xa9".to_vec(),
        b"\xffBearer x.y.z".to_vec(),
    ];
    values.extend([10_000, 16_000, 40_000].map(|length| format!("Bearer {}", long(length)).into_bytes()));
    values
        .extend([16_384, 16_385, 50_000].map(|length| format!("Bearer {}", "a".repeat(length)).into_bytes()));
    values.push(format!("Bearer {}", ".".repeat(20_000)).into_bytes());
    for value in values {
        let answer = stack.client().send(&Request::get("/giant").header("authorization", &value)).await;
        let shown = value.escape_ascii().to_string();
        let shown: String = shown.chars().take(60).collect();
        let honest_and_short = value.len() < 16_384 && value.len() > 10_000;
        assert!(
            (400..500).contains(&answer.status) || (honest_and_short && answer.status == 200),
            "{shown}: {} {}",
            answer.status,
            answer.text()
        );
    }
    for length in [100_000, 1_000_000] {
        let request = with_token(Request::get("/giant"), &"a".repeat(length));
        if let Ok(answer) = stack.client().try_send(&request).await {
            assert!((400..500).contains(&answer.status), "{length}: {}", answer.status);
        }
    }
    assert_eq!(traps(&stack, since), [""; 0]);
    assert_eq!(ask(&stack, &honest().compact(), "/behind").await.status, 200);
}

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
async fn an_address_that_only_looks_like_the_domain_is_not_of_it() {
    let stack = stack().await;
    for (email, verified, status) in [
        (json!("a@example.com"), json!(true), 200),
        (json!("A@EXAMPLE.com"), json!(true), 200),
        (json!("a+b@my-domain.com"), json!(true), 200),
        (json!("a@exampleXcom"), json!(true), 403),
        (json!("a@example.com.evil.example"), json!(true), 403),
        (json!("a@sub.example.com"), json!(true), 403),
        (json!("a@evil-example.com"), json!(true), 403),
        (json!("a@evilexample.com"), json!(true), 403),
        (json!("a@.example.com"), json!(true), 403),
        (json!("a@example.com."), json!(true), 403),
        (json!("a@example.co"), json!(true), 403),
        (json!("a@example.comm"), json!(true), 403),
        (json!("a@mydomain.com"), json!(true), 403),
        (json!("example.com"), json!(true), 403),
        (json!("@example.com"), json!(true), 403),
        (json!("a@evil.example@example.com"), json!(true), 403),
        (json!("a@example.com@evil.example"), json!(true), 403),
        (json!("\"a@evil.example\"@example.com"), json!(true), 403),
        (json!("a@evil.example\u{0}@example.com"), json!(true), 403),
        (json!("a@evil.example\n@example.com"), json!(true), 403),
        (json!("a@example.com\u{0}"), json!(true), 403),
        (json!(" a@example.com"), json!(true), 403),
        (json!("a@example.com "), json!(true), 403),
        (json!("a@ex\u{430}mple.com"), json!(true), 403),
        (json!("a@example\u{3002}com"), json!(true), 403),
        (json!("a@\u{ff45}xample.com"), json!(true), 403),
        (json!("a@xn--exmple-4nf.com"), json!(true), 403),
        (json!("a\u{ff20}example.com"), json!(true), 403),
        (json!("a@example.com,a@evil.example"), json!(true), 403),
        (json!("a@evil.example <a@example.com>"), json!(true), 403),
        (json!(["a@example.com"]), json!(true), 403),
        (json!({"value": "a@example.com"}), json!(true), 403),
        (json!("a@example.com"), Value::Null, 403),
        (json!("a@example.com"), json!(false), 403),
        (json!("a@example.com"), json!("false"), 403),
        (json!("a@example.com"), json!("TRUE"), 403),
        (json!("a@example.com"), json!(1), 403),
        (json!("a@example.com"), json!([true]), 403),
        (Value::Null, json!(true), 403),
    ] {
        let described = format!("{email} {verified}");
        let token = honest().claim("email", email).claim("email_verified", verified);
        let answer = ask(&stack, &token.compact(), "/mail/x").await;
        assert_eq!(answer.status, status, "{described}: {}", answer.text());
    }
    // Other claims that programs take for an address are none.
    for name in ["preferred_username", "upn", "mail", "emails", "unique_name", "username", "hd", "Email"] {
        let token = honest().claim(name, json!("a@example.com")).claim("email_verified", json!(true));
        assert_eq!(ask(&stack, &token.compact(), "/mail/x").await.status, 403, "{name}");
    }
}

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

/// Returns once this token is taken.
async fn until_good(stack: &Stack, token: &str) {
    let good = async { while ask(stack, token, "/until-good").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, good).await.expect("the door takes a good token");
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
        let jwt = json!([{"issuer": provider.issuer(), "jwks_uri": provider.url("/jwks"), "audiences": [AUDIENCE]}]);
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

/// A door whose programs bring opaque tokens of this provider.
async fn introspecting_stack(provider: &HostileProvider) -> Stack {
    let builder = guarded_stack(provider, |config| {
        config["sign_in"]["tokens"] = json!({"introspection": {
            "endpoint": provider.url("/introspect"), "issuer": "opaque", "client_id": CLIENT_ID,
            "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "audiences": [AUDIENCE], "cache": "1s",
        }});
    });
    let stack = builder.start().await;
    until_good(&stack, &provider.access_token(&json!({"sub": "warm", "aud": AUDIENCE}))).await;
    stack
}

#[tokio::test]
async fn whatever_introspection_answers_but_a_clear_yes_lets_nobody_in() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let good =
        json!({"active": true, "aud": AUDIENCE, "sub": "program-1", "exp": now() + 60, "client_id": "c"});
    let with = |name: &str, value: Value| {
        let mut answer = good.clone();
        answer[name] = value;
        answer.to_string()
    };
    let without = |name: &str| {
        let mut answer = good.clone();
        answer.as_object_mut().unwrap().remove(name);
        answer.to_string()
    };
    let yes = good.to_string();
    let behind = |text: &str| yes.replacen('{', &format!("{{{text},"), 1);
    let mut redirect = Response::new(302);
    redirect.headers.push("location", attacker().url("/introspect"));
    redirect.body = yes.clone().into_bytes();
    let json_answer = |status: u16, text: &str| Answer::with_body(status, "application/json", text);
    // What is said of the token is 401; what says nothing of it is 503.
    let cases: Vec<(&str, u16, Answer)> = vec![
        ("no", 401, json_answer(200, r#"{"active":false}"#)),
        ("no, with everything else", 401, json_answer(200, &with("active", json!(false)))),
        ("a text", 503, json_answer(200, &with("active", json!("true")))),
        ("a number", 503, json_answer(200, &with("active", json!(1)))),
        ("null", 503, json_answer(200, &with("active", Value::Null))),
        ("a list", 503, json_answer(200, &with("active", json!([true])))),
        ("nothing of it", 503, json_answer(200, &without("active"))),
        ("another spelling", 503, json_answer(200, &without("active").replacen('{', "{\"Active\":true,", 1))),
        ("no and yes", 503, json_answer(200, &behind("\"active\":false"))),
        ("yes twice", 503, json_answer(200, &behind("\"active\":true"))),
        ("no in other letters", 503, json_answer(200, &behind("\"\\u0061ctive\":false"))),
        ("an empty object", 503, json_answer(200, "{}")),
        ("an empty body", 503, json_answer(200, "")),
        ("a list of one", 503, json_answer(200, &format!("[{yes}]"))),
        ("true", 503, json_answer(200, "true")),
        ("a text of it", 503, json_answer(200, &json!(yes).to_string())),
        ("two of it", 503, json_answer(200, &format!("{yes}{yes}"))),
        ("half of it", 503, json_answer(200, &yes[..yes.len() - 2])),
        ("a form", 503, json_answer(200, "active=true&sub=program-1")),
        ("a page", 503, Answer::with_body(200, "text/html", "<html>active: true</html>")),
        ("brackets", 503, json_answer(200, &"[".repeat(10_000))),
        (
            "not UTF-8",
            503,
            Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"active\":true\xff\xfe}".to_vec()),
        ),
        ("300 kB", 503, json_answer(200, &with("pad", json!("x".repeat(300_000))))),
        ("500", 503, json_answer(500, &yes)),
        ("502", 503, json_answer(502, &yes)),
        ("503", 503, json_answer(503, &yes)),
        ("404", 503, json_answer(404, &yes)),
        ("400", 503, json_answer(400, &yes)),
        ("401", 503, json_answer(401, &yes)),
        ("403", 503, json_answer(403, &yes)),
        ("429", 503, json_answer(429, &yes)),
        ("304", 503, Answer::status(304)),
        ("204", 503, Answer::status(204)),
        ("a redirect", 503, Answer::Respond(redirect, Duration::ZERO)),
        ("another audience", 401, json_answer(200, &with("aud", json!("https://other.example")))),
        ("no audience", 401, json_answer(200, &without("aud"))),
        (
            "an audience within one",
            401,
            json_answer(200, &with("aud", json!(format!("{AUDIENCE}.evil.example")))),
        ),
        ("over", 401, json_answer(200, &with("exp", json!(now() - 1)))),
        ("an end that is a text", 401, json_answer(200, &with("exp", json!("never")))),
        ("an end of 1e400", 401, json_answer(200, &yes.replace("\"exp\":", "\"exp\":1e400,\"x\":"))),
        ("an end before 1970", 401, json_answer(200, &with("exp", json!(-1)))),
        ("not yet", 401, json_answer(200, &with("nbf", json!(now() + 600)))),
        ("a refresh token", 401, json_answer(200, &with("token_type", json!("refresh_token")))),
        ("used for a refresh", 401, json_answer(200, &with("token_use", json!("refresh_token")))),
        (
            "of nobody",
            401,
            json_answer(200, &json!({"active": true, "aud": AUDIENCE, "exp": now() + 60}).to_string()),
        ),
        ("of two", 401, json_answer(200, &behind("\"sub\":\"admin\""))),
        ("of a line", 401, json_answer(200, &with("sub", json!("a\r\nx: y")))),
        ("of a number", 401, json_answer(200, &with("sub", json!(1)))),
        ("reset", 503, Answer::Reset),
        ("cut", 503, Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"active\":true".to_vec())),
        ("no HTTP", 503, Answer::Raw(b"{\"active\":true}".to_vec())),
    ];
    let answers: Vec<Answer> = cases.iter().map(|(.., answer)| answer.clone()).collect();
    provider.answer(Endpoint::Introspection, move |request| {
        let form = lockgate_e2e::url::decode_form(&request.text());
        let token = form.into_iter().find(|(name, _)| name == "token").map(|(_, value)| value)?;
        answers.get(token.strip_prefix("case-")?.parse::<usize>().ok()?).cloned()
    });
    let mut wrong = Vec::new();
    for (index, (name, status, _)) in cases.iter().enumerate() {
        let answer = ask(&stack, &format!("case-{index}"), "/introspected").await;
        let good = match status {
            401 => no_invalid_token(&answer).is_none(),
            _ => answer.status == 503 && answer.headers.contains("retry-after"),
        };
        if !good {
            wrong.push(format!("{name}: {} {:?} {}", answer.status, answer.headers, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("/introspected");
    let opaque = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    assert_eq!(ask(&stack, &opaque, "/introspected-well").await.status, 200);
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn introspection_that_is_slow_or_gone_is_a_503_in_bounded_time_and_heals() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = |subject: &str| provider.access_token(&json!({"sub": subject, "aud": AUDIENCE}));
    provider.delay(Endpoint::Introspection, Duration::from_millis(300));
    assert_eq!(ask(&stack, &token("slow"), "/slow").await.status, 200, "slow is not gone");

    let hold = provider.hold(Endpoint::Introspection);
    let begin = Instant::now();
    let answer = ask(&stack, &token("held"), "/held").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    hold.release();
    provider.heal();
    assert_eq!(ask(&stack, &token("released"), "/released").await.status, 200);

    let known = token("known");
    assert_eq!(ask(&stack, &known, "/known").await.status, 200);
    provider.leave().await;
    assert_eq!(ask(&stack, &token("gone"), "/gone").await.status, 503);
    provider.come_back();
    assert_eq!(ask(&stack, &token("back"), "/back").await.status, 200);
    for target in ["/held", "/gone"] {
        stack.assert_no_trace(target);
    }
}

#[tokio::test]
async fn introspection_hears_of_the_token_and_of_nothing_else_of_the_caller() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    let request =
        with_token(Request::post("/private-path?private-query=1", "text/plain", "private-body"), &token)
            .header("cookie", "private-cookie=1")
            .header("x-private", "private-header")
            .header("x-forwarded-for", "10.9.8.7")
            .header("user-agent", "private-agent");
    assert_eq!(stack.client().send(&request).await.status, 200);
    let calls = provider.calls().matching(|call| call.request.contains(&token));
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.endpoint, call.parameter("token").as_deref()), (Endpoint::Introspection, Some(&*token)));
    assert!(call.request.headers.text("authorization").unwrap().starts_with("Basic "));
    assert!(!call.request.target.contains(&token), "{}", call.request.target);
    for private in ["private-", "10.9.8.7"] {
        assert!(!call.request.contains(private), "{private}: {:?}", call.request);
    }
}

#[tokio::test]
async fn each_kind_of_token_is_shown_to_its_own_issuer_alone() {
    let [jwt, introspects, google] =
        [HostileProvider::start(), HostileProvider::start(), HostileProvider::start()];
    let builder = guarded_stack(&jwt, |config| {
        config["sign_in"]["tokens"] = json!({
            "jwt": [{"issuer": jwt.issuer(), "audiences": [AUDIENCE]}],
            "introspection": {
                "endpoint": introspects.url("/introspect"), "issuer": "opaque", "client_id": CLIENT_ID,
                "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "audiences": [AUDIENCE], "cache": "1s",
            },
            "google": {"client_ids": [CLIENT_ID], "tokeninfo": google.url("/tokeninfo"), "cache": "1s"},
        });
    });
    let stack = builder.start().await;
    until_good(&stack, &introspects.access_token(&json!({"sub": "warm", "aud": AUDIENCE}))).await;
    let mint = || jwt.mint_access_token(AUDIENCE, "program-1");
    let shown = |provider: &HostileProvider, token: &str| {
        !provider.calls().matching(|call| call.request.contains(token)).is_empty()
    };
    let opaque = introspects.access_token(&json!({"sub": "x", "aud": AUDIENCE}));
    for (name, token, status, expected) in [
        ("signed", mint().compact(), 200, [false, false, false]),
        ("signed and expired", mint().claim("exp", json!(1)).compact(), 401, [false, false, false]),
        (
            "signed by another key",
            mint().sealed_by(&SigningKey::rsa(1)).compact(),
            401,
            [false, false, false],
        ),
        ("signed for another", mint().claim("aud", json!("other")).compact(), 401, [false, false, false]),
        (
            "signed by a key nobody knows",
            mint().head("kid", json!("unknown")).compact(),
            401,
            [false, false, false],
        ),
        ("an ID token", mint().claim("nonce", json!("n")).compact(), 401, [false, false, false]),
        ("opaque", opaque, 200, [false, true, false]),
        ("opaque and unknown", "some-opaque-token".to_owned(), 401, [false, true, false]),
        ("Google's", "ya29.some-token".to_owned(), 401, [false, false, true]),
    ] {
        let answer = ask(&stack, &token, "/own-issuer").await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let seen = [&jwt, &introspects, &google].map(|provider| shown(provider, &token));
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test]
async fn an_opaque_token_that_was_revoked_ends_with_its_cached_answer() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    assert_eq!(ask(&stack, &token, "/revoked").await.status, 200);
    let begin = Instant::now();
    provider.revoke_everything();
    let ended = async {
        loop {
            let answer = ask(&stack, &token, "/revoked").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(no_invalid_token(&answer), None);
    assert!(begin.elapsed() < Duration::from_secs(3), "the cache is one second: {:?}", begin.elapsed());
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

//! Signatures that are none, or another's.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lockgate_e2e::signing_keys::{Jwt, Seal, SigningKey};
use serde_json::{Value, json};

use crate::{assert_all_refused, attacker, honest, issuer, named, stack};

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

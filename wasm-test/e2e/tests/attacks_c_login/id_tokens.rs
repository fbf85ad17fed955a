//! ID tokens that are not what they should be (OpenID Connect Core, section 3.1.3.7; RFC 8725).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET};
use lockgate_e2e::siege::Turn;
use lockgate_e2e::signing_keys::{Jwt, Seal, SigningKey, in_seconds, signed_bytes, unverified};
use lockgate_e2e::user_agent::UserAgent;
use serde_json::{Value, json};

use crate::{assert_no_login, door};

type Forge = Box<dyn Fn(Jwt) -> String + Send + Sync>;

/// Signs somebody in whose ID token is what `forge` makes of the honest one.
async fn sign_in_with(door: &Turn, forge: Forge) -> lockgate_e2e::Response {
    door.heal();
    let key = door.provider.key();
    door.provider.edit_json(Endpoint::Token, move |body| {
        let (_, claims) = unverified(body["id_token"].as_str().unwrap());
        body["id_token"] = json!(forge(Jwt::new(&key, claims)));
    });
    let mut agent = UserAgent::new();
    let callback = door.callback(&mut agent, "/forged").await;
    agent.open(&callback.to_string()).await.response
}

/// Checks that none of these signs anybody in, and that each is refused for the reason named.
async fn refuse_all(cases: Vec<(String, &'static str, Forge)>) {
    let door = door().await;
    let mut wrong = Vec::new();
    for (what, reason, forge) in cases {
        let answer = sign_in_with(&door, forge).await;
        if answer.status < 400 {
            wrong.push(format!("{what} signs somebody in"));
            continue;
        }
        let told = door.stack.reason(&answer).await;
        if told != reason {
            wrong.push(format!("{what} is refused as {told}, not {reason}"));
            continue;
        }
        let status = match reason {
            "provider_unavailable" => 503,
            "session_too_large" => 502,
            _ => 400,
        };
        assert_no_login(&what, &answer, status);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    door.stack.assert_no_trace("/forged");
    door.assert_unharmed().await;
}

fn case(
    what: &str,
    reason: &'static str,
    forge: impl Fn(Jwt) -> String + Send + Sync + 'static,
) -> (String, &'static str, Forge) {
    (what.to_owned(), reason, Box::new(forge))
}

/// A changed claim, well signed.
fn claim(name: &'static str, value: Value, reason: &'static str) -> (String, &'static str, Forge) {
    case(&format!("{name}: {value}"), reason, move |token| token.claim(name, value.clone()).compact())
}

/// Claims as text, well signed, so that a name can stand twice; `added` stands first or last.
fn twice(added: &'static str, reason: &'static str) -> Vec<(String, &'static str, Forge)> {
    let write = move |token: &Jwt, first: bool| {
        let claims = Value::Object(token.claims.clone()).to_string();
        let inside = &claims[1..claims.len() - 1];
        let both = if first { format!("{{{added},{inside}}}") } else { format!("{{{inside},{added}}}") };
        signed_bytes(
            &SigningKey::rsa(0),
            Value::Object(token.header.clone()).to_string().as_bytes(),
            both.as_bytes(),
        )
    };
    [true, false]
        .map(|first| {
            case(&format!("{added} twice, first: {first}"), reason, move |token| write(&token, first))
        })
        .into()
}

#[tokio::test]
async fn an_honest_token_in_any_form_that_is_allowed_signs_in() {
    let door = door().await;
    let honest: Vec<(&str, Forge)> = vec![
        ("as it is", Box::new(|token| token.compact())),
        ("without typ", Box::new(|token| token.head("typ", Value::Null).compact())),
        ("typ: jwt", Box::new(|token| token.head("typ", json!("jwt")).compact())),
        ("a list of one audience", Box::new(|token| token.claim("aud", json!([CLIENT_ID])).compact())),
        (
            "without azp and at_hash",
            Box::new(|token| token.claim("azp", Value::Null).claim("at_hash", Value::Null).compact()),
        ),
        ("a clock 25 seconds ahead", Box::new(|token| token.claim("iat", in_seconds(25)).compact())),
        ("a clock 25 seconds behind", Box::new(|token| token.claim("exp", in_seconds(-25)).compact())),
        (
            "a fraction of a second",
            Box::new(|token| token.claim("exp", json!(in_seconds(60).as_f64().unwrap() + 0.5)).compact()),
        ),
        (
            "ES256",
            Box::new(|token| {
                let key = SigningKey::p256(0);
                token.head("alg", json!("ES256")).head("kid", json!(key.kid())).sealed_by(&key).compact()
            }),
        ),
        (
            "ES256, the only key of its kind unnamed",
            Box::new(|token| {
                token
                    .head("alg", json!("ES256"))
                    .head("kid", Value::Null)
                    .sealed_by(&SigningKey::p256(0))
                    .compact()
            }),
        ),
        (
            "another published key",
            Box::new(|token| {
                token.head("kid", json!(SigningKey::rsa(1).kid())).sealed_by(&SigningKey::rsa(1)).compact()
            }),
        ),
    ];
    for (what, forge) in honest {
        let answer = sign_in_with(&door, forge).await;
        assert_eq!(answer.status, 302, "{what}: {}", answer.text());
        assert_eq!(answer.headers.text("location").as_deref(), Some("/forged"), "{what}");
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_the_provider_signs_nobody_in() {
    let elsewhere = HostileProvider::start();
    let [jku, x5u] = ["/jwks", "/x5u"].map(|path| json!(elsewhere.url(path)));
    let (algorithm, signature, unknown) =
        ("id_token_algorithm", "id_token_signature", "id_token_unknown_key");
    let malformed = "id_token_malformed";
    let own = || SigningKey::p256(7);
    let mut cases = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", " none", "none ", ""] {
        cases.push(case(&format!("alg {none:?}"), algorithm, move |token| token.unsigned(none).compact()));
        cases.push(case(&format!("alg {none:?}, signed"), algorithm, move |token| {
            token.head("alg", json!(none)).compact()
        }));
    }
    for other in ["RS384", "RS512", "PS256", "ES384", "ES512", "EdDSA", "HS512", "rs256", "RS256 ", "RS256\0"]
    {
        cases.push(case(&format!("alg {other:?}"), algorithm, move |token| {
            token.head("alg", json!(other)).compact()
        }));
    }
    for value in [json!(256), json!(["RS256"]), json!({"alg": "RS256"}), Value::Null, json!(true)] {
        cases.push(case(&format!("alg {value}"), malformed, move |token| {
            token.head("alg", value.clone()).compact()
        }));
    }
    let n = SigningKey::rsa(0).jwk()["n"].as_str().unwrap().to_owned();
    let secrets = [
        ("the key in PEM", SigningKey::rsa(0).public_pem().into_bytes()),
        ("the key in PEM without its last newline", SigningKey::rsa(0).public_pem().trim_end().into()),
        ("the modulus", URL_SAFE_NO_PAD.decode(&n).unwrap()),
        ("the modulus in base64", n.into_bytes()),
        ("the key as JWK", SigningKey::rsa(0).jwk().to_string().into_bytes()),
        ("the client's secret", CLIENT_SECRET.as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ];
    for (what, secret) in secrets {
        cases.push(case(&format!("HS256 with {what}"), algorithm, move |token| {
            token.with_hs256(secret.clone()).compact()
        }));
    }
    cases.extend([
        case("jwk, named as the provider's", algorithm, move |token| token.with_own_jwk(&own()).compact()),
        case("jwk of RSA, named as the provider's", signature, |token| {
            token.with_own_jwk(&SigningKey::rsa(1)).compact()
        }),
        case("jwk, named as itself", unknown, move |token| {
            token.with_own_jwk(&own()).head("kid", json!(own().kid())).compact()
        }),
        case("jwk, unnamed", signature, move |token| {
            token.with_own_jwk(&own()).head("kid", Value::Null).compact()
        }),
        case("x5c, named as itself", unknown, move |token| {
            token.with_own_x5c(&own()).head("kid", json!(own().kid())).compact()
        }),
        case("x5c of RSA, named as the provider's", signature, |token| {
            token.with_own_x5c(&SigningKey::rsa(1)).compact()
        }),
        case("another's signature under the provider's name", signature, |token| {
            token.sealed_by(&SigningKey::rsa(1)).compact()
        }),
        case("a kid that is unknown", unknown, |token| token.head("kid", json!("unknown")).compact()),
        case("a kid that is a path", unknown, |token| {
            token.head("kid", json!("../../../../dev/null")).compact()
        }),
        case("a kid that is SQL", unknown, |token| token.head("kid", json!("' or 1=1 --")).compact()),
        case("a kid that is long", unknown, |token| token.head("kid", json!("k".repeat(9_000))).compact()),
        case("a kid with a line break", unknown, |token| {
            token.head("kid", json!("a\r\nx: y\u{0}")).compact()
        }),
        case("an empty kid", unknown, |token| token.head("kid", json!("")).compact()),
        case("no kid, where several keys fit", unknown, |token| token.head("kid", Value::Null).compact()),
        case("a kid that is a number", malformed, |token| token.head("kid", json!(1)).compact()),
        case("the name of an RSA key of 1,024 bits", unknown, |token| {
            let weak = SigningKey::weak_rsa();
            token.head("kid", json!(weak.kid())).sealed_by(&weak).compact()
        }),
        case("ES256 with the name of an RSA key", algorithm, |token| {
            token.head("alg", json!("ES256")).sealed_by(&SigningKey::p256(0)).compact()
        }),
        case("RS256 with the name of an EC key", algorithm, |token| {
            token.head("kid", json!(SigningKey::p256(0).kid())).compact()
        }),
        case("crit", malformed, |token| {
            token.head("crit", json!(["b64"])).head("b64", json!(false)).compact()
        }),
        case("crit, empty", malformed, |token| token.head("crit", json!([])).compact()),
    ]);
    for (name, value) in [("jku", &jku), ("x5u", &x5u)] {
        let (bad, good) = (value.clone(), value.clone());
        cases.push(case(&format!("{name}, named as itself"), unknown, move |token| {
            token
                .head(name, bad.clone())
                .head("kid", json!(SigningKey::rsa(1).kid() + "x"))
                .sealed_by(&SigningKey::rsa(1))
                .compact()
        }));
        cases.push(case(&format!("{name}, named as the provider's"), signature, move |token| {
            token.head(name, good.clone()).sealed_by(&SigningKey::rsa(1)).compact()
        }));
    }
    refuse_all(cases).await;
    assert!(elsewhere.calls().is_empty(), "a token chose what to fetch: {:?}", elsewhere.calls().since(0));
}

#[tokio::test]
async fn a_signature_that_is_not_whole_signs_nobody_in() {
    let signature = "id_token_signature";
    /// The token with another signature.
    fn resigned(token: &Jwt, change: impl Fn(&mut Vec<u8>)) -> String {
        let compact = token.compact();
        let (text, seal) = compact.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(seal).unwrap();
        change(&mut bytes);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(bytes))
    }
    fn es256(token: Jwt) -> Jwt {
        let key = SigningKey::p256(0);
        token.head("alg", json!("ES256")).head("kid", json!(key.kid())).sealed_by(&key)
    }
    // The order of the group of P-256.
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut cases = vec![
        case("none at all", signature, |token| resigned(&token, Vec::clear)),
        case("shorter", signature, |token| resigned(&token, |bytes| bytes.truncate(bytes.len() - 1))),
        case("longer", signature, |token| resigned(&token, |bytes| bytes.push(0))),
        case("doubled", signature, |token| resigned(&token, |bytes| bytes.extend(bytes.clone()))),
        case("zeros", signature, |token| resigned(&token, |bytes| bytes.fill(0))),
        case("ones", signature, |token| resigned(&token, |bytes| bytes.fill(0xff))),
        case("ES256: none at all", signature, |token| resigned(&es256(token), Vec::clear)),
        case("ES256: zeros", signature, |token| resigned(&es256(token), |bytes| bytes.fill(0))),
        case("ES256: ones", signature, |token| resigned(&es256(token), |bytes| bytes.fill(0xff))),
        case("ES256: 63 bytes", signature, |token| {
            resigned(&es256(token), |bytes| bytes.truncate(bytes.len() - 1))
        }),
        case("ES256: 65 bytes", signature, |token| resigned(&es256(token), |bytes| bytes.insert(0, 0))),
        case("ES256: swapped halves", signature, |token| {
            resigned(&es256(token), |bytes| bytes.rotate_left(32))
        }),
        case("ES256: DER", signature, |token| {
            resigned(&es256(token), |bytes| {
                let der = [&[0x30, 0x44, 2, 0x20][..], &bytes[..32], &[2, 0x20], &bytes[32..]].concat();
                *bytes = der;
            })
        }),
        case("of another token", signature, |token| {
            let other = token.clone().claim("sub", json!("somebody")).compact();
            let compact = token.compact();
            let (text, _) = compact.rsplit_once('.').unwrap();
            format!("{text}.{}", other.rsplit_once('.').unwrap().1)
        }),
        case("over other claims", signature, |token| {
            let compact = token.clone().compact();
            let parts: Vec<_> = compact.split('.').collect();
            let claims = Value::Object(token.claim("sub", json!("admin")).claims).to_string();
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims), parts[2])
        }),
    ];
    cases.push(case("ES256: r and s of the group's order", signature, move |token| {
        resigned(&es256(token), |bytes| *bytes = [order.clone(), order.clone()].concat())
    }));
    for bit in [0, 7, 1_023, 2_047] {
        cases.push(case(&format!("bit {bit} flipped"), signature, move |token| {
            resigned(&token, |bytes| bytes[bit / 8] ^= 1 << (bit % 8))
        }));
    }
    cases.push(case("a secret's", "id_token_algorithm", |mut token| {
        token.seal = Seal::Bytes(b"{}".to_vec());
        token.head("alg", json!("HS256")).compact()
    }));
    refuse_all(cases).await;
}

#[tokio::test]
async fn a_token_that_is_for_somebody_or_something_else_signs_nobody_in() {
    let (issuer, audience, malformed) = ("id_token_issuer", "id_token_audience", "id_token_malformed");
    let (expired, not_yet, nonce) = ("id_token_expired", "id_token_not_yet", "id_token_nonce");
    let real = door().await.provider.issuer().to_owned();
    let mut cases = vec![
        claim("iss", json!("https://evil.example"), issuer),
        claim("iss", json!(format!("{real}/")), issuer),
        claim("iss", json!(real.to_uppercase()), issuer),
        claim("iss", json!(format!("{real}\u{0}")), issuer),
        claim("iss", json!(""), issuer),
        claim("iss", json!([real]), malformed),
        claim("iss", json!(1), malformed),
        claim("iss", Value::Null, malformed),
        claim("aud", json!("another"), audience),
        claim("aud", json!(""), audience),
        claim("aud", json!([]), audience),
        claim("aud", json!(["another"]), audience),
        claim("aud", json!([CLIENT_ID, "another"]), audience),
        claim("aud", json!([CLIENT_ID, 1]), audience),
        claim("aud", json!([[CLIENT_ID]]), audience),
        claim("aud", json!({CLIENT_ID: true}), audience),
        claim("aud", json!(format!("{CLIENT_ID} ")), audience),
        claim("aud", json!(CLIENT_ID.to_uppercase()), audience),
        claim("aud", json!(&CLIENT_ID[1..]), audience),
        claim("aud", json!(7), audience),
        claim("aud", Value::Null, audience),
        claim("azp", json!("another"), audience),
        claim("azp", json!(""), audience),
        claim("azp", json!(["another"]), audience),
        claim("azp", json!(7), audience),
        claim("exp", in_seconds(-31), expired),
        claim("exp", json!(1), expired),
        claim("exp", json!(0), expired),
        claim("exp", Value::Null, expired),
        claim("exp", json!("9999999999"), malformed),
        claim("exp", json!(-1), malformed),
        claim("exp", json!(1e300), malformed),
        claim("exp", json!([9_999_999_999_u64]), malformed),
        claim("exp", json!(true), malformed),
        claim("iat", in_seconds(60), not_yet),
        claim("iat", json!(u64::MAX), not_yet),
        claim("iat", Value::Null, malformed),
        claim("iat", json!("now"), malformed),
        claim("nbf", in_seconds(60), not_yet),
        claim("nbf", json!("x"), malformed),
        claim("nonce", json!("another"), nonce),
        claim("nonce", json!(""), nonce),
        claim("nonce", Value::Null, nonce),
        claim("nonce", json!(1), nonce),
        claim("sub", Value::Null, malformed),
        claim("sub", json!(""), malformed),
        claim("sub", json!(1), malformed),
        claim("sub", json!(["person-1"]), malformed),
        claim("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"), "id_token_at_hash"),
        claim("at_hash", json!(""), "id_token_at_hash"),
        claim("at_hash", json!(1), "id_token_at_hash"),
        claim("at_hash", json!(["x"]), "id_token_at_hash"),
        case("the nonce in a list", nonce, |token| {
            let list = json!([token.claims["nonce"].clone()]);
            token.claim("nonce", list).compact()
        }),
        case("the nonce in another case", nonce, |token| {
            let other = json!(token.claims["nonce"].as_str().unwrap().to_uppercase());
            token.claim("nonce", other).compact()
        }),
        case("the nonce and more", nonce, |token| {
            let other = json!(format!("{}A", token.claims["nonce"].as_str().unwrap()));
            token.claim("nonce", other).compact()
        }),
    ];
    for kind in ["at+jwt", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        cases.push(case(&format!("typ {kind:?}"), "id_token_type", move |token| {
            token.head("typ", json!(kind)).compact()
        }));
    }
    // A nonce that was good for another login, and is replayed.
    let stolen = std::sync::Mutex::new(None::<Value>);
    cases.push(case("an earlier login's nonce", nonce, move |token| {
        let first = stolen.lock().unwrap().get_or_insert_with(|| json!("BBBBBBBBBBBBBBBBBBBBBB")).clone();
        token.claim("nonce", first).compact()
    }));
    refuse_all(cases).await;
}

#[tokio::test]
async fn a_whole_token_of_an_earlier_login_signs_nobody_in() {
    let door = door().await;
    let first = std::sync::Arc::new(std::sync::Mutex::new(None::<String>));
    let kept = first.clone();
    door.provider.edit_json(Endpoint::Token, move |body| {
        let honest = body["id_token"].as_str().unwrap().to_owned();
        body["id_token"] = json!(kept.lock().unwrap().get_or_insert(honest));
    });
    assert_eq!(door.visit(&mut UserAgent::new(), "/first").await.response.status, 200);
    let answer = door.visit(&mut UserAgent::new(), "/second").await.response;
    assert_no_login("a replayed token", &answer, 400);
    assert_eq!(door.stack.reason(&answer).await, "id_token_nonce");
    door.keep_secret(first.lock().unwrap().as_deref().unwrap());
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_name_that_stands_twice_in_a_token_signs_nobody_in() {
    let malformed = "id_token_malformed";
    let mut cases = Vec::new();
    for (added, reason) in [
        (r#""sub":"admin""#, malformed),
        (r#""s\u0075b":"admin""#, malformed),
        (r#""iss":"https://evil.example""#, malformed),
        (r#""aud":"another""#, malformed),
        (r#""exp":9999999999"#, malformed),
        (r#""iat":1"#, malformed),
        (r#""nonce":"another""#, malformed),
        (r#""azp":"lockgate e2e""#, malformed),
        (r#""at_hash":"x""#, malformed),
        (r#""email":"admin@example.com""#, malformed),
        (r#""email_verified":true"#, malformed),
        (r#""groups":["admins"]"#, malformed),
    ] {
        cases.extend(twice(added, reason));
    }
    let header = |text: &'static str| {
        case(text, malformed, move |token| {
            let kid = SigningKey::rsa(0).kid();
            let header = text.replace("KID", &kid);
            signed_bytes(
                &SigningKey::rsa(0),
                header.as_bytes(),
                Value::Object(token.claims).to_string().as_bytes(),
            )
        })
    };
    cases.extend([
        header(r#"{"alg":"RS256","alg":"none","kid":"KID"}"#),
        header(r#"{"alg":"none","alg":"RS256","kid":"KID"}"#),
        header(r#"{"alg":"RS256","kid":"x","kid":"KID"}"#),
        header(r#"{"alg":"RS256","kid":"KID","k\u0069d":"KID"}"#),
        header(r#"{"alg":"RS256","kid":"KID","typ":"at+jwt","typ":"JWT"}"#),
    ]);
    refuse_all(cases).await;
}

#[tokio::test]
async fn what_is_not_a_token_at_all_signs_nobody_in() {
    let malformed = "id_token_malformed";
    let (unavailable, large) = ("provider_unavailable", "session_too_large");
    let parts = |token: &Jwt| token.compact().split('.').map(str::to_owned).collect::<Vec<_>>();
    let raw = |what: &str, reason: &'static str, header: &[u8], claims: &[u8]| {
        let (header, claims) = (header.to_vec(), claims.to_vec());
        case(what, reason, move |_| signed_bytes(&SigningKey::rsa(0), &header, &claims))
    };
    let good = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, SigningKey::rsa(0).kid());
    let good = good.as_bytes();
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    let deep_claims = [br#"{"x":"#, &deep[..], b"}"].concat();
    let cases = vec![
        case("one part", malformed, move |token| parts(&token)[0].clone()),
        case("two parts", malformed, move |token| parts(&token)[..2].join(".")),
        case("four parts", malformed, |token| format!("{}.x", token.compact())),
        case("five parts", malformed, |token| format!("{}.a.b", token.compact())),
        case("only dots", malformed, |_| "..".into()),
        case("a dot", malformed, |_| ".".into()),
        case("a dot before", malformed, |token| format!(".{}", token.compact())),
        case("a dot behind", malformed, |token| format!("{}.", token.compact())),
        case("padding", malformed, |token| format!("{}=", token.compact())),
        case("the base64 of it", malformed, |token| STANDARD.encode(token.compact())),
        case("text", malformed, |_| "<html>evil</html>".into()),
        case("its header twice", malformed, move |token| format!("{0}.{0}.{0}", parts(&token)[0])),
        case("with a space", unavailable, |token| token.compact().replacen('.', ". ", 1)),
        case("with a line break", unavailable, |token| token.compact().replacen('.', ".\r\nx: y\r\n", 1)),
        case("with an umlaut", unavailable, |token| format!("{}ä", token.compact())),
        case("100 kB of name", large, |token| token.claim("name", json!("n".repeat(100_000))).compact()),
        case("100 kB of header", large, |token| token.head("x", json!("n".repeat(100_000))).compact()),
        case("1 MB", unavailable, |token| token.claim("name", json!("n".repeat(1_000_000))).compact()),
        case("100 kB of dots", large, |_| ".".repeat(100_000)),
        raw("no claims", malformed, good, b""),
        raw("claims in a list", malformed, good, b"[]"),
        raw("claims null", malformed, good, b"null"),
        raw("claims a text", malformed, good, br#""sub""#),
        raw("claims not JSON", malformed, good, b"{sub:1}"),
        raw("claims cut off", malformed, good, br#"{"sub":"#),
        raw("claims and more", malformed, good, b"{}{}"),
        raw("claims not UTF-8", malformed, good, b"{\"sub\":\"\xff\"}"),
        raw("half a surrogate", malformed, good, br#"{"iss":"\ud800"}"#),
        raw("deep claims", malformed, good, &deep_claims),
        raw("deep claims without an end", malformed, good, &vec![b'['; 10_000]),
        raw("no header", malformed, b"", b"{}"),
        raw("header in a list", malformed, b"[]", b"{}"),
        raw("header not UTF-8", malformed, b"{\"alg\":\"\xff\"}", b"{}"),
        raw("deep header", malformed, &deep, b"{}"),
        raw("a byte order mark", malformed, &[b"\xef\xbb\xbf", good].concat(), b"{}"),
    ];
    refuse_all(cases).await;
}

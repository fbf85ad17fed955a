//! Logout tokens (OpenID Connect Back-Channel Logout 1.0) that are forged, old, or for somebody else.

use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET};
use lockgate_e2e::siege::Turn;
use lockgate_e2e::signing_keys::{Jwt, Seal, SigningKey, in_seconds, signed_bytes};
use lockgate_e2e::{Request, Response};
use serde_json::{Value, json};

use crate::{door, door_unharmed, signed_in, signed_in_at};

const TARGET: &str = "/_lockgate/back-channel-logout";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

async fn tell(door: &Turn, token: &str) -> Response {
    door.keep_secret(token);
    let request = Request::post(TARGET, FORM, format!("logout_token={token}"));
    door.stack.client().send(&request).await
}

/// Sessions of a provider's session of this name.
async fn sessions(door: &Turn, sid: &str) -> [String; 2] {
    let sid = sid.to_owned();
    door.provider.behave(|manners| manners.sid = Some(sid));
    [signed_in(door).await, signed_in(door).await]
}

/// Checks that a logout was refused, for this reason, and told to nobody but the log.
async fn assert_refused(door: &Turn, what: &str, answer: &Response, status: u16, reason: &str) {
    assert_eq!((what, answer.status), (what, status), "{}", answer.text());
    assert_eq!(door.stack.reason(answer).await, reason, "{what}");
    assert!(!answer.headers.contains("set-cookie") && !answer.headers.contains("location"), "{what}");
}

#[tokio::test]
async fn a_logout_token_that_is_not_good_signs_nobody_out() {
    let (door, _) = door().await;
    let all = sessions(&door, "sid-tokens").await;
    let elsewhere = HostileProvider::start();
    let provider = &door.provider;
    let token = || provider.mint_logout_token(Some("person-1"), Some("sid-tokens"));
    let (claims, event, malformed) = ("logout_token_claims", "logout_token_event", "logout_token_malformed");
    let (algorithm, signature, unknown) =
        ("logout_token_algorithm", "logout_token_signature", "logout_token_unknown_key");
    let (issuer, audience) = ("logout_token_issuer", "logout_token_audience");
    let (expired, not_yet, kind) = ("logout_token_expired", "logout_token_not_yet", "logout_token_type");
    let own = SigningKey::p256(9);
    let claim = |name: &str, value: Value, reason: &'static str| {
        (format!("{name}: {value}"), token().claim(name, value).compact(), reason)
    };
    let mut cases: Vec<(String, String, &str)> = vec![
        claim("iss", Value::Null, issuer),
        claim("iss", json!("https://evil.example"), issuer),
        claim("iss", json!(format!("{}/", provider.issuer())), issuer),
        claim("iss", json!([provider.issuer()]), issuer),
        claim("aud", Value::Null, audience),
        claim("aud", json!("another"), audience),
        claim("aud", json!([]), audience),
        claim("aud", json!({}), audience),
        claim("iat", Value::Null, claims),
        claim("iat", in_seconds(120), not_yet),
        claim("iat", json!("now"), malformed),
        claim("exp", Value::Null, expired),
        claim("exp", in_seconds(-31), expired),
        claim("exp", json!("9999999999"), malformed),
        claim("nbf", in_seconds(120), not_yet),
        claim("jti", Value::Null, claims),
        claim("jti", json!(""), claims),
        claim("jti", json!(7), claims),
        claim("nonce", json!("n"), claims),
        claim("nonce", json!(""), claims),
        claim("sid", json!(7), claims),
        claim("sid", json!(""), claims),
        claim("sid", json!(["sid-tokens"]), claims),
        claim("sub", json!(7), claims),
        claim("events", Value::Null, event),
        claim("events", json!([]), event),
        claim("events", json!(EVENT), event),
        claim("events", json!([EVENT]), event),
        claim("events", json!({}), event),
        claim("events", json!({EVENT: null}), event),
        claim("events", json!({EVENT: true}), event),
        claim("events", json!({EVENT: []}), event),
        claim("events", json!({EVENT: "{}"}), event),
        claim("events", json!({"http://schemas.openid.net/event/backchannel-logout/": {}}), event),
        claim(
            "events",
            json!({"https://schemas.openid.net/secevent/risc/event-type/sessions-revoked": {}}),
            event,
        ),
    ];
    let mut add =
        |what: &str, token: String, reason: &'static str| cases.push((what.to_owned(), token, reason));
    add(
        "nobody",
        token().claim("sub", Value::Null).claim("sid", Value::Null).compact(),
        "logout_token_of_nobody",
    );
    add("a nonce that is null", raw(&token(), r#""nonce":null"#), claims);
    for none in ["none", "None", ""] {
        add(&format!("alg {none:?}"), token().unsigned(none).compact(), algorithm);
    }
    add("HS256 with the public key", token().with_hs256(provider.key().public_pem()).compact(), algorithm);
    add("HS256 with the client's secret", token().with_hs256(CLIENT_SECRET).compact(), algorithm);
    add("RS512", token().head("alg", json!("RS512")).compact(), algorithm);
    add(
        "ES256 with the name of an RSA key",
        token().head("alg", json!("ES256")).sealed_by(&own).compact(),
        algorithm,
    );
    add("jwk", token().with_own_jwk(&SigningKey::rsa(1)).compact(), signature);
    add("x5c", token().with_own_x5c(&SigningKey::rsa(1)).compact(), signature);
    add("jwk, named as itself", token().with_own_jwk(&own).head("kid", json!(own.kid())).compact(), unknown);
    add("jku", token().head("jku", json!(elsewhere.url("/jwks"))).head("kid", json!("x")).compact(), unknown);
    add("another's signature", token().sealed_by(&SigningKey::rsa(1)).compact(), signature);
    let mut unsigned = token();
    unsigned.seal = Seal::Bytes(Vec::new());
    add("no signature", unsigned.compact(), signature);
    add("a kid that is unknown", token().head("kid", json!("unknown")).compact(), unknown);
    add("crit", token().head("crit", json!(["x"])).compact(), malformed);
    for other in ["at+jwt", "secevent+jwt", "application/logout-token+jwt", "x"] {
        add(&format!("typ {other}"), token().head("typ", json!(other)).compact(), kind);
    }
    for name in ["sid", "sub", "jti", "nonce", "aud", "iss", "exp"] {
        let value = if name == "exp" { "9999999999".to_owned() } else { "\"x\"".to_owned() };
        let reason = match name {
            "sid" | "sub" | "jti" | "nonce" => claims,
            // Of whom it is nobody knows.
            "iss" => issuer,
            _ => malformed,
        };
        add(&format!("{name} twice"), raw(&token(), &format!("\"{name}\":{value}")), reason);
    }
    add("events twice", raw(&token(), r#""events":{}"#), event);
    add("not a token", "x".into(), malformed);
    add("dots", "..".into(), malformed);
    add("four parts", format!("{}.x", token().compact()), malformed);
    add("a kilobyte of dots", ".".repeat(1_000), malformed);
    add("20 kB", token().claim("x", json!("x".repeat(20_000))).compact(), malformed);
    add("deep", signed_bytes(&provider.key(), b"{\"alg\":\"RS256\"}", &[b'['; 3_000]), malformed);
    let id_token = json!({"sub": "person-1", "sid": "sid-tokens", "aud": CLIENT_ID, "nonce": "n"});
    add("an ID token", provider.mint(id_token).compact(), claims);
    add("an access token", provider.mint_access_token(CLIENT_ID, "person-1").compact(), kind);
    for (what, token, reason) in cases {
        let answer = tell(&door, &token).await;
        assert_refused(&door, &what, &answer, 400, reason).await;
    }
    assert!(elsewhere.calls().is_empty(), "a token chose what to fetch");
    for cookies in &all {
        assert_eq!(door.whose(cookies).await.as_deref(), Some("person-1"), "nobody was signed out");
    }
    // The honest one, of which all of these were made.
    let answer = tell(&door, &token().compact()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers.text("cache-control").as_deref(), Some("no-store"));
    for cookies in &all {
        assert_eq!(door.whose(cookies).await, None);
    }
    door_unharmed(&door).await;
}

/// A token whose claims have one more member, whether its name is there already or not.
fn raw(token: &Jwt, added: &str) -> String {
    let claims = Value::Object(token.claims.clone()).to_string();
    let claims = format!("{},{added}}}", &claims[..claims.len() - 1]);
    signed_bytes(
        &SigningKey::rsa(0),
        Value::Object(token.header.clone()).to_string().as_bytes(),
        claims.as_bytes(),
    )
}

#[tokio::test]
async fn no_answer_to_a_logout_token_is_kept() {
    // OpenID Connect Back-Channel Logout, section 2.8, of the good answer and of the bad ones.
    let (door, _) = door().await;
    let good = door.provider.mint_logout_token(None, Some("sid-kept")).compact();
    for (token, status) in [(&*good, 200), (&*good, 400), ("x", 400), ("", 400)] {
        let answer = tell(&door, token).await;
        let kept = answer.headers.text("cache-control");
        assert_eq!((answer.status, kept.as_deref()), (status, Some("no-store")));
    }
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_request_that_is_no_form_with_one_token_signs_nobody_out() {
    let (door, _) = door().await;
    let all = sessions(&door, "sid-forms").await;
    let token = || door.provider.mint_logout_token(None, Some("sid-forms")).compact();
    let post = |body: String| Request::post(TARGET, FORM, body);
    let none = "no_logout_token";
    let large = format!("logout_token={}&x={}", token(), "x".repeat(40_000));
    let cases: Vec<(&str, Request, u16, &str)> = vec![
        ("nothing", post(String::new()), 400, none),
        ("another name", post(format!("token={}", token())), 400, none),
        ("another case", post(format!("Logout_Token={}", token())), 400, none),
        ("two tokens", post(format!("logout_token={}&logout_token={}", token(), token())), 400, none),
        ("one token and an empty one", post(format!("logout_token={}&logout_token=", token())), 400, none),
        (
            "a second one in another spelling",
            post(format!("logout_token={}&logout%5ftoken=x", token())),
            400,
            none,
        ),
        ("an empty token", post("logout_token=".into()), 400, "logout_token_malformed"),
        ("no value", post("logout_token".into()), 400, "logout_token_malformed"),
        (
            "JSON",
            Request::post(TARGET, "application/json", json!({"logout_token": token()}).to_string()),
            400,
            none,
        ),
        ("the token alone", Request::post(TARGET, "application/logout+jwt", token()), 400, none),
        (
            "a form of parts",
            Request::post(
                TARGET,
                "multipart/form-data; boundary=b",
                format!(
                    "--b\r\ncontent-disposition: form-data; name=\"logout_token\"\r\n\r\n{}\r\n--b--\r\n",
                    token()
                ),
            ),
            400,
            none,
        ),
        ("not UTF-8", Request::post(TARGET, FORM, b"\xff\xfe=\xff&logout_token=%ff".to_vec()), 400, none),
        ("a broken escape", post("logout_token=%zz%".into()), 400, "logout_token_malformed"),
        ("too large", post(large.clone()), 413, "too_large"),
        ("much too large", post("x".repeat(900_000)), 413, "too_large"),
    ];
    let client = door.stack.client();
    for (what, request, status, reason) in cases {
        let answer = client.send(&request).await;
        // Of what cannot be read in more than one way, the reason does not matter.
        if what == "a broken escape" {
            assert_eq!(answer.status, 400, "{what}");
            continue;
        }
        assert_refused(&door, what, &answer, status, reason).await;
    }
    assert_eq!(client.send_chunked(&post(large), 1_000).await.status, 413);

    // By any other way than the body of a POST.
    let query = format!("{TARGET}?logout_token={}", token());
    assert_refused(&door, "in the query", &client.send(&Request::post(&query, FORM, "")).await, 400, none)
        .await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut request = Request::post(&query, FORM, format!("logout_token={}", token()));
        request.method = method.to_owned();
        let answer = client.send(&request).await;
        assert!(matches!(answer.status, 401 | 404 | 405), "{method}: {}", answer.status);
    }
    for target in [
        "/_lockgate/back-channel-logout/",
        "/_lockgate/back-channel-logout/x",
        "/_lockgate/Back-Channel-Logout",
    ] {
        let answer = client.send(&Request::post(target, FORM, format!("logout_token={}", token()))).await;
        assert_eq!(answer.status, 404, "{target}");
    }
    let headers = Request::post(TARGET, FORM, "")
        .header("logout_token", token())
        .header("cookie", format!("logout_token={}", token()));
    assert_eq!(client.send(&headers).await.status, 400);
    // A body that stops in the middle is no body.
    let whole = post(format!("logout_token={}", token())).header("host", "127.0.0.1").to_bytes();
    let mut connection = client.connect().await;
    connection.write(&whole[..whole.len() - 5]).await;
    drop(connection);
    for cookies in &all {
        assert_eq!(door.whose(cookies).await.as_deref(), Some("person-1"), "nobody was signed out");
    }
    // However it arrives, if it is whole.
    let form = post(format!("state=x&logout_token={}&y=z", token())).header("cookie", "lockgate=x; a=b");
    assert_eq!(client.send_chunked(&form, 1).await.status, 200);
    for cookies in &all {
        assert_eq!(door.whose(cookies).await, None);
    }
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_logout_token_is_good_once_whichever_worker_sees_it() {
    let (door, _) = door().await;
    let all = sessions(&door, "sid-replayed").await;
    let token = door.provider.mint_logout_token(None, Some("sid-replayed")).compact();
    assert_eq!(tell(&door, &token).await.status, 200);
    for cookies in &all {
        assert_eq!(door.whose(cookies).await, None);
    }
    // The provider's session goes on under its name, and who signs in again is not signed out by it.
    let client = door.stack.client();
    let race = (0..20).map(|_| {
        let request = Request::post(TARGET, FORM, format!("logout_token={token}"));
        tokio::spawn(async move { client.send(&request).await })
    });
    for answer in race.collect::<Vec<_>>() {
        assert_refused(&door, "a replay", &answer.await.unwrap(), 400, "logout_token_replayed").await;
    }
    // The same name for another token is a replay, too.
    let mut again = door.provider.mint_logout_token(None, Some("sid-replayed"));
    let (_, claims) = lockgate_e2e::signing_keys::unverified(&token);
    again.claims["jti"] = claims["jti"].clone();
    assert_refused(&door, "its jti", &tell(&door, &again.compact()).await, 400, "logout_token_replayed")
        .await;
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_race_of_one_logout_token_is_taken_once() {
    let (door, _) = door().await;
    for round in 0..5 {
        let sid = format!("sid-race-{round}");
        let all = sessions(&door, &sid).await;
        let token = door.provider.mint_logout_token(None, Some(&sid)).compact();
        let client = door.stack.client();
        let race = (0..20).map(|_| {
            let request = Request::post(TARGET, FORM, format!("logout_token={token}"));
            tokio::spawn(async move { client.send(&request).await.status })
        });
        let mut taken = 0;
        for answer in race.collect::<Vec<_>>() {
            match answer.await.unwrap() {
                200 => taken += 1,
                status => assert!(matches!(status, 400 | 503), "{status}"),
            }
        }
        assert!(taken >= 1, "the provider is told that it has worked");
        for cookies in &all {
            assert_eq!(door.whose(cookies).await, None);
        }
    }
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_logout_reaches_the_sessions_it_names_and_no_others() {
    let (door, other) = door().await;
    let sub =
        |name: &str| json!({"sub": name, "email": format!("{name}@example.com"), "email_verified": true});
    // The same names at two providers are two people.
    door.provider.set_person(sub("same-name"));
    other.set_person(sub("same-name"));
    for provider in [&door.provider, other] {
        provider.behave(|manners| manners.sid = Some("same-sid".into()));
    }
    let here = signed_in(&door).await;
    let there = signed_in_at(&door, "other").await;
    door.provider.behave(|manners| manners.sid = Some("another-sid".into()));
    let beside = signed_in(&door).await;

    // The other provider's word is about its own people, whatever it calls itself.
    for token in [
        other.mint_logout_token(None, Some("another-sid")).compact(),
        other.mint_logout_token(Some("same-name"), Some("another-sid")).compact(),
    ] {
        assert_eq!(tell(&door, &token).await.status, 200, "nobody has to be signed in for it");
    }
    for (provider, cookies) in [("the first", &here), ("the second", &there), ("the first again", &beside)] {
        assert_eq!(door.whose(cookies).await.as_deref(), Some("same-name"), "{provider}");
    }
    let posed = other.mint_logout_token(None, Some("same-sid")).claim("iss", json!(door.provider.issuer()));
    let posed = posed.sealed_by(&SigningKey::rsa(1)).head("kid", json!(SigningKey::rsa(1).kid()));
    assert_refused(
        &door,
        "poses as the first",
        &tell(&door, &posed.compact()).await,
        400,
        "logout_token_unknown_key",
    )
    .await;

    assert_eq!(tell(&door, &other.mint_logout_token(None, Some("same-sid")).compact()).await.status, 200);
    assert_eq!(door.whose(&there).await, None);
    assert_eq!(
        door.whose(&here).await.as_deref(),
        Some("same-name"),
        "of the same sid at the first provider"
    );
    // A subject without a session: everything of that person, there alone.
    let there = {
        // Who signs in within the second of a logout counts as signed out: the clock has seconds.
        let told = lockgate_e2e::slack::now();
        assert_eq!(
            tell(&door, &other.mint_logout_token(Some("same-name"), None).compact()).await.status,
            200
        );
        while lockgate_e2e::slack::now() <= told + 1 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        other.behave(|manners| manners.sid = Some("a-new-sid".into()));
        signed_in_at(&door, "other").await
    };
    assert_eq!(door.whose(&there).await.as_deref(), Some("same-name"), "who signs in later is signed in");
    assert_eq!(door.whose(&here).await.as_deref(), Some("same-name"));
    assert_eq!(
        tell(&door, &door.provider.mint_logout_token(Some("same-name"), None).compact()).await.status,
        200
    );
    assert_eq!((door.whose(&here).await, door.whose(&beside).await), (None, None));
    assert_eq!(door.whose(&there).await.as_deref(), Some("same-name"));
    // Names that would run into each other, were they only put together.
    for odd in ["same-name\u{0}same-sid", "\u{0}", "a\r\nb", &"s".repeat(5_000)] {
        let answer = tell(&door, &other.mint_logout_token(None, Some(odd)).compact()).await;
        assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    }
    assert_eq!(door.whose(&there).await.as_deref(), Some("same-name"));
    other.behave(|manners| manners.sid = None);
    door_unharmed(&door).await;
}

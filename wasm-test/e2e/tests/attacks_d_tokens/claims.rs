//! Claims that are missing, of the wrong kind, or over.

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{AUDIENCE, no_invalid_token, traps};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::signing_keys::in_seconds;
use lockgate_e2e::slack::now;
use serde_json::{Value, json};

use crate::{ask, assert_all_refused, honest, issuer, stack};

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

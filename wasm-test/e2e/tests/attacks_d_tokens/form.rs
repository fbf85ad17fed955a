//! Tokens that are no tokens: no JSON, no base64url, or too much of it.

use lockgate_e2e::Request;
use lockgate_e2e::guarded_routes::{AUDIENCE, traps, with_token};
use lockgate_e2e::slack::now;
use serde_json::json;

use crate::{ask, assert_all_refused, honest, issuer, stack};

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

//! Slack's signature, by Slack's own SDK and by everything that must not pass for one.

use lockgate_common::hmac::Key;
use lockgate_common::http::Headers;
use lockgate_common::secret::Secret;
use slack_signature::signature::{SignatureError, Signed, keys};

/// A slash command as Slack documents it, signed by slack_sdk 3.47.0's SignatureVerifier.
const SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
const TIME: &str = "1531420618";
const SIGNATURE: &str = "v0=dab5c759ae43df6c110485dc3effd58fe16cdd87f3ed68a8cd2cff2555cf6b07";
const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

fn headers(time: &str, signature: &str) -> Headers {
    let mut headers = Headers::default();
    headers.push("x-slack-request-timestamp", time.as_bytes());
    headers.push("x-slack-signature", signature.as_bytes());
    headers
}

fn verify(signature: &str, body: &[u8], secrets: &[&[u8]]) -> Result<(), SignatureError> {
    let headers = headers(TIME, signature);
    let keys: Vec<_> = secrets.iter().map(|secret| Key::new(secret)).collect();
    Signed::from_headers(&headers)?.ok_or(SignatureError::Missing)?.verify(body, &keys)
}

#[test]
fn what_slacks_own_sdk_signed_passes() {
    assert_eq!(verify(SIGNATURE, BODY, &[SECRET]), Ok(()));
}

#[test]
fn during_a_rotation_either_secret_will_do() {
    assert_eq!(verify(SIGNATURE, BODY, &[b"new", SECRET]), Ok(()));
    assert_eq!(verify(SIGNATURE, BODY, &[SECRET, b"new"]), Ok(()));
    assert_eq!(verify(SIGNATURE, BODY, &[b"new", b"newer"]), Err(SignatureError::Mismatch));
}

#[test]
fn anything_else_than_64_lower_case_digits_behind_v0_does_not() {
    let (short, long) = (&SIGNATURE[..SIGNATURE.len() - 1], [SIGNATURE, "0"].concat());
    let upper = ["v0=", &SIGNATURE[3..].to_uppercase()].concat();
    let other = SIGNATURE.replace("v0=", "v1=");
    let changed = SIGNATURE.replace("b07", "b08");
    for signature in [short, &long, &upper, &other, &changed, "", "v0=", &SIGNATURE[3..]] {
        assert_eq!(verify(signature, BODY, &[SECRET]), Err(SignatureError::Mismatch), "{signature}");
    }
}

#[test]
fn one_byte_of_the_body_more_less_or_other_does_not() {
    let mut changed = BODY.to_vec();
    changed[7] ^= 1;
    for body in [&changed, &BODY[1..], [BODY, b" "].concat().as_slice()] {
        assert_eq!(verify(SIGNATURE, body, &[SECRET]), Err(SignatureError::Mismatch));
    }
}

#[test]
fn the_time_may_differ_by_300_seconds_either_way() {
    let check = |time: &str, now: u64| {
        let headers = headers(time, SIGNATURE);
        Signed::from_headers(&headers).unwrap().unwrap().check_time(now, 300)
    };
    let now = 1_531_420_618;
    for distance in [0, 1, 300] {
        assert_eq!(check(TIME, now + distance), Ok(()));
        assert_eq!(check(TIME, now - distance), Ok(()));
    }
    assert_eq!(check(TIME, now + 301), Err(SignatureError::Stale));
    assert_eq!(check(TIME, now - 301), Err(SignatureError::Stale));
    assert_eq!(check("1", now), Err(SignatureError::Stale));
    for time in
        ["", "-1531420618", "+1531420618", "1531420618.0", " 1531420618", "0x5b47", "153142061800000000000"]
    {
        assert_eq!(check(time, now), Err(SignatureError::Timestamp), "{time}");
    }
}

#[test]
fn a_header_that_is_missing_or_stands_twice_is_no_signature() {
    let mut headers = Headers::default();
    assert!(Signed::from_headers(&headers).unwrap().is_none());
    headers.push("x-slack-signature", SIGNATURE.as_bytes());
    assert_eq!(Signed::from_headers(&headers).err(), Some(SignatureError::Missing));
    headers.push("x-slack-request-timestamp", TIME.as_bytes());
    assert!(Signed::from_headers(&headers).unwrap().is_some());
    headers.push("x-slack-request-timestamp", TIME.as_bytes());
    assert_eq!(Signed::from_headers(&headers).err(), Some(SignatureError::Repeated));
}

#[test]
fn an_empty_secret_is_none() {
    let count = |text: &str| keys(&Secret::new(text.into())).map(|keys| keys.len());
    assert_eq!(count("a, b"), Some(2));
    for text in ["", ",", "a,", ",a", "a, ,b", "a,b,c,d,e,f,g,h,i"] {
        assert_eq!(count(text), None, "{text}");
    }
}

//! Forms become plain JSON objects, or are refused.

mod support;

use form_to_json::error::ConvertError;
use support::{converted, form, rule, with_template};

#[test]
fn plus_and_percent_escapes_are_decoded() {
    assert_eq!(
        form("text=a+b%20c%2B%26%3D&caf%C3%A9=%F0%9F%98%80").unwrap(),
        r#"{"text":"a b c+&=","café":"😀"}"#
    );
    assert_eq!(form("raw=é").unwrap(), r#"{"raw":"é"}"#);
    assert_eq!(form("quote=%22%5C%0A%00%7f").unwrap(), "{\"quote\":\"\\\"\\\\\\n\\u0000\u{7f}\"}");
}

#[test]
fn an_empty_value_a_missing_equals_sign_and_an_empty_name_are_empty_texts() {
    assert_eq!(form("a=&b&=c").unwrap(), r#"{"a":"","b":"","":"c"}"#);
    assert_eq!(form("=").unwrap(), r#"{"":""}"#);
    assert_eq!(form("a=b=c").unwrap(), r#"{"a":"b=c"}"#);
}

#[test]
fn empty_segments_are_skipped() {
    assert_eq!(form("&&a=1&&b=2&").unwrap(), r#"{"a":"1","b":"2"}"#);
    assert_eq!(form("").unwrap(), "{}");
    assert_eq!(form("&").unwrap(), "{}");
}

#[test]
fn a_repeated_name_has_its_values_in_order_at_its_first_place() {
    assert_eq!(form("b=1&a=2&b=3&c=4&b=5&%62=6").unwrap(), r#"{"b":["1","3","5","6"],"a":"2","c":"4"}"#);
    assert_eq!(form("a&a").unwrap(), r#"{"a":["",""]}"#);
}

#[test]
fn names_with_a_meaning_elsewhere_are_ordinary() {
    assert_eq!(
        form("__proto__=x&constructor=y&a[b]=1&a[]=2&toString=z").unwrap(),
        r#"{"__proto__":"x","constructor":"y","a[b]":"1","a[]":"2","toString":"z"}"#
    );
}

#[test]
fn a_broken_escape_is_refused() {
    for body in ["a=%", "a=%4", "a=%zz", "%=a", "a=%4g", "a=%+1", "a=1&b=%"] {
        assert_eq!(form(body), Err(ConvertError::BrokenEscape), "{body}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    for body in [&b"a=%ff"[..], b"a=%c3", b"%c3%28=1", b"a=\xff", b"a=%ed%a0%80"] {
        assert_eq!(form(body), Err(ConvertError::NotUtf8), "{body:?}");
    }
}

#[test]
fn a_payload_that_is_an_object_or_array_is_embedded_as_it_came() {
    assert_eq!(
        form("payload=%7B%22n%22%3A+12345678901234567890%2C%22e%22%3A%5B%5D%7D&x=1").unwrap(),
        r#"{"payload":{"n": 12345678901234567890,"e":[]},"x":"1"}"#
    );
    assert_eq!(form("payload=[1]&payload=two").unwrap(), r#"{"payload":[[1],"two"]}"#);
    assert_eq!(form("payload=+[1]+").unwrap(), r#"{"payload":[1]}"#);
}

#[test]
fn a_payload_that_is_anything_else_stays_a_text() {
    for (body, expected) in [
        ("payload=5", r#"{"payload":"5"}"#),
        ("payload=%22a%22", r#"{"payload":"\"a\""}"#),
        ("payload=null", r#"{"payload":"null"}"#),
        ("payload={", r#"{"payload":"{"}"#),
        ("payload={},", r#"{"payload":"{},"}"#),
        ("payload=", r#"{"payload":""}"#),
        ("Payload={}", r#"{"Payload":"{}"}"#),
    ] {
        assert_eq!(form(body).unwrap(), expected, "{body}");
    }
}

#[test]
fn fields_over_the_limit_are_refused() {
    let rule = rule(r#"{"max_fields":3}"#);
    assert_eq!(converted(&rule, support::FORM, "a&&b&c&").unwrap(), r#"{"a":"","b":"","c":""}"#);
    assert_eq!(converted(&rule, support::FORM, "a&b&c&a"), Err(ConvertError::TooManyFields));
    // Refused before the rest is decoded.
    assert_eq!(converted(&rule, support::FORM, "a&b&c&%"), Err(ConvertError::TooManyFields));
    assert_eq!(form("a&".repeat(1_001)), Err(ConvertError::TooManyFields));
}

#[test]
fn ten_thousand_fields_of_one_name_or_of_many_are_converted() {
    let rule = rule(r#"{"max_fields":10000}"#);
    let one = "a=1&".repeat(10_000);
    assert_eq!(
        converted(&rule, support::FORM, &one).unwrap(),
        format!("{{\"a\":[{}\"1\"]}}", "\"1\",".repeat(9_999))
    );
    let many: String = (0..10_000).map(|n| format!("k{n}=&")).collect();
    let many = converted(&rule, support::FORM, &many).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&many).unwrap().as_object().unwrap().len(), 10_000);
}

#[test]
fn a_form_can_have_a_template() {
    let rule = with_template(r#"{"user":{"$ptr":"/user_id"},"tags":{"$ptr":"/tag","default":[]}}"#);
    assert_eq!(converted(&rule, support::FORM, "user_id=U1").unwrap(), r#"{"user":"U1","tags":[]}"#);
    assert_eq!(
        converted(&rule, support::FORM, "user_id=U1&tag=a&tag=b").unwrap(),
        r#"{"user":"U1","tags":["a","b"]}"#
    );
}

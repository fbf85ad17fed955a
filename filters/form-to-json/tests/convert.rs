//! Which bodies are converted, the limits, and what the sender is told.

mod support;

use form_to_json::conversion::Conversion;
use form_to_json::convert::convert;
use form_to_json::error::ConvertError;
use support::{FORM, JSON, converted, mistake, rule, with_template};

#[test]
fn json_without_a_template_stays_as_it_came() {
    let body = " {\"n\": 12345678901234567890,\"e\":[] ,\"a\":1,\"a\":2}\n";
    assert_eq!(converted(&rule("{}"), JSON, body).unwrap(), body);
    assert_eq!(converted(&rule("{}"), "application/vnd.api+json", "5").unwrap(), "5");
}

#[test]
fn a_body_that_says_it_is_json_must_be() {
    for body in ["", " ", "a=1", "{", "{}x", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\\ud800\"}"] {
        assert_eq!(converted(&rule("{}"), JSON, body), Err(ConvertError::NotJson), "{body:?}");
    }
    assert_eq!(convert(&rule("{}"), Some(JSON.as_bytes()), b"\"\xff\""), Err(ConvertError::NotJson));
}

#[test]
fn without_a_content_type_the_body_decides() {
    let rule = rule("{}");
    assert_eq!(convert(&rule, None, b"\n [1]").unwrap(), b"\n [1]");
    assert_eq!(convert(&rule, None, b"a=1").unwrap(), br#"{"a":"1"}"#);
    assert_eq!(convert(&rule, None, b"").unwrap(), b"{}");
    assert_eq!(convert(&rule, None, b"{a=1"), Err(ConvertError::NotJson));
}

#[test]
fn other_media_types_and_charsets_are_refused() {
    for content_type in
        ["multipart/form-data; boundary=x", "text/plain", "", "application/json; charset=latin1"]
    {
        assert_eq!(
            converted(&rule("{}"), content_type, "{}"),
            Err(ConvertError::UnsupportedMediaType),
            "{content_type}"
        );
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let rule = rule(r#"{"max_body_bytes":7}"#);
    assert_eq!(converted(&rule, JSON, "\"12345\"").unwrap(), "\"12345\"");
    assert_eq!(converted(&rule, JSON, "\"123456\""), Err(ConvertError::BodyTooLarge));
}

#[test]
fn a_result_over_the_limit_is_refused() {
    let plain = rule(r#"{"max_output_bytes":9}"#);
    assert_eq!(converted(&plain, FORM, "a=1").unwrap(), r#"{"a":"1"}"#);
    assert_eq!(converted(&plain, FORM, "a=12"), Err(ConvertError::OutputTooLarge));
    assert_eq!(converted(&plain, FORM, "a=%01"), Err(ConvertError::OutputTooLarge));
    assert_eq!(converted(&plain, JSON, "1234567890"), Err(ConvertError::OutputTooLarge));

    let thrice = rule(r#"{"max_output_bytes":10,"template":[{"$ptr":""},{"$ptr":""},{"$ptr":""}]}"#);
    assert_eq!(converted(&thrice, JSON, "12").unwrap(), "[12,12,12]");
    assert_eq!(converted(&thrice, JSON, "123"), Err(ConvertError::OutputTooLarge));
}

#[test]
fn settings_have_defaults_and_bounds() {
    let Conversion { template, max_body_bytes, max_output_bytes, max_fields } =
        rule(r#"{"match":{"path":"/"}}"#);
    assert!(template.is_none());
    assert_eq!((max_body_bytes, max_output_bytes, max_fields), (1 << 20, 1 << 20, 1_000));
    assert_eq!(
        mistake(r#"{"max_fields":0}"#),
        "rules[0].max_fields: given 0, expected a whole number from 1 to 100000"
    );
    assert!(
        mistake(r#"{"max_body_bytes":"1"}"#).starts_with("rules[0].max_body_bytes: given \"1\", expected")
    );
    assert!(
        mistake(r#"{"max_output_bytes":1e3}"#).starts_with("rules[0].max_output_bytes: given 1e3, expected")
    );
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    assert_eq!(
        mistake(r#"{"max_field":5}"#),
        "rules[0].max_field: given 5, expected no such field; one of: match, unchanged, template, max_body_bytes, max_output_bytes, max_fields"
    );
}

#[test]
fn what_the_sender_is_told_is_a_sentence_and_for_the_counter_a_word() {
    use ConvertError::*;
    let errors = [
        (BodyTooLarge, 413),
        (TooManyFields, 413),
        (OutputTooLarge, 413),
        (UnsupportedMediaType, 415),
        (BrokenEscape, 400),
        (NotUtf8, 400),
        (NotJson, 400),
        (TooDeep, 400),
        (MissingValue, 400),
        (NotAnObject, 400),
        (NotAName, 400),
    ];
    let mut reasons: Vec<_> = errors.iter().map(|(error, _)| error.refusal().reason).collect();
    for (error, status) in errors {
        let refusal = error.refusal();
        assert_eq!(refusal.status, status, "{error:?}");
        assert!(refusal.reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'8'));
        assert!(refusal.sentence.ends_with('.') && !refusal.sentence.contains('\n'));
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), errors.len());
}

#[test]
fn nothing_of_a_request_is_in_a_refusal() {
    let rule = with_template(r#"{"$ptr":"/secret"}"#);
    let refusal = converted(&rule, JSON, "{\"marker\":1}").unwrap_err().refusal();
    assert!(!refusal.sentence.contains("marker") && !refusal.sentence.contains("secret"));
}

//! What holds for any body: no panic, valid JSON out, limits kept, forms read as `form_urlencoded`
//! reads them.

mod support;

use std::collections::BTreeMap;

use form_to_json::convert::convert;
use form_to_json::error::ConvertError;
use form_to_json::template::Template;
use lockgate_common::json::Json;
use proptest::prelude::*;
use serde_json::Value;
use support::{FORM, JSON, form, rule, with_template};

const TEMPLATES: &[&str] = &[
    include_str!("../adapters/slack-command.json"),
    include_str!("../adapters/slack-event.json"),
    include_str!("../adapters/zapier-signal.json"),
    r#"{"$ptr":""}"#,
    r#"[{"$ptr":"/a","omit":true},{"$json":""},{"$ptr":"/a/0/b","default":[1]}]"#,
    r#"{"$each":"","key":{"$json":"/value"},"value":{"$each":"/value","key":{"$ptr":"/key"},"value":{"$ptr":""},"omit":true},"a":1}"#,
    r#"{"$each":"","key":"same","value":{"$each":"","key":{"$ptr":"/key"},"value":{"$json":""}}}"#,
];

const CONTENT_TYPES: &[Option<&str>] =
    &[None, Some(FORM), Some(JSON), Some("application/json; charset=utf-8"), Some("text/plain")];

/// Bodies that are more or less forms or JSON.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "[a-c&=+%0-9A-F\u{e9}]{0,48}".prop_map(String::into_bytes),
        "(payload=)?[\\[\\]{}:,\"ab01\\\\u \n]{0,24}".prop_map(String::into_bytes),
        documents().prop_map(|value| value.to_string().into_bytes()),
        documents().prop_map(|value| format!("a=1&payload={value}").into_bytes()),
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<Option<i64>>().prop_map(Value::from),
        "[\"\\\\a\u{1f600}\n]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[ab/~]|variables|event|key|value", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Templates that are more or less right.
fn templates() -> impl Strategy<Value = Value> {
    let pointer = "(/(a|b|key|value|0|~0|~)){0,2}";
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        pointer.prop_map(|pointer| serde_json::json!({"$ptr": pointer})),
        pointer.prop_map(|pointer| serde_json::json!({"$ptr": pointer, "omit": true})),
        pointer.prop_map(|pointer| serde_json::json!({"$json": pointer, "default": [null]})),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[ab]|\\$ptr|\\$x|omit", inner.clone()), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            (pointer, inner.clone(), inner).prop_map(|(pointer, key, value)| {
                serde_json::json!({"$each": pointer, "key": key, "value": value, "a": value, "omit": true})
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_body_becomes_valid_json_within_the_limit_or_is_refused(
        body in bodies(),
        template in prop::option::of(prop::sample::select(TEMPLATES)),
        content_type in prop::sample::select(CONTENT_TYPES),
        max_output_bytes in 1_usize..256,
    ) {
        let template = template.map_or_else(String::new, |template| format!(r#""template":{template},"#));
        let rule = rule(&format!(r#"{{{template}"max_output_bytes":{max_output_bytes}}}"#));
        if let Ok(out) = convert(&rule, content_type.map(str::as_bytes), &body) {
            prop_assert!(out.len() <= max_output_bytes);
            prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        }
    }

    #[test]
    fn a_form_reads_as_it_was_written(
        pairs in prop::collection::vec(("[a-c\u{e9}&=%+ ]{0,2}|__proto__", any::<String>()), 0..16)
    ) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        prop_assert_eq!(serde_json::from_str::<Value>(&form(&body).unwrap()).unwrap(), object(&pairs));
    }

    #[test]
    fn a_form_that_is_accepted_reads_as_form_urlencoded_reads_it(body in "[a-c&=+%0-9A-F\u{e9}]{0,48}") {
        match form(&body) {
            Ok(json) => {
                let pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
                prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), object(&pairs));
            }
            Err(error) => prop_assert!(matches!(error, ConvertError::BrokenEscape | ConvertError::NotUtf8)),
        }
    }

    #[test]
    fn any_template_is_refused_at_the_start_or_can_be_used(template in templates(), document in documents()) {
        let (template, document) = (template.to_string(), document.to_string());
        if let Ok(template) = Template::compile(Json::parse(template.as_bytes()).unwrap(), "template")
            && let Ok(out) = template.evaluate(Json::parse(document.as_bytes()).unwrap(), 4_096)
        {
            prop_assert!(out.len() <= 4_096);
            prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        }
    }

    #[test]
    fn a_pointer_finds_what_serde_json_finds(document in documents(), pointer in "(/([ab01]|~0|~1|key|variables)){0,3}") {
        let rule = with_template(&format!(r#"{{"$ptr":"{pointer}"}}"#));
        let found = convert(&rule, Some(JSON.as_bytes()), document.to_string().as_bytes());
        let found = found.ok().map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        prop_assert_eq!(found.as_ref(), document.pointer(&pointer));
    }
}

/// The object that a form stands for.
fn object(pairs: &[(String, String)]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    let mut values: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, value) in pairs {
        if !values.contains_key(name.as_str()) {
            names.push(name);
        }
        values.entry(name).or_default().push(Value::from(value.as_str()));
    }
    let member = |name: &str| match values.remove(name).unwrap_or_default().as_slice() {
        [only] => (name.to_owned(), only.clone()),
        several => (name.to_owned(), several.to_vec().into()),
    };
    Value::Object(names.into_iter().map(member).collect())
}

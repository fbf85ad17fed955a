//! The template language: what it makes, what it refuses in a request, what it refuses at the start.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use form_to_json::error::ConvertError;
use support::{converted, mistake, with_template};

fn evaluated(template: &str, document: &str) -> Result<String, ConvertError> {
    converted(&with_template(template), support::JSON, document)
}

#[track_caller]
fn check(template: &str, document: &str, expected: &str) {
    assert_eq!(evaluated(template, document).unwrap(), expected);
}

fn template_mistake(template: &str) -> String {
    mistake(&format!(r#"{{"template":{template}}}"#))
}

#[test]
fn literals_stand_for_themselves() {
    check(
        r#" { "a" : [ 1 , "x\u0041" , null , 1e999 ] , "b" : { } } "#,
        "{}",
        r#"{"a":[1,"x\u0041",null,1e999],"b":{}}"#,
    );
    check("\"text\"", "{}", "\"text\"");
}

#[test]
fn a_pointer_takes_a_value_as_the_bytes_that_came() {
    let document =
        r#"{"n":1234567890123456789012,"e":[],"o":{"z":1, "a":1.50},"s":"\u00e9\/","a/b":{"~":[10,20]}}"#;
    check(r#"{"$ptr":""}"#, document, document);
    check(
        r#"[{"$ptr":"/n"},{"$ptr":"/e"},{"$ptr":"/o"},{"$ptr":"/s"}]"#,
        document,
        r#"[1234567890123456789012,[],{"z":1, "a":1.50},"\u00e9\/"]"#,
    );
    check(r#"[{"$ptr":"/o/a"},{"$ptr":"/a~1b/~0/1"},{"$ptr":"/a~1b/~0"}]"#, document, "[1.50,20,[10,20]]");
    check(r#"{"$ptr":"/1"}"#, "[1,2]", "2");
}

#[test]
fn of_a_repeated_member_a_pointer_takes_the_last() {
    check(r#"[{"$ptr":"/a"},{"$ptr":"/a/b"}]"#, r#"{"a":1,"a":{"b":2},"\u0061":{"b":3}}"#, r#"[{"b":3},3]"#);
}

#[test]
fn a_missing_value_is_refused_unless_the_template_says_what_stands_in_its_place() {
    for (template, document) in [
        (r#"{"$ptr":"/a"}"#, "{}"),
        (r#"{"$json":"/a"}"#, "{}"),
        (r#"{"$ptr":"/a/b"}"#, r#"{"a":5}"#),
        (r#"{"$ptr":"/a"}"#, "[]"),
        (r#"{"$ptr":"/1"}"#, "[0]"),
        (r#"{"$each":"/a","key":"k","value":1}"#, "{}"),
    ] {
        assert_eq!(evaluated(template, document), Err(ConvertError::MissingValue), "{template}");
    }
    check(r#"{"$ptr":"/a","default":{"b":[1]}}"#, "{}", r#"{"b":[1]}"#);
    check(r#"{"$ptr":"/a","default":null}"#, r#"{"a":false}"#, "false");
    check(r#"{"$json":"/a","default":"none"}"#, "{}", "\"none\"");
    check(r#"{"$each":"/a","key":"k","value":1,"default":{}}"#, "{}", "{}");
}

#[test]
fn null_is_a_value_not_a_missing_one() {
    check(r#"{"x":{"$ptr":"/a","omit":true}}"#, r#"{"a":null}"#, r#"{"x":null}"#);
}

#[test]
fn an_omitted_value_leaves_out_its_member_or_element() {
    let omit = r#"{"$ptr":"/a","omit":true}"#;
    check(&format!(r#"{{"x":{omit},"y":1,"z":{omit}}}"#), "{}", r#"{"y":1}"#);
    check(&format!(r#"{{"x":{{"y":{omit}}}}}"#), "{}", r#"{"x":{}}"#);
    check(&format!("[{omit},1,{omit},2]"), "{}", "[1,2]");
    check(&format!("[{omit}]"), r#"{"a":0}"#, "[0]");
    check(r#"{"x":{"$each":"/a","key":"k","value":1,"omit":true}}"#, "{}", "{}");
}

#[test]
fn json_is_the_value_as_text_in_a_string() {
    check(
        r#"{"event":{"$json":"/event"}}"#,
        r#"{"event":{"id":12345678901234567890,"list":[], "text":"\"é\n"}}"#.replace("\\n", "\\u000a").as_str(),
        r#"{"event":"{\"id\":12345678901234567890,\"list\":[], \"text\":\"\\\"é\\u000a\"}"}"#,
    );
    check(r#"{"$json":"/s"}"#, r#"{"s":"x"}"#, r#""\"x\"""#);
    check(r#"{"$json":""}"#, " [1,\n2] ", r#""[1,\n2]""#);
}

#[test]
fn each_makes_a_member_of_each_member() {
    check(
        r#"{"$each":"/v","key":{"$ptr":"/key"},"value":{"type":"String","value":{"$ptr":"/value"}}}"#,
        r#"{"v":{"a":1,"b/c":[ ]}}"#,
        r#"{"a":{"type":"String","value":1},"b/c":{"type":"String","value":[ ]}}"#,
    );
    check(
        r#"{"$each":"","key":{"$ptr":"/value/id"},"value":{"$ptr":""}}"#,
        r#"{"a":{"id":"x"}}"#,
        r#"{"x":{"key":"a","value":{"id":"x"}}}"#,
    );
    check(
        r#"{"$each":"","key":{"$json":"/value"},"value":{"$ptr":"/key"}}"#,
        r#"{"a":[1]}"#,
        r#"{"[1]":"a"}"#,
    );
    check(r#"{"$each":"","key":"k","value":1}"#, "{}", "{}");
}

#[test]
fn each_can_stand_in_each() {
    check(
        r#"{"$each":"","key":{"$ptr":"/key"},"value":{"$each":"/value","key":{"$ptr":"/key"},"value":[{"$ptr":"/value"}]}}"#,
        r#"{"a":{"b":1,"c":2},"d":{}}"#,
        r#"{"a":{"b":[1],"c":[2]},"d":{}}"#,
    );
}

#[test]
fn a_generated_member_can_be_left_out() {
    check(
        r#"{"$each":"","key":{"$ptr":"/key"},"value":{"$ptr":"/value/x","omit":true}}"#,
        r#"{"a":{"x":1},"b":{},"c":{"x":2}}"#,
        r#"{"a":1,"c":2}"#,
    );
    check(
        r#"{"$each":"","key":{"$ptr":"/value/x","omit":true},"value":0}"#,
        r#"{"a":{},"b":{"x":"n"}}"#,
        r#"{"n":0}"#,
    );
}

#[test]
fn a_literal_member_beside_each_replaces_the_generated_one_in_its_place_or_is_appended() {
    let each = r#""$each":"","key":{"$ptr":"/key"},"value":{"$ptr":"/value"}"#;
    check(
        &format!(r#"{{{each},"b":true,"d":4}}"#),
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"a":1,"b":true,"c":3,"d":4}"#,
    );
    check(&format!(r#"{{{each},"b":{{"$ptr":"/c"}}}}"#), r#"{"b":2,"c":3}"#, r#"{"b":3,"c":3}"#);
    check(&format!(r#"{{{each},"b":{{"$ptr":"/x","omit":true}}}}"#), r#"{"a":1,"b":2}"#, r#"{"a":1}"#);
    check(&format!(r#"{{{each},"b":0}}"#), r#"{"b":1,"a":2,"b":3}"#, r#"{"b":0,"a":2}"#);
}

#[test]
fn each_refuses_what_is_no_object_and_a_key_that_is_no_text() {
    for document in ["[]", "5", "null", "\"a\""] {
        assert_eq!(
            evaluated(r#"{"$each":"","key":"k","value":1}"#, document),
            Err(ConvertError::NotAnObject)
        );
    }
    assert_eq!(
        evaluated(r#"{"$each":"","key":{"$ptr":"/value"},"value":1}"#, r#"{"a":1}"#),
        Err(ConvertError::NotAName)
    );
}

#[test]
fn an_operator_that_does_not_exist_is_refused_at_the_start() {
    assert_eq!(
        template_mistake(r#"{"variables":{"event":{"$pointer":"/a"}}}"#),
        "rules[0].template.variables.event.$pointer: given \"/a\", expected $ptr, $json, $each, or a name without \"$\""
    );
    assert_eq!(
        template_mistake(r#"[0,{"a":{"$ptr":"/a","omits":true}}]"#),
        "rules[0].template[1].a.omits: given true, expected nothing but \"default\" or \"omit\" beside the operator"
    );
    assert!(template_mistake(r#"{"$ptr":"/a","$json":"/a"}"#).starts_with("rules[0].template.$json: "));
    assert!(
        template_mistake(r#"{"$each":"","key":"k","value":1,"$x":1}"#).starts_with("rules[0].template.$x: ")
    );
}

#[test]
fn a_broken_pointer_is_refused_at_the_start() {
    for pointer in [r#""a""#, r#""a/b""#, r##""#/a""##, r#""/~""#, r#""/~2""#, r#""/a~""#, "5", "null", "{}"]
    {
        let mistake = template_mistake(&format!(r#"{{"x":{{"$ptr":{pointer}}}}}"#));
        assert_eq!(
            mistake,
            format!(
                "rules[0].template.x.$ptr: given {pointer}, expected a JSON Pointer such as \"/a/b\", or \"\" for the whole document"
            )
        );
    }
}

#[test]
fn default_and_omit_are_checked_at_the_start() {
    for (template, place) in [
        (r#"{"x":{"$ptr":"/a","omit":false}}"#, "x.omit: given false"),
        (r#"{"x":{"$ptr":"/a","omit":true,"default":1}}"#, "x.omit: given true"),
        (r#"{"x":{"$ptr":"/a","default":{"b":{"$ptr":"/c"}}}}"#, "x.default: given {"),
        (r#"{"x":{"$ptr":"/a","default":[{"$each":"","key":"k","value":1}]}}"#, "x.default: given ["),
        (r#"{"$ptr":"/a","omit":true}"#, "omit: given true, expected a member around it"),
    ] {
        let mistake = template_mistake(template);
        assert!(mistake.starts_with(&format!("rules[0].template.{place}")), "{mistake}");
    }
}

#[test]
fn each_needs_a_key_and_a_value() {
    for (template, place) in [
        (r#"{"$each":"","value":1}"#, "key: given nothing"),
        (r#"{"$each":"","key":"k"}"#, "value: given nothing"),
        (r#"{"$each":"","key":5,"value":1}"#, "key: given 5, expected a text, $ptr or $json"),
        (r#"{"$each":"","key":{"a":1},"value":1}"#, "key: given {"),
        (r#"{"$each":"","key":{"$each":"","key":"k","value":1},"value":1}"#, "key: given {"),
    ] {
        let mistake = template_mistake(template);
        assert!(mistake.starts_with(&format!("rules[0].template.{place}")), "{mistake}");
    }
}

#[test]
fn a_repeated_name_is_refused_at_the_start() {
    assert_eq!(
        template_mistake(r#"{"a":1,"\u0061":2}"#),
        "rules[0].template.a: given 2, expected the field once"
    );
    assert!(template_mistake(r#"{"$ptr":"/a","$ptr":"/b"}"#).starts_with("rules[0].template.$ptr: "));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + "{\"$ptr\":\"\"}" + &"]".repeat(depth);
    let document = "[".repeat(64) + &"]".repeat(64);
    assert_eq!(evaluated(&nested(31), &document).unwrap(), "[".repeat(95) + &"]".repeat(95));
    assert!(template_mistake(&nested(32)).ends_with("expected at most 32 levels"));
    assert_eq!(evaluated("{}", &format!("[{document}]")), Err(ConvertError::TooDeep));
}

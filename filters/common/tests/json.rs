//! `json` held to RFC 8259 and 6901 by example, and to `serde_json` on random and broken texts.
//!
//! The two differ on purpose in three places: this reader stops at 64 levels and the other at 127;
//! the other refuses numbers beyond `f64` (`1e999`), which this one hands on as text; and the other
//! reads `-0` as a float, so not as an integer.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use lockgate_common::json::{Json, JsonError, Kind, MAX_DEPTH, write_string};
use proptest::prelude::*;
use serde_json::Value;

fn parse(text: &str) -> Json<'_> {
    Json::parse(text.as_bytes()).unwrap()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn white_space_around_a_value_is_not_part_of_it() {
    assert_eq!(parse(" \t\r\n[ 1 ]\n").text(), b"[ 1 ]");
    assert_eq!(parse("{\"a\" : \n 1 }").field("a").unwrap().text(), b"1");
}

#[test]
fn what_the_grammar_does_not_allow_is_refused_where_it_stands() {
    for (text, at) in [
        ("", 0),
        (" ", 1),
        ("nul", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("{\"a\":1,}", 7),
        ("{\"a\" 1}", 5),
        ("{a:1}", 1),
        ("01", 1),
        ("-", 1),
        ("+1", 0),
        ("1.", 2),
        (".5", 0),
        ("1e", 2),
        ("1 1", 2),
        ("\"a", 2),
        ("\"\t\"", 1),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\u{feff}1", 0),
        ("'a'", 0),
        ("NaN", 0),
        ("\0", 0),
        ("[\0]", 1),
    ] {
        assert_eq!(Json::parse(text.as_bytes()), Err(JsonError::Syntax { at }), "{text:?}");
    }
}

#[test]
fn half_a_surrogate_pair_is_refused() {
    assert_eq!(parse(r#""\ud83d\ude00""#).str().unwrap(), "😀");
    for text in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\ud83d""#, r#""\ud83dx""#, r#""\ud83d\n""#] {
        assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_where_they_stand() {
    assert_eq!(Json::parse(b"[\"\xc3\x28\"]"), Err(JsonError::Syntax { at: 2 }));
}

#[test]
fn depth_is_bounded() {
    let bound = MAX_DEPTH as usize;
    assert!(Json::parse(nested(bound).as_bytes()).is_ok());
    assert_eq!(Json::parse(nested(bound + 1).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(Json::parse("[".repeat(1 << 20).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(Json::parse("{\"a\":".repeat(1 << 20).as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn of_a_repeated_name_the_last_counts_and_unique_field_refuses_it() {
    let json = parse(r#"{"a":1,"b":2,"\u0061":3}"#);
    assert_eq!(json.field("a").unwrap().u64(), Some(3));
    assert_eq!(json.unique_field("a"), Err(JsonError::Duplicate));
    assert_eq!(json.unique_field("b").unwrap().unwrap().u64(), Some(2));
    assert_eq!(json.unique_field("c"), Ok(None));
    assert_eq!(json.members().count(), 3);
}

#[test]
fn values_are_read_as_their_kind_and_no_other() {
    assert_eq!(parse("18446744073709551615").u64(), Some(u64::MAX));
    assert_eq!(parse("18446744073709551616").u64(), None);
    assert_eq!(parse("-9223372036854775808").i64(), Some(i64::MIN));
    assert_eq!(parse("1.0").u64(), None);
    assert_eq!(parse("1e3").i64(), None);
    assert_eq!(parse("\"1\"").u64(), None);
    assert_eq!(parse("true").bool(), Some(true));
    assert_eq!(parse("false").bool(), Some(false));
    assert_eq!(parse("\"true\"").bool(), None);
    assert_eq!(parse("1").str(), None);
    assert!(parse("null").is_null());
    assert_eq!(parse("[1]").members().count(), 0);
    assert_eq!(parse("{\"a\":1}").elements().count(), 0);
}

#[test]
fn a_pointer_follows_the_examples_of_rfc_6901() {
    let document = parse(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
    );
    assert_eq!(document.pointer(""), Some(document));
    assert_eq!(document.pointer("/foo").unwrap().text(), br#"["bar","baz"]"#);
    assert_eq!(document.pointer("/foo/0").unwrap().str().unwrap(), "bar");
    for (pointer, value) in [
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ] {
        assert_eq!(document.pointer(pointer).and_then(Json::u64), Some(value), "{pointer}");
    }
    for nowhere in ["foo", "/foo/2", "/foo/00", "/foo/-", "/foo/+1", "/foo/0/x", "/m~2n", "/m~", "/x"] {
        assert_eq!(document.pointer(nowhere), None, "{nowhere}");
    }
}

const TROUBLE: &[u8] = b"\"\\{}[],:0-.eE+ \n\0\x1f\x7f\x80\xffu";

/// Texts that are JSON more often than not: values written by `serde_json`, some with a byte
/// changed, a piece cut out or repeated.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_u8);
    (values(), prop::collection::vec(edit, 0..3), any::<bool>()).prop_map(|(value, edits, pretty)| {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        edits.iter().fold(text.unwrap(), |mut text, (from, to, kind)| {
            if text.is_empty() {
                return text;
            }
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => drop(text.drain(from..to)),
                1 => text.extend_from_within(from..to),
                2 => text[from] = text[to],
                3 => text[from] = TROUBLE[to % TROUBLE.len()],
                _ => text.swap(from, to),
            }
            text
        })
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\\\\"/a-c\u{1F600}\u{0}-\u{20}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The value that a `Json` reads as, member by member.
fn value(json: Json<'_>) -> Value {
    match json.kind() {
        Kind::Object => {
            Value::Object(json.members().map(|(name, item)| (name.into_owned(), value(item))).collect())
        }
        Kind::Array => json.elements().map(value).collect(),
        Kind::String => json.str().unwrap().into(),
        Kind::Bool => json.bool().unwrap().into(),
        Kind::Null => Value::Null,
        Kind::Number => serde_json::from_slice(json.text()).unwrap(),
    }
}

fn number_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_accepts_what_serde_json_accepts_and_reads_the_same(text in texts()) {
        let ours = Json::parse(&text);
        match serde_json::from_slice::<Value>(&text) {
            Ok(theirs) => prop_assert_eq!(value(ours.unwrap()), theirs),
            Err(error) if number_out_of_range(&error) => {}
            Err(error) => prop_assert!(ours.is_err(), "{}", error),
        }
    }

    #[test]
    fn arbitrary_bytes_are_accepted_or_refused_alike(text in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(Json::parse(&text).is_ok(), serde_json::from_slice::<Value>(&text).is_ok());
    }

    #[test]
    fn fields_pointers_and_integers_are_found_as_serde_json_finds_them(document in values(), name in ".{0,3}") {
        let text = document.to_string();
        // Read back, because `serde_json` rounds floats on the way.
        let document: Value = serde_json::from_str(&text).unwrap();
        let json = parse(&text);
        prop_assert_eq!(json.field(&name).map(value), document.get(&name).cloned());
        prop_assert_eq!(json.u64(), document.as_u64());
        prop_assert_eq!(json.i64(), document.as_i64());
        for (name, item) in json.members() {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            prop_assert_eq!(json.pointer(&pointer).map(value), document.pointer(&pointer).cloned());
            prop_assert_eq!(json.unique_field(&name), Ok(Some(item)));
        }
    }

    #[test]
    fn a_written_string_is_what_serde_json_writes(text in any::<String>()) {
        let mut ours = Vec::new();
        write_string(&mut ours, &text);
        prop_assert_eq!(&ours, &serde_json::to_vec(&text).unwrap());
        prop_assert_eq!(Json::parse(&ours).unwrap().str().unwrap(), text);
    }
}

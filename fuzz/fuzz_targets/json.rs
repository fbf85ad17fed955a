//! The JSON reader, against `serde_json`: the same texts accepted, the same values read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::json::{Json, JsonError, Kind, write_string};
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let theirs = serde_json::from_slice::<Value>(text);
    match (Json::parse(text), theirs) {
        (Ok(json), Ok(theirs)) => assert_eq!(value(json), theirs),
        // Numbers beyond `f64` are handed on as text.
        (Ok(_), Err(error)) => assert!(error.to_string().starts_with("number out of range")),
        // 64 levels here, 127 there.
        (Err(error), Ok(_)) => assert_eq!(error, JsonError::TooDeep),
        (Err(_), Err(_)) => {}
    }
});

fn value(json: Json<'_>) -> Value {
    match json.kind() {
        Kind::Object => {
            Value::Object(json.members().map(|(name, item)| (name.into_owned(), value(item))).collect())
        }
        Kind::Array => json.elements().map(value).collect(),
        Kind::String => {
            let text = json.str().unwrap();
            let mut written = Vec::new();
            write_string(&mut written, &text);
            assert_eq!(Json::parse(&written).unwrap().str().unwrap(), text);
            text.into()
        }
        Kind::Bool => json.bool().unwrap().into(),
        Kind::Null => Value::Null,
        Kind::Number => serde_json::from_slice(json.text()).unwrap(),
    }
}

//! The form reader: valid JSON or a refusal, and the fields that `form_urlencoded` reads.

#![no_main]

use form_to_json::form::form_to_json;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(json) = form_to_json(body, 1_000) else { return };
    let json: Value = serde_json::from_slice(&json).unwrap();
    let read = json.as_object().unwrap();

    let mut fields = 0;
    for (name, value) in form_urlencoded::parse(body) {
        fields += 1;
        let values = read.get(&*name).unwrap();
        let same = |other: &Value| other.as_str() == Some(&*value);
        // A `payload` may have become any JSON.
        assert!(name == "payload" || same(values) || values.as_array().unwrap().iter().any(same));
    }
    assert!(fields <= 1_000 && read.len() <= fields);
});

//! The template language: a template, a zero byte, a document. Whatever they are, the result is
//! valid JSON within the limit, or there is none.

#![no_main]

use form_to_json::template::Template;
use libfuzzer_sys::fuzz_target;
use lockgate_common::json::Json;

const MAX_BYTES: usize = 4_096;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(template), Some(document)) = (parts.next(), parts.next()) else { return };
    let (Ok(template), Ok(document)) = (Json::parse(template), Json::parse(document)) else { return };
    let Ok(template) = Template::compile(template, "template") else { return };
    if let Ok(out) = template.evaluate(document, MAX_BYTES) {
        assert!(out.len() <= MAX_BYTES);
        if let Err(error) = serde_json::from_slice::<serde_json::Value>(&out) {
            // Numbers beyond `f64` are handed on as text.
            assert!(error.to_string().starts_with("number out of range"), "{error}");
        }
    }
});

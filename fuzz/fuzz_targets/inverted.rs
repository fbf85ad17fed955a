//! What an agent may bring as an answer.

#![no_main]

use inverting_proxy::wire::response;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for to_head in [false, true] {
        let Some(read) = response(data, to_head) else { continue };
        assert!((200..600).contains(&read.status) && read.body.len() <= data.len());
        for (name, value) in read.headers.iter() {
            assert!(!name.is_empty() && !value.iter().any(|byte| b"\r\n\0".contains(byte)));
        }
    }
});

//! What a backend may set, in a session that goes on.

#![no_main]

use inverting_proxy::set_cookie::set_cookie;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now = 1_795_320_000_000;
    let Some(cookie) = set_cookie(data, now) else { return };
    let pair = [cookie.name, b"=", cookie.value].concat();
    assert!(!cookie.name.is_empty() && pair.len() <= 4_097);
    assert!(!pair.iter().any(|byte| *byte == b';' || (byte.is_ascii_control() && *byte != b'\t')));
    assert!(cookie.path.is_none_or(|path| path.starts_with(b"/") && path.len() <= 1_024));
    // As it goes to the backend, it says the same.
    let again = set_cookie(&pair, now).expect("a cookie");
    assert_eq!((again.name, again.value), (cookie.name, cookie.value));
});

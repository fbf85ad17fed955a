//! Cookie headers: the door's own are found or refused, all others are kept byte for byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::http::Headers;
use oidc::cookies;

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n');
    let headers = Headers::from_iter(lines.map(|line| ("cookie", line)));
    let value = cookies::session_value(&headers, "lockgate");
    if let Ok(Some(value)) = &value {
        assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
    assert!(cookies::logins(&headers, "lockgate").iter().all(|value| value.len() >= 6));
    assert!(cookies::present(&headers, "lockgate") <= 64);
    let Some(rest) = cookies::without(&headers, "lockgate") else { return };
    let rest = Headers::from_iter(rest.into_iter().map(|line| ("cookie", line)));
    assert!(cookies::without(&rest, "lockgate").is_none(), "nothing of ours is left");
    assert!(cookies::logins(&rest, "lockgate").is_empty());
    assert_eq!(cookies::session_value(&rest, "lockgate"), Ok(None));
});

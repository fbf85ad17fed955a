//! Sorting a Slack request, and reading its signature.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::hmac::Key;
use lockgate_common::http::Headers;
use slack_signature::kind::sort;
use slack_signature::signature::Signed;

fuzz_target!(|data: (&[u8], &[u8], &[u8])| {
    let (time, signature, body) = data;
    let _ = sort("application/json", body);
    let _ = sort("application/x-www-form-urlencoded", body);
    let mut headers = Headers::default();
    headers.push("x-slack-request-timestamp", time);
    headers.push("x-slack-signature", signature);
    if let Ok(Some(signed)) = Signed::from_headers(&headers) {
        let _ = signed.check_time(1_700_000_000, 300);
        assert!(signed.verify(body, &[Key::new(b"secret")]).is_err());
    }
});

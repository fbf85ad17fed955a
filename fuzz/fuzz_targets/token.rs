//! Tokens and key sets: any bytes are taken apart or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::jwks::Keys;
use lockgate_common::jwt::Token;

fuzz_target!(|data: &[u8]| {
    let _ = Keys::parse(data);
    if let Ok(token) = Token::parse(data) {
        let _ = token.expect(&["https://issuer".to_owned()], "audience", 1_700_000_000_000);
        let _ = token.expires_s();
    }
});

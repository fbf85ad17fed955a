//! Sealed values and what is inside: only what was sealed opens, and any plaintext is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::encoding::base64;
use lockgate_common::secret::Secret;
use oidc::login::LoginState;
use oidc::seal::{Keyring, Purpose};
use oidc::session::Session;

fuzz_target!(|data: &[u8]| {
    let keys = Keyring::parse(&Secret::new(base64(&[1; 32]).into_bytes())).unwrap();
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(keys.open(Purpose::Session, "lockgate", text).is_err());
        assert!(LoginState::open(&keys, text).is_none());
    }
    let _ = Keyring::parse(&Secret::new(data.to_vec()));
    if let Some(session) = Session::decode(data) {
        let again = Session::decode(&session.encode()).unwrap();
        assert!(again.id == session.id && again.claims == session.claims && again.subject == session.subject);
    }
});

//! Assertions as an upstream that trusts no network checks them: with the published keys alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use serde_json::Value;

use crate::signing_keys::{SigningKey, unverified};

/// A private key in PEM, as `openssl genpkey` writes it: always the same for a number from 0 to 254.
/// Its name is that of [`SigningKey::p256`] of the same number.
pub fn key_pem(number: u8) -> String {
    let key = p256::SecretKey::from_slice(&[number + 1; 32]).expect("a number below the group's order");
    key.to_pkcs8_pem(LineEnding::LF).expect("PKCS #8").to_string()
}

/// The name that the key of a number is published by.
pub fn key_id(number: u8) -> String {
    SigningKey::p256(number).kid()
}

/// The claims of an assertion.
///
/// # Panics
/// When it is not signed with ES256 by the one key of the set that it names.
pub fn verified(token: &str, key_set: &Value) -> Value {
    let (header, claims) = unverified(token);
    assert_eq!(header["alg"], "ES256", "{header}");
    let keys = key_set["keys"].as_array().unwrap_or_else(|| panic!("no key set: {key_set}"));
    let named: Vec<_> = keys.iter().filter(|key| key["kid"] == header["kid"]).collect();
    let [key] = named[..] else { panic!("{} keys are named {}: {key_set}", named.len(), header["kid"]) };
    let [x, y] = ["x", "y"].map(|name| decode(key[name].as_str().unwrap_or_default()));
    let point = VerifyingKey::from_sec1_bytes(&[&[4], &x[..], &y[..]].concat());
    let (text, signature) = token.rsplit_once('.').unwrap_or_default();
    let signature = Signature::from_slice(&decode(signature)).expect("64 bytes of a signature");
    let verdict = point.expect("a point on the curve").verify(text.as_bytes(), &signature);
    assert!(verdict.is_ok(), "the signature is not that of {key}: {token}");
    claims
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::signing_keys::Jwt;

    #[test]
    fn an_assertion_is_verified_by_the_key_it_names_and_by_no_other() {
        let key = SigningKey::p256(3);
        let set = json!({"keys": [SigningKey::p256(4).jwk(), key.jwk()]});
        let token = Jwt::new(&key, json!({"sub": "a"}));
        assert_eq!(verified(&token.compact(), &set)["sub"], "a");
        let forged = token.sealed_by(&SigningKey::p256(4)).compact();
        assert!(std::panic::catch_unwind(|| verified(&forged, &set)).is_err());
    }

    #[test]
    fn a_pem_is_the_key_of_its_number() {
        use p256::pkcs8::DecodePrivateKey;
        let read = p256::ecdsa::SigningKey::from_pkcs8_pem(&key_pem(9)).unwrap();
        let SigningKey::P256(key) = SigningKey::p256(9) else { panic!("another kind of key") };
        assert_eq!(read.verifying_key(), key.verifying_key());
        assert!(key_pem(9).starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}

//! Tokens, and the key sets to check them with.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::Result;

/// A key for tests only, 2,048 bits.
const KEY: &str = include_str!("../../wasm-test/e2e/fixtures/keys/rsa-1.pem");

const KEY_ID: &str = "bench-signing-key";

/// What the providers know the proxy as.
pub(crate) const CLIENT_ID: &str = "bench-client";
/// Where people's addresses are.
pub(crate) const DOMAIN: &str = "example.com";
/// The program that brings tokens.
pub(crate) const PROGRAM: &str = "job@bench.iam.gserviceaccount.com";
/// The service account that pushes.
pub(crate) const PUSHER: &str = "push@bench.iam.gserviceaccount.com";

/// Signs RS256 tokens with one key.
#[derive(Debug)]
pub(crate) struct Signer(RsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        let base64: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?).map_err(|error| error.to_string())?;
        Ok(Self(key))
    }

    /// A token of these claims (RFC 7515, section 7.1).
    pub(crate) fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = [part(&header), part(claims)].join(".");
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| "a token could not be signed")?;
        Ok([text, URL_SAFE_NO_PAD.encode(signature)].join("."))
    }

    /// What a token of this key says.
    pub(crate) fn claims(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.0.public_key().as_ref());
        key.verify(text.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split_once('.')?.1).ok()?).ok()
    }

    /// A JSON Web Key Set of `keys` keys of 2,048 bits; the last is the one that signs. The others are
    /// random numbers of the right form: they are read and passed over, never verified with.
    pub(crate) fn key_set(&self, keys: usize) -> Value {
        let mut random = fastrand::Rng::with_seed(1);
        let mut set: Vec<Value> = (1..keys)
            .map(|number| {
                let mut modulus: Vec<u8> = (0..256).map(|_| random.u8(..)).collect();
                if let [first, .., last] = modulus.as_mut_slice() {
                    *first |= 0x80;
                    *last |= 1;
                }
                jwk(&format!("bench-other-key-{number}"), &modulus, &[1, 0, 1])
            })
            .collect();
        let public = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        set.push(jwk(KEY_ID, &public.n, &public.e));
        json!({ "keys": set })
    }
}

fn jwk(id: &str, modulus: &[u8], exponent: &[u8]) -> Value {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": encode(modulus), "e": encode(exponent)})
}

/// The claims of a person's tokens.
pub(crate) fn person(issuer: &str) -> Value {
    json!({
        "iss": issuer, "sub": "248289761001", "aud": CLIENT_ID,
        "iat": now_s(), "exp": now_s() + 3600,
        "email": format!("alice@{DOMAIN}"), "email_verified": true, "name": "Alice Liddell",
    })
}

/// The claims of the program's tokens; `number` makes each another.
pub(crate) fn program(issuer: &str, audience: &str, number: usize) -> Value {
    json!({
        "iss": issuer, "sub": "107517467455664443765", "azp": "107517467455664443765", "aud": audience,
        "iat": now_s(), "exp": now_s() + 3600,
        "email": PROGRAM, "email_verified": true, "jti": format!("bench-{number:08}"),
    })
}

/// The claims of a push token.
pub(crate) fn push(issuer: &str, audience: &str) -> Value {
    json!({
        "iss": issuer, "sub": "113774264463038321964", "azp": "113774264463038321964", "aud": audience,
        "iat": now_s(), "exp": now_s() + 3600,
        "email": PUSHER, "email_verified": true,
    })
}

/// Now, in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_and_a_changed_one_does_not() {
        let signer = Signer::new().unwrap();
        let token = signer.sign(&program("https://issuer.test", "a", 7)).unwrap();
        assert_eq!(signer.claims(&token).unwrap()["jti"], "bench-00000007");
        let other = signer.sign(&program("https://issuer.test", "a", 8)).unwrap();
        let (text, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert!(signer.claims(&format!("{text}.{signature}")).is_none());
    }

    #[test]
    fn a_key_set_ends_with_the_key_that_signs() {
        let set = Signer::new().unwrap().key_set(3);
        let ids: Vec<_> = set["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        assert_eq!(ids, ["bench-other-key-1", "bench-other-key-2", KEY_ID]);
    }
}

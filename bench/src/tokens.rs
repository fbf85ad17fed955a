//! Tokens, and the key sets to check them with.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use wasm_encoder::Encode;

use crate::Result;

/// A key for tests only, 2,048 bits.
const KEY: &str = include_str!("../../wasm-test/e2e/fixtures/keys/rsa-1.pem");

/// What stands before an RSA key of 2,048 bits with the usual exponent in its SubjectPublicKeyInfo
/// (RFC 3279, section 2.3.1).
const SPKI_OF_2048_BITS: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";

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
pub(crate) struct Signer {
    rsa: RsaKeyPair,
    others: Mutex<Vec<Value>>,
}

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        let base64: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
        let rsa = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?).map_err(|error| error.to_string())?;
        Ok(Self { rsa, others: Mutex::default() })
    }

    /// A token of these claims (RFC 7515, section 7.1).
    pub(crate) fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = [part(&header), part(claims)].join(".");
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        self.rsa
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| "a token could not be signed")?;
        Ok([text, URL_SAFE_NO_PAD.encode(signature)].join("."))
    }

    /// What a token of this key says.
    pub(crate) fn claims(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.rsa.public_key().as_ref());
        key.verify(text.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split_once('.')?.1).ok()?).ok()
    }

    /// What Envoy's function for filters is asked with, to verify a token of this key: its
    /// `VerifySignatureArguments`.
    pub(crate) fn verification(&self, token: &str) -> Result<Vec<u8>> {
        let (text, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let key = [SPKI_OF_2048_BITS, self.rsa.public_key().as_ref()].concat();
        let mut message = Vec::new();
        for (number, bytes) in [(1, &b"sha256"[..]), (2, &key), (3, &signature), (4, text.as_bytes())] {
            message.push((number << 3) | 2);
            // Its length, as WebAssembly writes numbers too.
            bytes.encode(&mut message);
        }
        Ok(message)
    }

    /// A JSON Web Key Set of `keys` keys. The one that signs is the last, or the hundredth: Lockgate reads
    /// no more of a set. The others are on P-256, because Lockgate takes no answer above 256 KiB, which
    /// is 600 RSA keys.
    pub(crate) fn key_set(&self, keys: usize) -> Result<Value> {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let own = json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(&public.n), "e": URL_SAFE_NO_PAD.encode(&public.e),
        });
        let mut set = self.others(keys.saturating_sub(1))?;
        set.insert(keys.min(100).saturating_sub(1).min(set.len()), own);
        Ok(json!({ "keys": set }))
    }

    /// So many keys that sign nothing, always the same ones.
    fn others(&self, count: usize) -> Result<Vec<Value>> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        while others.len() < count {
            let id = format!("bench-other-key-{}", others.len() + 1);
            others.push(p256(&id)?);
        }
        Ok(others.iter().take(count).cloned().collect())
    }
}

/// A new key on P-256, as a JSON Web Key.
fn p256(id: &str) -> Result<Value> {
    let random = SystemRandom::new();
    let made = || {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).ok()
    };
    let key = made().ok_or("a key could not be made")?;
    // SEC 1, 2.3.3: 4, then the coordinates.
    let (x, y) =
        key.public_key().as_ref().get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    Ok(json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id, "x": x, "y": y}))
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
    fn a_key_set_ends_with_the_key_that_signs_or_has_it_as_the_hundredth() {
        let signer = Signer::new().unwrap();
        let ids = |keys| -> Vec<Value> {
            let set = signer.key_set(keys).unwrap();
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
        };
        assert_eq!(ids(3), ["bench-other-key-1", "bench-other-key-2", KEY_ID]);
        assert_eq!((ids(200).len(), &ids(200)[99]), (200, &json!(KEY_ID)));
    }
}

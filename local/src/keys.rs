//! The RSA key that stands in for Google's: it signs identity and push tokens, and its public half is published as a
//! key set (RFC 7517) at `/oauth2/v3/certs`.

use std::io;
use std::path::Path;

use jwt_simple::prelude::*;
use serde_json::{Map, Value, json};

use crate::private_file;

const KEY_FILE: &str = "signing-key.pem";
const KEY_BITS: usize = 2048;

/// Why the signing key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file could not be read or written.
    #[error("the key file: {0}")]
    File(#[from] io::Error),
    /// The key file does not hold an RSA private key, or signing failed.
    #[error("the signing key: {0}")]
    Key(#[from] jwt_simple::Error),
}

/// Signs tokens with the key of one state directory.
///
/// A test that needs a token the server itself would never issue (another audience, an expiry in the past) loads a
/// signer from the server's state directory and signs whatever claims it likes.
#[derive(Debug)]
pub struct Signer {
    key: RS256KeyPair,
    key_set: String,
}

impl Signer {
    /// The signer of `state_dir`. On first use a 2,048-bit key is generated and kept there, mode 0600, which takes up
    /// to a few seconds in a debug build.
    ///
    /// # Errors
    /// The directory must exist and be writable; an existing file must hold an RSA private key in PEM form.
    pub fn load(state_dir: &Path) -> Result<Self, KeyError> {
        let pem = private_file::load_or_create(state_dir, KEY_FILE, || {
            let pem = RS256KeyPair::generate(KEY_BITS)?.to_pem()?;
            Ok::<_, KeyError>(pem.into_bytes())
        })?;
        let key = RS256KeyPair::from_pem(&String::from_utf8_lossy(&pem))?;
        // RFC 7638, so that the identifier follows from the key and needs no file of its own.
        let key_id = key.jwk_thumbprint();
        let key = key.with_key_id(&key_id);
        let public: Value =
            serde_json::from_str(&key.public_key().to_jwk()).map_err(jwt_simple::Error::from)?;
        Ok(Self { key, key_set: json!({ "keys": [public] }).to_string() })
    }

    /// A JWT (RS256) with exactly these claims. Nothing is added and nothing is checked.
    ///
    /// # Errors
    /// Only if the key itself fails.
    pub fn sign_id_token(&self, claims: &Map<String, Value>) -> Result<String, KeyError> {
        let claims = JWTClaims {
            issued_at: None,
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: claims,
        };
        Ok(self.key.sign(claims)?)
    }

    /// The public key as JSON Web Key Set text.
    pub fn key_set(&self) -> &str {
        &self.key_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_the_given_claims_and_verifies_against_the_published_key() {
        let directory = tempfile::tempdir().unwrap();
        let signer = Signer::load(directory.path()).unwrap();
        let published: Value = serde_json::from_str(signer.key_set()).unwrap();
        let key = &published["keys"][0];
        for (member, expected) in [("kty", "RSA"), ("alg", "RS256"), ("use", "sig"), ("e", "AQAB")] {
            assert_eq!(key[member], expected);
        }

        let far = 4_102_444_800_u64;
        let claims = json!({ "iss": "a", "aud": ["x", "y"], "exp": far, "odd": [1, null] });
        let token = signer.sign_id_token(claims.as_object().unwrap()).unwrap();
        assert_eq!(Token::decode_metadata(&token).unwrap().key_id(), key["kid"].as_str());
        let public = RS256PublicKey::from_jwk(&key.to_string()).unwrap();
        let verified = public.verify_token::<Map<String, Value>>(&token, None).unwrap();
        assert_eq!(verified.custom["odd"], claims["odd"]);
        assert_eq!(verified.issuer.as_deref(), Some("a"));

        let again = Signer::load(directory.path()).unwrap();
        assert_eq!(again.key_set(), signer.key_set(), "a restart keeps the key");
    }
}

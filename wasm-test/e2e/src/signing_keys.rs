//! Keys that sign tokens, and tokens with anything in them: right, wrong, or absurd.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Signer;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding};
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Map, Value, json};

use crate::slack::now;

const RSA: [&str; 2] =
    [include_str!("../fixtures/keys/rsa-1.pem"), include_str!("../fixtures/keys/rsa-2.pem")];
const WEAK_RSA: &str = include_str!("../fixtures/keys/rsa-1024.pem");

/// A private key.
#[derive(Clone, Debug)]
pub enum SigningKey {
    /// RSA, for RS256, RS384 and RS512.
    Rsa(Box<RsaPrivateKey>),
    /// On the curve P-256, for ES256.
    P256(Box<p256::ecdsa::SigningKey>),
}

impl SigningKey {
    /// An RSA key of 2,048 bits, always the same for a number. There are two.
    pub fn rsa(number: usize) -> Self {
        Self::from_pem(RSA[number % RSA.len()])
    }

    /// An RSA key of 1,024 bits: too few for anybody.
    pub fn weak_rsa() -> Self {
        Self::from_pem(WEAK_RSA)
    }

    fn from_pem(pem: &str) -> Self {
        Self::Rsa(Box::new(RsaPrivateKey::from_pkcs8_pem(pem).expect("an RSA key in PKCS #8")))
    }

    /// A P-256 key, always the same for a number from 0 to 254.
    pub fn p256(number: u8) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[number + 1; 32]);
        Self::P256(Box::new(key.expect("a number below the group's order")))
    }

    /// The algorithm it signs tokens with: `RS256` or `ES256`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    /// The members of the public key as RFC 7638 has them.
    fn members(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                json!({"e": encode(&key.e().to_bytes_be()), "kty": "RSA", "n": encode(&key.n().to_bytes_be())})
            }
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let [x, y] = [point.x(), point.y()].map(|half| encode(half.expect("an uncompressed point")));
                json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
            }
        }
    }

    /// The key's name: its thumbprint (RFC 7638).
    pub fn kid(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.members().to_string()))
    }

    /// The public key as a JSON Web Key, with `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.members();
        jwk["kid"] = json!(self.kid());
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as PEM: what an attacker who confuses algorithms takes for a shared secret.
    pub fn public_pem(&self) -> String {
        let pem = match self {
            Self::Rsa(key) => key.to_public_key().to_public_key_pem(LineEnding::LF).ok(),
            Self::P256(key) => {
                use p256::pkcs8::EncodePublicKey;
                key.verifying_key().to_public_key_pem(p256::pkcs8::LineEnding::LF).ok()
            }
        };
        pem.expect("a public key in PEM")
    }

    /// A token of this very header and these very claims, which need not be JSON, signed honestly.
    pub fn token_of(&self, header: &[u8], claims: &[u8]) -> String {
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.sign(self.algorithm(), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs with the algorithm that a header names, as far as the key can; otherwise with its own.
    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let (padding, digest) = match algorithm {
                    "RS384" => (Pkcs1v15Sign::new::<Sha384>(), Sha384::digest(text).to_vec()),
                    "RS512" => (Pkcs1v15Sign::new::<Sha512>(), Sha512::digest(text).to_vec()),
                    _ => (Pkcs1v15Sign::new::<Sha256>(), Sha256::digest(text).to_vec()),
                };
                key.sign(padding, &digest).expect("a key long enough for the digest")
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(text);
                signature.to_bytes().to_vec()
            }
        }
    }
}

/// Who vouches for a token.
#[derive(Clone, Debug)]
pub enum Seal {
    /// A key.
    Key(SigningKey),
    /// Whoever knows these bytes: HMAC with SHA-256.
    Secret(Vec<u8>),
    /// These bytes stand where a signature should.
    Bytes(Vec<u8>),
}

/// A token before it is signed. What it says of itself need not be true.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature to come.
    pub seal: Seal,
}

impl Jwt {
    /// An honest token: its header names the key and its algorithm.
    pub fn new(key: &SigningKey, claims: Value) -> Self {
        let header = json!({"alg": key.algorithm(), "kid": key.kid(), "typ": "JWT"});
        Self { header: object(header), claims: object(claims), seal: Seal::Key(key.clone()) }
    }

    /// Changes a claim; `null` removes it.
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    /// Changes a member of the header; `null` removes it.
    pub fn head(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// Signs with another key, which the header need not name.
    pub fn sealed_by(mut self, key: &SigningKey) -> Self {
        self.seal = Seal::Key(key.clone());
        self
    }

    /// `alg: none`, spelled like this, and no signature (RFC 8725, section 2.1).
    pub fn unsigned(mut self, none: &str) -> Self {
        self.seal = Seal::Bytes(Vec::new());
        self.head("alg", json!(none))
    }

    /// `alg: HS256` with something public as the secret (RFC 8725, section 2.1).
    pub fn with_hs256(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.seal = Seal::Secret(secret.into());
        self.head("alg", json!("HS256"))
    }

    /// Carries a key of its own in the header, `jwk`, and is signed by it.
    pub fn with_own_jwk(self, key: &SigningKey) -> Self {
        self.head("jwk", key.jwk()).head("alg", json!(key.algorithm())).sealed_by(key)
    }

    /// Carries a certificate chain in the header, `x5c`, and is signed by its key. The certificate
    /// is none: whoever parses it has already gone too far.
    pub fn with_own_x5c(self, key: &SigningKey) -> Self {
        let chain = json!([STANDARD.encode(key.public_pem())]);
        self.head("x5c", chain).head("alg", json!(key.algorithm())).sealed_by(key)
    }

    /// The token as it is sent: RFC 7515, section 7.1.
    pub fn compact(&self) -> String {
        let part =
            |object: &Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object.clone()).to_string());
        let text = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = match &self.seal {
            Seal::Key(key) => {
                let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
                key.sign(algorithm, text.as_bytes())
            }
            Seal::Secret(secret) => {
                let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("a key of any length");
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            Seal::Bytes(bytes) => bytes.clone(),
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token of these very bytes, JSON or not, signed with the key's own algorithm: a name can stand
/// twice in it.
pub fn signed_bytes(key: &SigningKey, header: &[u8], claims: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(key.algorithm(), text.as_bytes())))
}

/// What a token says, whoever signed it: its header and its claims.
///
/// # Panics
/// When it is no token.
pub fn unverified(token: &str) -> (Value, Value) {
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _] = parts[..] else { panic!("not a token: {token}") };
    let read = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| panic!("not a token: {token}"))
    };
    (read(header), read(claims))
}

/// A time as claims have it: now and so many seconds, or, with a minus, before now.
pub fn in_seconds(seconds: i64) -> Value {
    json!(now() + seconds)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn set(object: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::signature::Verifier;

    use super::*;

    #[test]
    fn an_honest_token_verifies_with_the_key_it_names() {
        for key in [SigningKey::rsa(0), SigningKey::rsa(1), SigningKey::p256(0)] {
            let token = Jwt::new(&key, json!({"sub": "a"})).compact();
            assert_eq!(unverified(&token).0["kid"], key.kid());
            let (text, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            match key {
                SigningKey::Rsa(key) => {
                    let signature = Signature::try_from(&*signature).unwrap();
                    let verifying = VerifyingKey::<Sha256>::new(key.to_public_key());
                    verifying.verify(text.as_bytes(), &signature).unwrap();
                }
                SigningKey::P256(key) => {
                    use p256::ecdsa::signature::Verifier;
                    let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
                    key.verifying_key().verify(text.as_bytes(), &signature).unwrap();
                }
            }
        }
        assert_ne!(SigningKey::rsa(0).kid(), SigningKey::rsa(1).kid());
    }

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        // RFC 7638, section 3.1, has the form; the members must stand in this order.
        let members = SigningKey::p256(0).members().to_string();
        assert!(members.starts_with(r#"{"crv":"P-256","kty":"EC","x":""#), "{members}");
        assert!(SigningKey::rsa(0).members().to_string().starts_with(r#"{"e":"AQAB","kty":"RSA","n":""#));
    }

    #[test]
    fn a_dishonest_token_is_as_it_was_asked_for() {
        let key = SigningKey::rsa(0);
        let none = Jwt::new(&key, json!({"sub": "a"})).unsigned("nOnE").compact();
        assert!(none.ends_with('.') && unverified(&none).0["alg"] == "nOnE");
        let own = Jwt::new(&key, json!({})).with_own_jwk(&SigningKey::p256(9)).compact();
        assert_eq!(unverified(&own).0["jwk"]["kty"], "EC");
        let bare = Jwt::new(&key, json!({"exp": 1})).head("kid", Value::Null).claim("exp", Value::Null);
        assert!(!bare.header.contains_key("kid") && bare.claims.is_empty());
    }
}

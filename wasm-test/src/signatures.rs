//! Signatures as BoringSSL's `EVP_DigestVerify` and `EVP_DigestSign` make them with their defaults:
//! RSA means PKCS #1 v1.5, ECDSA means DER. PSS, raw `r || s` and EdDSA are unknown, as there.

use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::pkcs8::DecodePrivateKey as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};

/// A hash function by its name in Envoy. SHA-1 is not imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha224" => Some(Self::Sha224),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha224 => Sha224::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha384 => Sha384::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    fn padding(self) -> Pkcs1v15Sign {
        match self {
            Self::Sha224 => Pkcs1v15Sign::new::<Sha224>(),
            Self::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            Self::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            Self::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        }
    }
}

/// A public key.
pub(crate) enum PublicKey {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// A private key.
pub(crate) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
}

/// A key from `SubjectPublicKeyInfo` in DER.
pub(crate) fn public_key(der: &[u8]) -> Option<PublicKey> {
    use p256::pkcs8::DecodePublicKey as _;
    if let Ok(key) = RsaPublicKey::from_public_key_der(der) {
        return Some(PublicKey::Rsa(key));
    }
    p256::ecdsa::VerifyingKey::from_public_key_der(der).ok().map(PublicKey::P256)
}

/// A key from `SubjectPublicKeyInfo` in PEM.
pub(crate) fn public_key_pem(pem: &str) -> Option<PublicKey> {
    use p256::pkcs8::DecodePublicKey as _;
    if let Ok(key) = RsaPublicKey::from_public_key_pem(pem) {
        return Some(PublicKey::Rsa(key));
    }
    p256::ecdsa::VerifyingKey::from_public_key_pem(pem).ok().map(PublicKey::P256)
}

/// A key from PKCS #8 in DER.
pub(crate) fn private_key(der: &[u8]) -> Option<PrivateKey> {
    use rsa::pkcs8::DecodePrivateKey as _;
    if let Ok(key) = RsaPrivateKey::from_pkcs8_der(der) {
        return Some(PrivateKey::Rsa(Box::new(key)));
    }
    p256::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(PrivateKey::P256)
}

/// A key from PKCS #8 in PEM.
pub(crate) fn private_key_pem(pem: &str) -> Option<PrivateKey> {
    use rsa::pkcs8::DecodePrivateKey as _;
    if let Ok(key) = RsaPrivateKey::from_pkcs8_pem(pem) {
        return Some(PrivateKey::Rsa(Box::new(key)));
    }
    p256::ecdsa::SigningKey::from_pkcs8_pem(pem).ok().map(PrivateKey::P256)
}

impl PublicKey {
    pub(crate) fn verifies(&self, hash: Hash, text: &[u8], signature: &[u8]) -> bool {
        let digest = hash.digest(text);
        match self {
            Self::Rsa(key) => key.verify(hash.padding(), &digest, signature).is_ok(),
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
        }
    }
}

impl PrivateKey {
    pub(crate) fn sign(&self, hash: Hash, text: &[u8]) -> Option<Vec<u8>> {
        let digest = hash.digest(text);
        match self {
            Self::Rsa(key) => key.sign(hash.padding(), &digest).ok(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

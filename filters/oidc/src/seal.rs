//! What only this proxy may write and read, kept by somebody else: XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) under the keys of `COOKIE_SECRET`.
//!
//! The nonce is 24 random bytes, because several instances share a key without coordinating; 12 bytes
//! drawn at random would repeat too soon.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use lockgate_common::host::Host;
use lockgate_common::secret::Secret;
use lockgate_common::{encoding, hmac};

/// Keys that `COOKIE_SECRET` may hold.
pub const MAX_KEYS: usize = 8;

/// The longest sealed text that is looked at, in bytes. All the chunks of a session cookie together are
/// half of that.
pub const MAX_SEALED: usize = 64 * 1024;

const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// The longest plaintext whose sealed text is not longer than [`MAX_SEALED`], in bytes.
const MAX_PLAIN: usize = MAX_SEALED / 4 * 3 - KEY_ID_BYTES - NONCE_BYTES - TAG_BYTES;

/// Begins all associated data, so that nothing else ever made with these keys is taken for ours. Its
/// length is fixed; the one part whose length is not comes last, behind its length.
const DOMAIN: &[u8; 16] = b"lockgate sealed1";

/// What a sealed text is for. One made for another purpose does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session, in a cookie.
    Session,
    /// The `state` of a sign-in that has begun (RFC 6749, 4.1.1).
    Login,
    /// What a refresh of a session brought, for the other workers.
    Refreshed,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::Login => 2,
            Self::Refreshed => 3,
        }
    }
}

/// Why a sealed text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not base64url, too short, or longer than [`MAX_SEALED`].
    Malformed,
    /// Sealed with a key that is not (any more) in the ring.
    UnknownKey,
    /// Changed on its way, or made for another purpose or name.
    Forged,
}

/// The keys of `COOKIE_SECRET`. There is no `Debug`.
pub struct Keyring(Vec<Key>);

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
}

impl Keyring {
    /// Reads one to [`MAX_KEYS`] values of standard base64, comma separated, newest first; white space
    /// around a value is allowed. None for anything else: each key is exactly 32 bytes, so that a
    /// password is not taken for one.
    pub fn parse(secret: &Secret) -> Option<Self> {
        let keys = secret.expose().split(|byte| *byte == b',').take(MAX_KEYS + 1);
        let keys = keys.map(|text| Key::new(&encoding::from_base64(text.trim_ascii())?));
        let keys = keys.collect::<Option<Vec<Key>>>()?;
        (1..=MAX_KEYS).contains(&keys.len()).then_some(Self(keys))
    }

    /// Seals `plain` with the newest key, for `purpose` and `name` (for a cookie, its name). The result
    /// is base64url of key id, nonce, ciphertext and tag.
    ///
    /// None when the host has no randomness, or when `plain` is longer than fits [`MAX_SEALED`].
    pub fn seal(&self, host: &dyn Host, purpose: Purpose, name: &str, plain: &[u8]) -> Option<String> {
        let key = self.0.first()?;
        let mut nonce = [0_u8; NONCE_BYTES];
        if plain.len() > MAX_PLAIN || !host.random(&mut nonce) {
            return None;
        }
        let aad = key.associated_data(purpose, name);
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad }).ok()?;
        Some(encoding::base64url(&[key.id.as_slice(), &nonce, &sealed].concat()))
    }

    /// Opens what [`Keyring::seal`] made for the same purpose and name with any key of the ring.
    pub fn open(&self, purpose: Purpose, name: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        if sealed.len() > MAX_SEALED {
            return Err(OpenError::Malformed);
        }
        let bytes = encoding::from_base64url(sealed.as_bytes()).ok_or(OpenError::Malformed)?;
        let (id, rest) = bytes.split_first_chunk::<KEY_ID_BYTES>().ok_or(OpenError::Malformed)?;
        let (nonce, msg) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Malformed)?;
        if msg.len() < TAG_BYTES {
            return Err(OpenError::Malformed);
        }
        let nonce = XNonce::from(*nonce);
        let mut error = OpenError::UnknownKey;
        // Two keys may have one id: it is short.
        for key in self.0.iter().filter(|key| key.id == *id) {
            let aad = key.associated_data(purpose, name);
            match key.cipher.decrypt(&nonce, Payload { msg, aad: &aad }) {
                Ok(plain) => return Ok(plain),
                Err(_) => error = OpenError::Forged,
            }
        }
        Err(error)
    }
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let cipher = XChaCha20Poly1305::new_from_slice(bytes).ok()?;
        let id = *hmac::sign(bytes, &[b"lockgate cookie key id"]).first_chunk()?;
        Some(Self { id, cipher })
    }

    fn associated_data(&self, purpose: Purpose, name: &str) -> Vec<u8> {
        let length = (name.len() as u64).to_be_bytes();
        [DOMAIN.as_slice(), &[purpose.byte()], &self.id, &length, name.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Option<Keyring> {
        Keyring::parse(&Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_secret_is_one_to_eight_values_of_32_bytes() {
        let key = encoding::base64(&[7; 32]);
        for (text, keys) in [
            (key.clone(), 1),
            ([" \t", &key, "\n"].concat(), 1),
            ([&key, " , ", &key].concat(), 2),
            ([key.as_str(); 8].join(","), 8),
        ] {
            assert_eq!(ring(&text).map(|ring| ring.0.len()), Some(keys), "{text}");
        }
    }

    #[test]
    fn any_other_secret_is_refused() {
        let (key, bare) = (encoding::base64(&[7; 32]), encoding::base64(&[0xff; 32]).replace('=', ""));
        for text in [
            "",
            ",",
            "password",
            &encoding::base64(&[7; 31]),
            &encoding::base64(&[7; 33]),
            &encoding::base64(&[7; 64]),
            &encoding::base64url(&[0xff; 32]),
            &bare,
            &[&key, ","].concat(),
            &[",", &key].concat(),
            &[&key, ",,", &key].concat(),
            &[&key, " ", &key].concat(),
            &[&key, ",password"].concat(),
            &[key.as_str(); 9].join(","),
        ] {
            assert!(ring(text).is_none(), "{text}");
        }
        assert!(Keyring::parse(&Secret::new(vec![0xff; 44])).is_none());
    }

    #[test]
    fn what_cannot_be_a_sealed_text_is_malformed() {
        let ring = ring(&encoding::base64(&[7; 32])).unwrap();
        let short = encoding::base64url(&[0; KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES - 1]);
        for sealed in ["", "A", "=", "é", "\0", &short, &"A".repeat(MAX_SEALED + 4)] {
            assert!(ring.open(Purpose::Session, "n", sealed) == Err(OpenError::Malformed), "{sealed}");
        }
        let unknown = encoding::base64url(&[0; KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES]);
        assert!(ring.open(Purpose::Session, "n", &unknown) == Err(OpenError::UnknownKey));
    }
}

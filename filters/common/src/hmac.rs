//! HMAC-SHA256 (RFC 2104, FIPS 180-4) over pieces, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key that is used more than once. What it begins each MAC with has been computed.
pub struct Key(Option<Hmac<Sha256>>);

impl Key {
    /// A key of any length.
    pub fn new(key: &[u8]) -> Self {
        // `None` never happens, as HMAC takes keys of any length; it is no reason to have a panic.
        Self(Hmac::new_from_slice(key).ok())
    }

    /// The MAC of the pieces, one after the other.
    pub fn sign(&self, pieces: &[&[u8]]) -> Vec<u8> {
        self.over(pieces).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
    }

    /// Whether `tag` is the MAC of the pieces.
    pub fn verify(&self, pieces: &[&[u8]], tag: &[u8]) -> bool {
        self.over(pieces).is_some_and(|mac| mac.verify_slice(tag).is_ok())
    }

    fn over(&self, pieces: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = self.0.clone()?;
        for piece in pieces {
            mac.update(piece);
        }
        Some(mac)
    }
}

/// The MAC of the pieces by a key that is used once.
pub fn sign(key: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    Key::new(key).sign(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_test_case_of_rfc_4231() {
        let tag = sign(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let mut hex = String::new();
        crate::encoding::push_hex(&mut hex, &tag);
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        for (key, tag, fits) in [("Jefe", &tag[..], true), ("Jeff", &tag, false), ("Jefe", &tag[..31], false)] {
            let key = Key::new(key.as_bytes());
            // Twice: using a key does not use it up.
            for _ in 0..2 {
                assert_eq!(key.verify(&[b"what do ya want for nothing?"], tag), fits);
            }
        }
    }
}

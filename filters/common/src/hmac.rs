//! HMAC-SHA256 (RFC 2104, FIPS 180-4) over pieces, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The MAC of the pieces, one after the other.
pub fn sign(key: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    over(key, pieces).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

/// Whether `tag` is the MAC of the pieces.
pub fn verify(key: &[u8], pieces: &[&[u8]], tag: &[u8]) -> bool {
    over(key, pieces).is_some_and(|mac| mac.verify_slice(tag).is_ok())
}

/// `None` never happens, as HMAC takes keys of any length; it is no reason to have a panic.
fn over(key: &[u8], pieces: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for piece in pieces {
        mac.update(piece);
    }
    Some(mac)
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
        assert!(verify(b"Jefe", &[b"what do ya want for nothing?"], &tag));
        assert!(!verify(b"Jeff", &[b"what do ya want for nothing?"], &tag));
        assert!(!verify(b"Jefe", &[b"what do ya want for nothing?"], &tag[..31]));
    }
}

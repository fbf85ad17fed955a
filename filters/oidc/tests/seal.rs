//! What was sealed opens for whom it was sealed for, and nothing else opens.

mod scripted;

use lockgate_common::encoding;
use lockgate_common::secret::Secret;
use oidc::seal::{Keyring, MAX_SEALED, OpenError, Purpose};
use proptest::prelude::*;
use scripted::Scripted;

const PURPOSES: [Purpose; 3] = [Purpose::Session, Purpose::Login, Purpose::Refreshed];

fn ring(keys: &[[u8; 32]]) -> Keyring {
    let values: Vec<String> = keys.iter().map(|key| encoding::base64(key)).collect();
    Keyring::parse(&Secret::new(values.join(",").into_bytes())).unwrap()
}

fn purpose() -> impl Strategy<Value = Purpose> + Clone {
    (0..3_usize).prop_map(|index| PURPOSES[index])
}

fn refused(ring: &Keyring, purpose: Purpose, name: &str, sealed: &str) -> Option<OpenError> {
    ring.open(purpose, name, sealed).err()
}

/// Made with libsodium's `crypto_aead_xchacha20poly1305_ietf_encrypt` (PyNaCl 1.6): what an older
/// instance sealed must open, so the format cannot change unnoticed.
#[test]
fn what_libsodium_sealed_opens() {
    let ring = ring(&[std::array::from_fn(|index| index as u8)]);
    let sealed = "7dkEc2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6ex1TitWMXeDt6R7XqgSBEoKf4D7LggoZAjU";
    assert!(ring.open(Purpose::Session, "__Host-lockgate", sealed) == Ok(b"a session".to_vec()));
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let host = Scripted::default();
    host.no_randomness.set(true);
    assert!(ring(&[[1; 32]]).seal(&host, Purpose::Session, "n", b"x").is_none());
}

#[test]
fn what_would_be_too_long_to_open_is_not_sealed() {
    let (host, ring) = (Scripted::default(), ring(&[[1; 32]]));
    let longest = MAX_SEALED / 4 * 3 - 44;
    let sealed = ring.seal(&host, Purpose::Session, "n", &vec![0; longest]).unwrap();
    assert_eq!(sealed.len(), MAX_SEALED);
    assert!(ring.open(Purpose::Session, "n", &sealed).is_ok());
    assert!(ring.seal(&host, Purpose::Session, "n", &vec![0; longest + 1]).is_none());
}

#[test]
fn the_same_is_never_sealed_alike() {
    let (host, ring) = (Scripted::default(), ring(&[[1; 32]]));
    let seal = || ring.seal(&host, Purpose::Session, "n", b"x");
    assert_ne!(seal(), seal());
}

proptest! {
    #[test]
    fn what_is_sealed_opens(key: [u8; 32], purpose in purpose(), name: String, plain: Vec<u8>) {
        let ring = ring(&[key]);
        let sealed = ring.seal(&Scripted::default(), purpose, &name, &plain).unwrap();
        prop_assert!(ring.open(purpose, &name, &sealed) == Ok(plain));
    }

    #[test]
    fn any_other_byte_is_refused(plain: Vec<u8>, at: prop::sample::Index, flip in 1..=255_u8) {
        let ring = ring(&[[1; 32]]);
        let sealed = ring.seal(&Scripted::default(), Purpose::Session, "n", &plain).unwrap();

        let mut bytes = encoding::from_base64url(sealed.as_bytes()).unwrap();
        let position = at.index(bytes.len());
        bytes[position] ^= flip;
        let error = if position < 4 { OpenError::UnknownKey } else { OpenError::Forged };
        let changed = encoding::base64url(&bytes);
        prop_assert_eq!(refused(&ring, Purpose::Session, "n", &changed), Some(error));

        // As text: the last character has bits that stand for nothing, and those count too.
        let mut text = sealed.clone().into_bytes();
        let position = at.index(text.len());
        text[position] ^= flip & 0x7f | 1;
        if let Ok(changed) = String::from_utf8(text) {
            prop_assert!(refused(&ring, Purpose::Session, "n", &changed).is_some());
        }
    }

    #[test]
    fn truncated_or_extended_is_refused(
        plain: Vec<u8>,
        at: prop::sample::Index,
        more in "[A-Za-z0-9_-]{1,9}",
    ) {
        let ring = ring(&[[1; 32]]);
        let sealed = ring.seal(&Scripted::default(), Purpose::Session, "n", &plain).unwrap();
        let (start, end) = sealed.split_at(at.index(sealed.len()));
        let more = more.as_str();
        let longer = [[&sealed, more, ""], ["", more, &sealed], [start, more, end]];
        let longer = longer.map(|parts| parts.concat());
        for changed in longer.iter().map(String::as_str).chain([start, end]) {
            if *changed != sealed {
                prop_assert!(refused(&ring, Purpose::Session, "n", changed).is_some());
            }
        }
    }

    #[test]
    fn another_purpose_or_name_is_refused(
        one in purpose(),
        other in purpose(),
        a in "[ab]{0,3}",
        b in "[ab]{0,3}",
    ) {
        let ring = ring(&[[1; 32]]);
        let sealed = ring.seal(&Scripted::default(), one, &a, b"x").unwrap();
        let error = (one != other || a != b).then_some(OpenError::Forged);
        prop_assert_eq!(refused(&ring, other, &b, &sealed), error);
    }

    #[test]
    fn an_old_key_opens_and_a_removed_one_does_not(old: [u8; 32], new: [u8; 32], plain: Vec<u8>) {
        prop_assume!(old != new);
        let sealed = ring(&[old]).seal(&Scripted::default(), Purpose::Session, "n", &plain).unwrap();
        let both = ring(&[new, old]);
        prop_assert!(both.open(Purpose::Session, "n", &sealed) == Ok(plain.clone()));
        prop_assert_eq!(refused(&ring(&[new]), Purpose::Session, "n", &sealed), Some(OpenError::UnknownKey));
        // The newest key seals.
        let sealed = both.seal(&Scripted::default(), Purpose::Session, "n", &plain).unwrap();
        prop_assert!(ring(&[new]).open(Purpose::Session, "n", &sealed) == Ok(plain));
    }

    #[test]
    fn nothing_else_opens(
        sealed in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,200}"],
        purpose in purpose(),
    ) {
        prop_assert!(refused(&ring(&[[1; 32]]), purpose, "n", &sealed).is_some());
    }

    #[test]
    fn no_secret_panics(secret: Vec<u8>, pieces in prop::collection::vec("[ A-Za-z0-9+/=]{0,50}", 0..10)) {
        let _ = Keyring::parse(&Secret::new(secret));
        let _ = Keyring::parse(&Secret::new(pieces.join(",").into_bytes()));
    }
}

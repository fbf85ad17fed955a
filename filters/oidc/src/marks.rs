//! Facts that every worker of this process must know, and that outlive a VM: what is revoked, and what
//! may be used once and was.
//!
//! They stand in the proxy's shared data, whose keys never go away. So there is a fixed number of keys,
//! a fact's place among them is decided by its hash, and each holds a bounded list. Other processes do
//! not see them.

use lockgate_common::encoding;
use lockgate_common::hmac;
use lockgate_common::host::{Host, HostError};

/// Keys a kind.
const SLOTS: u8 = 64;

/// Entries a key.
const MAX_ENTRIES: usize = 256;

/// An entry: 8 bytes of the fact's hash, when it may be forgotten, when it was marked (seconds since 1970,
/// 8 bytes each, big-endian).
const ENTRY_BYTES: usize = 24;

/// How often a write is tried while others write to the same key.
const ATTEMPTS: usize = 16;

/// Its version tells that something was revoked.
const REVISION: &str = "lockgate.oidc.revision";

/// A version that no value has, short of four thousand million writes. Version 0 would write over what
/// another worker has just created; any other one is compared where there is a value, and passed over
/// where there is none (proxy-wasm-cpp-host, `SharedData::set`).
pub const NOT_YET_THERE: u32 = u32::MAX;

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session, a session at a provider or a subject was signed out.
    Revoked,
    /// The `state` of a sign-in came back.
    UsedState,
    /// A logout token was acted on (OpenID Connect Back-Channel Logout 1.0, 2.6: its `jti`).
    UsedLogoutToken,
}

/// Marks `fact` until `until_s`.
///
/// False means that the fact was marked before, by whichever worker, and is not expired, or that it could
/// not be stored: because `until_s` is over, the proxy failed, or 256 facts that expire later have the
/// same place. Callers must refuse what they marked it for.
///
/// [`Kind::Revoked`] may be marked again, which moves the time of the revocation forward and is true: whoever
/// signed in after the first is signed out by the second.
#[must_use]
pub fn mark(host: &dyn Host, kind: Kind, fact: &[u8], until_s: u64, now_s: u64) -> bool {
    let Some((key, hash)) = place(kind, fact) else {
        return false;
    };
    for _ in 0..ATTEMPTS {
        let (value, version) = host.shared(&key);
        let entry = Entry { hash, until_s, at_s: now_s };
        let Some(value) = marked(&value.unwrap_or_default(), kind, entry) else {
            return false;
        };
        let expected = if version == 0 { NOT_YET_THERE } else { version };
        match host.set_shared(&key, &value, expected) {
            // Last, so that whoever sees the new revision finds what it stands for.
            Ok(()) if kind == Kind::Revoked => return host.set_shared(REVISION, b"1", 0).is_ok(),
            Ok(()) => return true,
            Err(HostError::Conflict) => {}
            Err(_) => return false,
        }
    }
    false
}

/// When `fact` was marked (seconds since 1970), unless that may be forgotten by now. For
/// [`Kind::Revoked`], the last time: what was signed in later is not revoked.
pub fn is_marked(host: &dyn Host, kind: Kind, fact: &[u8], now_s: u64) -> Option<u64> {
    let (key, hash) = place(kind, fact)?;
    let value = host.shared(&key).0?;
    let mut found = entries(&value).filter(|entry| entry.hash == hash && entry.until_s > now_s);
    found.next().map(|entry| entry.at_s)
}

/// A number that changes whenever something is revoked, and costs one host call: while it is the same,
/// nothing was revoked since. Read it before what is remembered with it.
pub fn revision(host: &dyn Host) -> u32 {
    host.shared(REVISION).1
}

#[derive(Clone, Copy)]
struct Entry {
    hash: [u8; 8],
    until_s: u64,
    at_s: u64,
}

/// The key of shared data that a fact stands under, and its hash there.
fn place(kind: Kind, fact: &[u8]) -> Option<(String, [u8; 8])> {
    let digest = hmac::sign(b"lockgate mark", &[fact]);
    let (hash, rest) = digest.split_first_chunk()?;
    let mut key = String::from(match kind {
        Kind::Revoked => "lockgate.oidc.revoked.",
        Kind::UsedState => "lockgate.oidc.used_state.",
        Kind::UsedLogoutToken => "lockgate.oidc.used_logout_token.",
    });
    encoding::push_decimal(&mut key, u64::from(rest.first()? % SLOTS));
    Some((key, *hash))
}

/// The list with `new` in it and without what has expired by the time that it is marked at. None where
/// [`mark`] is false.
fn marked(value: &[u8], kind: Kind, mut new: Entry) -> Option<Vec<u8>> {
    let now_s = new.at_s;
    if new.until_s <= now_s {
        return None;
    }
    let mut kept = Vec::with_capacity(MAX_ENTRIES);
    for entry in entries(value).filter(|entry| entry.until_s > now_s) {
        if entry.hash != new.hash {
            kept.push(entry);
        } else if kind == Kind::Revoked {
            new.until_s = new.until_s.max(entry.until_s);
            // The clock may have been set back.
            new.at_s = new.at_s.max(entry.at_s);
        } else {
            return None;
        }
    }
    kept.push(new);
    if kept.len() > MAX_ENTRIES {
        let first = kept.iter().map(|entry| entry.until_s).min()?;
        // An older one goes rather than the new one, which is last.
        let goes = kept.iter().position(|entry| entry.until_s == first)?;
        if goes == MAX_ENTRIES {
            return None;
        }
        kept.remove(goes);
    }
    let mut out = Vec::with_capacity(kept.len() * ENTRY_BYTES);
    for entry in kept {
        out.extend_from_slice(&entry.hash);
        out.extend_from_slice(&entry.until_s.to_be_bytes());
        out.extend_from_slice(&entry.at_s.to_be_bytes());
    }
    Some(out)
}

fn entries(value: &[u8]) -> impl Iterator<Item = Entry> {
    value.chunks_exact(ENTRY_BYTES).filter_map(|bytes| {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let at = rest.first_chunk()?;
        Some(Entry { hash: *hash, until_s: u64::from_be_bytes(*until), at_s: u64::from_be_bytes(*at) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, until_s: u64, at_s: u64) -> Entry {
        Entry { hash: number.to_be_bytes(), until_s, at_s }
    }

    fn hashes(value: &[u8]) -> Vec<u64> {
        entries(value).map(|entry| u64::from_be_bytes(entry.hash)).collect()
    }

    /// 256 entries; number n may be forgotten at 1000 + n.
    fn full() -> Vec<u8> {
        (0..256).fold(Vec::new(), |value, number| {
            marked(&value, Kind::UsedState, entry(number, 1000 + number, 0)).unwrap()
        })
    }

    #[test]
    fn what_has_expired_is_pruned() {
        let value = marked(&full(), Kind::UsedState, entry(999, 9000, 1254)).unwrap();
        assert_eq!(hashes(&value), [255, 999]);
    }

    #[test]
    fn the_entry_that_expires_first_makes_room() {
        let full = full();
        assert_eq!(full.len(), MAX_ENTRIES * ENTRY_BYTES);
        let value = marked(&full, Kind::UsedState, entry(999, 1000, 1)).unwrap();
        assert_eq!(hashes(&value), (1..256).chain([999]).collect::<Vec<_>>());
        assert!(marked(&full, Kind::UsedState, entry(999, 999, 1)).is_none());
    }

    #[test]
    fn a_value_that_is_no_list_does_not_matter() {
        assert_eq!(hashes(&[0; ENTRY_BYTES - 1]), []);
        let value = marked(&[0xff; 60], Kind::UsedState, entry(1, 10, 1)).unwrap();
        assert_eq!(hashes(&value), [u64::MAX, u64::MAX, 1]);
    }

    #[test]
    fn facts_are_spread_over_a_fixed_number_of_keys() {
        let keys: std::collections::BTreeSet<String> =
            (0..5000_u32).map(|fact| place(Kind::Revoked, &fact.to_be_bytes()).unwrap().0).collect();
        assert_eq!(keys.len(), 64);
    }
}

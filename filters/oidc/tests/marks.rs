//! What one worker marks, every worker knows.

mod scripted;

use std::collections::BTreeMap;

use lockgate_common::host::HostError;
use oidc::marks::{Kind, is_marked, mark, revision};
use proptest::prelude::*;
use scripted::Scripted;

#[test]
fn what_may_be_used_once_is_marked_once() {
    let host = Scripted::default();
    for kind in [Kind::UsedState, Kind::UsedLogoutToken] {
        assert_eq!(is_marked(&host, kind, b"fact", 1000), None);
        assert!(mark(&host, kind, b"fact", 2000, 1000));
        assert!(!mark(&host, kind, b"fact", 9000, 1001));
        assert_eq!(is_marked(&host, kind, b"fact", 1999), Some(1000));
        assert_eq!(is_marked(&host, kind, b"other", 1999), None);
        assert_eq!(is_marked(&host, kind, b"fact", 2000), None);
        assert!(mark(&host, kind, b"fact", 9000, 2000));
    }
    assert_eq!(revision(&host), 0);
}

#[test]
fn a_fact_that_is_over_is_not_marked() {
    let host = Scripted::default();
    assert!(!mark(&host, Kind::UsedState, b"fact", 1000, 1000));
    assert!(host.shared.borrow().is_empty());
}

#[test]
fn a_second_revocation_moves_the_first() {
    let host = Scripted::default();
    assert!(mark(&host, Kind::Revoked, b"subject", 9000, 1000));
    assert!(mark(&host, Kind::Revoked, b"subject", 5000, 2000));
    assert_eq!(is_marked(&host, Kind::Revoked, b"subject", 8999), Some(2000));
    // A clock that was set back revokes nothing less.
    assert!(mark(&host, Kind::Revoked, b"subject", 9000, 1500));
    assert_eq!(is_marked(&host, Kind::Revoked, b"subject", 8999), Some(2000));
}

#[test]
fn whoever_sees_the_new_revision_sees_what_was_revoked() {
    let host = Scripted::default();
    let before = revision(&host);
    assert!(mark(&host, Kind::Revoked, b"fact", 2000, 1000));
    let after = revision(&host);
    assert_ne!(before, after);
    assert!(mark(&host, Kind::Revoked, b"fact", 2000, 1000));
    assert_ne!(revision(&host), after);
    assert!(mark(&host, Kind::UsedState, b"fact", 2000, 1000));

    host.reads.set(0);
    revision(&host);
    assert_eq!(host.reads.get(), 1);

    let versions: Vec<u32> = host.shared.borrow().values().map(|(_, version)| *version).collect();
    let (revision, lists) = (revision(&host), host.shared.borrow().len());
    assert_eq!(lists, 3);
    assert!(versions.contains(&(revision - 1)), "the list was written before the revision: {versions:?}");
}

#[test]
fn of_two_workers_that_use_a_state_at_once_one_succeeds() {
    for earlier in [false, true] {
        let host = Scripted::default();
        if earlier {
            // The key is there already, and its value is compared by version; else it is being created.
            assert!(mark(&host, Kind::UsedState, b"state", 20, 10));
        }
        *host.before_next_write.borrow_mut() = Some(Box::new(|host| {
            assert!(mark(host, Kind::UsedState, b"state", 2000, 1000));
        }));
        assert!(!mark(&host, Kind::UsedState, b"state", 2000, 1000), "{earlier}");
    }
}

#[test]
fn of_two_workers_that_revoke_at_once_both_succeed() {
    let host = Scripted::default();
    let facts: Vec<[u8; 4]> = (0..500_u32).map(u32::to_be_bytes).collect();
    for pair in facts.chunks(2) {
        let other = pair[1];
        *host.before_next_write.borrow_mut() = Some(Box::new(move |host| {
            assert!(mark(host, Kind::Revoked, &other, 2000, 1000));
        }));
        assert!(mark(&host, Kind::Revoked, &pair[0], 2000, 1000));
    }
    assert!(facts.iter().all(|fact| is_marked(&host, Kind::Revoked, fact, 1000) == Some(1000)));
}

#[test]
fn what_could_not_be_stored_is_not_marked() {
    for error in [HostError::Internal, HostError::Conflict] {
        let host = Scripted::default();
        host.writes_fail.set(Some(error));
        for kind in [Kind::Revoked, Kind::UsedState] {
            assert!(!mark(&host, kind, b"fact", 2000, 1000));
        }
        assert!(host.reads.get() < 100);
    }
}

#[test]
fn shared_data_stays_bounded() {
    let host = Scripted::default();
    for fact in 0..40_000_u32 {
        assert!(mark(&host, Kind::UsedState, &fact.to_be_bytes(), 2000 + u64::from(fact), 1000));
    }
    let shared = host.shared.borrow();
    assert_eq!(shared.len(), 64);
    assert!(shared.values().all(|(value, _)| value.len() == 256 * 24));
    drop(shared);
    assert_eq!(is_marked(&host, Kind::UsedState, &39_999_u32.to_be_bytes(), 1000), Some(1000));
}

proptest! {
    #[test]
    fn marks_are_a_map_with_expiry(steps in prop::collection::vec((0..30_u8, 0..50_u64, 0..10_u64), 0..200)) {
        let host = Scripted::default();
        let mut model: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let mut now = 1000;
        for (fact, life, pause) in steps {
            now += pause;
            let known = model.get(&fact).filter(|(until, _)| *until > now).map(|(_, at)| *at);
            prop_assert_eq!(is_marked(&host, Kind::UsedState, &[fact], now), known);
            let marked = mark(&host, Kind::UsedState, &[fact], now + life, now);
            prop_assert_eq!(marked, known.is_none() && life > 0);
            if marked {
                model.insert(fact, (now + life, now));
            }
        }
    }

    #[test]
    fn no_fact_and_no_value_panics(fact: Vec<u8>, value: Vec<u8>, until: u64, now: u64) {
        let host = Scripted::default();
        for kind in [Kind::Revoked, Kind::UsedState, Kind::UsedLogoutToken] {
            let _ = mark(&host, kind, &fact, until, now);
            for (list, _) in host.shared.borrow_mut().values_mut() {
                list.clone_from(&value);
            }
            let _ = is_marked(&host, kind, &fact, now);
            let _ = mark(&host, kind, &fact, until, now);
        }
    }
}

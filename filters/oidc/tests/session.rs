//! A session is what it was when it was written, and no bytes do harm.

use oidc::session::Session;
use proptest::option;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = String> {
    any::<[u8; 16]>().prop_map(|bytes| lockgate_common::encoding::base64url(&bytes))
}

fn claims() -> impl Strategy<Value = String> {
    prop::collection::btree_map(any::<String>(), prop::collection::vec(any::<String>(), 0..3), 0..4)
        .prop_map(|claims| serde_json::to_string(&claims).unwrap())
}

prop_compose! {
    /// Encoded, because a session cannot be printed.
    fn encoded()(
        id in id(),
        texts in any::<[String; 3]>(),
        claims in claims(),
        numbers in any::<[u64; 3]>(),
        provider_session in option::of(any::<String>()),
        times in any::<[Option<u64>; 2]>(),
        tokens in any::<[Option<String>; 3]>(),
    ) -> Vec<u8> {
        let [provider, issuer, subject] = texts;
        let [generation, signed_in_s, seen_s] = numbers;
        let [refresh_at_s, token_expires_s] = times;
        let [refresh_token, access_token, id_token] = tokens;
        let session = Session {
            id, generation, provider, issuer, subject, claims, provider_session, signed_in_s, seen_s,
            refresh_at_s, token_expires_s, refresh_token, access_token, id_token,
        };
        let encoded = session.encode();
        assert!(Session::decode(&encoded) == Some(session));
        encoded
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(encoded in encoded()) {
        let session = Session::decode(&encoded).unwrap();
        prop_assert_eq!(session.encode(), encoded.clone());
        // Another reader of JSON sees the same.
        let json: serde_json::Value = serde_json::from_slice(&encoded).unwrap();
        prop_assert_eq!(json["i"].as_str(), Some(session.id.as_str()));
        prop_assert_eq!(json["p"].as_str(), Some(session.provider.as_str()));
        prop_assert_eq!(json["u"].as_str(), Some(session.issuer.as_str()));
        prop_assert_eq!(json["s"].as_str(), Some(session.subject.as_str()));
        prop_assert_eq!(json["c"].to_string(), session.claims.clone());
        prop_assert_eq!(json["g"].as_u64(), Some(session.generation));
        prop_assert_eq!(json["b"].as_u64(), Some(session.signed_in_s));
        prop_assert_eq!(json["n"].as_u64(), Some(session.seen_s));
        prop_assert_eq!(json["f"].as_u64(), session.refresh_at_s);
        prop_assert_eq!(json["e"].as_u64(), session.token_expires_s);
        prop_assert_eq!(json["d"].as_str(), session.provider_session.as_deref());
        prop_assert_eq!(json["r"].as_str(), session.refresh_token.as_deref());
        prop_assert_eq!(json["a"].as_str(), session.access_token.as_deref());
        prop_assert_eq!(json["t"].as_str(), session.id_token.as_deref());
    }

    #[test]
    fn no_bytes_panic(
        bytes: Vec<u8>,
        encoded in encoded(),
        at: prop::sample::Index,
        byte: u8,
        times: [u64; 3],
    ) {
        let _ = Session::decode(&bytes);
        let mut changed = encoded;
        let position = at.index(changed.len());
        changed[position] = byte;
        let [now, idle, lifetime] = times;
        if let Some(session) = Session::decode(&changed) {
            let _ = session.is_over(now, idle, lifetime);
            let _ = (session.needs_refresh(now), session.token_expired(now), session.should_touch(now, idle));
        }
        prop_assert!(Session::decode(&changed[..position]).is_none());
    }
}

//! The upstream's answer → what becomes of the message.

use pubsub_playback::outcome::{Outcome, PERMANENT, RETRY, StatusMap};

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|entry| (*entry).to_owned()).collect()
}

#[test]
fn two_hundreds_are_delivered_passing_trouble_is_retried_the_rest_is_kept() {
    let map = StatusMap::parse(&owned(RETRY), &owned(PERMANENT)).unwrap();
    for status in [200, 201, 203, 204, 206, 299] {
        assert_eq!(map.outcome(status), Outcome::Delivered, "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert_eq!(map.outcome(status), Outcome::Retry, "{status}");
    }
    for status in [0, 101, 301, 302, 304, 400, 401, 403, 404, 409, 410, 422, 499, 508] {
        assert_eq!(map.outcome(status), Outcome::Permanent, "{status}");
    }
}

#[test]
fn the_sets_are_configurable_and_delivered_is_not() {
    let map = StatusMap::parse(&owned(&["404", "5xx"]), &owned(&["501"])).unwrap();
    assert_eq!(map.outcome(404), Outcome::Retry);
    assert_eq!(map.outcome(501), Outcome::Permanent);
    assert_eq!(map.outcome(429), Outcome::Permanent);
    for entry in ["200", "2xx", "6xx", "xx", "abc", "", "99999", "-1"] {
        assert!(StatusMap::parse(&owned(&[entry]), &[]).is_none(), "{entry}");
    }
}

//! A request as it is stored.

use lockgate_common::http::Headers;
use pubsub_enqueue::config::{HeaderRule, PathRule};
use pubsub_enqueue::request::{dedup, is_loop, stored_headers, target, trace};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().copied().collect()
}

fn stored(rule: &HeaderRule, pairs: &[(&str, &str)]) -> Vec<String> {
    stored_headers(rule, &headers(pairs)).into_iter().map(|(name, _)| name.into_owned()).collect()
}

#[test]
fn the_query_stays_whatever_becomes_of_the_path() {
    let stripped = PathRule::Stripped("/wal".into());
    assert_eq!(target(&PathRule::Same, "/a?b=/c"), "/a?b=/c");
    assert_eq!(target(&PathRule::Fixed("/x/y".into()), "/a?b=/c"), "/x/y?b=/c");
    assert_eq!(target(&stripped, "/wal/a/b?c"), "/a/b?c");
    assert_eq!(target(&stripped, "/wal"), "/");
    assert_eq!(target(&stripped, "/wal?x"), "/?x");
}

#[test]
fn what_says_who_somebody_is_is_not_stored() {
    let all = HeaderRule { only: None, keep: Vec::new() };
    let pairs = [
        (":method", "POST"),
        ("authorization", "x"),
        ("cookie", "x"),
        ("x-forwarded-for", "x"),
        ("forwarded", "x"),
        ("x-envoy-internal", "x"),
        ("x-goog-iap-jwt-assertion", "x"),
        ("x-lockgate-principal", "x"),
        ("x-slack-signature", "x"),
        ("webhook-signature", "x"),
        ("connection", "x-hop, close"),
        ("x-hop", "x"),
        ("transfer-encoding", "chunked"),
        ("content-type", "x"),
        ("x-a", "1"),
        ("x-a", "2"),
    ];
    assert_eq!(stored(&all, &pairs), ["content-type", "x-a", "x-a"]);
}

#[test]
fn a_route_may_narrow_what_is_stored_or_name_more() {
    let pairs = [("cookie", "x"), ("x-slack-signature", "x"), ("x-a", "x"), ("x-lockgate-a", "x")];
    let keep = HeaderRule { only: None, keep: vec!["cookie".into(), "x-lockgate-a".into()] };
    assert_eq!(stored(&keep, &pairs), ["cookie", "x-a"]);
    let only = HeaderRule { only: Some(vec!["x-slack-signature".into()]), keep: Vec::new() };
    assert_eq!(stored(&only, &pairs), ["x-slack-signature"]);
}

#[test]
fn a_route_that_narrows_what_is_stored_keeps_the_trace() {
    let ids = ["traceparent", "tracestate", "x-cloud-trace-context", "x-amzn-trace-id", "x-request-id"];
    let pairs: Vec<_> = ids.iter().chain(&["x-a", "x-b"]).map(|&name| (name, "x")).collect();
    let only = HeaderRule { only: Some(vec!["x-b".into()]), keep: Vec::new() };
    assert_eq!(stored(&only, &pairs), [&ids[..], &["x-b"]].concat());
}

#[test]
fn the_senders_own_id_is_found() {
    let both = headers(&[("idempotency-key", "i"), ("webhook-id", "w")]);
    assert_eq!(dedup(Some("Ev1".into()), &both).as_deref(), Some("Ev1"));
    assert_eq!(dedup(None, &both).as_deref(), Some("w"));
    assert_eq!(dedup(None, &headers(&[("idempotency-key", "i")])).as_deref(), Some("i"));
    assert_eq!(dedup(None, &headers(&[])), None);
}

#[test]
fn a_trace_goes_before_a_correlation_id() {
    assert_eq!(trace(&headers(&[("x-request-id", "r"), ("traceparent", "t")])).as_deref(), Some("t"));
    assert_eq!(trace(&headers(&[("x-request-id", "r")])).as_deref(), Some("r"));
}

#[test]
fn a_request_that_was_played_back_is_known_by_rfc_8586() {
    assert!(is_loop(&headers(&[("cdn-loop", "a; x=1, LockGate; y")])));
    assert!(is_loop(&headers(&[("cdn-loop", "a"), ("cdn-loop", "lockgate")])));
    assert!(!is_loop(&headers(&[("cdn-loop", "lockgates, a"), ("x", "lockgate")])));
}

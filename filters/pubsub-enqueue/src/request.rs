//! A request as it is stored: pure, from values to an envelope.

use std::borrow::Cow;

use lockgate_common::envelope::{Envelope, Header};
use lockgate_common::http::{Headers, path_without_query};

use crate::config::{HeaderRule, PathRule, ReplyRule};

use lockgate_common::http::Reply;

/// Longest value of an attribute, in bytes (cloud.google.com/pubsub/quotas#resource_limits).
const MAX_ATTRIBUTE_BYTES: usize = 1_024;

/// The token by which a playback says in `cdn-loop` that the request has been in the log (RFC 8586).
const LOOP_TOKEN: &str = "lockgate";

/// The headers that name a request's trace, or the request, in logs.
const CORRELATION: [&str; 4] = ["traceparent", "x-cloud-trace-context", "x-amzn-trace-id", "x-request-id"];

/// Whether a header, by its lower-case name, is stored whatever else a route leaves out: what is played
/// back belongs to the trace of what was sent.
pub fn is_correlation(name: &str) -> bool {
    name == "tracestate" || CORRELATION.contains(&name)
}

/// The path and query that the upstream will see.
pub fn target<'a>(rule: &PathRule, target: &'a str) -> Cow<'a, str> {
    let path = path_without_query(target);
    let query = target.get(path.len()..).unwrap_or_default();
    match rule {
        PathRule::Same => Cow::Borrowed(target),
        PathRule::Fixed(fixed) => Cow::Owned([fixed, query].concat()),
        PathRule::Stripped(prefix) => {
            let rest = path.strip_prefix(prefix.as_str()).unwrap_or(path);
            let slash = if rest.starts_with('/') { "" } else { "/" };
            Cow::Owned([slash, rest, query].concat())
        }
    }
}

/// The headers that are stored: those the rule stores, but for those that `connection` names
/// (RFC 9110, 7.6.1).
pub fn stored_headers<'a>(rule: &HeaderRule, headers: &'a Headers) -> Vec<Header<'a>> {
    let connection = headers.first("connection").unwrap_or_default();
    let named = |name: &str| {
        connection
            .split(|byte| *byte == b',')
            .any(|other| other.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    let kept = headers.iter().filter(|(name, _)| rule.stores(name) && !named(name));
    kept.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))).collect()
}

/// Whether the request has been played back from a log before.
pub fn is_loop(headers: &Headers) -> bool {
    headers.all("cdn-loop").any(|value| {
        value.split(|byte| *byte == b',').any(|entry| {
            let id = entry.split(|byte| *byte == b';').next().unwrap_or_default();
            id.trim_ascii().eq_ignore_ascii_case(LOOP_TOKEN.as_bytes())
        })
    })
}

/// The sender's own id: what the guard found in the body, else one of the headers for it
/// (Standard Webhooks; draft-ietf-httpapi-idempotency-key-header).
pub fn dedup(found: Option<String>, headers: &Headers) -> Option<Cow<'_, str>> {
    let header = |name| headers.first(name).and_then(|value| std::str::from_utf8(value).ok());
    let headers = || header("webhook-id").or_else(|| header("idempotency-key"));
    found.map(Cow::Owned).or_else(|| headers().map(Cow::Borrowed))
}

/// The trace it belongs to, else its correlation id.
pub fn trace(headers: &Headers) -> Option<Cow<'_, str>> {
    CORRELATION.iter().find_map(|name| std::str::from_utf8(headers.first(name)?).ok().map(Cow::Borrowed))
}

/// Short things to filter subscriptions by. A value that is too long is left out: half an id is none.
pub fn attributes<'a>(envelope: &'a Envelope<'_>, kind: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    [
        ("lockgate_id", Some(&*envelope.id)),
        ("route", Some(&*envelope.route)),
        ("kind", kind),
        ("method", Some(&*envelope.method)),
        ("path", Some(path_without_query(&envelope.path))),
        ("dedup", envelope.dedup.as_deref()),
        ("trace", envelope.trace.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.filter(|value| value.len() <= MAX_ATTRIBUTE_BYTES)?)))
    .collect()
}

/// What the sender is told.
pub fn reply(rule: &ReplyRule, id: &str) -> Reply {
    if rule.body.is_empty() {
        return Reply::empty(rule.status);
    }
    Reply::with_body(rule.status, &rule.content_type, rule.body.replace("{id}", id).into_bytes())
}

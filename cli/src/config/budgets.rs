//! Sizes and times that depend on each other. What can be computed is computed; what is written and
//! does not fit the rest is refused, because it would only show under load.

use std::time::Duration;

use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::scalars::{Count, Size, Span};

/// Pub/Sub's limit for a message, and with it for the push that brings it back: 10 MB.
const PUBSUB_MESSAGE: u64 = 10_000_000;

/// Sizes and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body that is enqueued or checked, in bytes.
    pub body: u64,
    /// Largest answer that an agent may bring, in bytes.
    pub response: u64,
    /// Largest block of request headers, in KiB.
    pub headers_kib: u64,
    /// Most request headers.
    pub header_count: u32,
    /// Most downstream connections of the process.
    pub connections: u32,
    /// Heap of the process beyond which new requests are refused, in bytes.
    pub heap: u64,
}

impl Limits {
    /// Largest push that a stored request can come back in, in bytes, as the filters count it.
    pub fn push_body(&self) -> u64 {
        lockgate_common::envelope::push_bytes(self.body as usize) as u64
    }

    /// What Envoy must be able to hold of one request while a filter reads it, in bytes.
    pub fn connection_buffer(&self) -> u64 {
        self.push_body().next_multiple_of(4096)
    }
}

/// Times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Longest life of a request that goes to the upstream; the platform's request timeout.
    pub request: Duration,
    /// For the upstream's answer.
    pub upstream: Duration,
    /// Pub/Sub's acknowledgement deadline of the push subscription.
    pub push_ack_deadline: Duration,
    /// For the push token's check, and again for a dead letter's publish.
    pub playback_check: Duration,
    /// For everything that Slack waits for; Slack gives up after 3 s.
    pub slack: Duration,
    /// Of that, for the signing secret.
    pub slack_wait: Duration,
    /// For everything that another caller of an enqueueing route waits for.
    pub enqueue: Duration,
    /// For requests in flight at the end; Cloud Run kills 10 s after SIGTERM.
    pub drain: Duration,
}

impl Budgets {
    /// Longest life of a playback: both checks around the upstream's time.
    pub fn playback(&self) -> Duration {
        self.upstream + 2 * self.playback_check
    }

    /// A stream may be silent for as long as the upstream may think, and a little more, so that it
    /// is the upstream's timeout that ends it.
    pub fn upstream_idle(&self) -> Duration {
        self.upstream + Duration::from_secs(15)
    }

    /// When an enqueueing filter gives up by itself, so that the answer is its own and not a cut.
    /// `before` is what the filters in front of it may have taken.
    pub fn enqueue_deadline(&self, route: Duration, before: Duration) -> Duration {
        route.saturating_sub(before).saturating_sub(Duration::from_millis(100))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {body: 1MiB}")]
pub(super) struct RawLimits {
    body: Option<Size>,
    response: Option<Size>,
    headers: Option<Size>,
    header_count: Option<Count>,
    connections: Option<Count>,
    heap: Option<Size>,
}

impl RawLimits {
    pub(super) fn resolve(self, problems: &mut Problems) -> Limits {
        let limits = Limits {
            body: self.body.map_or(1 << 20, |size| size.0),
            response: self.response.map_or(8 << 20, |size| size.0),
            headers_kib: self.headers.map_or(60, |size| size.0 / 1024),
            header_count: self.header_count.map_or(256, |count| count.0),
            connections: self.connections.map_or(4096, |count| count.0),
            heap: self.heap.map_or(256 << 20, |size| size.0),
        };
        let mut check = |fits: bool, field: &str, given: String, expected: &str| {
            if !fits {
                problems.push(Problem::given(field, given, expected));
            }
        };
        check(
            (1..=96).contains(&limits.headers_kib),
            "limits.headers",
            format!("{} KiB", limits.headers_kib),
            "between 1KiB and 96KiB, for example 60KiB",
        );
        check(
            (1..=1024).contains(&limits.header_count),
            "limits.header_count",
            limits.header_count.to_string(),
            "between 1 and 1024, for example 256",
        );
        check(limits.connections > 0, "limits.connections", "0".to_owned(), "at least 1, for example 4096");
        check(
            limits.body <= PUBSUB_MESSAGE && limits.push_body() <= PUBSUB_MESSAGE,
            "limits.body",
            format!("{} bytes", limits.body),
            "at most what still fits Pub/Sub's 10 MB together with the headers in base64, for example 6MiB",
        );
        check(
            limits.response <= 32 << 20,
            "limits.response",
            format!("{} bytes", limits.response),
            "at most 32MiB, for example 8MiB",
        );
        check(
            limits.heap >= 16 * limits.connection_buffer().min(PUBSUB_MESSAGE),
            "limits.heap",
            format!("{} bytes", limits.heap),
            "room for at least 16 requests of the largest size, for example 256MiB",
        );
        limits
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {slack: 2.8s}")]
pub(super) struct RawBudgets {
    request: Option<Span>,
    push_ack_deadline: Option<Span>,
    playback_check: Option<Span>,
    slack: Option<Span>,
    slack_wait: Option<Span>,
    enqueue: Option<Span>,
    drain: Option<Span>,
}

impl RawBudgets {
    pub(super) fn resolve(self, upstream: Option<Span>, problems: &mut Problems) -> Budgets {
        let or = |span: Option<Span>, milliseconds: u64| {
            span.map_or(Duration::from_millis(milliseconds), |span| span.0)
        };
        let budgets = Budgets {
            request: or(self.request, 900_000),
            upstream: or(upstream, 540_000),
            push_ack_deadline: or(self.push_ack_deadline, 600_000),
            playback_check: or(self.playback_check, 5_000),
            slack: or(self.slack, 2_800),
            slack_wait: or(self.slack_wait, 1_000),
            enqueue: or(self.enqueue, 10_000),
            drain: or(self.drain, 8_000),
        };
        budgets.check(problems);
        budgets
    }
}

impl Budgets {
    fn check(&self, problems: &mut Problems) {
        let mut ordered = |field: &str, given: Duration, least: u64, most: Duration, why: &str| {
            let least = Duration::from_millis(least);
            if given < least || given > most {
                let expected = format!("between {} and {}: {why}", seconds(least), seconds(most));
                problems.push(Problem::given(field, seconds(given), &expected));
            }
        };
        let s = Duration::from_secs;
        ordered(
            "budgets.request",
            self.request,
            1_000,
            s(3_600),
            "Cloud Run's longest request timeout, for example 900s",
        );
        ordered(
            "budgets.push_ack_deadline",
            self.push_ack_deadline,
            10_000,
            s(600).min(self.request.saturating_sub(s(1))),
            "Pub/Sub's limits, and less than budgets.request, for example 600s",
        );
        ordered(
            "budgets.playback_check",
            self.playback_check,
            500,
            s(30),
            "the time to fetch keys, for example 5s",
        );
        ordered(
            "upstream.timeout",
            self.upstream,
            1_000,
            self.push_ack_deadline.saturating_sub(2 * self.playback_check + s(1)),
            "playback must end before budgets.push_ack_deadline, or Pub/Sub delivers again meanwhile, for example 540s",
        );
        ordered(
            "budgets.slack",
            self.slack,
            500,
            Duration::from_millis(2_900),
            "Slack gives up after 3 s, for example 2.8s",
        );
        ordered(
            "budgets.slack_wait",
            self.slack_wait,
            100,
            self.slack.saturating_sub(s(1)),
            "it must leave 1 s of budgets.slack for the publish, for example 1s",
        );
        ordered(
            "budgets.enqueue",
            self.enqueue,
            1_100,
            s(30),
            "callers such as Zapier give up after 30 s, for example 10s",
        );
        ordered(
            "budgets.drain",
            self.drain,
            100,
            Duration::from_millis(9_500),
            "Cloud Run kills 10 s after SIGTERM, for example 8s",
        );
    }
}

/// As Envoy's configuration and our messages write a time.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(yaml: &str, upstream: Option<&str>) -> String {
        let raw: RawBudgets = serde_norway::from_str(yaml).unwrap();
        let upstream = upstream.map(|text| serde_norway::from_str(text).unwrap());
        let mut problems = Problems::none();
        raw.resolve(upstream, &mut problems);
        problems.to_string()
    }

    fn limits(yaml: &str) -> (Limits, String) {
        let mut problems = Problems::none();
        let limits = serde_norway::from_str::<RawLimits>(yaml).unwrap().resolve(&mut problems);
        (limits, problems.to_string())
    }

    #[test]
    fn the_defaults_close() {
        assert_eq!(budgets("{}", None), "");
        assert_eq!(limits("{}").1, "");
    }

    #[test]
    fn a_table_that_does_not_close_is_refused() {
        for (yaml, upstream, field) in [
            ("{}", Some("600s"), "upstream.timeout"),
            ("{push_ack_deadline: 100s}", Some("95s"), "upstream.timeout"),
            ("{request: 600s}", Some("500s"), "budgets.push_ack_deadline"),
            ("{push_ack_deadline: 601s}", None, "budgets.push_ack_deadline"),
            ("{slack: 3s}", None, "budgets.slack"),
            ("{slack_wait: 2s}", None, "budgets.slack_wait"),
            ("{enqueue: 31s}", None, "budgets.enqueue"),
            ("{drain: 10s}", None, "budgets.drain"),
        ] {
            let said = budgets(yaml, upstream);
            assert!(said.starts_with(&format!("{field}: given \"")), "{yaml} {upstream:?}: {said}");
        }
    }

    #[test]
    fn what_is_acknowledged_fits_the_push_that_brings_it_back() {
        let (limits, _) = limits("{}");
        let headers = limits.headers_kib * 1024;
        assert!(limits.connection_buffer() >= (limits.body + headers) * 4 / 3 + 65_536);
        assert!(limits.connection_buffer() >= limits.push_body());
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (yaml, field) in [
            ("{body: 8MiB}", "limits.body"),
            ("{headers: 1MiB}", "limits.headers"),
            ("{heap: 1MiB}", "limits.heap"),
            ("{connections: 0}", "limits.connections"),
            ("{header_count: 0}", "limits.header_count"),
        ] {
            assert!(limits(yaml).1.contains(&format!("{field}: given")), "{yaml}: {}", limits(yaml).1);
        }
    }
}

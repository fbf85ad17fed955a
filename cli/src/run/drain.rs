//! The end without cutting anybody off. SIGTERM straight to Envoy would cut every request in flight.
//!
//! First readiness fails, and from then on every answer says `connection: close`, but whoever has not
//! heard of it yet is still served. Then the listener closes, and what is left has the rest of the time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::http;
use crate::render::STAT_PREFIX;
use crate::say::{Severity, say};

/// How often Envoy is asked what is left; it has no way to tell by itself.
const POLL: Duration = Duration::from_millis(50);

/// What an end waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// No request is left.
    NoRequest,
    /// No connection is left either: on a kept-alive one the next request may be on its way. Such
    /// clients hear that it ends with their next answer only.
    NoConnection,
}

/// Returns when nobody is left, or after `longest`.
pub(super) async fn drain(admin: SocketAddr, longest: Duration, until: Until) {
    let (now, deadline) = (Instant::now(), Instant::now() + longest);
    let known = async {
        // It fails while Envoy starts.
        while http::post(admin, "/healthcheck/fail").await.is_err() {
            sleep(POLL).await;
        }
        quiet(admin, until).await;
    };
    let _ = timeout_at(now + longest / 2, known).await;
    // It may fail only if Envoy is gone, and then there is nothing to wait for.
    let _ = http::post(admin, "/drain_listeners").await;
    if timeout_at(deadline, quiet(admin, until)).await.is_err()
        && let Some(Left { requests: cut @ 1.., .. }) = Left::now(admin).await
    {
        let seconds = longest.as_secs_f32();
        say(Severity::Warning, &format!("{cut} requests were not answered within {seconds}s and are cut"));
    }
}

async fn quiet(admin: SocketAddr, until: Until) {
    // Twice, because one may be between the socket and the counter.
    let mut idle = 0;
    while idle < 2 {
        sleep(POLL).await;
        let nobody = Left::now(admin).await.is_some_and(|left| match until {
            Until::NoRequest => left.requests == 0,
            Until::NoConnection => left.connections == 0,
        });
        idle = if nobody { idle + 1 } else { 0 };
    }
}

struct Left {
    requests: u64,
    connections: u64,
}

impl Left {
    async fn now(admin: SocketAddr) -> Option<Self> {
        let gauges = format!("/stats?filter=^http.{STAT_PREFIX}.downstream_(rq|cx)_active$");
        let answer = http::get(admin, &gauges).await.ok()?;
        let gauge = |name: &str| {
            let prefix = format!("http.{STAT_PREFIX}.downstream_{name}_active: ");
            answer.text.lines().find_map(|line| line.strip_prefix(&prefix)?.trim().parse().ok())
        };
        Some(Self { requests: gauge("rq")?, connections: gauge("cx")? })
    }
}

//! The end without cutting anybody off: readiness fails, the listener closes, requests in flight end.
//! SIGTERM straight to Envoy would cut them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http;
use crate::render::STAT_PREFIX;

/// How often Envoy is asked how many requests are left; it has no way to tell by itself.
const POLL: Duration = Duration::from_millis(50);

/// Returns when no request is left, or after `longest`.
pub(super) async fn drain(admin: SocketAddr, longest: Duration) {
    let quiet = async {
        // Either may fail only if Envoy is gone already, and then there is nothing to wait for.
        let _ = http::post(admin, "/healthcheck/fail").await;
        let _ = http::post(admin, "/drain_listeners?graceful&skip_exit").await;
        // Twice, because a request may be between the socket and the counter.
        let mut idle = 0;
        while idle < 2 {
            tokio::time::sleep(POLL).await;
            idle = if active(admin).await == Some(0) { idle + 1 } else { 0 };
        }
    };
    if tokio::time::timeout(longest, quiet).await.is_err() {
        eprintln!("lockgate: requests were still active after {}s", longest.as_secs_f32());
    }
}

async fn active(admin: SocketAddr) -> Option<u64> {
    let name = format!("http.{STAT_PREFIX}.downstream_rq_active");
    let answer = http::get(admin, &format!("/stats?filter=^{name}$")).await.ok()?;
    let prefix = format!("{name}: ");
    answer.text.lines().find_map(|line| line.strip_prefix(&prefix)?.trim().parse().ok())
}

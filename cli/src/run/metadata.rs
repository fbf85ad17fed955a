//! Whether what a provider publishes fits the issuer that is configured. The filters find out, after
//! the start: nothing on its way may wait for a name server or a provider.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http;

/// How long after the start a mistake is taken for one of the configuration, rather than of the provider.
const WATCHED: Duration = Duration::from_secs(15);

const EVERY: Duration = Duration::from_millis(100);

/// What the filter counts when a discovery document names another issuer, or leads where it may not.
const WRONG: [&str; 2] =
    ["wasmcustom.lockgate.oidc.discovery.issuer", "wasmcustom.lockgate.oidc.discovery.endpoint"];

/// Ends when a document does not fit, and never otherwise.
pub(super) async fn misfit(admin: SocketAddr) {
    let watched = async {
        loop {
            let answer = http::get(admin, "/stats?filter=lockgate.oidc.discovery").await;
            if answer.is_ok_and(|answer| is_wrong(&answer.text)) {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    if tokio::time::timeout(WATCHED, watched).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_wrong(stats: &str) -> bool {
    let counted = |line: &str| {
        let (name, count) = line.split_once(": ")?;
        Some(WRONG.contains(&name) && count.trim() != "0")
    };
    stats.lines().any(|line| counted(line) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_misfit_counts() {
        assert!(is_wrong("wasmcustom.lockgate.oidc.discovery.issuer: 2\n"));
        assert!(!is_wrong("wasmcustom.lockgate.oidc.discovery.issuer: 0\n"));
        assert!(!is_wrong("wasmcustom.lockgate.oidc.discovery.malformed: 1\nx\n"));
    }
}

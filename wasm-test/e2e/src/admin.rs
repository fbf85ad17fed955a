//! Envoy's admin interface, as a test reads it.

use std::net::SocketAddr;

use serde_json::Value;

use crate::Client;
use crate::http1::Request;
use crate::journal::PATIENCE;

/// A client of the admin interface.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// A client of the one that listens here.
    pub fn new(address: SocketAddr) -> Self {
        Self { client: Client::new(address) }
    }

    /// Returns when it listens, which it does before anything else of Envoy.
    pub async fn wait_for_listener(&self) {
        self.client.wait_for_listener().await;
    }

    /// The counter or gauge of this name; 0 where there is none yet.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.text("/stats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits until a counter or gauge is as wanted. Envoy tells only who asks, so this asks again
    /// and again.
    ///
    /// # Panics
    /// When it is not after [`PATIENCE`].
    pub async fn wait_for_stat(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let reached = async { while !wanted(self.stat(name).await) {} };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{name} is {} after {PATIENCE:?}", self.stat(name).await);
    }

    /// The configuration Envoy runs, plugin configurations in clear.
    pub async fn config_dump(&self) -> Value {
        self.client.send(&Request::get("/config_dump?include_eds")).await.json()
    }

    /// Any page, as text.
    pub async fn text(&self, path: &str) -> String {
        self.client.send(&Request::get(path)).await.text()
    }
}

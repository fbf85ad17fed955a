//! TLS in front of plain services: some things pass only where both sides speak HTTP/2, which Envoy
//! speaks to a service with TLS alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::journal::Journal;
use crate::oidc_provider::clients_directory;
use crate::process::Process;

/// The running front. Dropping it kills it.
#[derive(Debug)]
pub struct TlsFront {
    // Dropping it ends the program.
    _process: Process,
    port: u16,
}

impl TlsFront {
    /// Starts it before a service that speaks HTTP/2 and one that speaks HTTP/1.1, and returns when
    /// it serves.
    ///
    /// # Panics
    /// When Node is missing.
    pub async fn start(h2: SocketAddr, http1: SocketAddr) -> Self {
        let settings = json!({
            "cert": certificate(),
            "key": fixture("localhost.key"),
            "h2": h2.port(),
            "http1": http1.port(),
        });
        let mut command = Command::new("node");
        command.arg(clients_directory().join("tls-front/front.mjs")).env("TLS_FRONT", settings.to_string());
        let process = Process::start("tls-front", &mut command, Arc::new(Journal::default()));
        let ready = process.wait_for_line("its port", 0, |line| line.contains("\"ready\"")).await;
        let ready: Value = serde_json::from_str(&ready).expect("a JSON line from the front");
        let port = ready["ready"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self { _process: process, port: port.expect("a port") }
    }

    /// Its URL, by the name in its certificate.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

/// Its certificate, which is its own authority: the `ca_file` of a configuration.
pub fn certificate() -> PathBuf {
    fixture("localhost.pem")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)
}

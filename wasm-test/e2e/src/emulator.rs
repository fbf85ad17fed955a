//! Google's own Pub/Sub emulator, in the place of the local services' queue.
//!
//! <https://cloud.google.com/pubsub/docs/emulator>. It is a Java program that keeps everything in
//! memory, asks nobody who they are and signs nothing; [`crate::push_relay`] adds what is missing.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::journal::Journal;
use crate::ports::free_port;
use crate::process::Process;
use crate::push_relay::PushRelay;
use crate::stack::loopback;

/// A running emulator and the relay in front of it. Dropping it kills the emulator.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    relay: PushRelay,
}

impl Emulator {
    /// The program, where it is installed; otherwise what is missing.
    ///
    /// # Errors
    /// A sentence that names the package to install.
    pub fn installed() -> Result<PathBuf, &'static str> {
        let program = sdk_directories().map(|sdk| sdk.join(PROGRAM)).find(|program| program.is_file());
        let program = program
            .ok_or("Google's Pub/Sub emulator is not installed (package google-cloud-cli-pubsub-emulator)")?;
        let java = env::var_os("JAVA_HOME").is_some() || on_path("java").is_some();
        if java {
            Ok(program)
        } else {
            Err("Google's Pub/Sub emulator needs Java (package default-jre-headless)")
        }
    }

    /// Starts the emulator; everything that is not Pub/Sub comes from the services at `services`,
    /// with whose key, in `state_directory`, pushes are signed.
    pub(crate) fn start(program: &Path, services: SocketAddr, state_directory: &Path) -> Self {
        let emulator = loopback(free_port());
        let mut command = Command::new(program);
        command
            .args([format!("--host={}", emulator.ip()), format!("--port={}", emulator.port())])
            .env("CLOUD_PUBSUB_EMULATOR_OPTS", JVM_OPTIONS);
        let process = Process::start("the Pub/Sub emulator", &mut command, Arc::new(Journal::default()));
        let relay = PushRelay::start(free_port(), emulator, services, state_directory);
        Self { process, relay }
    }

    /// Returns when it serves.
    pub(crate) async fn ready(&self) {
        let listens = |line: &str| line.contains("Server started, listening on");
        self.process.wait_for_line("its port", 0, listens).await;
    }

    /// Where it, and what it lacks, can be reached.
    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address()
    }
}

const PROGRAM: &str = "platform/pubsub-emulator/bin/cloud-pubsub-emulator";

/// It lives for seconds: compile little, collect on one thread, leave no file behind.
const JVM_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData";

/// Where Google's SDK may be: around the `gcloud` that is used, or where its packages, or its
/// installer in a home directory, put it.
fn sdk_directories() -> impl Iterator<Item = PathBuf> {
    let gcloud = on_path("gcloud").and_then(|link| link.canonicalize().ok());
    let around = gcloud.and_then(|gcloud| Some(gcloud.parent()?.parent()?.to_owned()));
    let home = env::var_os("HOME").map(|home| Path::new(&home).join("google-cloud-sdk"));
    around.into_iter().chain([PathBuf::from("/usr/lib/google-cloud-sdk")]).chain(home)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|found| found.is_file())
}

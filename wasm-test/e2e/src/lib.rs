//! The deployed configuration in real Envoy, with real clients: everything a test needs around it.
//!
//! A test builds a [`Stack`] and has a running chain, the local services, an upstream that
//! records what reaches it, and a proxy in front of the services that can be told to fail.
//! Nothing here sleeps for a fixed time: a test waits for an event, with a deadline.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a kit for tests: a step that fails is a test that fails, and says so where it stands"
)]

pub mod admin;
pub mod assertion;
pub mod browser;
pub mod builder;
pub mod byte_stream;
pub mod client;
pub mod container;
pub mod cookie_jar;
pub mod dead_letters;
pub mod door;
pub mod emulator;
pub mod envelope;
pub mod envoys;
pub mod example;
pub mod fault_proxy;
pub mod guarded_routes;
pub mod h2_call;
pub mod h2_frames;
pub mod h2_upstream;
pub mod h2c;
pub mod hostile_provider;
pub mod html_form;
pub mod http1;
pub mod identity;
pub mod istio;
pub mod journal;
mod observe;
pub mod oidc_login;
pub mod oidc_mock;
pub mod oidc_provider;
pub mod ports;
pub mod process;
pub mod pubsub;
mod push_relay;
mod refusal;
pub mod relying_party;
pub mod scenarios;
mod server;
mod shared;
pub mod siege;
pub mod signing_keys;
pub mod slack;
pub mod slack_clients;
pub mod stack;
pub mod tls_front;
pub mod tokens;
pub mod upstream;
pub mod url;
pub mod user_agent;
pub mod visitor;
mod watchdog;
mod wire;

pub use builder::Builder;
pub use client::Client;
pub use emulator::Emulator;
pub use envelope::Envelope;
pub use fault_proxy::{Call, Fault, FaultProxy};
pub use http1::{Headers, Request, Response};
pub use journal::Journal;
pub use observe::push_request;
pub use process::Process;
pub use pubsub::Pubsub;
pub use shared::Shared;
pub use stack::Stack;
pub use upstream::{Answer, Recorded, Upstream};

use std::sync::OnceLock;

/// The runtime of everything that outlives one test.
///
/// `#[tokio::test]` gives each test a runtime of its own and ends it with the test, together
/// with every task in it. A server shared by the tests of a file therefore lives here.
pub(crate) fn background() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("start the kit's runtime")
    })
}

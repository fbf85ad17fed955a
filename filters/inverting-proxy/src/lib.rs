//! The proxy's side of the protocol of google/inverting-proxy: a request waits here until the agent beside
//! its backend fetches it, and is answered with what the agent brings back. Everything is plain HTTP that
//! the agent begins, so it passes fronts that pass nothing else.

mod admin;
mod agent;
mod client;
pub mod config;
pub mod definition;
pub mod flow;
pub mod health;
pub mod parked;
mod principal;
pub mod registry;
pub mod session_cookie;
pub mod sessions;
pub mod set_cookie;
pub mod sole_worker;
pub mod wire;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "inverting-proxy",
    sections: &["limits", "backends", "public_url"],
    counters: &[
        &["parked"],
        &["fetched"],
        &["answered"],
        &["left"],
        &["probe_passed"],
        &["probe_failed"],
        &["sessions", "began"],
        &["sessions", "evicted"],
        &["cookies", "dropped"],
    ],
    configure: flow::InvertingProxy::configure,
};

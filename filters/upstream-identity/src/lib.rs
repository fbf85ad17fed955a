//! Gives each request to the upstream a Google identity token of the proxy's own account, so that a
//! service that only known accounts may call (Cloud Run without `allUsers`) can stand behind it.
//!
//! - [`flow`]: a request's story; [`config`]: settings as written → as used
//! - [`identity`]: one token for many requests, from the [`metadata`] server or by a service account's
//!   [`key`]
//! - [`token`]: what is a token, and what is an error text

pub mod config;
pub mod flow;
pub mod identity;
pub mod key;
pub mod metadata;
#[cfg(feature = "jwt-simple")]
pub mod rsa;
pub mod token;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "upstream-identity",
    sections: &[],
    counters: &[&["fetches"], &["fetch_failed"]],
    configure: flow::UpstreamIdentity::configure,
};

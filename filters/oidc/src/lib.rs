//! Lets only known people and programs in. People sign in with an OpenID provider, programs bring a
//! token, each rule says who may pass, and the upstream learns who it is.
//!
//! - [`flow`]: a request's story; [`door`]: what it needs, as configured; [`own`]: the door's own pages
//! - [`login`], [`callback`], [`id_token`], [`token_endpoint`], [`userinfo`]: signing in
//! - [`session`], [`seal`], [`cookies`], [`visit`], [`refresh`]: staying signed in
//! - [`sign_out`], [`back_channel`], [`marks`]: no longer
//! - [`audit`], [`events`]: who is told
//! - [`programs`], [`issuer`], [`opaque`]: tokens
//! - [`identity`], [`access`], [`upstream_headers`]: who it is, whether they may, what is said of them
//! - [`provider`], [`discovery`]: who is asked; [`navigation`], [`refuse`], [`pages`]: how it is answered

pub mod access;
pub mod audit;
pub mod back_channel;
pub mod cache;
pub mod callback;
pub mod config;
pub mod cookies;
pub mod discovery;
pub mod door;
pub mod events;
pub mod flow;
pub mod id_token;
pub mod identity;
pub mod issuer;
pub mod login;
pub mod marks;
pub mod navigation;
pub mod opaque;
pub mod own;
pub mod pages;
pub mod programs;
pub mod provider;
pub mod refresh;
pub mod refuse;
pub mod seal;
pub mod session;
pub mod sign_out;
pub mod site;
pub mod token_endpoint;
pub mod upstream_headers;
pub mod userinfo;
pub mod visit;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "oidc",
    sections: config::SECTIONS,
    counters: &[
        &["signed_in"],
        &["signed_out"],
        &["refreshed"],
        &["refresh_failed"],
        &["key_fetches"],
        &["event", "published"],
        &["event", "failed"],
        &["cache", "hit"],
        &["cache", "miss"],
    ],
    configure: flow::Oidc::configure,
};

/// The filter that takes a provider's logout tokens. It reads a body, so it is a plugin of its own.
pub const BACK_CHANNEL: Definition = Definition {
    name: "oidc-back-channel",
    sections: &["providers"],
    counters: &[&["signed_out"]],
    configure: back_channel::BackChannel::configure,
};

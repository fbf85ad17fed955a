//! What two filters or more share, and nothing that one of them would not need anyway.
//!
//! - [`host`]: what a filter may ask of the proxy; `envoy` and `shell` are its proxy-wasm side
//! - [`runtime`], [`flow`], [`event`], [`answer`]: who waits for what; a stream's story as one future
//! - [`readiness`]: whether what everybody waits for is there
//! - [`fetch`]: one fetch for many streams; [`access_token`], [`jwks`] and [`secret`] are such
//! - [`publish`], [`envelope`], [`header_policy`]: the write-ahead log's common part
//! - [`bearer`], [`jwt`]: reading and checking a token, its signature verified by the proxy
//! - [`assertion`], [`sign`], [`pem`]: a token for the upstream, signed by the proxy
//! - [`json`], [`config`], [`rules`], [`services`]: configuration as written → as used
//! - [`public_url`]: the proxy as visitors know it, and its cookies
//! - [`http`], [`form`], [`encoding`], [`hmac`]: plain values

pub mod access_token;
pub mod answer;
pub mod assertion;
pub mod bearer;
pub mod config;
pub mod envelope;
pub mod event;
pub mod fetch;
pub mod flow;
pub mod hmac;
pub mod host;
pub mod http;
pub mod jwks;
pub mod jwt;
mod metrics;
pub mod pem;
pub mod public_url;
pub mod publish;
pub mod readiness;
pub mod rules;
pub mod runtime;
pub mod secret;
pub mod services;
pub mod sign;

pub use lockgate_wire::{encoding, form, header_policy, json};

#[cfg(target_arch = "wasm32")]
mod abi;
#[cfg(target_arch = "wasm32")]
pub mod envoy;
#[cfg(target_arch = "wasm32")]
pub mod shell;

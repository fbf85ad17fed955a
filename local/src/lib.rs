//! A durable stand-in for the Google services Lockgate uses: Pub/Sub, Secret Manager, the metadata server and the keys
//! that sign its tokens, all on one loopback address.
//!
//! `README.md` of this crate says what differs from Google and what the durability promise is.

mod access;
mod api;
mod clock;
mod exchange;
mod identity;
mod keys;
mod metadata;
mod private_file;
mod pubsub;
mod secrets;
mod server;
mod status;
mod store;
mod tokeninfo;

pub use identity::id_token_claims;
pub use keys::{KeyError, Signer};
pub use server::{Error, Options, Server, serve};

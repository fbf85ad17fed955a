//! Turns a Pub/Sub push back into the request that was enqueued, and the upstream's answer into an
//! acknowledgement, a retry, or a dead letter.

pub mod config;
pub mod dead_letter;
pub mod flow;
pub mod outcome;
pub mod principal;
pub mod push;
pub mod push_token;
pub mod restore;
pub mod sign;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "pubsub-playback",
    sections: &[],
    counters: &[
        &["played_back", "delivered"],
        &["played_back", "retry"],
        &["played_back", "dead_lettered"],
        &["publish_failed"],
    ],
    configure: flow::PubsubPlayback::configure,
};

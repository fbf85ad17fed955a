//! Takes a request into a Pub/Sub topic and answers once it is stored, never before.

pub mod config;
pub mod flow;
pub mod request;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "pubsub-enqueue",
    sections: &[],
    counters: &[&["enqueued"], &["publish_failed"]],
    configure: flow::PubsubEnqueue::configure,
};

//! Lets only requests signed by Slack pass, answers what Slack needs answered at once, and sorts the
//! rest into those to enqueue and those to pass through.

pub mod config;
pub mod flow;
pub mod kind;
pub mod signature;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition = Definition {
    name: "slack-signature",
    sections: &[],
    counters: &[&["verified"], &["answered"], &["passed"]],
    configure: flow::SlackSignature::configure,
};

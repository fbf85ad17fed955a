//! Push delivery (<https://cloud.google.com/pubsub/docs/push>): a pump for each subscription decides what is sent
//! when, an attempt sends one message and records what became of it, an endpoint speaks HTTP.

mod attempt;
mod backoff;
mod dead_letter;
mod endpoint;
mod pump;

pub(super) use backoff::backoff;
pub(super) use dead_letter::dead_letter;
pub(super) use endpoint::Endpoint;
pub(super) use pump::Pump;

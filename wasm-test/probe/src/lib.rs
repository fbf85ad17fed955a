//! A filter that does to a proxy what a request's `x-do` header tells it, and writes down what the
//! proxy said. The same module runs in the simulated host and in Envoy, and the notes are compared.
//!
//! It calls the ABI directly: an SDK would turn unexpected statuses into panics.

mod abi;
mod callbacks;
mod calls;
mod headers_phase;
mod journal;
mod later_phases;

//! A proxy-wasm test harness: request in, response out, with Envoy's host behaviour.
//!
//! A filter is loaded as the module that ships. Backends are plain functions, time stands still
//! until the test moves it, and the host does what Envoy's does, its surprises included: the crate's
//! README lists each rule that is imitated and where it was confirmed.

mod answer;
mod builder;
mod clock;
mod events;
mod filter_chain;
mod gateway;
mod headers;
mod host;
mod http;
mod observed;
mod signatures;
mod stream;
mod vm;
mod worker;

pub use answer::Answer;
pub use builder::{Builder, StartError};
pub use gateway::{Call, Gateway};
pub use headers::Headers;
pub use host::Release;
pub use http::{Request, Response};
pub use observed::{HostCalls, Level, LogLine, Logs, Metrics};
pub use stream::Stream;

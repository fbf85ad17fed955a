//! The harness's public face; its README is the documentation.
#![doc = include_str!("../README.md")]

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

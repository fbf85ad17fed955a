//! What a filter may ask of the proxy. Its one implementation for Envoy is `envoy.rs`; tests bring
//! their own.

use crate::http::{Headers, Reply};

/// Why the proxy did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// The context, header map, cluster or range does not exist (any more).
    BadArgument,
    /// The proxy tried and failed, or the cluster cannot take another call.
    Internal,
    /// No such foreign function, property or queue.
    NotFound,
    /// Somebody else wrote first.
    Conflict,
}

/// A header map of the stream in force, or of the call that was just answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// The request, as it will reach the next filter.
    Request,
    /// The response, as it will reach the next filter.
    Response,
    /// The answer to a call; readable only while it is delivered.
    CallResponse,
}

/// A body buffer of the stream in force, or of the call that was just answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// What has been buffered of the request body.
    Request,
    /// The chunk of the response body at hand.
    Response,
    /// The body of a call's answer; readable only while it is delivered.
    CallResponse,
}

/// Which half of a stream is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Towards the upstream.
    Request,
    /// Towards the downstream.
    Response,
}

/// How urgent a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something an operator may want to know.
    Info,
    /// A request was refused, or a service did not answer.
    Warn,
    /// The filter cannot work as configured.
    Error,
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Only ever grows.
    Counter,
    /// A distribution, in milliseconds.
    Histogram,
}

/// An HTTP call that the proxy makes for the filter.
#[derive(Clone, Debug)]
pub struct Call {
    /// The Envoy cluster it leaves through.
    pub cluster: String,
    /// `http` or `https`; the cluster decides about TLS, this only fills `:scheme`.
    pub scheme: &'static str,
    /// Host and, where it is not the scheme's own, port.
    pub authority: String,
    /// Method, upper case.
    pub method: &'static str,
    /// Path with query.
    pub path: String,
    /// Further headers. Nothing of a client's request is ever copied into a call.
    pub headers: Vec<(&'static str, String)>,
    /// Body, empty for none.
    pub body: Vec<u8>,
    /// Time until the proxy answers 504 in the service's place, in milliseconds.
    pub timeout_ms: u64,
}

/// The proxy, as one VM sees it. Everything that can fail says so; nothing panics.
pub trait Host {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
    /// Fills `bytes` from the proxy's cryptographic random source. False: there is none; what must not
    /// be guessed cannot be made then.
    #[must_use]
    fn random(&self, bytes: &mut [u8]) -> bool;
    /// The value of an environment variable that the VM was given.
    fn env(&self, name: &str) -> Option<String>;
    /// Writes a line to the proxy's log.
    fn log(&self, level: Level, line: &str);

    /// Makes `context` the one that stream calls are about. `BadArgument` when it is gone; the one
    /// before then stays in force.
    fn enter(&self, context: u32) -> Result<(), HostError>;
    /// All headers of a map, in order, values as the bytes that came.
    fn headers(&self, map: Map) -> Headers;
    /// Replaces a whole map, pseudo-headers included, in one call.
    fn set_headers(&self, map: Map, headers: &Headers);
    /// Sets one header to one value, or removes it with all its values.
    fn set_header(&self, map: Map, name: &str, value: Option<&[u8]>);
    /// Adds a header beside those of the same name.
    fn add_header(&self, map: Map, name: &str, value: &[u8]);
    /// The first `length` bytes of a buffer.
    fn body(&self, body: Body, length: usize) -> Option<Vec<u8>>;
    /// Replaces the `length` bytes of a buffer. The caller has checked that there is a buffer and
    /// that `bytes` fits the connection's limit, because the proxy ends the VM otherwise.
    fn set_body(&self, body: Body, length: usize, bytes: &[u8]);
    /// Goes on with a stream that was paused.
    fn resume(&self, phase: Phase);
    /// Answers the stream in force.
    fn reply(&self, reply: &Reply);

    /// A property: an attribute of the request, or filter state that a filter set.
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// Sets filter state, which other filters and routes can read and no client can forge.
    fn set_property(&self, name: &str, value: &[u8]);

    /// Sends a call; its answer comes to the root under the token that is returned.
    fn dispatch(&self, call: &Call) -> Result<u32, HostError>;
    /// Calls a foreign function of the proxy, as `verify_signature`.
    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, HostError>;

    /// A value that the VMs of one id share in this process, and the number of its version; 0 and none
    /// where nothing was written yet.
    fn shared(&self, key: &str) -> (Option<Vec<u8>>, u32);
    /// Replaces a shared value, if its version is still `version`; 0 is any. A key never goes away, so
    /// there are few.
    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError>;

    /// Registers a queue whose arrivals wake the root context in force.
    fn register_queue(&self, name: &str) -> Option<u32>;
    /// Wakes the root that registered `queue`.
    fn enqueue(&self, queue: u32);
    /// Takes one wake-up from `queue`; false when it is empty.
    fn dequeue(&self, queue: u32) -> bool;
    /// Calls the root's tick every `ms` milliseconds; 0 stops it.
    fn set_tick(&self, ms: u64);

    /// Defines a metric, or finds it where another VM has.
    fn define_metric(&self, kind: Metric, name: &str) -> Option<u32>;
    /// Adds one to a counter.
    fn increment(&self, metric: u32);
    /// Records a value in a histogram.
    fn record(&self, metric: u32, value: u64);
}

//! [`Host`] over the proxy-wasm ABI: with `abi`, all that calls the host.
//!
//! The SDK's getters for `String` panic on a byte that is not UTF-8, and most of its calls panic on
//! a status they do not list; a panic ends the VM for every stream of the worker. So only the
//! `_bytes` variants stand here, and each is called only where the map or buffer exists.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

use crate::abi;
use crate::host::{Body, Call, Host, HostError, Level, Map, Metric, Phase};
use crate::http::{Headers, Reply};

/// The proxy this module was loaded into. What cannot change during a callback is asked once in it:
/// each question crosses the VM's border.
#[derive(Default)]
pub struct Envoy {
    now_ms: Cell<Option<u64>>,
    context: Cell<Option<u32>>,
}

impl Envoy {
    /// A callback begins, about `context`. The proxy puts that in force, whatever was before.
    pub fn called(&self, context: u32) {
        self.now_ms.set(None);
        self.context.set(Some(context));
    }
}

impl Host for Envoy {
    fn now_ms(&self) -> u64 {
        let known = self.now_ms.get();
        let now_ms = known.unwrap_or_else(|| {
            hostcalls::get_current_time()
                .ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |since| since.as_millis() as u64)
        });
        self.now_ms.set(Some(now_ms));
        now_ms
    }

    fn random(&self, bytes: &mut [u8]) -> bool {
        getrandom::fill(bytes).is_ok()
    }

    fn env(&self, name: &str) -> Option<String> {
        let environment = abi::environment();
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok().filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        let _ = hostcalls::log(level, line);
    }

    fn enter(&self, context: u32) -> Result<(), HostError> {
        if self.context.get() == Some(context) {
            return Ok(());
        }
        hostcalls::set_effective_context(context).map_err(error)?;
        self.context.set(Some(context));
        Ok(())
    }

    fn headers(&self, map: Map) -> Headers {
        abi::headers(map_type(map))
    }

    fn set_headers(&self, map: Map, headers: &Headers) {
        let pairs = headers.iter().collect();
        let _ = hostcalls::set_map_bytes(map_type(map), pairs);
    }

    fn set_header(&self, map: Map, name: &str, value: Option<&[u8]>) {
        let _ = hostcalls::set_map_value_bytes(map_type(map), name, value);
    }

    fn add_header(&self, map: Map, name: &str, value: &[u8]) {
        let _ = hostcalls::add_map_value_bytes(map_type(map), name, value);
    }

    fn body(&self, body: Body, length: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(buffer_type(body), 0, length).ok()?
    }

    fn set_body(&self, body: Body, length: usize, bytes: &[u8]) {
        let _ = hostcalls::set_buffer(buffer_type(body), 0, length, bytes);
    }

    #[expect(clippy::disallowed_methods, reason = "the flow calls this, once a stream")]
    fn resume(&self, phase: Phase) {
        let _ = match phase {
            Phase::Request => hostcalls::resume_http_request(),
            Phase::Response => hostcalls::resume_http_response(),
        };
    }

    fn reply(&self, reply: &Reply) {
        let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let _ = hostcalls::send_http_response(reply.status, headers, Some(&reply.body));
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::get_property(path.to_vec()).ok()?
    }

    fn set_property(&self, name: &str, value: &[u8]) {
        let _ = hostcalls::set_property(vec![name], Some(value));
    }

    #[expect(clippy::disallowed_methods, reason = "the runtime calls this, and waits for each token")]
    fn dispatch(&self, call: &Call) -> Result<u32, HostError> {
        let mut headers = vec![
            (":method", call.method),
            (":scheme", call.scheme),
            (":authority", call.authority.as_str()),
            (":path", call.path.as_str()),
        ];
        headers.extend(call.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let body = (!call.body.is_empty()).then_some(call.body.as_slice());
        let timeout = Duration::from_millis(call.timeout_ms);
        hostcalls::dispatch_http_call(&call.cluster, headers, body, vec![], timeout).map_err(error)
    }

    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, HostError> {
        hostcalls::call_foreign_function(name, Some(argument)).map(Option::unwrap_or_default).map_err(error)
    }

    fn shared(&self, key: &str) -> (Option<Vec<u8>>, u32) {
        let (value, version) = hostcalls::get_shared_data(key).unwrap_or_default();
        (value, version.unwrap_or_default())
    }

    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError> {
        let version = (version != 0).then_some(version);
        hostcalls::set_shared_data(key, Some(value), version).map_err(error)
    }

    fn register_queue(&self, name: &str) -> Option<u32> {
        hostcalls::register_shared_queue(name).ok()
    }

    fn enqueue(&self, queue: u32) {
        let _ = hostcalls::enqueue_shared_queue(queue, Some(b"w"));
    }

    fn dequeue(&self, queue: u32) -> bool {
        matches!(hostcalls::dequeue_shared_queue(queue), Ok(Some(_)))
    }

    fn set_tick(&self, ms: u64) {
        let _ = hostcalls::set_tick_period(Duration::from_millis(ms));
    }

    fn define_metric(&self, kind: Metric, name: &str) -> Option<u32> {
        let kind = match kind {
            Metric::Counter => MetricType::Counter,
            Metric::Histogram => MetricType::Histogram,
        };
        hostcalls::define_metric(kind, name).ok()
    }

    fn increment(&self, metric: u32) {
        let _ = hostcalls::increment_metric(metric, 1);
    }

    fn record(&self, metric: u32, value: u64) {
        let _ = hostcalls::record_metric(metric, value);
    }
}

fn map_type(map: Map) -> MapType {
    match map {
        Map::Request => MapType::HttpRequestHeaders,
        Map::Response => MapType::HttpResponseHeaders,
        Map::CallResponse => MapType::HttpCallResponseHeaders,
    }
}

fn buffer_type(body: Body) -> BufferType {
    match body {
        Body::Request => BufferType::HttpRequestBody,
        Body::Response => BufferType::HttpResponseBody,
        Body::CallResponse => BufferType::HttpCallResponseBody,
    }
}

fn error(status: Status) -> HostError {
    match status {
        Status::BadArgument => HostError::BadArgument,
        Status::NotFound => HostError::NotFound,
        Status::CasMismatch => HostError::Conflict,
        _ => HostError::Internal,
    }
}

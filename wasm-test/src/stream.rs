//! One request, step by step: what the client does, and what it and the upstream have seen so far.

use crate::events::{self, Event};
use crate::filter_chain::walk::{self, Start};
use crate::filter_chain::{self, Iteration, Side, Slot, Source, ends};
use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::host::contexts::Context;
use crate::http::{self, Request, Response};
use crate::vm::Cx;

/// A stream of a [`Gateway`]. Dropping it does not end the stream; [`Stream::reset`] does.
#[derive(Clone)]
pub struct Stream {
    gateway: Gateway,
    index: usize,
}

impl Stream {
    pub(crate) fn new(gateway: Gateway, index: usize) -> Self {
        Self { gateway, index }
    }

    /// The client sends a chunk of the body.
    pub fn push(&self, chunk: impl AsRef<[u8]>) {
        self.act(|cx, index| data(cx, index, chunk.as_ref(), false));
    }

    /// The client sends the last chunk of the body and says so with it, as HTTP/2 can.
    pub fn push_last(&self, chunk: impl AsRef<[u8]>) {
        self.act(|cx, index| data(cx, index, chunk.as_ref(), true));
    }

    /// The client ends the request.
    pub fn finish(&self) {
        self.act(|cx, index| data(cx, index, &[], true));
    }

    /// The client ends the request with trailers.
    pub fn trailers<N: AsRef<str>, V: AsRef<[u8]>>(&self, trailers: impl IntoIterator<Item = (N, V)>) {
        let trailers: Headers = trailers.into_iter().collect();
        self.act(|cx, index| end_with_trailers(cx, index, trailers));
    }

    /// The client leaves.
    pub fn reset(&self) {
        self.act(ends::reset);
    }

    /// Lets time pass until the response is complete or the stream is cut, and returns what the
    /// client has got.
    pub fn wait(&self) -> Response {
        self.gateway.settle();
        while !self.is_done() && self.gateway.step() {}
        self.response().unwrap_or_else(|| Response { reset: true, ..Response::default() })
    }

    /// Whether a filter holds the request or the response back.
    pub fn is_paused(&self) -> bool {
        self.look(|state| {
            let stopped = |slot: &Slot| {
                slot.request.iteration != Iteration::Continue
                    || slot.response.iteration != Iteration::Continue
            };
            !state.destroyed && state.slots.iter().any(stopped)
        })
        .unwrap_or(false)
    }

    /// Whether the stream has ended: answered as a whole, or cut.
    pub fn is_done(&self) -> bool {
        self.look(|state| state.destroyed).unwrap_or(true)
    }

    /// What the client has got so far; nothing before the headers.
    pub fn response(&self) -> Option<Response> {
        self.look(client_response).flatten()
    }

    /// What has reached the upstream so far; nothing before the headers.
    pub fn upstream(&self) -> Option<Request> {
        self.look(upstream_request).flatten()
    }

    /// Filter state, by the name the filter gave it (Envoy puts `wasm.` before it).
    pub fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        let name = name.strip_prefix("wasm.").unwrap_or(name);
        self.look(|state| state.filter_state.get(name.as_bytes()).cloned()).flatten()
    }

    /// `%RESPONSE_CODE_DETAILS%`: why the response is what it is.
    pub fn details(&self) -> String {
        self.look(|state| state.details.clone()).unwrap_or_default()
    }

    fn act(&self, act: impl FnOnce(&mut Cx<'_>, usize)) {
        self.gateway.with(|cx| act(cx, self.index));
        self.gateway.settle();
    }

    fn look<R>(&self, look: impl FnOnce(&filter_chain::Stream) -> R) -> Option<R> {
        self.gateway.with(|cx| cx.data().streams.get(self.index).map(look))
    }
}

/// Sends a whole request through the chain before anything else happens, as one read of the
/// connection does.
pub(crate) fn begin_whole(cx: &mut Cx<'_>, request: &Request) -> usize {
    let index = begin(cx, request, !request.has_body());
    let mut chunks = request.chunks.iter().filter(|chunk| !chunk.is_empty()).peekable();
    while let Some(chunk) = chunks.next() {
        let last = request.http2 && request.trailers.is_empty() && chunks.peek().is_none();
        data(cx, index, chunk, last);
    }
    if !request.trailers.is_empty() {
        end_with_trailers(cx, index, request.trailers.clone());
    } else if request.has_body() {
        data(cx, index, &[], true);
    }
    index
}

/// Makes a stream with a context for each filter, and sends the headers through the chain.
pub(crate) fn begin(cx: &mut Cx<'_>, request: &Request, end: bool) -> usize {
    let headers = request_headers(cx, request);
    let host = cx.data_mut();
    let index = host.streams.len();
    let now = host.clock.now();
    let settings = host.settings.clone();
    let generation = host.vm.generation();
    let dead = host.vm.is_failed(generation);
    let mut state = filter_chain::Stream {
        started: now,
        idle_at: host.clock.after(settings.idle_timeout),
        protocol: if request.http2 { "HTTP/2" } else { "HTTP/1.1" },
        source: request.source.clone().unwrap_or_else(|| "127.0.0.1:40000".to_owned()),
        ..filter_chain::Stream::default()
    };
    for plugin in 0..settings.plugins.len() {
        // A filter that is made while the VM is dead never gets another one.
        let root = host.vm.root_of(plugin).filter(|_| !dead);
        let slot = match root {
            Some(root) => {
                let context = Context::Stream { stream: index, slot: plugin, plugin, root };
                let context = host.vm.create(context);
                Slot { plugin, generation, context, ..Slot::default() }
            }
            None => Slot { plugin, ..Slot::default() },
        };
        state.slots.push(slot);
    }
    let left = request.filter_state.iter();
    state.filter_state.extend(left.map(|(name, value)| (name.clone().into_bytes(), value.clone())));
    state.request.headers = Some(headers);
    state.request.observed_end = end;
    host.streams.push(state);
    host.plan(settings.idle_timeout, Event::IdleTimedOut { stream: index });
    if let Some(duration) = settings.max_duration {
        host.plan(duration, Event::DurationReached { stream: index });
    }
    walk::headers(cx, index, Side::Request, Start::First, end);
    index
}

/// What Envoy's codec and connection manager make of a client's request.
fn request_headers(cx: &mut Cx<'_>, request: &Request) -> Headers {
    let mut headers = Headers::new();
    headers.add(":authority", &request.authority);
    headers.add(":path", &request.path);
    headers.add(":method", &request.method);
    headers.add(":scheme", &request.scheme);
    for (name, value) in request.headers.iter() {
        headers.add(name, value);
    }
    // Envoy's codec keeps `transfer-encoding` to itself.
    if !request.chunked && !request.body.is_empty() && headers.get("content-length").is_none() {
        headers.add("content-length", request.body.len().to_string());
    }
    if headers.get("x-forwarded-proto").is_none() {
        headers.add("x-forwarded-proto", &request.scheme);
    }
    if headers.get("x-request-id").is_none() {
        headers.add("x-request-id", uuid(cx.data_mut().random(), cx.data_mut().random()));
    }
    headers
}

/// A version 4 UUID (RFC 9562) of given bits.
fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | (0b10 << 62);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

fn data(cx: &mut Cx<'_>, index: usize, chunk: &[u8], end: bool) {
    events::keep_alive(cx, index);
    if let Some(state) = open_for_input(cx, index) {
        state.request.observed_end |= end;
        state.received = state.received.saturating_add(chunk.len());
        state.request.chunk = chunk.to_vec();
        walk::data(cx, index, Side::Request, Start::First, Source::Chunk, end);
    }
}

fn end_with_trailers(cx: &mut Cx<'_>, index: usize, trailers: Headers) {
    events::keep_alive(cx, index);
    if let Some(state) = open_for_input(cx, index) {
        state.request.observed_end = true;
        state.request.trailers = Some(trailers);
        walk::trailers(cx, index, Side::Request, Start::First);
    }
}

/// The stream, while its client may still send.
fn open_for_input<'a>(cx: &'a mut Cx<'_>, index: usize) -> Option<&'a mut filter_chain::Stream> {
    let state = cx.data_mut().streams.get_mut(index)?;
    (!state.destroyed && !state.request.observed_end).then_some(state)
}

fn client_response(state: &filter_chain::Stream) -> Option<Response> {
    let all = state.client.headers.as_ref()?;
    let mut response = Response::new(all.text(":status")?.parse().ok()?);
    response.headers = all.iter().filter(|(name, _)| !name.starts_with(':')).collect();
    response.trailers = state.client.trailers.clone().unwrap_or_default();
    let has_length = response.headers.get("content-length").is_some();
    let request = state.request.headers.as_ref();
    let bodyless = matches!(response.status, 204 | 304)
        || request.is_some_and(|headers| headers.text(":method") == Some("HEAD"));
    let (body, surplus, whole) = match bodyless {
        true => (Vec::new(), state.client.body.clone(), true),
        false => http::delimit(&response.headers, state.client.body.clone()),
    };
    if state.client.headers_only && !bodyless && !has_length {
        response.headers.add("content-length", "0");
    }
    response.reset = state.reset || (state.client.complete && !whole);
    (response.body, response.surplus) = (body, surplus);
    Some(response)
}

/// What has reached the upstream so far.
pub(crate) fn upstream_request(state: &filter_chain::Stream) -> Option<Request> {
    Some(read_upstream(state)?.0)
}

/// What has reached the upstream, once it is what its `content-length` announced.
pub(crate) fn complete_upstream_request(state: &filter_chain::Stream) -> Option<Request> {
    let (request, whole) = read_upstream(state)?;
    whole.then_some(request)
}

fn read_upstream(state: &filter_chain::Stream) -> Option<(Request, bool)> {
    let all = state.upstream.headers.as_ref()?;
    let mut request = Request::new(all.text(":method")?, all.text(":path")?);
    request.authority = all.text(":authority").unwrap_or_default().to_owned();
    request.scheme = all.text(":scheme").unwrap_or_default().to_owned();
    request.headers = all.iter().filter(|(name, _)| !name.starts_with(':')).collect();
    frame(&mut request, state.upstream.headers_only);
    request.trailers = state.upstream.trailers.clone().unwrap_or_default();
    let (body, surplus, whole) = http::delimit(&request.headers, state.upstream.body.clone());
    (request.body, request.surplus) = (body, surplus);
    request.surplus.extend(&state.upstream.surplus);
    Some((request, whole))
}

/// What Envoy's HTTP/1.1 codec does about the framing: it believes a `content-length`.
fn frame(request: &mut Request, headers_only: bool) {
    request.headers.remove("transfer-encoding");
    if request.headers.get("content-length").is_some() {
        return;
    }
    if !headers_only {
        request.chunked = true;
        request.headers.add("transfer-encoding", "chunked");
    } else if !matches!(request.method.as_str(), "GET" | "HEAD" | "DELETE" | "CONNECT" | "TRACE") {
        request.headers.add("content-length", "0");
    }
}

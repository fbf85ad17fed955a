//! HTTP calls that filters make. They belong to the root context, whoever makes them.

use std::time::Duration;

use crate::answer::Answer;
use crate::events::{self, Event};
use crate::headers::Headers;
use crate::host::Status;
use crate::host::contexts::Deferred;
use crate::host::headers::pairs;
use crate::http::{Request, Response};
use crate::vm::{self, Cx};

/// The body of the 503 in the place of a host that refuses connections.
pub(crate) const REFUSED: &str = "upstream connect error or disconnect/reset before headers. \
    reset reason: remote connection failure, transport failure reason: \
    delayed connect error: Connection refused";

/// Calls to one cluster at a time: Envoy's default circuit breaker.
const MAX_REQUESTS: usize = 1024;

/// What the host buffers of an answer.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// A call and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Callout {
    pub(crate) cluster: String,
    pub(crate) request: Request,
    pub(crate) done: bool,
    pub(crate) held: bool,
    token: u32,
    root: u32,
    generation: u64,
}

/// `proxy_http_call`.
pub(crate) fn http_call(
    cx: &mut Cx<'_>,
    cluster: (u32, u32),
    headers: (u32, u32),
    body: (u32, u32),
    trailers: (u32, u32),
    timeout: u32,
    token_at: u32,
) -> Status {
    let read = |range: (u32, u32)| vm::read(cx, range.0, range.1);
    let (Some(cluster), Some(headers), Some(body), Some(trailers)) =
        (read(cluster), read(headers), read(body), read(trailers))
    else {
        return Status::InvalidMemoryAccess;
    };
    if vm::write(cx, token_at, &0_u32.to_le_bytes()).is_none() {
        return Status::InvalidMemoryAccess;
    }
    let cluster = String::from_utf8_lossy(&cluster).into_owned();
    let headers: Headers = pairs::decode(&headers).into_iter().collect();
    let trailers: Headers = pairs::decode(&trailers).into_iter().collect();
    let host = cx.data_mut();
    let is_empty = host.settings.empty_clusters.contains(&cluster);
    // The ABI's number is signed.
    if timeout.cast_signed() < 0 || !(is_empty || host.settings.clusters.contains(&cluster)) {
        return Status::BadArgument;
    }
    let Some(request) = request(&headers, trailers, body) else {
        return Status::BadArgument;
    };
    let open = host.calls.iter().filter(|call| !call.done && call.cluster == cluster).count();
    if is_empty || open >= MAX_REQUESTS {
        return Status::InternalFailure;
    }
    host.vm.next_call = host.vm.next_call.saturating_add(4);
    let (token, call) = (host.vm.next_call, host.calls.len());
    let (root, generation) = (host.vm.subject_root(), host.vm.generation());
    let (done, held) = (false, false);
    host.calls.push(Callout { cluster, request, done, held, token, root, generation });
    host.plan(Duration::ZERO, Event::CallSent { call });
    if timeout > 0 {
        host.plan(Duration::from_millis(timeout.into()), Event::CallTimedOut { call });
    }
    vm::write(cx, token_at, &token.to_le_bytes()).into()
}

/// Path, method and authority are required.
fn request(headers: &Headers, trailers: Headers, body: Vec<u8>) -> Option<Request> {
    let mut request = Request::new(headers.text(":method")?, headers.text(":path")?);
    request.authority = headers.text(":authority").or_else(|| headers.text("host"))?.to_owned();
    if let Some(scheme) = headers.text(":scheme") {
        scheme.clone_into(&mut request.scheme);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        request.headers.add(name, value);
    }
    if !body.is_empty() {
        request.headers.set("content-length", body.len().to_string());
    }
    request.trailers = trailers;
    request.body = body;
    Some(request)
}

/// A backend has answered, or will.
pub(crate) fn answered(cx: &mut Cx<'_>, index: usize, answer: Answer) {
    match answer {
        Answer::Response(response) if response.body.len() > MAX_ANSWER => deliver(cx, index, None),
        Answer::Response(response) => deliver(cx, index, Some(response)),
        Answer::After(delay, answer) => {
            cx.data_mut().plan(delay, Event::CallAnswered { call: index, answer: *answer });
        }
        Answer::Hold => {
            if let Some(call) = cx.data_mut().calls.get_mut(index) {
                call.held = true;
            }
        }
        Answer::Refuse => deliver(cx, index, Some(made_by_host(503, REFUSED))),
        Answer::Reset => deliver(cx, index, None),
    }
}

/// The call's own timeout has passed.
pub(crate) fn timed_out(cx: &mut Cx<'_>, index: usize) {
    deliver(cx, index, Some(made_by_host(504, "upstream request timeout")));
}

fn made_by_host(status: u16, body: &str) -> Response {
    Response::new(status).header("content-type", "text/plain").body(body)
}

/// `proxy_on_http_call_response`, on the root, even if the stream that made the call is gone. No
/// response stands for a reset: no headers, no body.
fn deliver(cx: &mut Cx<'_>, index: usize, response: Option<Response>) {
    let host = cx.data_mut();
    let Some(call) = host.calls.get_mut(index) else { return };
    if std::mem::replace(&mut call.done, true) {
        return;
    }
    call.held = false;
    let (token, root, generation) = (call.token, call.root, call.generation);
    if host.vm.is_failed(generation) {
        return;
    }
    let Some(exports) = host.vm.exports() else { return };
    let Some(on_http_call_response) = &exports.on_http_call_response else { return };
    let sizes = response.as_ref().map_or((0, 0, 0), |response| {
        (response.wire_headers().len(), response.body.len(), response.trailers.len())
    });
    host.vm.call_response = response.map(|response| (root, response));
    host.vm.deferred.push_back(Deferred::ForgetCallResponse);
    let size = |length| u32::try_from(length).unwrap_or(u32::MAX);
    let parameters = (root, token, size(sizes.0), size(sizes.1), size(sizes.2));
    vm::call(cx, root, on_http_call_response, parameters);
    events::after_callback(cx);
}

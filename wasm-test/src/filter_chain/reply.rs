//! Answers that the proxy gives itself, for a filter or because something went wrong:
//! `DownstreamFilterManager::sendLocalReply`.

use crate::filter_chain::walk::{self, Start};
use crate::filter_chain::{Side, Source, ends};
use crate::headers::Headers;
use crate::vm::Cx;

/// An answer that does not come from the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) details: String,
}

impl LocalReply {
    pub(crate) fn new(status: u32, body: &str, details: &str) -> Self {
        let (body, details) = (body.as_bytes().to_vec(), details.to_owned());
        Self { status, headers: Vec::new(), body, details }
    }

    fn response_headers(&self) -> Headers {
        let mut headers: Headers = [(":status", self.status.to_string())].into_iter().collect();
        for (name, value) in &self.headers {
            headers.add(name, value);
        }
        if self.body.is_empty() {
            headers.remove("content-length");
            headers.remove("content-type");
        } else {
            headers.set("content-length", self.body.len().to_string());
            if headers.get("content-type").is_none() {
                headers.set("content-type", "text/plain");
            }
        }
        headers
    }
}

/// Answers a stream. Where the response has not begun, the answer walks the filters like any other;
/// where it has, the client gets it directly; where headers were sent, the stream is reset.
pub(crate) fn send(cx: &mut Cx<'_>, stream: usize, reply: LocalReply) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if state.destroyed {
        return;
    }
    let in_request_callback = state.request.calling;
    if in_request_callback {
        state.request.aborted = true;
    } else if state.response.calling {
        state.response.aborted = true;
    }
    state.details.clone_from(&reply.details);
    if state.response.headers.is_none() {
        if in_request_callback {
            // The walk that is under way sends it, so that no filter is entered twice.
            state.prepared.get_or_insert(reply);
        } else {
            walk_back(cx, stream, &reply);
        }
    } else if state.client.headers.is_none() {
        send_directly(cx, stream, &reply);
    } else {
        ends::reset(cx, stream);
    }
}

/// Sends what a request callback has prepared, if it has.
pub(crate) fn send_prepared(cx: &mut Cx<'_>, stream: usize, side: Side) {
    if side != Side::Request {
        return;
    }
    let prepared = cx.data_mut().streams.get_mut(stream).and_then(|state| state.prepared.take());
    if let Some(reply) = prepared {
        walk_back(cx, stream, &reply);
    }
}

fn walk_back(cx: &mut Cx<'_>, stream: usize, reply: &LocalReply) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    state.response.headers = Some(reply.response_headers());
    let end = reply.body.is_empty() || is_head(cx, stream);
    walk::headers(cx, stream, Side::Response, Start::First, end);
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if end || state.destroyed {
        return;
    }
    state.response.chunk.clone_from(&reply.body);
    walk::data(cx, stream, Side::Response, Start::First, Source::Chunk, true);
}

fn send_directly(cx: &mut Cx<'_>, stream: usize, reply: &LocalReply) {
    let headers = reply.response_headers();
    let end = reply.body.is_empty() || is_head(cx, stream);
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    // No filter is to hold the response back any more.
    state.response.streaming = true;
    state.response.headers = Some(headers);
    ends::headers(cx, stream, Side::Response, end);
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if end || state.destroyed {
        return;
    }
    state.response.chunk.clone_from(&reply.body);
    ends::data(cx, stream, Side::Response, Source::Chunk, true);
}

fn is_head(cx: &Cx<'_>, stream: usize) -> bool {
    let headers = cx.data().streams.get(stream).and_then(|state| state.request.headers.as_ref());
    headers.is_some_and(|headers| headers.text(":method") == Some("HEAD"))
}

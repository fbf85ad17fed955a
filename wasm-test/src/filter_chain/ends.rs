//! The two ends of the chain, the router and the client, and the end of a stream.

use std::time::Duration;

use crate::events::Event;
use crate::filter_chain::{At, Outlet, Side, Source, Stream, callbacks};
use crate::vm::Cx;

/// Headers have passed all filters.
pub(crate) fn headers(cx: &mut Cx<'_>, stream: usize, side: Side, end: bool) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    let headers = state.path(side).headers.clone();
    outlet(state, side).headers = headers;
    outlet(state, side).headers_only = end;
    finish(cx, stream, side, end);
}

/// Data has passed all filters.
pub(crate) fn data(cx: &mut Cx<'_>, stream: usize, side: Side, source: Source, end: bool) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    let path = state.path_mut(side);
    let mut bytes = match source {
        Source::Buffer => path.buffer.as_mut().map(std::mem::take).unwrap_or_default(),
        _ => std::mem::take(&mut path.chunk),
    };
    path.over_limit = false;
    if side == Side::Response {
        state.sent = state.sent.saturating_add(bytes.len());
    }
    outlet(state, side).body.append(&mut bytes);
    finish(cx, stream, side, end);
}

/// Trailers have passed all filters.
pub(crate) fn trailers(cx: &mut Cx<'_>, stream: usize, side: Side) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    let trailers = state.path(side).trailers.clone();
    let outlet = outlet(state, side);
    if outlet.complete {
        // A filter that paused and then adds trailers makes Envoy send them twice.
        outlet.surplus.extend(b"0\r\n");
        for (name, value) in trailers.iter().flat_map(|trailers| trailers.iter()) {
            outlet.surplus.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        outlet.surplus.extend(b"\r\n");
    }
    outlet.trailers = trailers;
    finish(cx, stream, side, true);
}

fn outlet(stream: &mut Stream, side: Side) -> &mut Outlet {
    match side {
        Side::Request => &mut stream.upstream,
        Side::Response => &mut stream.client,
    }
}

fn finish(cx: &mut Cx<'_>, stream: usize, side: Side, end: bool) {
    if !end {
        return;
    }
    let host = cx.data_mut();
    let Some(state) = host.streams.get_mut(stream) else { return };
    if std::mem::replace(&mut outlet(state, side).complete, true) {
        return;
    }
    match side {
        Side::Request => host.plan(Duration::ZERO, Event::UpstreamAsked { stream }),
        Side::Response => {
            state.response_complete = true;
            destroy(cx, stream);
        }
    }
}

/// Cuts a stream off: the client left, or the response cannot be completed.
pub(crate) fn reset(cx: &mut Cx<'_>, stream: usize) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if !state.destroyed {
        state.reset = true;
        destroy(cx, stream);
    }
}

/// Ends a stream: all filters log, then all are destroyed.
fn destroy(cx: &mut Cx<'_>, stream: usize) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if std::mem::replace(&mut state.destroyed, true) {
        return;
    }
    let slots = 0..state.slots.len();
    for slot in slots.clone() {
        callbacks::log(cx, At { stream, slot, side: Side::Request });
    }
    for slot in slots {
        callbacks::destroy(cx, At { stream, slot, side: Side::Request });
    }
}

//! How headers, data and trailers walk the chain: `FilterManager::decodeHeaders`, `encodeHeaders`
//! and their siblings, which differ little enough to be one function each.

use crate::filter_chain::callbacks::{self, DataStatus, HeadersStatus, TrailersStatus};
use crate::filter_chain::{At, Iteration, Side, Source, ends, reply, resume};
use crate::vm::Cx;

/// Which filter a walk starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first of the chain.
    First,
    /// The one after this slot.
    Next(usize),
    /// This slot, if it was stopped before it saw what comes now; else the one after.
    CurrentOrNext(usize),
}

/// Headers meet the filters one by one, until one stops them, and then the end of the chain.
pub(crate) fn headers(cx: &mut Cx<'_>, stream: usize, side: Side, start: Start, end: bool) {
    let mut step = begin(cx, stream, side, start, end);
    while let Some(at) = at(cx, stream, side, step) {
        set_calling(cx, at, true);
        if let Some(half) = at.half(cx) {
            half.end_stream = end;
        }
        let mut status = callbacks::headers(cx, at, end);
        set_calling(cx, at, false);
        if is_aborted(cx, at) {
            reply::send_prepared(cx, stream, side);
            status = HeadersStatus::StopIteration;
        }
        if is_destroyed(cx, stream) || !resume::after_headers(cx, at, status) {
            return;
        }
        step += 1;
    }
    ends::headers(cx, stream, side, end);
}

/// Data meets the filters one by one. `source` says whether it has just come or was held back.
pub(crate) fn data(cx: &mut Cx<'_>, stream: usize, side: Side, start: Start, source: Source, mut end: bool) {
    if side == Side::Request && is_stopped(cx, stream, side) {
        return;
    }
    let mut step = begin(cx, stream, side, start, end);
    let had_trailers = has_trailers(cx, stream, side);
    let mut trailers_added_by = None;
    let mut reached_end = true;
    while let Some(at) = at(cx, stream, side, step) {
        if is_stopped_all(cx, at) {
            if let Some(path) = at.path(cx) {
                path.streaming = true;
            }
            resume::hold_back(cx, at, source);
            return;
        }
        if at.half(cx).is_none_or(|half| half.end_stream) {
            return;
        }
        let ends_here = end && !has_trailers(cx, stream, side);
        if let Some(half) = at.half(cx) {
            half.end_stream = ends_here;
        }
        set_calling(cx, at, true);
        let mut status = callbacks::data(cx, at, source, ends_here);
        set_calling(cx, at, false);
        if is_aborted(cx, at) {
            if side == Side::Request {
                reply::send_prepared(cx, stream, side);
                return;
            }
            status = DataStatus::StopNoBuffer;
        }
        if is_destroyed(cx, stream) {
            return;
        }
        if !had_trailers && trailers_added_by.is_none() && has_trailers(cx, stream, side) {
            // A filter that adds trailers takes the end of the stream from the data.
            end = false;
            trailers_added_by = Some(at.slot);
        }
        if !resume::after_data(cx, at, status, source) {
            reached_end = false;
            break;
        }
        step += 1;
    }
    if reached_end {
        ends::data(cx, stream, side, source, end);
    }
    if let Some(slot) = trailers_added_by
        && (reached_end || side == Side::Request)
    {
        trailers(cx, stream, side, Start::CurrentOrNext(slot));
    }
}

/// Trailers meet the filters one by one.
pub(crate) fn trailers(cx: &mut Cx<'_>, stream: usize, side: Side, start: Start) {
    if side == Side::Request && is_stopped(cx, stream, side) {
        return;
    }
    let mut step = begin(cx, stream, side, start, true);
    while let Some(at) = at(cx, stream, side, step) {
        if is_stopped_all(cx, at) {
            return;
        }
        set_calling(cx, at, true);
        let mut status = callbacks::trailers(cx, at);
        set_calling(cx, at, false);
        if let Some(half) = at.half(cx) {
            half.end_stream = true;
        }
        if is_aborted(cx, at) && side == Side::Request {
            reply::send_prepared(cx, stream, side);
            status = TrailersStatus::StopIteration;
        }
        if is_destroyed(cx, stream) || !resume::after_trailers(cx, at, status) {
            return;
        }
        step += 1;
    }
    ends::trailers(cx, stream, side);
}

/// The first step of a walk. A response that ends also ends the walk of its request.
fn begin(cx: &mut Cx<'_>, stream: usize, side: Side, start: Start, end: bool) -> usize {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else {
        return usize::MAX;
    };
    match start {
        Start::First => {
            if side == Side::Response && end {
                state.response.observed_end = true;
                state.request.aborted = true;
            }
            0
        }
        Start::Next(slot) => state.step_of(side, slot).saturating_add(1),
        Start::CurrentOrNext(slot) => {
            let stay = state.slots.get(slot).is_some_and(|slot| slot.half(side).from_current);
            state.step_of(side, slot).saturating_add(usize::from(!stay))
        }
    }
}

fn at(cx: &mut Cx<'_>, stream: usize, side: Side, step: usize) -> Option<At> {
    let slot = cx.data().streams.get(stream)?.slot_index(side, step)?;
    Some(At { stream, slot, side })
}

fn set_calling(cx: &mut Cx<'_>, at: At, calling: bool) {
    if let Some(path) = at.path(cx) {
        path.calling = calling;
    }
}

fn has_trailers(cx: &Cx<'_>, stream: usize, side: Side) -> bool {
    cx.data().streams.get(stream).is_some_and(|stream| stream.path(side).trailers.is_some())
}

fn is_aborted(cx: &mut Cx<'_>, at: At) -> bool {
    at.path(cx).is_none_or(|path| path.aborted)
}

fn is_stopped(cx: &Cx<'_>, stream: usize, side: Side) -> bool {
    cx.data().streams.get(stream).is_none_or(|stream| stream.stopped(side))
}

fn is_destroyed(cx: &Cx<'_>, stream: usize) -> bool {
    cx.data().streams.get(stream).is_none_or(|stream| stream.destroyed)
}

fn is_stopped_all(cx: &mut Cx<'_>, at: At) -> bool {
    at.half(cx).is_none_or(|half| half.iteration == Iteration::StopAll)
}

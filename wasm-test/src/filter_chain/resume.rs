//! What happens after a callback, and when a filter resumes: `ActiveStreamFilterBase`.

use crate::filter_chain::callbacks::{DataStatus, HeadersStatus, TrailersStatus};
use crate::filter_chain::reply::{self, LocalReply};
use crate::filter_chain::walk::{self, Start};
use crate::filter_chain::{At, Iteration, Side, Source};
use crate::host::Release;
use crate::vm::Cx;

/// Whether headers go on to the next filter.
pub(crate) fn after_headers(cx: &mut Cx<'_>, at: At, status: HeadersStatus) -> bool {
    let Some(half) = at.half(cx) else { return false };
    match status {
        HeadersStatus::Continue => half.headers_continued = true,
        HeadersStatus::StopIteration => half.iteration = Iteration::StopSingle,
        HeadersStatus::StopAll => half.iteration = Iteration::StopAll,
    }
    status == HeadersStatus::Continue
}

/// Whether data goes on to the next filter. A filter that had stopped and now continues goes on
/// with all that it has held back.
pub(crate) fn after_data(cx: &mut Cx<'_>, at: At, status: DataStatus, source: Source) -> bool {
    let Some(half) = at.half(cx) else { return false };
    let was_stopped = half.iteration == Iteration::StopSingle;
    match status {
        DataStatus::Continue if was_stopped => {
            hold_back(cx, at, source);
            go_on(cx, at);
            false
        }
        DataStatus::Continue => {
            forward_what_was_added(cx, at, source);
            true
        }
        DataStatus::StopAndBuffer | DataStatus::StopAndWatermark => {
            half.iteration = Iteration::StopSingle;
            if let Some(path) = at.path(cx) {
                path.streaming = status == DataStatus::StopAndWatermark;
            }
            hold_back(cx, at, source);
            false
        }
        DataStatus::StopNoBuffer => {
            half.iteration = Iteration::StopSingle;
            if let Some(path) = at.path(cx)
                && path.observed_end
                && path.trailers.is_none()
                && path.buffer.is_none()
            {
                // So that a later resume still ends the stream with an empty frame.
                path.buffer = Some(Vec::new());
            }
            false
        }
    }
}

/// Whether trailers go on to the next filter.
pub(crate) fn after_trailers(cx: &mut Cx<'_>, at: At, status: TrailersStatus) -> bool {
    let Some(half) = at.half(cx) else { return false };
    match (status, half.iteration) {
        (TrailersStatus::Continue, Iteration::StopSingle) => {
            go_on(cx, at);
            false
        }
        (TrailersStatus::Continue, _) => true,
        (TrailersStatus::StopIteration, Iteration::Continue) => {
            half.iteration = Iteration::StopSingle;
            false
        }
        (TrailersStatus::StopIteration, _) => false,
    }
}

/// Resumes a stopped filter: what it has held back goes on. Resuming one that has not stopped sends
/// the buffer once more, which is empty by then.
pub(crate) fn go_on(cx: &mut Cx<'_>, at: At) {
    if cannot_go_on(cx, at) {
        return;
    }
    let Some(half) = at.half(cx) else { return };
    if half.iteration == Iteration::StopAll {
        half.from_current = true;
    }
    half.iteration = Iteration::Continue;
    let headers_are_due = !std::mem::replace(&mut half.headers_continued, true);
    if headers_are_due && let Some(path) = at.path(cx) {
        let end = path.observed_end && path.buffer.is_none() && path.trailers.is_none();
        walk::headers(cx, at.stream, at.side, Start::Next(at.slot), end);
    }
    if cannot_go_on(cx, at) {
        return;
    }
    // Trailers that a filter adds while the data walks are continued by that walk.
    let Some(path) = at.path(cx) else { return };
    let had_trailers = path.trailers.is_some();
    let end = path.observed_end && !had_trailers;
    if path.buffer.is_some() {
        let start = Start::CurrentOrNext(at.slot);
        walk::data(cx, at.stream, at.side, start, Source::Buffer, end);
    }
    if cannot_go_on(cx, at) {
        return;
    }
    if had_trailers {
        walk::trailers(cx, at.stream, at.side, Start::CurrentOrNext(at.slot));
    }
    if let Some(half) = at.half(cx) {
        half.from_current = false;
    }
}

fn cannot_go_on(cx: &mut Cx<'_>, at: At) -> bool {
    at.stream(cx).is_none_or(|stream| {
        stream.stopped(at.side) || (at.side == Side::Response && stream.response_complete)
    })
}

/// Moves a chunk to the buffer. A buffer over the limit is an error, except under back-pressure.
pub(crate) fn hold_back(cx: &mut Cx<'_>, at: At, source: Source) {
    let Some(path) = at.path(cx) else { return };
    if source != Source::Buffer {
        let chunk = std::mem::take(&mut path.chunk);
        path.buffer.get_or_insert_default().extend(chunk);
    }
    check_limit(cx, at);
}

/// Answers 413, or 500 for a response, when the buffer has grown over the limit.
pub(crate) fn check_limit(cx: &mut Cx<'_>, at: At) {
    let limit = cx.data().settings.body_limit;
    let Some(path) = at.path(cx) else { return };
    let length = path.buffer.as_ref().map_or(0, Vec::len);
    if length <= limit {
        // Envoy's low watermark is half of the high one.
        path.over_limit &= length > limit / 2;
        return;
    }
    if std::mem::replace(&mut path.over_limit, true) || path.streaming {
        return;
    }
    let reply = match at.side {
        Side::Request => LocalReply::new(413, "Payload Too Large", "request_payload_too_large"),
        Side::Response => LocalReply::new(500, "Internal Server Error", "response_payload_too_large"),
    };
    reply::send(cx, at.stream, reply);
}

/// A stream that was resumed in the middle of its body: the chunk that has come since was added to
/// the buffer, for which nobody waits any more. Before Envoy 1.40 it was lost
/// (`filter_manager_forward_added_data_on_continue`).
fn forward_what_was_added(cx: &mut Cx<'_>, at: At, source: Source) {
    if source != Source::Chunk || cx.data().settings.release < Release::V1_40 {
        return;
    }
    if let Some(path) = at.path(cx)
        && let Some(buffer) = path.buffer.as_mut()
    {
        let mut added = std::mem::take(buffer);
        added.append(&mut path.chunk);
        path.chunk = added;
    }
}

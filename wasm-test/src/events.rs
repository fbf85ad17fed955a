//! What happens outside of callbacks: ticks, queue wake-ups, answers, timeouts; and what a callback
//! has put off until it returned.

use std::time::Duration;

use crate::answer::Answer;
use crate::filter_chain::reply::{self, LocalReply};
use crate::filter_chain::walk::{self, Start};
use crate::filter_chain::{At, Side, Source, ends, resume};
use crate::host::contexts::{self, Deferred};
use crate::host::{Host, calls};
use crate::http::Response;
use crate::vm::{self, Cx};

/// Something that is due at a time.
#[derive(Debug)]
pub(crate) enum Event {
    Tick {
        generation: u64,
        context: u32,
        epoch: u64,
    },
    QueueReady {
        context: u32,
        token: u32,
    },
    /// A call has left; its backend is to be asked.
    CallSent {
        call: usize,
    },
    CallAnswered {
        call: usize,
        answer: Answer,
    },
    CallTimedOut {
        call: usize,
    },
    /// The whole request has reached the router; the upstream is to be asked.
    UpstreamAsked {
        stream: usize,
    },
    UpstreamAnswered {
        stream: usize,
        answer: Answer,
    },
    IdleTimedOut {
        stream: usize,
    },
    DurationReached {
        stream: usize,
    },
}

/// Lets an event happen. Those that ask a backend are the gateway's, and do nothing here.
pub(crate) fn happen(cx: &mut Cx<'_>, event: Event) {
    match event {
        Event::Tick { generation, context, epoch } => tick(cx, generation, context, epoch),
        Event::QueueReady { context, token } => queue_ready(cx, context, token),
        Event::CallAnswered { call, answer } => calls::answered(cx, call, answer),
        Event::CallTimedOut { call } => calls::timed_out(cx, call),
        Event::UpstreamAnswered { stream, answer } => upstream_answered(cx, stream, answer),
        Event::IdleTimedOut { stream } => idle_timed_out(cx, stream),
        Event::DurationReached { stream } => {
            time_out(cx, stream, "downstream duration timeout", "max_duration_timeout");
        }
        Event::CallSent { .. } | Event::UpstreamAsked { .. } => {}
    }
}

/// Does what the callback that has just returned has asked for.
pub(crate) fn after_callback(cx: &mut Cx<'_>) {
    cx.data_mut().vm.stop_iteration = false;
    while let Some(deferred) = cx.data_mut().vm.deferred.pop_front() {
        match deferred {
            Deferred::Continue { stream, slot, side } => {
                resume::go_on(cx, At { stream, slot, side });
            }
            Deferred::Reset { stream } => ends::reset(cx, stream),
            Deferred::Reply { stream, reply } => reply::send(cx, stream, reply),
            Deferred::ForgetCallResponse => cx.data_mut().vm.call_response = None,
        }
    }
}

fn tick(cx: &mut Cx<'_>, generation: u64, context: u32, epoch: u64) {
    let vm = &cx.data().vm;
    if vm.is_failed(generation) || vm.tick_period(context, epoch).is_none() {
        return;
    }
    let Some(exports) = vm.exports() else { return };
    if let Some(on_tick) = &exports.on_tick {
        vm::call(cx, context, on_tick, context);
        after_callback(cx);
    }
    // The period may have been changed meanwhile, which has planned its own tick.
    if let Some(period) = cx.data().vm.tick_period(context, epoch) {
        contexts::plan_tick(cx.data_mut(), context, period, epoch);
    }
}

/// The registrant is looked up when it is woken, so a VM that took the place of a dead one is woken
/// under the same context id.
fn queue_ready(cx: &mut Cx<'_>, context: u32, token: u32) {
    let vm = &cx.data().vm;
    if vm.is_failed(vm.generation()) || vm.context(context).is_none() {
        return;
    }
    let Some(exports) = vm.exports() else { return };
    if let Some(on_queue_ready) = &exports.on_queue_ready {
        vm::call(cx, context, on_queue_ready, (context, token));
        after_callback(cx);
    }
}

fn upstream_answered(cx: &mut Cx<'_>, stream: usize, answer: Answer) {
    match answer {
        Answer::Response(response) => respond(cx, stream, &response, true),
        Answer::After(delay, answer) => {
            cx.data_mut().plan(delay, Event::UpstreamAnswered { stream, answer: *answer });
        }
        Answer::Hold => {}
        Answer::Refuse => {
            let reply = LocalReply::new(503, calls::REFUSED, "upstream_reset_before_response");
            reply::send(cx, stream, reply);
        }
        Answer::Reset => {
            let broken = Response::new(200).header("content-length", "10").chunk("12345").chunked();
            respond(cx, stream, &broken, false);
            ends::reset(cx, stream);
        }
    }
}

/// Walks an upstream's response back through the filters.
fn respond(cx: &mut Cx<'_>, stream: usize, response: &Response, whole: bool) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if state.destroyed || state.response.headers.is_some() {
        return;
    }
    state.response.headers = Some(response.wire_headers());
    "via_upstream".clone_into(&mut state.details);
    let end = response.body.is_empty() && !response.chunked;
    keep_alive(cx, stream);
    walk::headers(cx, stream, Side::Response, Start::First, end);
    if end {
        return;
    }
    for chunk in response.chunks.iter().filter(|chunk| !chunk.is_empty()) {
        feed(cx, stream, chunk, false);
    }
    if !whole {
        return;
    }
    if response.trailers.is_empty() {
        feed(cx, stream, &[], true);
    } else if let Some(state) = cx.data_mut().streams.get_mut(stream)
        && !state.destroyed
    {
        state.response.observed_end = true;
        state.response.trailers = Some(response.trailers.clone());
        walk::trailers(cx, stream, Side::Response, Start::First);
    }
}

fn feed(cx: &mut Cx<'_>, stream: usize, chunk: &[u8], end: bool) {
    let Some(state) = cx.data_mut().streams.get_mut(stream) else { return };
    if !state.destroyed {
        state.response.chunk = chunk.to_vec();
        walk::data(cx, stream, Side::Response, Start::First, Source::Chunk, end);
    }
}

/// Something happened on a stream: its idle timeout starts anew.
pub(crate) fn keep_alive(cx: &mut Cx<'_>, stream: usize) {
    let host = cx.data_mut();
    let idle_at = host.clock.after(host.settings.idle_timeout);
    if let Some(state) = host.streams.get_mut(stream) {
        state.idle_at = idle_at;
    }
}

fn idle_timed_out(cx: &mut Cx<'_>, stream: usize) {
    let host: &mut Host = cx.data_mut();
    let now = host.clock.now();
    let Some(state) = host.streams.get(stream) else { return };
    if state.destroyed {
        return;
    }
    if state.idle_at > now {
        let rest = Duration::from_nanos(state.idle_at.saturating_sub(now));
        host.plan(rest, Event::IdleTimedOut { stream });
        return;
    }
    time_out(cx, stream, "stream timeout", "stream_idle_timeout");
}

/// 504, or 408 where the client has not sent its whole request yet.
fn time_out(cx: &mut Cx<'_>, stream: usize, body: &str, details: &str) {
    let Some(state) = cx.data().streams.get(stream) else { return };
    let status = if state.request.observed_end { 504 } else { 408 };
    reply::send(cx, stream, LocalReply::new(status, body, details));
}

//! The filter's own callbacks, entered as Envoy's wasm `Context` does: what the VM may see while it
//! runs, what its answer means, and what follows once it has returned.

use wasmtime::{TypedFunc, WasmParams};

use crate::events;
use crate::filter_chain::reply::{self, LocalReply};
use crate::filter_chain::{At, Half, Side, Source, resume};
use crate::vm::{self, Cx, Exports};

/// What becomes of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadersStatus {
    Continue,
    StopIteration,
    StopAll,
}

/// What becomes of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataStatus {
    Continue,
    StopAndBuffer,
    StopAndWatermark,
    StopNoBuffer,
}

/// What becomes of trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailersStatus {
    Continue,
    StopIteration,
}

/// What a callback came to.
enum Returned {
    /// The module does not have it.
    Absent,
    /// The VM is dead, from before or from this call; the stream has been answered 503.
    Failed,
    /// Its result, unless a local response made that void.
    Value(Option<u32>),
}

/// `proxy_on_request_headers` or `proxy_on_response_headers`.
pub(crate) fn headers(cx: &mut Cx<'_>, at: At, end: bool) -> HeadersStatus {
    if at.side == Side::Request {
        create(cx, at);
    } else if is_past(cx, at) {
        return HeadersStatus::Continue;
    }
    let count = at.path(cx).and_then(|path| path.headers.as_ref()).map_or(0, |map| map.len());
    show(cx, at, end, |half| half.headers_at_hand = true);
    let returned = invoke(
        cx,
        at,
        |exports| match at.side {
            Side::Request => exports.on_request_headers.clone(),
            Side::Response => exports.on_response_headers.clone(),
        },
        |context| (context, size(count), u32::from(end)),
    );
    let status = match returned {
        Returned::Absent | Returned::Value(Some(0)) => HeadersStatus::Continue,
        Returned::Value(Some(1)) if stops_on_headers(cx, at) => HeadersStatus::StopIteration,
        Returned::Value(_) | Returned::Failed => HeadersStatus::StopAll,
    };
    if status == HeadersStatus::Continue {
        hide(cx, at, |half| half.headers_at_hand = false);
    }
    status
}

/// `proxy_on_request_body` or `proxy_on_response_body`. The size is that of all that the filter has
/// held back, the new chunk included.
pub(crate) fn data(cx: &mut Cx<'_>, at: At, source: Source, end: bool) -> DataStatus {
    if is_past(cx, at) {
        return DataStatus::Continue;
    }
    let buffering = at.half(cx).is_some_and(|half| half.buffering);
    if buffering {
        if let Some(path) = at.path(cx) {
            path.streaming = false;
        }
        resume::hold_back(cx, at, source);
        if at.stream(cx).is_none_or(|stream| stream.destroyed) {
            return DataStatus::StopAndBuffer;
        }
    }
    show(cx, at, end, |half| half.body = source);
    let size = body_size(cx, at);
    let returned = invoke(
        cx,
        at,
        |exports| match at.side {
            Side::Request => exports.on_request_body.clone(),
            Side::Response => exports.on_response_body.clone(),
        },
        |context| (context, size, u32::from(end)),
    );
    let status = match returned {
        Returned::Absent | Returned::Value(Some(0)) => DataStatus::Continue,
        Returned::Value(Some(1)) => DataStatus::StopAndBuffer,
        Returned::Value(Some(2)) => DataStatus::StopAndWatermark,
        Returned::Value(_) | Returned::Failed => DataStatus::StopNoBuffer,
    };
    hide(cx, at, |half| {
        half.buffering = status == DataStatus::StopAndBuffer;
        if status == DataStatus::Continue {
            half.body = Source::None;
        }
    });
    status
}

/// `proxy_on_request_trailers` or `proxy_on_response_trailers`.
pub(crate) fn trailers(cx: &mut Cx<'_>, at: At) -> TrailersStatus {
    if is_past(cx, at) {
        return TrailersStatus::Continue;
    }
    let count = at.path(cx).and_then(|path| path.trailers.as_ref()).map_or(0, |map| map.len());
    hide(cx, at, |half| half.trailers_at_hand = true);
    let returned = invoke(
        cx,
        at,
        |exports| match at.side {
            Side::Request => exports.on_request_trailers.clone(),
            Side::Response => exports.on_response_trailers.clone(),
        },
        |context| (context, size(count)),
    );
    match returned {
        Returned::Absent | Returned::Value(Some(0)) => {
            hide(cx, at, |half| half.trailers_at_hand = false);
            TrailersStatus::Continue
        }
        _ => TrailersStatus::StopIteration,
    }
}

/// `proxy_on_log`: the last callback that may read headers, both sides' at once.
pub(crate) fn log(cx: &mut Cx<'_>, at: At) {
    if at.slot(cx).is_some_and(|slot| !slot.created) {
        create(cx, at);
    }
    set_logging(cx, at, true);
    if let Some((context, exports)) = alive(cx, at)
        && let Some(on_log) = &exports.on_log
    {
        vm::call(cx, context, on_log, context);
        events::after_callback(cx);
    }
    set_logging(cx, at, false);
}

/// `proxy_on_done` and `proxy_on_delete`. The context's id means nothing from here on.
pub(crate) fn destroy(cx: &mut Cx<'_>, at: At) {
    if let Some((context, exports)) = alive(cx, at)
        && let Some(on_done) = &exports.on_done
    {
        vm::call(cx, context, on_done, context);
        events::after_callback(cx);
    }
    if let Some((context, exports)) = alive(cx, at)
        && let Some(on_delete) = &exports.on_delete
    {
        vm::call(cx, context, on_delete, context);
        events::after_callback(cx);
    }
    if let Some(slot) = at.slot(cx) {
        let (context, generation) = (slot.context, slot.generation);
        if generation == cx.data().vm.generation() {
            cx.data_mut().vm.remove(context);
        }
    }
}

/// `proxy_on_context_create`.
fn create(cx: &mut Cx<'_>, at: At) {
    let Some(slot) = at.slot(cx) else { return };
    if std::mem::replace(&mut slot.created, true) {
        return;
    }
    let plugin = slot.plugin;
    let root = cx.data().vm.root_of(plugin);
    if let Some((context, exports)) = alive(cx, at)
        && let Some(on_context_create) = &exports.on_context_create
    {
        vm::call(cx, context, on_context_create, (context, root.unwrap_or_default()));
        events::after_callback(cx);
    }
}

/// Calls the VM for a stream. A dead VM answers the stream 503, once.
fn invoke<P: WasmParams>(
    cx: &mut Cx<'_>,
    at: At,
    export: impl Fn(&Exports) -> Option<TypedFunc<P, u32>>,
    parameters: impl Fn(u32) -> P,
) -> Returned {
    let Some((context, exports)) = alive(cx, at) else {
        fail_stream(cx, at);
        return Returned::Failed;
    };
    let Some(function) = export(&exports) else {
        return Returned::Absent;
    };
    let result = vm::call(cx, context, &function, parameters(context));
    let returned = match result {
        Some(_) if cx.data().vm.stop_iteration => Returned::Value(None),
        Some(value) if alive(cx, at).is_some() => Returned::Value(Some(value)),
        _ => {
            fail_stream(cx, at);
            Returned::Failed
        }
    };
    events::after_callback(cx);
    returned
}

fn fail_stream(cx: &mut Cx<'_>, at: At) {
    let Some(slot) = at.slot(cx) else { return };
    if std::mem::replace(&mut slot.stream_failed, true) {
        return;
    }
    slot.failure_replied = true;
    reply::send(cx, at.stream, LocalReply::new(503, "", "wasm_fail_stream"));
}

/// The context and the functions of a filter whose VM is alive.
fn alive(cx: &mut Cx<'_>, at: At) -> Option<(u32, std::rc::Rc<Exports>)> {
    let slot = at.slot(cx)?;
    let (context, generation) = (slot.context, slot.generation);
    let vm = &cx.data().vm;
    if vm.is_failed(generation) {
        return None;
    }
    Some((context, vm.exports()?))
}

/// Responses do not come to a filter that never saw the request, or whose failure was answered.
fn is_past(cx: &mut Cx<'_>, at: At) -> bool {
    at.slot(cx).is_none_or(|slot| !slot.created || (at.side == Side::Response && slot.failure_replied))
}

fn stops_on_headers(cx: &mut Cx<'_>, at: At) -> bool {
    let plugin = at.slot(cx).map(|slot| slot.plugin).unwrap_or_default();
    cx.data().settings.plugins.get(plugin).is_some_and(|plugin| plugin.stop_on_headers)
}

fn body_size(cx: &mut Cx<'_>, at: At) -> u32 {
    let Some(half) = at.half(cx) else { return 0 };
    let source = if half.buffering { Source::Buffer } else { half.body };
    let Some(path) = at.path(cx) else { return 0 };
    match source {
        Source::None => 0,
        Source::Chunk => size(path.chunk.len()),
        Source::Buffer => size(path.buffer.as_ref().map_or(0, Vec::len)),
    }
}

fn show(cx: &mut Cx<'_>, at: At, end: bool, change: impl FnOnce(&mut Half)) {
    if let Some(slot) = at.slot(cx) {
        slot.end_of_stream = end;
        change(slot.half_mut(at.side));
    }
}

fn hide(cx: &mut Cx<'_>, at: At, change: impl FnOnce(&mut Half)) {
    if let Some(half) = at.half(cx) {
        change(half);
    }
}

fn set_logging(cx: &mut Cx<'_>, at: At, logging: bool) {
    if let Some(slot) = at.slot(cx) {
        slot.logging = logging;
    }
}

fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

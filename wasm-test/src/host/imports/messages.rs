//! Imports about the messages of a stream: headers, bodies, local responses, calls.

use wasmtime::Linker;

use super::import;
use crate::filter_chain::reply::LocalReply;
use crate::filter_chain::{Side, Source};
use crate::host::contexts::Deferred;
use crate::host::headers::pairs;
use crate::host::{Host, Status, buffers, calls, headers};
use crate::vm::{self, Cx};

pub(super) fn messages(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    import!(
        linker,
        "env",
        "proxy_get_header_map_value",
        |cx, kind: u32, name: u32, length: u32, at: u32, size_at: u32| headers::value(
            cx,
            kind,
            (name, length),
            (at, size_at)
        )
    );
    import!(
        linker,
        "env",
        "proxy_get_header_map_pairs",
        |cx, kind: u32, at: u32, size_at: u32| headers::all(cx, kind, (at, size_at))
    );
    import!(linker, "env", "proxy_get_header_map_size", |cx, kind: u32, at: u32| headers::size(cx, kind, at));
    import!(
        linker,
        "env",
        "proxy_add_header_map_value",
        |cx, kind: u32, name: u32, length: u32, value: u32, size: u32| headers::add(
            cx,
            kind,
            (name, length),
            (value, size)
        )
    );
    import!(
        linker,
        "env",
        "proxy_replace_header_map_value",
        |cx, kind: u32, name: u32, length: u32, value: u32, size: u32| headers::replace(
            cx,
            kind,
            (name, length),
            (value, size)
        )
    );
    import!(linker, "env", "proxy_remove_header_map_value", |cx, kind: u32, name: u32, length: u32| {
        headers::remove(cx, kind, (name, length))
    });
    import!(linker, "env", "proxy_set_header_map_pairs", |cx, kind: u32, pairs: u32, size: u32| {
        headers::set_all(cx, kind, (pairs, size))
    });
    import!(
        linker,
        "env",
        "proxy_get_buffer_bytes",
        |cx, kind: u32, start: u32, length: u32, at: u32, size_at: u32| buffers::get(
            cx,
            kind,
            start,
            length,
            (at, size_at)
        )
    );
    import!(linker, "env", "proxy_get_buffer_status", |cx, kind: u32, at: u32, flags_at: u32| {
        buffers::status(cx, kind, at, flags_at)
    });
    import!(
        linker,
        "env",
        "proxy_set_buffer_bytes",
        |cx, kind: u32, start: u32, length: u32, data: u32, size: u32| buffers::set(
            cx,
            kind,
            start,
            length,
            (data, size)
        )
    );
    import!(linker, "env", "proxy_continue_stream", |cx, kind: u32| continue_stream(cx, kind));
    import!(linker, "env", "proxy_close_stream", |cx, kind: u32| close_stream(cx, kind));
    import!(
        linker,
        "env",
        "proxy_send_local_response",
        |cx,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         _grpc_status: u32| send_local_response(
            cx,
            status,
            (details, details_size),
            (body, body_size),
            (headers, headers_size)
        )
    );
    import!(linker, "env", "proxy_http_call", |cx,
                                               cluster: u32,
                                               cluster_size: u32,
                                               headers: u32,
                                               headers_size: u32,
                                               body: u32,
                                               body_size: u32,
                                               trailers: u32,
                                               trailers_size: u32,
                                               timeout: u32,
                                               token_at: u32| {
        calls::http_call(
            cx,
            (cluster, cluster_size),
            (headers, headers_size),
            (body, body_size),
            (trailers, trailers_size),
            timeout,
            token_at,
        )
    });
    Ok(())
}

/// Resuming takes the request's headers, body and trailers from the context at once, whichever side
/// it is; the stream goes on after the callback.
fn continue_stream(cx: &mut Cx<'_>, kind: u32) -> Status {
    let side = match kind {
        0 => Side::Request,
        1 => Side::Response,
        2 => return Status::Ok,
        3 => return Status::Unimplemented,
        _ => return Status::BadArgument,
    };
    let host = cx.data_mut();
    if let Some((stream, slot)) = host.vm.subject_stream() {
        host.vm.deferred.push_back(Deferred::Continue { stream, slot, side });
        let state = host.streams.get_mut(stream).and_then(|stream| stream.slots.get_mut(slot));
        if let Some(state) = state {
            state.request.headers_at_hand = false;
            state.request.trailers_at_hand = false;
            state.request.body = Source::None;
        }
    }
    Status::Ok
}

fn close_stream(cx: &mut Cx<'_>, kind: u32) -> Status {
    if kind > 3 {
        return Status::BadArgument;
    }
    let vm = &mut cx.data_mut().vm;
    if let Some((stream, _)) = vm.subject_stream().filter(|_| kind < 2) {
        vm.deferred.push_back(Deferred::Reset { stream });
    }
    Status::Ok
}

/// The answer goes out after the callback, which cannot let the request pass any more. From a
/// context that is no stream nothing is sent, and nothing says so.
fn send_local_response(
    cx: &mut Cx<'_>,
    status: u32,
    details: (u32, u32),
    body: (u32, u32),
    headers: (u32, u32),
) -> Status {
    let read = |range: (u32, u32)| vm::read(cx, range.0, range.1);
    let (Some(details), Some(body), Some(headers)) = (read(details), read(body), read(headers)) else {
        return Status::InvalidMemoryAccess;
    };
    let details = String::from_utf8_lossy(&details).into_owned();
    let reply = LocalReply { status, headers: pairs::decode(&headers), body, details };
    let vm = &mut cx.data_mut().vm;
    if let Some((stream, _)) = vm.subject_stream() {
        vm.deferred.push_back(Deferred::Reply { stream, reply });
    }
    vm.stop_iteration = true;
    Status::Ok
}

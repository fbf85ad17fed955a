//! The functions a module may import, each with its ABI signature: proxy-wasm 0.2.1 and the WASI
//! functions of Envoy 1.36. Every call is counted.

use wasmtime::{AsContextMut, Caller, Linker};

use crate::filter_chain::Side;
use crate::filter_chain::reply::LocalReply;
use crate::host::contexts::{self, Deferred};
use crate::host::headers::pairs;
use crate::host::wasi::{self, BADF, NOENT, NOSYS, SUCCESS};
use crate::host::{Host, Status, buffers, calls, foreign, headers, log, metrics, properties, shared};
use crate::vm::{self, Cx};

/// Whether Envoy 1.36 has a function.
pub(crate) fn is_known(module: &str, name: &str) -> bool {
    match module {
        "env" => PROXY.contains(&name),
        "wasi_snapshot_preview1" | "wasi_unstable" => WASI.contains(&name),
        _ => false,
    }
}

const WASI: &[&str] = &[
    "fd_write",
    "fd_read",
    "fd_seek",
    "fd_close",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "environ_get",
    "environ_sizes_get",
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "random_get",
    "sched_yield",
    "poll_oneoff",
    "proc_exit",
    "path_open",
    "fd_prestat_get",
    "fd_prestat_dir_name",
];

const PROXY: &[&str] = &[
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_status",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_send_local_response",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_header_map_pairs",
    "proxy_set_header_map_pairs",
    "proxy_get_header_map_size",
    "proxy_get_buffer_status",
    "proxy_get_buffer_bytes",
    "proxy_set_buffer_bytes",
    "proxy_http_call",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_close",
    "proxy_grpc_cancel",
    "proxy_grpc_send",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_current_time_nanoseconds",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
    "proxy_set_effective_context",
    "proxy_done",
    "proxy_call_foreign_function",
    "proxy_continue_stream",
    "proxy_close_stream",
];

/// Defines one import: counts the call, runs the body with the store, and unwinds if the VM died
/// meanwhile, which a body that enters it again can cause.
macro_rules! import {
    ($linker:ident, $module:literal, $name:literal, |$cx:ident $(, $argument:ident: $type:ty)*| $body:expr) => {
        $linker.func_wrap($module, $name, |mut caller: Caller<'_, Host> $(, $argument: $type)*| {
            let mut store = caller.as_context_mut();
            let $cx = &mut store;
            $cx.data_mut().host_calls.add($name);
            let result = $body as u32;
            alive($cx).map(|()| result)
        })?;
    };
}

fn alive(cx: &Cx<'_>) -> wasmtime::Result<()> {
    let vm = &cx.data().vm;
    match vm.is_failed(vm.generation()) {
        true => Err(wasmtime::Error::msg("the VM died in a call that this one has caused")),
        false => Ok(()),
    }
}

/// All imports.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    // A module built for older toolchains imports WASI under its first name.
    linker.allow_shadowing(true);
    messages(&mut linker)?;
    sharing(&mut linker)?;
    context(&mut linker)?;
    environment(&mut linker)?;
    files(&mut linker)?;
    linker.alias_module("wasi_snapshot_preview1", "wasi_unstable")?;
    Ok(linker)
}

fn messages(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

fn sharing(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    import!(
        linker,
        "env",
        "proxy_get_shared_data",
        |cx, key: u32, size: u32, at: u32, size_at: u32, cas_at: u32| shared::get_data(
            cx,
            (key, size),
            (at, size_at),
            cas_at
        )
    );
    import!(
        linker,
        "env",
        "proxy_set_shared_data",
        |cx, key: u32, size: u32, value: u32, value_size: u32, cas: u32| shared::set_data(
            cx,
            (key, size),
            (value, value_size),
            cas
        )
    );
    import!(linker, "env", "proxy_register_shared_queue", |cx, name: u32, size: u32, at: u32| {
        shared::register_queue(cx, (name, size), at)
    });
    import!(
        linker,
        "env",
        "proxy_resolve_shared_queue",
        |cx, vm_id: u32, vm_id_size: u32, name: u32, size: u32, at: u32| shared::resolve_queue(
            cx,
            (vm_id, vm_id_size),
            (name, size),
            at
        )
    );
    import!(linker, "env", "proxy_enqueue_shared_queue", |cx, token: u32, item: u32, size: u32| {
        shared::enqueue(cx, token, (item, size))
    });
    import!(linker, "env", "proxy_dequeue_shared_queue", |cx, token: u32, at: u32, size_at: u32| {
        shared::dequeue(cx, token, (at, size_at))
    });
    import!(linker, "env", "proxy_define_metric", |cx, kind: u32, name: u32, size: u32, at: u32| {
        metrics::define(cx, kind, name, size, at)
    });
    import!(linker, "env", "proxy_increment_metric", |cx, metric: u32, offset: i64| metrics::increment(
        cx, metric, offset
    ));
    import!(linker, "env", "proxy_record_metric", |cx, metric: u32, value: u64| metrics::record(
        cx, metric, value
    ));
    import!(linker, "env", "proxy_get_metric", |cx, metric: u32, at: u32| metrics::read(cx, metric, at));
    Ok(())
}

fn context(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    import!(linker, "env", "proxy_log", |cx, level: u32, message: u32, size: u32| log::log(
        cx, level, message, size
    ));
    import!(linker, "env", "proxy_get_log_level", |cx, at: u32| log::level(cx, at));
    import!(linker, "env", "proxy_get_property", |cx, path: u32, size: u32, at: u32, size_at: u32| {
        properties::get(cx, (path, size), (at, size_at))
    });
    import!(linker, "env", "proxy_set_property", |cx, path: u32, size: u32, value: u32, value_size: u32| {
        properties::set(cx, (path, size), (value, value_size))
    });
    import!(
        linker,
        "env",
        "proxy_set_effective_context",
        |cx, context: u32| contexts::set_effective_context(cx, context)
    );
    import!(linker, "env", "proxy_set_tick_period_milliseconds", |cx, milliseconds: u32| {
        contexts::set_tick_period(cx, milliseconds)
    });
    import!(linker, "env", "proxy_get_current_time_nanoseconds", |cx, at: u32| {
        let now = cx.data().clock.now().to_le_bytes();
        Status::from(vm::write(cx, at, &now))
    });
    import!(linker, "env", "proxy_done", |_cx| contexts::done());
    import!(
        linker,
        "env",
        "proxy_call_foreign_function",
        |cx, name: u32, name_size: u32, argument: u32, argument_size: u32, at: u32, size_at: u32| {
            foreign::call(cx, (name, name_size), (argument, argument_size), (at, size_at))
        }
    );
    import!(linker, "env", "proxy_get_status", |_cx, _code: u32, _at: u32, _size_at: u32| {
        Status::Unimplemented
    });
    import!(linker, "env", "proxy_grpc_call", |_cx,
                                               _a: u32,
                                               _b: u32,
                                               _c: u32,
                                               _d: u32,
                                               _e: u32,
                                               _f: u32,
                                               _g: u32,
                                               _h: u32,
                                               _i: u32,
                                               _j: u32,
                                               _k: u32,
                                               _l: u32| {
        Status::Unimplemented
    });
    import!(linker, "env", "proxy_grpc_stream", |_cx,
                                                 _a: u32,
                                                 _b: u32,
                                                 _c: u32,
                                                 _d: u32,
                                                 _e: u32,
                                                 _f: u32,
                                                 _g: u32,
                                                 _h: u32,
                                                 _i: u32| {
        Status::Unimplemented
    });
    import!(linker, "env", "proxy_grpc_close", |_cx, _token: u32| Status::Unimplemented);
    import!(linker, "env", "proxy_grpc_cancel", |_cx, _token: u32| Status::Unimplemented);
    import!(linker, "env", "proxy_grpc_send", |_cx, _a: u32, _b: u32, _c: u32, _d: u32| {
        Status::Unimplemented
    });
    Ok(())
}

fn environment(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    import!(
        linker,
        "wasi_snapshot_preview1",
        "environ_get",
        |cx, array: u32, buffer: u32| wasi::environ_get(cx, array, buffer)
    );
    import!(linker, "wasi_snapshot_preview1", "environ_sizes_get", |cx, count: u32, size: u32| {
        wasi::environ_sizes_get(cx, count, size)
    });
    import!(linker, "wasi_snapshot_preview1", "args_get", |_cx, _array: u32, _buffer: u32| SUCCESS);
    import!(linker, "wasi_snapshot_preview1", "args_sizes_get", |cx, count: u32, size: u32| {
        wasi::args_sizes_get(cx, count, size)
    });
    import!(
        linker,
        "wasi_snapshot_preview1",
        "clock_time_get",
        |cx, clock: u32, _precision: u64, at: u32| wasi::clock_time_get(cx, clock, at)
    );
    import!(linker, "wasi_snapshot_preview1", "random_get", |cx, at: u32, length: u32| wasi::random_get(
        cx, at, length
    ));
    import!(linker, "wasi_snapshot_preview1", "sched_yield", |_cx| SUCCESS);
    import!(
        linker,
        "wasi_snapshot_preview1",
        "poll_oneoff",
        |cx, _in: u32, _out: u32, _count: u32, count_at: u32| wasi::poll_oneoff(cx, count_at)
    );
    // It only logs; execution goes on.
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |_code: u32| {})?;
    Ok(())
}

fn files(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    import!(
        linker,
        "wasi_snapshot_preview1",
        "fd_write",
        |cx, fd: u32, vectors: u32, count: u32, written: u32| wasi::fd_write(cx, fd, vectors, count, written)
    );
    import!(
        linker,
        "wasi_snapshot_preview1",
        "fd_read",
        |_cx, _fd: u32, _vectors: u32, _count: u32, _read: u32| NOSYS
    );
    import!(
        linker,
        "wasi_snapshot_preview1",
        "fd_seek",
        |_cx, _fd: u32, _offset: i64, _whence: u32, _at: u32| SUCCESS
    );
    import!(linker, "wasi_snapshot_preview1", "fd_close", |_cx, _fd: u32| SUCCESS);
    import!(linker, "wasi_snapshot_preview1", "fd_fdstat_get", |cx, fd: u32, at: u32| wasi::fd_fdstat_get(
        cx, fd, at
    ));
    import!(linker, "wasi_snapshot_preview1", "fd_fdstat_set_flags", |_cx, _fd: u32, _flags: u32| NOSYS);
    import!(
        linker,
        "wasi_snapshot_preview1",
        "path_open",
        |_cx,
         _fd: u32,
         _flags: u32,
         _path: u32,
         _size: u32,
         _oflags: u32,
         _rights: i64,
         _inheriting: i64,
         _fdflags: u32,
         _at: u32| NOENT
    );
    import!(linker, "wasi_snapshot_preview1", "fd_prestat_get", |_cx, _fd: u32, _at: u32| BADF);
    import!(
        linker,
        "wasi_snapshot_preview1",
        "fd_prestat_dir_name",
        |_cx, _fd: u32, _path: u32, _size: u32| NOSYS
    );
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
            state.request.body = crate::filter_chain::Source::None;
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

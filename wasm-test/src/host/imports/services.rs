//! Imports about what the host offers besides messages: shared data, queues, metrics, properties,
//! contexts, time.

use wasmtime::Linker;

use super::import;
use crate::host::{Host, Status, contexts, foreign, log, metrics, properties, shared};
use crate::vm;

pub(super) fn sharing(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

pub(super) fn context(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

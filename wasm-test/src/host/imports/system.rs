//! The WASI imports.

use wasmtime::Linker;

use super::import;
use crate::host::Host;
use crate::host::wasi::{self, BADF, NOENT, NOSYS, SUCCESS};

pub(super) fn environment(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

pub(super) fn files(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
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

//! The 18 WASI functions of Envoy 1.36: log lines, clocks, random bytes and the environment work;
//! there are no files, and waiting does not wait.

use crate::host::{Release, log};
use crate::observed::Level;
use crate::vm::{self, Cx};

/// WASI's own error numbers.
pub(crate) const SUCCESS: u32 = 0;
pub(crate) const BADF: u32 = 8;
pub(crate) const FAULT: u32 = 21;
pub(crate) const INVAL: u32 = 28;
pub(crate) const NOENT: u32 = 44;
pub(crate) const NOSYS: u32 = 52;
pub(crate) const NOTSUP: u32 = 58;

/// What the host gives at once.
const MAX_RANDOM: u32 = 64 * 1024;

fn errno(written: Option<()>) -> u32 {
    if written.is_some() { SUCCESS } else { FAULT }
}

/// Standard output is the log at info, standard error at error.
pub(crate) fn fd_write(cx: &mut Cx<'_>, fd: u32, vectors: u32, count: u32, written_at: u32) -> u32 {
    let level = match fd {
        1 => Level::Info,
        2 => Level::Error,
        _ => return BADF,
    };
    let Some(mut text) = gather(cx, vectors, count) else {
        return FAULT;
    };
    let written = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if !text.is_empty() {
        text.pop_if(|last| *last == b'\n');
        log::write(cx, level, &text);
    }
    errno(vm::write(cx, written_at, &written.to_le_bytes()))
}

fn gather(cx: &Cx<'_>, vectors: u32, count: u32) -> Option<Vec<u8>> {
    let vectors = vm::read(cx, vectors, count.checked_mul(8)?)?;
    let mut text = Vec::new();
    for vector in vectors.as_chunks::<8>().0 {
        let (pointer, length) = vector.split_first_chunk::<4>()?;
        let pointer = u32::from_le_bytes(*pointer);
        let length = u32::from_le_bytes(*length.first_chunk::<4>()?);
        text.extend(vm::read(cx, pointer, length)?);
    }
    Some(text)
}

/// Only the two log streams are there, and they can be written to.
pub(crate) fn fd_fdstat_get(cx: &mut Cx<'_>, fd: u32, at: u32) -> u32 {
    const RIGHT_TO_WRITE: u64 = 64;
    if fd != 1 && fd != 2 {
        return BADF;
    }
    let mut stat = [0; 24];
    if let Some(rights) = stat.get_mut(8..16) {
        rights.copy_from_slice(&RIGHT_TO_WRITE.to_le_bytes());
    }
    errno(vm::write(cx, at, &stat))
}

fn variables(cx: &Cx<'_>) -> Vec<Vec<u8>> {
    let environment = cx.data().settings.environment.iter();
    environment.map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

pub(crate) fn environ_sizes_get(cx: &mut Cx<'_>, count_at: u32, size_at: u32) -> u32 {
    let variables = variables(cx);
    let size: usize = variables.iter().map(Vec::len).sum();
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    errno(
        vm::write(cx, count_at, &number(variables.len()))
            .and_then(|()| vm::write(cx, size_at, &number(size))),
    )
}

pub(crate) fn environ_get(cx: &mut Cx<'_>, array_at: u32, buffer_at: u32) -> u32 {
    let (mut pointer_at, mut at) = (array_at, buffer_at);
    for variable in variables(cx) {
        let written =
            vm::write(cx, pointer_at, &at.to_le_bytes()).and_then(|()| vm::write(cx, at, &variable));
        if written.is_none() {
            return FAULT;
        }
        pointer_at = pointer_at.saturating_add(4);
        at = at.saturating_add(u32::try_from(variable.len()).unwrap_or(u32::MAX));
    }
    SUCCESS
}

pub(crate) fn args_sizes_get(cx: &mut Cx<'_>, count_at: u32, size_at: u32) -> u32 {
    let zero = 0_u32.to_le_bytes();
    errno(vm::write(cx, count_at, &zero).and_then(|()| vm::write(cx, size_at, &zero)))
}

/// The clocks of the wall and of the process; those of CPU time are not supported.
pub(crate) fn clock_time_get(cx: &mut Cx<'_>, clock: u32, at: u32) -> u32 {
    let now = match clock {
        0 => cx.data().clock.now(),
        1 => cx.data().clock.monotonic(),
        _ => return NOTSUP,
    };
    errno(vm::write(cx, at, &now.to_le_bytes()))
}

pub(crate) fn random_get(cx: &mut Cx<'_>, at: u32, length: u32) -> u32 {
    if length > MAX_RANDOM {
        return INVAL;
    }
    let length = usize::try_from(length).unwrap_or(0);
    let host = cx.data_mut();
    let mut bytes = Vec::with_capacity(length.saturating_add(8));
    while bytes.len() < length {
        bytes.extend(host.random().to_le_bytes());
    }
    bytes.truncate(length);
    errno(vm::write(cx, at, &bytes))
}

/// Nothing is waited for, so `thread::sleep` returns at once; on 1.36 it panics.
pub(crate) fn poll_oneoff(cx: &mut Cx<'_>, count_at: u32) -> u32 {
    if cx.data().settings.release < Release::V1_40 {
        return NOSYS;
    }
    errno(vm::write(cx, count_at, &0_u32.to_le_bytes()))
}

//! Bodies and configurations: what a context may read and replace.

use crate::filter_chain::{At, Side, Source, resume};
use crate::host::Status;
use crate::vm::{self, Cx};

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALL_RESPONSE_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;

/// `proxy_get_buffer_bytes`. A body that is not there reads as no bytes.
pub(crate) fn get(cx: &mut Cx<'_>, kind: u32, start: u32, length: u32, at: (u32, u32)) -> Status {
    let Some(buffer) = readable(cx, kind) else {
        return Status::NotFound;
    };
    let Some(end) = start.checked_add(length) else {
        return Status::BadArgument;
    };
    let (start, end) = (usize::try_from(start), usize::try_from(end));
    let (Ok(start), Ok(end)) = (start, end) else {
        return Status::BadArgument;
    };
    let bytes = buffer.get(start..end.min(buffer.len())).unwrap_or_default().to_vec();
    vm::give(cx, &bytes, at.0, at.1).into()
}

/// `proxy_get_buffer_status`: the length; there are no flags.
pub(crate) fn status(cx: &mut Cx<'_>, kind: u32, length_at: u32, flags_at: u32) -> Status {
    let Some(buffer) = readable(cx, kind) else {
        return Status::NotFound;
    };
    let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    vm::write(cx, length_at, &length.to_le_bytes())
        .and_then(|()| vm::write(cx, flags_at, &0_u32.to_le_bytes()))
        .into()
}

/// `proxy_set_buffer_bytes`, for bodies: from 0 it replaces so many bytes (none: puts before), from
/// the end it puts behind, else it is refused, as it is where there is no body.
pub(crate) fn set(cx: &mut Cx<'_>, kind: u32, start: u32, length: u32, data: (u32, u32)) -> Status {
    if kind > PLUGIN_CONFIGURATION + 1 {
        return Status::BadArgument;
    }
    let Some(data) = vm::read(cx, data.0, data.1) else {
        return Status::InvalidMemoryAccess;
    };
    let Some(at) = subject(cx, kind) else {
        return Status::BadArgument;
    };
    let Some(source) = at.half(cx).map(|half| if half.buffering { Source::Buffer } else { half.body }) else {
        return Status::BadArgument;
    };
    let Some(path) = at.path(cx) else { return Status::BadArgument };
    let body = match source {
        Source::None => None,
        Source::Chunk => Some(&mut path.chunk),
        Source::Buffer => path.buffer.as_mut(),
    };
    let Some(body) = body else { return Status::BadArgument };
    let (start, length) = (usize::try_from(start), usize::try_from(length));
    let (Ok(start), Ok(length)) = (start, length) else {
        return Status::BadArgument;
    };
    if start == 0 {
        body.splice(..length.min(body.len()), data);
    } else if start >= body.len() {
        body.extend(data);
    } else {
        return Status::BadArgument;
    }
    if source == Source::Buffer {
        resume::check_limit(cx, at);
    }
    Status::Ok
}

fn subject(cx: &Cx<'_>, kind: u32) -> Option<At> {
    let side = match kind {
        REQUEST_BODY => Side::Request,
        RESPONSE_BODY => Side::Response,
        _ => return None,
    };
    let (stream, slot) = cx.data().vm.subject_stream()?;
    Some(At { stream, slot, side })
}

fn readable(cx: &mut Cx<'_>, kind: u32) -> Option<Vec<u8>> {
    match kind {
        REQUEST_BODY | RESPONSE_BODY => Some(body(cx, kind).unwrap_or_default()),
        CALL_RESPONSE_BODY => {
            let vm = &cx.data().vm;
            let (root, response) = vm.call_response.as_ref()?;
            (*root == vm.subject_root()).then(|| response.body.clone())
        }
        VM_CONFIGURATION => Some(Vec::new()),
        PLUGIN_CONFIGURATION => {
            let host = cx.data();
            let plugin = host.settings.plugins.get(host.vm.configuring?)?;
            Some(plugin.configuration.clone())
        }
        _ => None,
    }
}

fn body(cx: &mut Cx<'_>, kind: u32) -> Option<Vec<u8>> {
    let at = subject(cx, kind)?;
    let half = at.half(cx)?;
    let source = if half.buffering { Source::Buffer } else { half.body };
    let path = at.path(cx)?;
    match source {
        Source::None => None,
        Source::Chunk => Some(path.chunk.clone()),
        Source::Buffer => path.buffer.clone(),
    }
}

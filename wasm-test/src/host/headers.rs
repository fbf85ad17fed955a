//! Header maps: which of them a context may see, and the functions over them.

use crate::headers::Headers;
use crate::host::Status;
use crate::vm::{self, Cx};

const REQUEST: u32 = 0;
const REQUEST_TRAILERS: u32 = 1;
const RESPONSE: u32 = 2;
const RESPONSE_TRAILERS: u32 = 3;
const GRPC_INITIAL: u32 = 4;
const GRPC_TRAILING: u32 = 5;
const CALL_RESPONSE: u32 = 6;
const CALL_RESPONSE_TRAILERS: u32 = 7;

/// The map to read from, if it is at hand.
fn readable(cx: &Cx<'_>, kind: u32) -> Option<Headers> {
    let host = cx.data();
    if matches!(kind, CALL_RESPONSE | CALL_RESPONSE_TRAILERS) {
        let (root, response) = host.vm.call_response.as_ref()?;
        let mine = *root == host.vm.subject_root();
        return match kind {
            CALL_RESPONSE => mine.then(|| response.wire_headers()),
            _ => (mine && !response.trailers.is_empty()).then(|| response.trailers.clone()),
        };
    }
    let (stream, slot) = host.vm.subject_stream()?;
    let stream = host.streams.get(stream)?;
    let slot = stream.slots.get(slot)?;
    let empty = Headers::new;
    match kind {
        REQUEST if slot.logging => Some(stream.request.headers.clone().unwrap_or_else(empty)),
        RESPONSE if slot.logging => Some(stream.response.headers.clone().unwrap_or_else(empty)),
        RESPONSE_TRAILERS if slot.logging => Some(stream.response.trailers.clone().unwrap_or_else(empty)),
        REQUEST if slot.request.headers_at_hand => stream.request.headers.clone(),
        RESPONSE if slot.response.headers_at_hand => stream.response.headers.clone(),
        REQUEST_TRAILERS if slot.request.trailers_at_hand => stream.request.trailers.clone(),
        RESPONSE_TRAILERS if slot.response.trailers_at_hand => stream.response.trailers.clone(),
        _ => None,
    }
}

/// The map to write to, if it is at hand. Asking for trailers at the end of a body adds them.
fn writable<'a>(cx: &'a mut Cx<'_>, kind: u32) -> Option<&'a mut Headers> {
    let host = cx.data_mut();
    let (stream, slot) = host.vm.subject_stream()?;
    let stream = host.streams.get_mut(stream)?;
    let slot = stream.slots.get_mut(slot)?;
    let end = slot.end_of_stream;
    let (half, path) = match kind {
        REQUEST | REQUEST_TRAILERS => (&mut slot.request, &mut stream.request),
        RESPONSE | RESPONSE_TRAILERS => (&mut slot.response, &mut stream.response),
        _ => return None,
    };
    if matches!(kind, REQUEST | RESPONSE) {
        return path.headers.as_mut().filter(|_| half.headers_at_hand);
    }
    if !half.trailers_at_hand && end && half.body != crate::filter_chain::Source::None {
        half.trailers_at_hand = true;
        path.trailers.get_or_insert_default();
    }
    path.trailers.as_mut().filter(|_| half.trailers_at_hand)
}

fn is_logging(cx: &Cx<'_>) -> bool {
    let host = cx.data();
    host.vm
        .subject_stream()
        .and_then(|(stream, slot)| host.streams.get(stream)?.slots.get(slot))
        .is_some_and(|slot| slot.logging)
}

/// Kinds from `REQUEST` to `CALL_RESPONSE_TRAILERS` exist; those of gRPC calls are never at hand.
fn exists(kind: u32) -> bool {
    kind <= CALL_RESPONSE_TRAILERS || matches!(kind, GRPC_INITIAL | GRPC_TRAILING)
}

/// `proxy_get_header_map_value`: the first value, and an error where there is no such map.
pub(crate) fn value(cx: &mut Cx<'_>, kind: u32, name: (u32, u32), at: (u32, u32)) -> Status {
    if !exists(kind) {
        return Status::BadArgument;
    }
    let Some(name) = text(cx, name) else { return Status::InvalidMemoryAccess };
    let Some(map) = readable(cx, kind) else {
        return if is_logging(cx) { Status::NotFound } else { Status::BadArgument };
    };
    match map.get(&name) {
        Some(value) => vm::give(cx, value, at.0, at.1).into(),
        None => Status::NotFound,
    }
}

/// `proxy_get_header_map_pairs`: no pairs where there is no such map.
pub(crate) fn all(cx: &mut Cx<'_>, kind: u32, at: (u32, u32)) -> Status {
    if !exists(kind) {
        return Status::BadArgument;
    }
    let map = readable(cx, kind).unwrap_or_default();
    let bytes = if map.is_empty() { Vec::new() } else { pairs::encode(&map) };
    vm::give(cx, &bytes, at.0, at.1).into()
}

/// `proxy_get_header_map_size`: the length of all names and values.
pub(crate) fn size(cx: &mut Cx<'_>, kind: u32, at: u32) -> Status {
    match writable(cx, kind) {
        Some(map) => {
            let size = u32::try_from(map.byte_size()).unwrap_or(u32::MAX);
            vm::write(cx, at, &size.to_le_bytes()).into()
        }
        None => Status::BadArgument,
    }
}

/// `proxy_add_header_map_value`.
pub(crate) fn add(cx: &mut Cx<'_>, kind: u32, name: (u32, u32), value: (u32, u32)) -> Status {
    edit(cx, kind, name, value, |map, name, value| map.add(name, value))
}

/// `proxy_replace_header_map_value`.
pub(crate) fn replace(cx: &mut Cx<'_>, kind: u32, name: (u32, u32), value: (u32, u32)) -> Status {
    edit(cx, kind, name, value, |map, name, value| map.set(name, value))
}

/// `proxy_remove_header_map_value`.
pub(crate) fn remove(cx: &mut Cx<'_>, kind: u32, name: (u32, u32)) -> Status {
    edit(cx, kind, name, (0, 0), |map, name, _| map.remove(name))
}

/// `proxy_set_header_map_pairs`.
pub(crate) fn set_all(cx: &mut Cx<'_>, kind: u32, pairs: (u32, u32)) -> Status {
    let Some(bytes) = vm::read(cx, pairs.0, pairs.1) else {
        return Status::InvalidMemoryAccess;
    };
    match writable(cx, kind) {
        Some(map) => {
            *map = pairs::decode(&bytes).into_iter().collect();
            Status::Ok
        }
        None => Status::BadArgument,
    }
}

fn edit(
    cx: &mut Cx<'_>,
    kind: u32,
    name: (u32, u32),
    value: (u32, u32),
    change: impl FnOnce(&mut Headers, &str, &[u8]),
) -> Status {
    let (Some(name), Some(value)) = (text(cx, name), vm::read(cx, value.0, value.1)) else {
        return Status::InvalidMemoryAccess;
    };
    match writable(cx, kind) {
        Some(map) => {
            change(map, &name, &value);
            Status::Ok
        }
        None => Status::BadArgument,
    }
}

fn text(cx: &Cx<'_>, range: (u32, u32)) -> Option<String> {
    vm::read(cx, range.0, range.1).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The ABI's form of a list of pairs: a count, the lengths, then names and values, each ended by a
/// zero byte.
pub(crate) mod pairs {
    use crate::headers::Headers;

    const MAX_PAIRS: usize = 1024;
    const MAX_BYTES: usize = 1024 * 1024;

    pub(crate) fn encode(headers: &Headers) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = length(headers.len()).to_vec();
        for (name, value) in headers.iter() {
            out.extend(length(name.len()));
            out.extend(length(value.len()));
        }
        for (name, value) in headers.iter() {
            out.extend(name.as_bytes());
            out.push(0);
            out.extend(value);
            out.push(0);
        }
        out
    }

    /// No pairs where the form is broken or a limit is passed, as in the proxy.
    pub(crate) fn decode(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        if bytes.len() > MAX_BYTES {
            return Vec::new();
        }
        decode_all(bytes).unwrap_or_default()
    }

    fn decode_all(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
        let mut rest = bytes;
        let count = number(&mut rest)?;
        if count > MAX_PAIRS {
            return None;
        }
        let sizes = (0..count).map(|_| Some((number(&mut rest)?, number(&mut rest)?)));
        let sizes = sizes.collect::<Option<Vec<_>>>()?;
        let pairs = sizes.into_iter().map(|(name, value)| {
            let name = String::from_utf8_lossy(ended(&mut rest, name)?).into_owned();
            Some((name, ended(&mut rest, value)?.to_vec()))
        });
        let pairs = pairs.collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(pairs)
    }

    fn number(rest: &mut &[u8]) -> Option<usize> {
        let (number, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        usize::try_from(u32::from_le_bytes(*number)).ok()
    }

    fn ended<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (bytes, after) = rest.split_at_checked(length)?;
        let (0, after) = after.split_first()? else { return None };
        *rest = after;
        Some(bytes)
    }
}

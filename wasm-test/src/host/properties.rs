//! Properties: attributes of the request and the connection, and filter state, which filters set.

use crate::filter_chain::{Slot, Stream};
use crate::headers::Headers;
use crate::host::headers::pairs;
use crate::host::{Host, Status};
use crate::vm::{self, Cx};

/// `proxy_get_property`. The path's parts are separated by zero bytes.
pub(crate) fn get(cx: &mut Cx<'_>, path: (u32, u32), at: (u32, u32)) -> Status {
    let Some(path) = vm::read(cx, path.0, path.1) else {
        return Status::InvalidMemoryAccess;
    };
    let parts: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    match value(cx.data(), &parts) {
        Some(value) => vm::give(cx, &value, at.0, at.1).into(),
        None => Status::NotFound,
    }
}

/// `proxy_set_property`: filter state of the stream, under `wasm.` and the path as it is. Roots
/// have none.
pub(crate) fn set(cx: &mut Cx<'_>, path: (u32, u32), value: (u32, u32)) -> Status {
    let (Some(path), Some(value)) = (vm::read(cx, path.0, path.1), vm::read(cx, value.0, value.1)) else {
        return Status::InvalidMemoryAccess;
    };
    let host = cx.data_mut();
    let stream = host.vm.subject_stream().map(|(stream, _)| stream);
    match stream.and_then(|stream| host.streams.get_mut(stream)) {
        Some(stream) => {
            stream.filter_state.insert(path, value);
            Status::Ok
        }
        None => Status::NotFound,
    }
}

fn value(host: &Host, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let given = host.settings.properties.iter().find(|(path, _)| path == parts);
    if let Some((_, value)) = given {
        return Some(value.clone());
    }
    let names: Vec<&str> =
        parts.iter().map(|part| std::str::from_utf8(part)).collect::<Result<_, _>>().ok()?;
    let plugin = host.vm.plugin_of(host.vm.subject());
    let plugin = plugin.and_then(|plugin| host.settings.plugins.get(plugin));
    match names.as_slice() {
        ["plugin_name" | "plugin_root_id"] => return Some(plugin?.root_id.clone().into()),
        ["plugin_vm_id"] => return Some(host.settings.vm_id.clone().into()),
        _ => {}
    }
    let (index, slot) = host.vm.subject_stream()?;
    let stream = host.streams.get(index)?;
    let slot = stream.slots.get(slot)?;
    match names.as_slice() {
        ["request", rest @ ..] => request(stream, slot, rest),
        ["response", rest @ ..] => response(stream, slot, rest),
        ["source", rest @ ..] => address(&stream.source, rest),
        ["destination", rest @ ..] => address("127.0.0.1:8080", rest),
        ["connection", "mtls"] => Some(vec![0]),
        ["connection", "id"] | ["connection_id"] => Some((index as u64).to_le_bytes().to_vec()),
        ["connection", "requested_server_name"] => Some(Vec::new()),
        [name] => stream.filter_state.get(name.as_bytes()).cloned(),
        _ => None,
    }
}

/// Envoy reads these from the headers while a context may see them; what it counts itself is there
/// at any time.
fn request(stream: &Stream, slot: &Slot, rest: &[&str]) -> Option<Vec<u8>> {
    let at_hand = slot.request.headers_at_hand || slot.logging;
    let headers = stream.request.headers.as_ref().filter(|_| at_hand);
    let header = |name: &str| headers?.get(name).map(<[u8]>::to_vec);
    let announced = headers.and_then(|headers| headers.text("content-length"));
    let (path, query) = match headers.and_then(|headers| headers.text(":path")) {
        Some(target) => target.split_once('?').unwrap_or((target, "")),
        None => ("", ""),
    };
    match rest {
        ["time"] => Some(stream.started.to_le_bytes().to_vec()),
        ["protocol"] => Some(stream.protocol.into()),
        ["size"] => match announced {
            Some(length) => Some(length.parse::<u64>().ok()?.to_le_bytes().to_vec()),
            None => Some((stream.received as u64).to_le_bytes().to_vec()),
        },
        ["total_size"] => {
            let head = headers.map_or(0, Headers::byte_size);
            Some((stream.received.saturating_add(head) as u64).to_le_bytes().to_vec())
        }
        ["path"] => header(":path"),
        ["url_path"] => headers.map(|_| path.into()),
        ["query"] => headers.map(|_| query.split('#').next().unwrap_or_default().into()),
        ["host"] => header(":authority"),
        ["scheme"] => header(":scheme"),
        ["method"] => header(":method"),
        ["referer"] => header("referer"),
        ["id"] => header("x-request-id"),
        ["useragent"] => header("user-agent"),
        ["headers"] => headers.map(pairs::encode),
        ["headers", name] => header(name),
        _ => None,
    }
}

fn response(stream: &Stream, slot: &Slot, rest: &[&str]) -> Option<Vec<u8>> {
    let at_hand = slot.response.headers_at_hand || slot.logging;
    let headers = stream.response.headers.as_ref().filter(|_| at_hand);
    match rest {
        ["code"] => {
            let status = stream.client.headers.as_ref()?.text(":status")?;
            Some(status.parse::<u64>().ok()?.to_le_bytes().to_vec())
        }
        ["code_details"] => (!stream.details.is_empty()).then(|| stream.details.clone().into()),
        ["size"] => Some((stream.sent as u64).to_le_bytes().to_vec()),
        ["headers"] => headers.map(pairs::encode),
        ["headers", name] => headers?.get(name).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn address(address: &str, rest: &[&str]) -> Option<Vec<u8>> {
    match rest {
        ["address"] => Some(address.into()),
        ["port"] => {
            let port: u64 = address.rsplit_once(':')?.1.parse().ok()?;
            Some(port.to_le_bytes().to_vec())
        }
        _ => None,
    }
}

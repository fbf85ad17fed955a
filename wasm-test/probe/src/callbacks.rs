//! What the proxy calls. Every callback of a stream is noted, so that their order is compared too.

use crate::abi;
use crate::journal::{self, Stream, note, shown, state};
use crate::{calls, headers_phase, later_phases};

#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_context: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(context: u32, size: usize) -> bool {
    let (_, configuration) = abi::buffer(7, 0, size);
    if configuration.as_deref() == Some(b"refuse") {
        println!("the configuration says so");
        return false;
    }
    let (_, queue) = abi::register_queue("probe");
    state(|state| (state.root, state.queue) = (context, queue));
    true
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_context: u32, _root: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(context: u32, _count: usize, end: bool) -> u32 {
    let text = |name| {
        let (_, value) = abi::header(0, name);
        String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
    };
    if text(":path") == "/report" {
        abi::reply(200, &[], journal::take().as_bytes());
        return 0;
    }
    let stream = Stream { command: text("x-do"), then: text("x-then") };
    state(|state| state.streams.insert(context, stream.clone()));
    note(format!("request headers end={end}"));
    headers_phase::act(context, &stream.command, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, size: usize, end: bool) -> u32 {
    note(format!("request body {size} end={end}"));
    later_phases::request_body(context, &journal::stream(context), size, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(context: u32, count: usize) -> u32 {
    note(format!("request trailers {count}: {}", shown(&abi::header(1, "x-trailer").1)));
    later_phases::request_trailers(&journal::stream(context))
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(context: u32, _count: usize, end: bool) -> u32 {
    let Some(stream) = state(|state| state.streams.get(&context).cloned()) else { return 0 };
    let status = shown(&abi::header(2, ":status").1);
    let length = shown(&abi::header(2, "content-length").1);
    note(format!("response headers {status} length={length} end={end}"));
    later_phases::response_headers(&stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(context: u32, size: usize, end: bool) -> u32 {
    let Some(stream) = state(|state| state.streams.get(&context).cloned()) else { return 0 };
    note(format!("response body {size} end={end}"));
    later_phases::response_body(&stream, size, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(context: u32, count: usize) -> u32 {
    if state(|state| state.streams.contains_key(&context)) {
        note(format!("response trailers {count}"));
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(context: u32) {
    let Some(stream) = state(|state| state.streams.get(&context).cloned()) else { return };
    note("log");
    later_phases::log(&stream);
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(context: u32) -> bool {
    if state(|state| state.streams.contains_key(&context)) {
        note("done");
    }
    true
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    if state(|state| state.streams.remove(&context)).is_some() {
        note("delete");
        state(|state| state.last_deleted = context);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_queue_ready(context: u32, token: u32) {
    let (is_root, is_queue) = state(|state| (state.root == context, state.queue == token));
    note(format!("queue ready: root={is_root} token={is_queue}"));
    note(format!("its item: {:?}", abi::dequeue(token).1.map(String::from_utf8)));
    note(format!("and then: {}", abi::dequeue(token).0));
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(context: u32) {
    let ticks = state(|state| {
        state.ticks += 1;
        state.ticks
    });
    let is_root = state(|state| state.root == context);
    note(format!("tick {ticks}: root={is_root}"));
    // The effective context of one callback is forgotten at the next.
    note(format!("its stream's path: {}", abi::property(&["request", "path"]).0));
    let parked = state(|state| state.parked.first().copied());
    if let Some(parked) = parked {
        note(format!("enter the parked one: {}", abi::enter(parked)));
        note(format!("the parked one's path: {}", shown(&abi::property(&["request", "path"]).1)));
    }
    if ticks == 2 {
        note(format!("stop: {}", abi::set_tick(0)));
        calls::release(|| note(format!("answer: {}", abi::reply(504, &[], b"late"))));
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    _context: u32,
    token: u32,
    headers: usize,
    body: usize,
    _trailers: usize,
) {
    calls::answered(token, headers, body);
}

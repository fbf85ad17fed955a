//! What is done in the callbacks after the request headers.

use crate::abi;
use crate::calls;
use crate::headers_phase::{CONTINUE, PAUSE, reply};
use crate::journal::{Stream, note, shown, state};

pub fn request_body(context: u32, stream: &Stream, size: usize, end: bool) -> u32 {
    let holds = [
        "hold",
        "hold-body",
        "replace",
        "replace-unframed",
        "foreign",
        "splice",
        "grow",
        "reply-body",
        "hold-then-call",
        "trap-body",
        "add-trailers",
    ];
    match stream.command.as_str() {
        "park" | "call" => return PAUSE,
        "park-once" if state(|state| state.parked.contains(&context)) => return PAUSE,
        "after-continue" => after_continue(),
        command if holds.contains(&command) && !end => return PAUSE,
        "hold" | "hold-body" => {
            let (status, body) = abi::buffer(0, 0, size);
            note(format!("body: {status} {}", shown(&body.map(|body| body[..body.len().min(40)].to_vec()))));
            note(format!("part of it: {}", shown(&abi::buffer(0, 1, 2).1)));
            note(format!("behind it: {:?}", abi::buffer(0, size + 1, 2)));
            note(format!("path: {}", abi::header(0, ":path").0));
        }
        "replace" | "replace-unframed" => {
            note(format!("replace: {}", abi::set_buffer(0, 0, size, b"a longer body than it was")));
        }
        "splice" => splice(size),
        "grow" => note(format!("grow: {}", abi::set_buffer(0, 0, size, &vec![b'g'; 200_000]))),
        "foreign" => foreign(size),
        "reply-body" => {
            note(format!("reply: {}", reply(418)));
            return PAUSE;
        }
        "hold-then-call" => return calls::call(context),
        "add-trailers" | "add-trailers-at-once" if end => {
            note(format!("add: {}", abi::add_header(1, "x-trailer", b"added")))
        }
        "trap-body" => std::process::abort(),
        _ => {}
    }
    CONTINUE
}

pub fn request_trailers(stream: &Stream) -> u32 {
    match stream.command.as_str() {
        "park" | "call" => PAUSE,
        _ => CONTINUE,
    }
}

pub fn response_headers(stream: &Stream) -> u32 {
    match stream.command.as_str() {
        "after-continue" => after_continue(),
        "hold" => note(format!("request path: {}", shown(&abi::header(0, ":path").1))),
        "hold-response" | "hold-response-all" => {
            note(format!("remove: {}", abi::remove_header(2, "content-length")));
            note(format!("add: {}", abi::add_header(2, "x-held", b"1")));
            return PAUSE;
        }
        "replace-response" => {
            note(format!("remove: {}", abi::remove_header(2, "content-length")));
        }
        "reply-twice" if abi::header(2, "x-again").1.is_none() => {
            let status = abi::header(2, ":status").1;
            if status.as_deref() == Some(b"418") {
                note(format!("reply again: {}", abi::reply(419, &[("x-again", "1")], b"second")));
            }
        }
        "reply-from-response" => {
            note(format!("reply: {}", reply(502)));
        }
        "trap-response" => std::process::abort(),
        _ => {}
    }
    CONTINUE
}

pub fn response_body(stream: &Stream, size: usize, end: bool) -> u32 {
    match stream.command.as_str() {
        "hold-response" | "replace-response" | "replace-response-framed" if !end => PAUSE,
        "hold-response" | "replace-response" | "replace-response-framed" => {
            note(format!("body: {}", shown(&abi::buffer(1, 0, size).1)));
            note(format!("replace: {}", abi::set_buffer(1, 0, size, b"another response body")));
            CONTINUE
        }
        "hold-big-response" => PAUSE,
        _ => CONTINUE,
    }
}

pub fn log(stream: &Stream) {
    if ["after-continue", "reply"].contains(&stream.command.as_str()) {
        note(format!("request path: {}", shown(&abi::header(0, ":path").1)));
        note(format!("response status: {}", shown(&abi::header(2, ":status").1)));
        note(format!("path: {}", shown(&abi::property(&["request", "path"]).1)));
        note(format!("details: {}", shown(&abi::property(&["response", "code_details"]).1)));
        note(format!("no such header: {}", abi::header(2, "x-none").0));
        note(format!("write: {}", abi::set_header(2, "x-late", b"1")));
    }
}

/// Once the request headers have been let go, they are not there any more.
fn after_continue() {
    let (status, value) = abi::header(0, ":path");
    note(format!("value: {status} {}", shown(&value)));
    let (status, pairs) = abi::headers(0);
    note(format!("list: {status} {}", pairs.len()));
    let (status, value) = abi::property(&["request", "path"]);
    note(format!("property: {status} {}", shown(&value)));
    note(format!("set: {}", abi::set_header(0, "x-late", b"1")));
    note(format!("add: {}", abi::add_header(0, "x-late", b"1")));
    note(format!("remove: {}", abi::remove_header(0, "x-late")));
}

fn splice(size: usize) {
    let attempt = |start, length, data: &[u8]| {
        let status = abi::set_buffer(0, start, length, data);
        let (_, body) = abi::buffer(0, 0, usize::MAX >> 1);
        note(format!("from {start}, {length}: {status} {}", shown(&body)));
    };
    attempt(0, 0, b"<");
    attempt(size + 1, 0, b">");
    attempt(0, 1, b"[");
    attempt(2, 1, b"!");
    attempt(0, 1000, b"all");
}

fn foreign(size: usize) {
    let (_, name) = abi::header(0, "x-fn");
    let name = String::from_utf8_lossy(&name.unwrap_or_default()).into_owned();
    let (_, argument) = abi::buffer(0, 0, size);
    let (status, result) = abi::foreign(&name, &argument.unwrap_or_default());
    note(format!("{name}: {status} {}", shown(&result)));
}

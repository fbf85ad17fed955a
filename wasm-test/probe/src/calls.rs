//! Calls, and streams that wait for them or for each other.

use crate::abi;
use crate::headers_phase::{self, PAUSE};
use crate::journal::{self, note, shown, state};

/// Makes the call that the headers `x-cluster`, `x-timeout` and `x-call-path` describe.
pub fn call(context: u32) -> u32 {
    let text = |name| {
        let (_, value) = abi::header(0, name);
        String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
    };
    let (cluster, path) = (text("x-cluster"), text("x-call-path"));
    let timeout: i32 = text("x-timeout").parse().unwrap_or(5000);
    let mut headers = vec![(":method", "POST"), (":authority", "backend"), ("x-sent", "by-probe")];
    if path != "none" {
        headers.push((":path", path.as_str()));
    }
    let (status, token) = abi::http_call(&cluster, &headers, b"question", timeout as u32);
    note(format!("call: {status}"));
    if status != abi::OK {
        return 0;
    }
    state(|state| state.calls.insert(token, context));
    if journal::stream(context).then == "park-too" {
        state(|state| state.parked.push(context));
    }
    PAUSE
}

/// The answer comes to the root, whoever made the call.
pub fn answered(token: u32, headers: usize, body: usize) {
    let context = state(|state| state.calls.remove(&token)).unwrap_or_default();
    let status = shown(&abi::header(6, ":status").1);
    let (_, bytes) = abi::buffer(4, 0, body.min(24));
    note(format!("answer: headers={} {status} {}", headers > 0, shown(&bytes)));
    note(format!("at the root: {}", abi::property(&["request", "path"]).0));
    let then = journal::stream(context).then;
    if state(|state| !state.streams.contains_key(&context)) {
        return gone(context);
    }
    note(format!("enter: {}", abi::enter(context)));
    note(format!("still the answer: {}", shown(&abi::header(6, ":status").1)));
    match then.as_str() {
        "reply" => note(format!("reply: {}", headers_phase::reply(200))),
        "resume" => note(format!("resume: {}", abi::resume(0))),
        "edit-resume" => {
            note(format!("edit: {}", abi::set_header(0, "x-edited", b"late")));
            note(format!("resume: {}", abi::resume(0)));
        }
        "resume-twice" => note(format!("resume: {} {}", abi::resume(0), abi::resume(0))),
        "resume-edit" => {
            note(format!("resume: {}", abi::resume(0)));
            note(format!("edit: {}", abi::set_header(0, "x-edited", b"too late")));
            note(format!("read: {}", abi::header(0, ":path").0));
            note(format!("list: {:?}", (abi::headers(0).0, abi::headers(0).1.len())));
            note(format!("path: {}", abi::property(&["request", "path"]).0));
        }
        "resume-reply" => {
            note(format!("resume: {}", abi::resume(0)));
            note(format!("reply: {}", headers_phase::reply(200)));
        }
        "reply-resume" => {
            note(format!("reply: {}", headers_phase::reply(200)));
            note(format!("resume: {}", abi::resume(0)));
        }
        "grow" => {
            note(format!("grow: {}", abi::set_buffer(0, 0, usize::MAX, &vec![b'g'; 200_000])));
            note("grown");
        }
        "trap" => std::process::abort(),
        _ => {}
    }
}

/// The stream is gone. A context that does not exist cannot be entered, and the one before stays.
fn gone(context: u32) {
    note(format!("enter the dead one: {}", abi::enter(context)));
    note(format!("its path: {}", abi::property(&["request", "path"]).0));
    let parked = state(|state| state.parked.first().copied()).unwrap_or_default();
    note(format!("enter a live one: {}", abi::enter(parked)));
    note(format!("enter the dead one: {}", abi::enter(context)));
    note(format!("the path: {}", shown(&abi::property(&["request", "path"]).1)));
    let root = state(|state| state.root);
    note(format!("enter the root: {}", abi::enter(root)));
    // No stream, no answer, and no error.
    note(format!("reply from the root: {}", headers_phase::reply(200)));
}

/// Does something to every stream that was parked, and goes back to the caller.
pub fn release(act: impl Fn()) {
    for context in state(|state| std::mem::take(&mut state.parked)) {
        note(format!("enter: {}", abi::enter(context)));
        act();
    }
    abi::enter(0);
}

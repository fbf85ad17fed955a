//! What was noted since it was last asked for, and what is remembered of streams and calls.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// A stream's command and the arguments that came with it.
#[derive(Clone, Default)]
pub struct Stream {
    pub command: String,
    pub then: String,
}

#[derive(Default)]
pub struct State {
    lines: Vec<String>,
    pub streams: BTreeMap<u32, Stream>,
    pub calls: BTreeMap<u32, u32>,
    pub parked: Vec<u32>,
    pub last_deleted: u32,
    pub root: u32,
    pub queue: u32,
    pub ticks: u32,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Looks at the state or changes it. No host call may be made meanwhile: some come back in.
pub fn state<R>(act: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(act)
}

/// Notes a line.
pub fn note(line: impl Into<String>) {
    state(|state| state.lines.push(line.into()));
}

/// All lines since the last time.
pub fn take() -> String {
    state(|state| std::mem::take(&mut state.lines)).join("\n")
}

/// What a stream was told to do.
pub fn stream(context: u32) -> Stream {
    state(|state| state.streams.get(&context).cloned().unwrap_or_default())
}

/// Bytes as text, with what is not printable escaped.
pub fn shown(bytes: &Option<Vec<u8>>) -> String {
    match bytes {
        None => "none".to_owned(),
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    }
}
